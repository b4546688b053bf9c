"""What pathways say of genes: which belong together, which matter, which pathways interact."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp

from smalti.errors import InputError
from smalti.genes.sets import GeneSets, match


def pathway_membership(
    sets: GeneSets,
    genes: Sequence[str],
    *,
    min_size: int = 5,
    max_size: int | None = None,
    ignore_case: bool = False,
) -> tuple[sp.csr_array, list[str]]:
    """Which genes a pathway has.

    Parameters
    ----------
    sets, genes, min_size, max_size, ignore_case
        As in :func:`smalti.genes.match`.

    Returns
    -------
    csr_array, list
        (n_pathways, n_genes) float32 of 0 and 1, and the names of the rows.

    Raises
    ------
    InputError
        If no set is of that size; else as :func:`smalti.genes.match`.
    """
    found = match(sets, genes, min_size=min_size, max_size=max_size, ignore_case=ignore_case).sets
    if not found:
        raise InputError(f"no pathway has {min_size} or more of the genes: lower min_size.")
    ends = np.concatenate([[0], np.cumsum([len(w) for w in found.values()])])
    columns = np.concatenate(list(found.values()))
    table = sp.csr_array(
        (np.ones(len(columns), np.float32), columns, ends), shape=(len(found), len(genes))
    )
    return table, list(found)


def pathway_weights(
    genes: Sequence[str], sets: GeneSets, *, how: str = "log", ignore_case: bool = False
) -> np.ndarray:
    """Weight of each gene in a loss, by the pathways that have it.

    Parameters
    ----------
    genes
        (n_genes,) names.
    sets
        Pathways, e.g. ``read_gmt(kegg) | read_gmt(reactome) | read_gmt(biocarta)``.
    how
        Of a gene in n pathways, before division by the mean: log: 1 + log(1 + n). member: 2 if
        n > 0, else 1. linear: 1 + n. specific: 1 + log(1 + sum over its pathways of
        10 / number of genes), so that a small pathway counts more than a broad one.
    ignore_case
        As in :func:`smalti.genes.match`.

    Returns
    -------
    np.ndarray
        (n_genes,) float64, positive, mean 1. Genes in no pathway weigh least, never nothing.

    Raises
    ------
    InputError
        If ``how`` is unknown; else as :func:`smalti.genes.match`.
    """
    table, _ = pathway_membership(sets, genes, min_size=1, ignore_case=ignore_case)
    n = np.asarray(table.sum(axis=0), np.float64)
    if how == "log":
        weight = 1 + np.log1p(n)
    elif how == "member":
        weight = 1.0 + (n > 0)
    elif how == "linear":
        weight = 1 + n
    elif how == "specific":
        weight = 1 + np.log1p((10 / table.sum(axis=1)) @ table)
    else:
        raise InputError(f"how={how!r} is not one of ('log', 'member', 'linear', 'specific').")
    return weight / weight.mean()


def interacting_pairs(membership: sp.sparray | np.ndarray, *, threshold: float = 0.2) -> np.ndarray:
    """Pairs of pathways that share genes: Jaccard index over a threshold.

    Parameters
    ----------
    membership
        (n_pathways, n_genes), not 0 where a pathway has a gene.
    threshold
        Genes in both over genes in either, 0 up to 1 (excluded).

    Returns
    -------
    np.ndarray
        (n_pairs, 2) rows i < j, sorted.

    Raises
    ------
    InputError
        If the threshold is out of range.
    """
    if not 0 <= threshold < 1:
        raise InputError(f"threshold={threshold}: give a share from 0 up to 1, 1 excluded.")
    both, size = shared_genes(membership)
    upper = sp.triu(both, k=1).tocoo()
    jaccard = upper.data / (size[upper.row] + size[upper.col] - upper.data)
    pairs = np.stack([upper.row, upper.col], axis=1)[jaccard > threshold].astype(np.int64)
    return pairs[np.lexsort(pairs.T[::-1])]


def shared_genes(membership: sp.sparray | np.ndarray) -> tuple[sp.csr_array, np.ndarray]:
    """(n, n) sparse number of genes that two sets share, and (n,) sizes."""
    table = sp.csr_array(membership).astype(bool).astype(np.float64)
    return sp.csr_array(table @ table.T), np.asarray(table.sum(axis=1))
