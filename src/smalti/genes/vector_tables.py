"""Vectors of genes in tables: a row a gene, its numbers in columns or in a list."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from smalti.errors import InputError
from smalti.genes.frames import ENSEMBL, ENTREZ, SYMBOL, columns_of, read_frame

_GENE = (*SYMBOL, *ENSEMBL, "genes", "gene_ids", "name", "names", "id", "index")
_UNNAMED = "Unnamed: 0"  # what pandas calls the column of an index that was written


def table_vectors(path: Path) -> tuple[tuple[str, ...], np.ndarray, tuple[str, ...]]:
    """Read such a table.

    Returns
    -------
    tuple
        Names, (n_genes, width) float32, and a note of the columns that were left out.

    Raises
    ------
    InputError
        If there is no column of genes or no numbers, or vectors are of different length.
    """
    if path.suffix == ".parquet":
        frame = read_frame(path)
        found = columns_of(frame, _GENE)
        if not found and not pd.api.types.is_numeric_dtype(frame.index):
            return _split([str(i) for i in frame.index], frame)
    else:
        header = read_frame(path, nrows=0)
        found, first = columns_of(header, _GENE), header.columns[0]
        # through a converter, so that a gene called "NA" stays one
        frame = read_frame(path, converters=dict.fromkeys(found or [first], str.strip))
    column = found[0] if found else frame.columns[0]
    names = frame[column].astype(str).tolist()
    if all(_is_number(n) for n in names):
        raise InputError(
            f"it has no column of genes (symbol, gene, ensembl, ...), but "
            f"{', '.join(map(str, frame.columns[:6]))}: name one of them so."
        )
    # other identifiers are numbers too, and would be taken for features
    others = {column, *columns_of(frame, (*_GENE, *ENTREZ)), _UNNAMED}
    return _split(names, frame.drop(columns=[c for c in frame.columns if c in others]))


def stacked(names: Sequence[str], vectors: Sequence[Any]) -> np.ndarray:
    """(n_genes, width) float32 from a vector per gene.

    Raises
    ------
    InputError
        If they differ in length.
    """
    first = len(vectors[0])
    for name, vector in zip(names, vectors, strict=True):
        if len(vector) != first:
            raise InputError(
                f"{name!r} has {len(vector)} numbers, {names[0]!r} has {first}: all vectors must "
                "be of one length."
            )
    return np.stack([np.asarray(v, np.float32) for v in vectors])


def _split(
    names: list[str], frame: pd.DataFrame
) -> tuple[tuple[str, ...], np.ndarray, tuple[str, ...]]:
    lists = [c for c in frame.columns if len(frame) and _is_list(frame[c].iloc[0])]
    if len(lists) > 1:
        raise InputError(f"{lists[0]!r} and {lists[1]!r} hold vectors: keep one of them.")
    if lists:
        x = stacked(names, [_row(*p) for p in zip(names, frame[lists[0]], strict=True)])
        left = [c for c in frame.columns if c != lists[0]]
    else:
        numbers = frame.select_dtypes("number")
        left = [c for c in frame.columns if c not in numbers]
        _no_stray(names, frame[left])
        if not numbers.shape[1] or not len(frame):
            raise InputError("it has no columns of numbers: give a row a gene.")
        x = numbers.to_numpy(np.float32)
    note = f"columns left out: {', '.join(map(str, left))}"
    return tuple(names), x, (note,) if left else ()


def _no_stray(names: list[str], frame: pd.DataFrame) -> None:
    """A column of numbers with some text in it must not be passed over as text."""
    for column in frame.columns:
        bad = pd.to_numeric(frame[column], errors="coerce").isna().to_numpy()
        if bad.mean() < 0.5:
            at = int(np.argmax(bad))
            raise InputError(
                f"column {column!r} has {frame[column].iloc[at]!r} for {names[at]!r}, which is no "
                "number: mend it."
            )


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple | np.ndarray) or str(value).lstrip().startswith("[")


def _row(name: str, value: Any) -> np.ndarray:
    try:
        row = np.asarray(json.loads(value) if isinstance(value, str) else value, np.float32)
    except (ValueError, TypeError) as error:
        raise InputError(f"the vector of {name!r} is no list of numbers ({error}).") from error
    if row.ndim != 1:
        raise InputError(f"the vector of {name!r} is no list of numbers, but {str(value)[:20]!r}.")
    return row


def _is_number(name: str) -> bool:
    return name.replace(".", "", 1).isdigit()
