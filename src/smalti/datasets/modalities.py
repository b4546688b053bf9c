"""Simulated cells of several modalities, whose clusters no modality alone tells apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from smalti.bags import Bags


def planted_modalities(
    n_cells: int = 600,
    *,
    features: tuple[int, ...] = (40, 12),
    clusters: int = 2,
    effect: float | Sequence[float] = 4.0,
    tied: float = 0.0,
    counts: bool = False,
    missing: float = 0.0,
    n_bags: int | None = None,
    law_seed: int = 0,
    seed: int = 0,
) -> Bags:
    """Cells whose kind is a tuple of hidden states, one of which each modality sees.

    Modality m sees hidden state s_m, one of ``clusters``, through a profile of its own over its
    features, and a cell's kind is (s_1, .., s_M). Modality m alone can tell ``clusters`` groups
    apart, all modalities together ``clusters ** M``.

    Parameters
    ----------
    n_cells
        Cells.
    features
        Features of each modality.
    clusters
        States of each modality.
    effect
        Distance of two states in units of the noise of one feature; of each modality, or of all. A
        modality of effect 0 is noise.
    tied
        Probability that a modality sees the state of the first one, and not a draw of its own: at
        0 a modality says nothing of another.
    counts
        Poisson counts with a library size of each cell, instead of normal values.
    missing
        Share of the cells that lack one modality, drawn among those.
    n_bags
        Bags (patients) to deal the cells to; None: every cell a bag of its own.
    law_seed, seed
        Of the profiles, and of the cells.

    Returns
    -------
    Bags
        Views "m0", "m1", ...; instance columns ``kind`` and ``state_0``, ...; with ``counts`` the
        views are called "rna" and "protein" (and "atac").

    Examples
    --------
    >>> import smalti as sm
    >>> sm.datasets.planted_modalities(50, counts=True, seed=0)
    Bags: 50 bags of one instance, rna 40, protein 12, 50 donors
    """
    law, rng = np.random.default_rng([law_seed, 0]), np.random.default_rng([seed, 1])
    names = ("rna", "protein", "atac") if counts else tuple(f"m{i}" for i in range(len(features)))
    states = rng.integers(clusters, size=(n_cells, len(features)))
    if tied:
        same = np.random.default_rng([seed, 2]).random(states.shape) < tied
        states = np.where(same, states[:, :1], states)
    effects = np.broadcast_to(effect, len(features))
    depth = rng.lognormal(0, 0.3, size=(n_cells, 1))
    views, present = {}, {}
    gap = rng.random(n_cells) < missing
    which = rng.integers(len(features), size=n_cells)
    for m, d in enumerate(features):
        profile = law.normal(size=(clusters, d))
        profile -= profile.mean(0)
        distance = np.linalg.norm(profile[0] - profile[1])
        mean = (effects[m] / distance * profile)[states[:, m]]
        if counts:
            base = law.lognormal(0.5, 0.5, size=d)
            table = rng.poisson(base * np.exp(mean) * depth).astype(np.float32)
        else:
            table = (mean + rng.normal(size=(n_cells, d))).astype(np.float32)
        if missing:
            there = ~(gap & (which == m))
            table[~there] = 0
            present[names[m]] = there
        views[names[m]] = table
    kind = np.array(["/".join(map(str, row)) for row in states])
    table = pd.DataFrame({"kind": kind} | {f"state_{m}": states[:, m]
                                           for m in range(len(features))})  # fmt: skip
    bag = np.arange(n_cells) if n_bags is None else rng.integers(n_bags, size=n_cells)
    labels = {k: [f"{k}_{i}" for i in range(v.shape[1])] for k, v in views.items()}
    return Bags.from_rows(views, bag, instance=table, features=labels, present=present,
                          donor="bag")  # fmt: skip
