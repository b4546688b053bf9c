"""What the features of an AnnData are called: symbols of a column of ``var`` beside Ensembl ids."""

from __future__ import annotations

import numpy as np
import pandas as pd

from smalti.io.counts import told_apart, unique_names
from smalti.names import are_ids, namesakes, some

# as scanpy, CELLxGENE, Seurat and others write them
COLUMNS = ("gene_symbols", "gene_symbol", "symbol", "feature_name", "gene_name", "gene_names",
           "gene_short_name", "hgnc_symbol", "SYMBOL", "Symbol", "name")  # fmt: skip


def feature_names(var: pd.DataFrame, where: str) -> tuple[tuple[str, ...], list[str]]:
    """Names of features, and notes.

    Where the index of ``var`` holds Ensembl ids and a column symbols, a gene is called by its
    symbol: that is what gene lists, gene sets and vectors name. One without a symbol, or that
    shares it, keeps its id.

    Parameters
    ----------
    var
        One row a feature.
    where
        What notes call the table.
    """
    index = tuple(map(str, var.index))
    column = _symbols(var, index)
    if column is None:
        return index, []
    symbols = pd.Series(var[column].to_numpy(dtype=object), dtype=object)
    given = symbols.map(lambda s: isinstance(s, str) and bool(s.strip()))
    twice = namesakes(symbols[given].tolist())
    own = (given & ~symbols.isin([*twice, *index])).to_numpy()
    names = tuple(np.where(own, symbols, np.array(index, dtype=object)))
    notes = [f"genes of {where} are called by the symbols of var[{column!r}]."]
    if twice:
        notes.append(f"{len(twice):,} symbols in var[{column!r}] of {where} are of several genes "
                     f"({some(twice)}), which are called by their ids.")  # fmt: skip
    return names, notes


def _symbols(var: pd.DataFrame, index: tuple[str, ...]) -> str | None:
    """The column that holds symbols; None where the index does, or nothing does."""
    if not are_ids(index):
        return None
    for column in COLUMNS:
        if column not in var:
            continue
        values = [v for v in var[column].tolist() if isinstance(v, str) and v.strip()]
        if values and not are_ids(values):
            return column
    return None


def unique_features(var: pd.DataFrame, where: str) -> tuple[tuple[str, ...], list[str]]:
    """The same, told apart by their order where several still have one name."""
    names, notes = feature_names(var, where)
    return unique_names(names), [*notes, *told_apart(names, where)]
