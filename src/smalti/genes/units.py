"""Measured expression in the units that methods predict and scores are taken in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp

from smalti.bags import Bags
from smalti.counts import count_problem
from smalti.errors import InputError
from smalti.names import mismatch, namesakes, some
from smalti.views import pieces

UNITS = ("log1p_cp10k", "log1p", "given")


def measured(
    bags: Bags, *, view: str = "counts", genes: Sequence[str] | None = None,
    units: str = "log1p_cp10k",
) -> np.ndarray:  # fmt: skip
    """Measured expression of each tile.

    Parameters
    ----------
    bags
        With the view.
    view
        Name of the view that holds it.
    genes
        Which, in which order; all of the view when left out.
    units
        "log1p_cp10k": log(1 + 10,000 x / sum of the tile over all genes of the view); "log1p":
        log(1 + x); "given": as it stands (already normalised).

    Returns
    -------
    ndarray
        (n_tiles, n_genes) float32.

    Raises
    ------
    InputError
        If a gene is not there, or the values are not counts where units ask for them.
    """
    if units not in UNITS:
        raise InputError(f"units={units!r} is not one of {', '.join(UNITS)}.")
    name, table = bags.view(view)
    at = None if genes is None else gene_positions(bags, genes, view)
    if units != "given":
        problem = _problem(table)
        if problem is not None:
            raise InputError(
                f"view {name!r} does not hold counts: {problem}. Give raw counts, or say "
                "units='given' if they are normalised already."
            )
    n = int(table.shape[0])
    out = np.empty((n, int(table.shape[1]) if at is None else len(at)), dtype=np.float32)
    start = 0
    for part in pieces(table):
        stop = start + part.shape[0]
        chosen = part if at is None else part[:, at]
        rows = chosen.toarray() if sp.issparse(chosen) else np.array(chosen, dtype=np.float32)
        if units == "log1p_cp10k":
            total = np.asarray(part.sum(1), dtype=np.float64).reshape(-1, 1)
            rows = rows * np.divide(1e4, total, out=np.zeros_like(total), where=total > 0)
        out[start:stop] = rows if units == "given" else np.log1p(rows)
        start = stop
    return out


def gene_names(bags: Bags, view: str = "counts") -> tuple[str, ...]:
    """Names of the genes of a view; gene_0, gene_1, ... where it has none."""
    name, table = bags.view(view)
    return bags.features.get(name) or tuple(f"gene_{i}" for i in range(int(table.shape[1])))


def gene_positions(bags: Bags, genes: Sequence[str], view: str = "counts") -> np.ndarray:
    """Where genes stand in a view, (n_genes,) int64.

    Raises
    ------
    InputError
        If some are not there, or are there twice; with their names.
    """
    names = gene_names(bags, view)
    place = {gene: i for i, gene in enumerate(names)}
    absent = [g for g in genes if g not in place]
    if absent:
        why = mismatch(absent, names)
        raise InputError(
            f"{len(absent)} of {len(genes)} genes are not in view {view!r}: {some(absent)}. "
            + (f"Of them and those of the view {why}." if why is not None
               else "Add them, or leave them out of genes=.")
        )  # fmt: skip
    twice = set(namesakes(names))
    double = [g for g in genes if g in twice]
    if double:
        raise InputError(
            f"view {view!r} has {len(double)} genes more than once: {some(double)}. Make the "
            "names unique (adata.var_names_make_unique())."
        )
    return np.array([place[g] for g in genes], dtype=np.int64)


def most_variable(values: np.ndarray, n: int) -> np.ndarray:
    """Positions, (n,) int64, of the columns of ``values`` (n_rows, n_columns) of largest variance.

    In their own order.
    """
    return np.sort(np.argsort(-values.var(0, dtype=np.float64), kind="stable")[:n])


def _problem(table: Any) -> str | None:
    """As :func:`count_problem`; and a negative value anywhere."""
    for part in pieces(table):
        values = part.data if sp.issparse(part) else part
        if values.size and values.min() < 0:
            return f"there are negative values (least: {values.min():.3g})"
    return count_problem(table)
