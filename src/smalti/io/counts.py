"""Tables of counts of several slides: checked, and put on one list of genes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from smalti.errors import InputError
from smalti.names import namesakes, some
from smalti.system.tables import read_text


def checked_counts(
    counts: Any, genes: Sequence[str], spots: Sequence[str], where: str
) -> tuple[sp.csr_matrix, tuple[str, ...]]:
    """Counts as CSR float32, and unique names of genes.

    A name that comes again gets "-1", "-2", ... added, as scanpy does.

    Parameters
    ----------
    counts
        (n_spots, n_genes), dense or sparse.
    genes, spots
        Their names.
    where
        What errors call the table.

    Raises
    ------
    InputError
        If a count is negative or missing, or the shape does not fit the names.
    """
    table = sp.csr_matrix(counts, dtype=np.float32)
    if table.shape != (len(spots), len(genes)):
        raise InputError(
            f"{where} has counts of shape {table.shape} for {len(spots)} spots and {len(genes)} "
            "genes: write it again."
        )
    wrong = np.flatnonzero(~(table.data >= 0) | np.isinf(table.data))
    if len(wrong):
        spot = int(np.searchsorted(table.indptr, wrong[0], side="right")) - 1
        gene = genes[int(table.indices[wrong[0]])]
        raise InputError(
            f"{where} has a count of {table.data[wrong[0]]:g} (spot {spots[spot]!r}, gene {gene!r};"
            f" {len(wrong)} such): counts are finite and at least 0. Give the raw counts."
        )
    table.sum_duplicates()
    table.eliminate_zeros()
    return table, unique_names(genes)


def unique_names(names: Sequence[str]) -> tuple[str, ...]:
    """Names with "-1", "-2", ... added to those that come again."""
    index = pd.Index(map(str, names))
    if index.is_unique:
        return tuple(index)
    taken, out = set(index), []
    again = pd.Series(index).groupby(index.to_numpy()).cumcount().to_numpy()
    for name, k in zip(index, again, strict=True):
        if not k:
            out.append(name)
            continue
        new = f"{name}-{k}"
        while new in taken:
            k += 1
            new = f"{name}-{k}"
        taken.add(new)
        out.append(new)
    return tuple(out)


def told_apart(names: Sequence[str], where: str) -> list[str]:
    """A note where several features have one name, and :func:`unique_names` gave them others."""
    twice = namesakes(names)
    if not twice:
        return []
    unique = unique_names(names)
    same = [u for name, u in zip(names, unique, strict=True) if name == twice[0]]
    return [
        f"{len(twice)} names in {where} are of several features ({some(twice)}): they are told "
        f"apart by their order, as {same[0]!r}, {same[1]!r}, ... A model takes data where they "
        "stand in another order for the wrong ones: better give every feature a name of its own."
    ]


def named_as_written(table: pd.DataFrame, file: str | Path, sep: str = ",") -> pd.DataFrame:
    """A table of a text file with the names that stand there: pandas calls a second V "V.1"."""
    head = read_text(file, sep, header=None, nrows=1, dtype=str).iloc[0].tolist()
    written = head[len(head) - table.shape[1] :]
    names = [w if isinstance(w, str) else c for w, c in zip(written, table.columns, strict=True)]
    return table.set_axis(names, axis=1)


def stack_counts(
    tables: Sequence[sp.csr_matrix], genes: Sequence[tuple[str, ...]], unlisted: str = "drop"
) -> tuple[sp.csr_matrix, tuple[str, ...], str | None]:
    """Counts of all slides on one list of genes, and a note where their lists differ.

    A gene that a slide does not list was not measured there, which is no zero.

    Parameters
    ----------
    tables
        Counts of each slide, (n_tiles, its genes).
    genes
        The genes of each slide.
    unlisted
        What becomes of a gene that some slide does not list: "drop", "zero" or "error".

    Returns
    -------
    csr_matrix
        (n, n_genes) of all slides.
    tuple of str
        The genes, in the order in which they are first named.
    str or None
        The note.

    Raises
    ------
    InputError
        If lists differ and ``unlisted`` is "error", or no gene is in all of them.
    """
    if all(g == genes[0] for g in genes):
        return sp.vstack(tables, format="csr"), genes[0], None
    union = pd.Index(pd.unique(np.concatenate([np.array(g, dtype=object) for g in genes])))
    common = set(genes[0]).intersection(*genes[1:])
    lacking = [g for g in union if g not in common]
    few = ", ".join(map(str, lacking[:5])) + ", ..." * (len(lacking) > 5)
    said = (
        f"slides list different genes: {len(common):,} are in all, {len(union):,} in any "
        f"(not in all: {few})"
    )
    if not common and unlisted != "zero":
        raise InputError(f"{said}: do some name symbols, others Ensembl ids? Name them alike.")
    if lacking and unlisted == "error":
        raise InputError(
            f"{said}: keep those of all (unlisted='drop'), or take a gene that a slide does not "
            "list for 0 there (unlisted='zero')."
        )
    end = "a gene that a slide does not list counts as 0 there."
    if unlisted == "drop":
        end = f"{len(lacking):,} genes that some slide does not list are left out."
    kept = union if unlisted == "zero" else pd.Index([g for g in union if g in common])
    out = [_on(table, names, kept) for table, names in zip(tables, genes, strict=True)]
    return (
        sp.vstack(out, format="csr"),
        tuple(map(str, kept)),
        f"{said}; {end}" if lacking else None,
    )


def _on(table: sp.csr_matrix, names: Sequence[str], genes: pd.Index) -> sp.csr_matrix:
    """A table whose columns are ``names`` on the columns ``genes``; 0 where it has none."""
    own = pd.Index(names)
    known = np.flatnonzero(own.isin(genes))
    part = table[:, known]
    place = genes.get_indexer(own[known])
    moved = sp.csr_matrix((part.data, place[part.indices], part.indptr),
                          shape=(table.shape[0], len(genes)))  # fmt: skip
    moved.sort_indices()
    return moved
