"""Genes as points: their expression over tiles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.decomposition import PCA

from smalti.errors import InputError


def gene_points(profile: np.ndarray, n_components: int, seed: int) -> np.ndarray:
    """(n_genes, width) principal components of profiles (n_genes, n_tiles), where k-means looks."""
    width = min(n_components, *profile.shape)
    return np.asarray(PCA(width, svd_solver="randomized", random_state=seed).fit_transform(profile))


def profiles(names: Sequence[str], target: Any, *, standardise: bool = True) -> np.ndarray:
    """Genes as rows: their expression over the tiles, checked.

    Parameters
    ----------
    names
        (n_genes,) of the genes.
    target
        (n_tiles, n_genes) expression, dense or sparse.
    standardise
        To mean 0 and sd 1; genes that do not vary are 0.

    Returns
    -------
    ndarray
        (n_genes, n_tiles) float32.

    Raises
    ------
    InputError
        If there is none, its shape is another, or a value is not finite.
    """
    if target is None:
        raise InputError("how='kmeans' and others='nearest' need the expression of the training "
                         "tiles: give target.")  # fmt: skip
    x = target.toarray() if sparse.issparse(target) else np.asarray(target)
    if x.ndim != 2 or x.shape[1] != len(names) or len(x) < 2:
        raise InputError(f"target has shape {x.shape}: give (n_tiles, {len(names)}), 2 or more.")
    profile = x.T.astype(np.float32)
    if not np.isfinite(profile).all():
        raise InputError("target holds values that are not finite: mend or drop them.")
    if standardise:
        profile -= profile.mean(1, keepdims=True)
        sd = profile.std(1, keepdims=True)
        profile = np.divide(profile, sd, out=np.zeros_like(profile), where=sd > 1e-6)
    return profile
