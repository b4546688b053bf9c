"""Simulated cells of several batches, with types that one batch alone has."""

from __future__ import annotations

import numpy as np
import pandas as pd

from smalti.bags import Bags
from smalti.errors import InputError

# strength -> s.d. of the log factor of a gene in a batch, share of its counts that is ambient
STRENGTHS: tuple[tuple[float, float], ...] = ((0.0, 0.0), (0.15, 0.05), (0.3, 0.1), (0.6, 0.2))


def planted_batches(
    n_cells: int = 1000,
    *,
    strength: int = 2,
    batches: int = 2,
    shared: int = 5,
    unique: int = 1,
    features: tuple[int, int] = (200, 20),
    law_seed: int = 0,
    seed: int = 0,
) -> Bags:
    """RNA and proteins of cells whose batch multiplies each feature and adds ambient counts.

    The rate of a feature in a cell is its depth times the profile of its type. A batch multiplies
    each feature by a factor of its own, and mixes in its mean profile (ambient RNA, unbound
    antibody). Types "T1", "T2", ... are in all batches, in shares that differ; ``unique`` further
    types of each batch, "U1", ..., are in that batch alone: a correction that lays batches on top
    of one another mixes them with others, and should not.

    The truth is the same call with ``strength=0``: the same cells, types, batches and depths, and
    counts without any effect of a batch.

    Parameters
    ----------
    n_cells
        Cells.
    strength
        Of the batch effect: 0 (none), 1, 2 or 3. S.d. of the log factors 0.15, 0.3, 0.6; share of
        ambient counts 0.05, 0.1, 0.2.
    batches
        Batches, "b1", "b2", ..., of equal size.
    shared, unique
        Types that all batches have, and types of each batch alone, a tenth of its cells each.
    features
        Genes and proteins.
    law_seed, seed
        Of profiles and factors; of cells and counts.

    Returns
    -------
    Bags
        Views "rna" and "protein", raw counts; instance columns ``batch``, ``cell_type`` and
        ``unique`` (whether one batch alone has the type).

    Raises
    ------
    InputError
        If there is no such strength, there are fewer than two batches or one shared type, or the
        types of one batch alone leave no room for the others.

    Examples
    --------
    >>> import smalti as sm
    >>> cells = sm.datasets.planted_batches(200, strength=3, seed=0)
    >>> cells
    Bags: 200 bags of one instance, rna 200, protein 20, 200 donors
    >>> sorted(set(cells.instance["cell_type"]))
    ['T1', 'T2', 'T3', 'T4', 'T5', 'U1', 'U2']
    """
    if strength not in range(len(STRENGTHS)):
        raise InputError(f"strength={strength!r} is none of 0, 1, 2 and 3.")
    if batches < 2 or shared < 1 or unique > 5:
        raise InputError(
            f"batches={batches}, shared={shared}, unique={unique}: give two batches or more, one "
            "shared type or more, and five types of each batch at most."
        )
    law, rng = np.random.default_rng([law_seed, 31]), np.random.default_rng([seed, 32])
    noise = np.random.default_rng([seed, 33])  # apart: the cells are the same at any strength
    batch = rng.permutation(np.arange(n_cells) % batches)
    kind = _kinds(batch, batches, shared, unique, rng)
    depth = rng.lognormal(0, 0.3, size=(n_cells, 1))
    spread, ambient = STRENGTHS[strength]
    views = {}
    for name, d, level in zip(("rna", "protein"), features, (0.0, 2.5), strict=True):
        base = law.lognormal(level, 0.7, size=d)
        marks = law.normal(size=(shared + batches * unique, d)) * (law.random((1, d)) < 0.3)
        profile = base * np.exp(1.2 * marks)  # (n_types, d)
        factor = np.exp(spread * law.normal(size=(batches, d)))
        rate = profile[kind] * factor[batch]
        soup = np.stack([rate[batch == b].mean(0) for b in range(batches)])
        rate = (1 - ambient) * rate + ambient * soup[batch]
        views[name] = noise.poisson(rate * depth).astype(np.float32)
    names = [f"T{i + 1}" for i in range(shared)] + [f"U{i + 1}" for i in range(batches * unique)]
    table = pd.DataFrame({
        "batch": [f"b{b + 1}" for b in batch], "cell_type": [names[k] for k in kind],
        "unique": kind >= shared,
    })  # fmt: skip
    labels = {k: [f"{k}_{i}" for i in range(v.shape[1])] for k, v in views.items()}
    return Bags.from_rows(views, np.arange(n_cells), instance=table, features=labels, donor="bag")


def _kinds(
    batch: np.ndarray, batches: int, shared: int, unique: int, rng: np.random.Generator
) -> np.ndarray:
    """(n_cells,) type of each cell: shared ones first, then those of each batch alone."""
    kind = np.empty(len(batch), dtype=np.int64)
    for b in range(batches):
        share = np.zeros(shared + batches * unique)
        share[:shared] = rng.dirichlet(np.full(shared, 4.0)) * (1 - 0.1 * unique)
        share[shared + b * unique : shared + (b + 1) * unique] = 0.1
        at = batch == b
        kind[at] = rng.choice(len(share), size=int(at.sum()), p=share)
    return kind
