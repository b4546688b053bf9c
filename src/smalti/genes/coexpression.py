"""Vectors of genes from expression that has no pictures: other patients, single cells."""

from __future__ import annotations

import numpy as np
from sklearn.utils.extmath import randomized_svd

from smalti.bags import Bags
from smalti.core.seen import Seen
from smalti.errors import InputError
from smalti.genes.units import gene_names, measured
from smalti.genes.vectors import GeneVectors


def coexpression_vectors(
    bags: Bags,
    *,
    view: str = "counts",
    units: str = "log1p_cp10k",
    width: int = 64,
    most: int = 2000,
    seed: int = 0,
) -> GeneVectors:
    """Vectors of genes whose products are their correlations within samples.

    Each gene is standardised within each sample (slide, patient), so that differences between
    samples, of depth or of staining, say nothing; a truncated SVD of all rows, samples weighing the
    same, gives v_i . v_j close to the mean correlation of genes i and j.

    Genes that were never measured beside a picture may well have been measured without one. Give
    samples of **other donors** than those that a method is tested on: their expression says of a
    gene what a text cannot.

    Parameters
    ----------
    bags
        Samples with a view of counts; no pictures or features are looked at.
    view, units
        Of the expression.
    width
        Numbers per gene, at most.
    most
        Rows of a sample, at most; drawn where there are more.
    seed
        Of the draw and the SVD.

    Returns
    -------
    GeneVectors
        Of the genes that vary in some sample; notes name how many do not, and the samples.

    Raises
    ------
    InputError
        If there is no such view, no gene varies, or ``width`` or ``most`` is too small.
    """
    if width < 1 or most < 3:
        raise InputError(f"width={width}, most={most}: give 1 and 3 or more.")
    rng, rows = np.random.default_rng([seed, 51]), []
    names = gene_names(bags, view)
    for bag in range(len(bags)):
        own = bags[[bag]]
        if own.n_instances < 3:
            continue
        if own.n_instances > most:
            own = own.keep(np.sort(rng.choice(own.n_instances, most, replace=False)))
        x = measured(own, view=view, units=units)
        x -= x.mean(0, dtype=np.float64)
        sd = np.sqrt(np.square(x).mean(0, dtype=np.float64)).astype(np.float32)
        np.divide(x, sd, out=x, where=sd > 1e-6)
        x[:, sd <= 1e-6] = 0
        rows.append(x / np.float32(np.sqrt(len(x))))
    table = np.concatenate(rows) if rows else np.zeros((0, len(names)), dtype=np.float32)
    live = np.flatnonzero(table.any(0))
    if len(live) < 2:
        raise InputError(f"view {view!r}: no gene varies within a sample of three rows or more.")
    k = min(width, *table[:, live].shape)
    _, size, right = randomized_svd(table[:, live] / np.sqrt(len(rows)), k, random_state=seed)
    notes = [f"co-expression within {len(rows)} samples of {_donors(bags)}"]
    if len(live) < len(names):
        notes.append(f"{len(names) - len(live)} genes do not vary in them and have no vector")
    return GeneVectors(tuple(names[i] for i in live), (right.T * size).astype(np.float32),
                       "co-expression", notes=tuple(notes),
                       donors=Seen.of_donors(bags).donors)  # fmt: skip


def _donors(bags: Bags) -> str:
    if bags.donor is None:
        return "donors that are not named"
    column = bags.bag.index if bags.donor == "bag" else bags.bag[bags.donor]
    found = sorted(set(map(str, column)))
    return f"{len(found)} donors ({', '.join(found[:8])}{', ...' * (len(found) > 8)})"
