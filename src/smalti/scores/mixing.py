"""How well batches are mixed in an embedding, by scib-metrics."""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.neighbors import NearestNeighbors

from smalti.errors import InputError
from smalti.system.extras import calling, need


def batch_mixing(
    embedding: np.ndarray, batch: np.ndarray, labels: np.ndarray | None = None, *, k: int = 30
) -> dict[str, float]:
    """ILISI, kBET and graph connectivity (Luecken et al. 2022, Nature Methods 19:41).

    All of scib-metrics, on the k nearest cells found exactly by scikit-learn.

    Parameters
    ----------
    embedding
        (n, d), one row a cell.
    batch
        (n,) the batch of each cell; at least 2 different ones.
    labels
        (n,) the cell type of each cell; None if unknown.
    k
        Neighbours of a cell, itself counted.

    Returns
    -------
    dict
        All in [0, 1], higher is better. ilisi: median inverse Simpson's index of the batches
        around a cell (Korsunsky et al. 2019), scaled. kbet: share of cells whose neighbours have
        batches as all cells have, by a chi-square test at 5 % (Büttner et al. 2019); with labels
        taken within each cell type on diffusion distances and averaged, as the benchmark does,
        which is not comparable with the value without labels. graph_connectivity: mean over cell
        types of the share in the largest connected piece; NaN without labels. unique_purity, where
        types are in one batch alone: share of the neighbours of their cells that are of their type
        (of as many as the type can fill), a mean over these types; what lays batches on top of one
        another whatever they hold lowers it.

    Raises
    ------
    InputError
        If scib-metrics is missing, there is one batch only, or sizes do not fit.
    """
    scib = need("scib_metrics", "batch")
    x = np.asarray(embedding)
    if x.ndim != 2 or not np.isfinite(x).all():
        raise InputError(f"embedding of shape {x.shape}: give a finite (n, d) matrix.")
    if not 2 <= k <= len(x):
        raise InputError(f"k={k} neighbours of {len(x)} cells: give 2 to {len(x)}.")
    batches = _codes(batch, "batch", len(x))
    if batches.max() == 0:
        raise InputError("batch has one value only: mixing needs at least two batches.")
    distances, indices = NearestNeighbors(n_neighbors=k).fit(x).kneighbors(x)
    near = scib.nearest_neighbors.NeighborsResults(indices=indices, distances=distances)
    types = None if labels is None else _codes(labels, "labels", len(x))
    # quiet: where no cell type has two batches kBET is the mean over none, NaN, and that is right
    with calling("scib-metrics"):
        out = {"ilisi": float(scib.ilisi_knn(near, batches))}
        if types is None:
            return out | {
                "kbet": float(scib.kbet(near, batches)[0]),
                "graph_connectivity": float("nan"),
            }
        out["kbet"] = float(scib.kbet_per_label(near, batches, types))
        out["graph_connectivity"] = float(scib.graph_connectivity(near, types))
    return out | _unique_purity(indices, batches, types)


def _unique_purity(near: np.ndarray, batches: np.ndarray, types: np.ndarray) -> dict[str, float]:
    """Purity around cells of types of one batch; nothing where there are none of two cells."""
    found = []
    for kind in range(types.max() + 1):
        cells = np.flatnonzero(types == kind)
        if len(cells) < 2 or len(np.unique(batches[cells])) > 1:
            continue
        others = near[cells, 1 : min(near.shape[1], len(cells))]  # the first is the cell itself
        found.append((types[others] == kind).mean())
    return {"unique_purity": float(np.mean(found))} if found else {}


def mixing_within(
    embedding: np.ndarray, groups: np.ndarray, labels: np.ndarray, *, k: int = 15
) -> float:
    """How groups of cells mix within cell types: neighbours of another group, over those expected.

    Parameters
    ----------
    embedding
        (n, d), one row a cell.
    groups
        (n,) what should not matter, such as which modalities were measured.
    labels
        (n,) the cell type; neighbours are sought among cells of the same one, so that groups which
        differ in their types are not asked to mix them.
    k
        Neighbours of a cell.

    Returns
    -------
    float
        1 where groups are strewn at random among the cells of each type, 0 where they are apart; a
        little above 1 where cells prefer others. NaN where no type has two groups and more than k
        cells.

    Raises
    ------
    InputError
        If sizes do not fit, or a value is missing.

    Examples
    --------
    >>> import smalti as sm
    >>> import numpy as np
    >>> z = np.random.default_rng(0).normal(size=(200, 2))
    >>> group = np.arange(200) % 2
    >>> round(sm.scores.mixing_within(z, group, np.zeros(200)), 1)
    1.0
    >>> sm.scores.mixing_within(z + 9 * group[:, None], group, np.zeros(200))
    0.0
    """
    x = np.asarray(embedding)
    which, types = _codes(groups, "groups", len(x)), _codes(labels, "labels", len(x))
    other = expected = 0.0
    for label in range(types.max() + 1):
        at = np.flatnonzero(types == label)
        own, n = which[at], len(at)
        counts = np.bincount(own)
        if n <= k or counts.max() == n:
            continue
        near = NearestNeighbors(n_neighbors=k).fit(x[at]).kneighbors(return_distance=False)
        other += float((own[near] != own[:, None]).mean(1).sum())
        expected += float(((n - counts[own]) / (n - 1)).sum())
    return other / expected if expected else float("nan")


def _codes(values: np.ndarray, name: str, n: int) -> np.ndarray:
    """0, 1, ... for each different value; refuses what is missing."""
    codes = pd.factorize(np.asarray(values), sort=True)[0]
    if len(codes) != n:
        raise InputError(f"{name} has {len(codes)} values for {n} cells: give one a cell.")
    if (codes < 0).any():
        raise InputError(f"{name} misses {(codes < 0).sum()} values: leave those cells out.")
    return codes
