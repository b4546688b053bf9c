"""A table of cells by barcode, as demultiplexing and annotation leave it, beside the cells."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from smalti.errors import InputError
from smalti.labels import missing
from smalti.system.reading import about
from smalti.system.tables import read_table, read_text

_BARCODES = ("barcode", "barcodes", "cell_barcode", "cell", "cells", "cell_id", "cellid", "cb",
             "index", "obs_names", "unnamed: 0", "")  # fmt: skip


class Joined(NamedTuple):
    """Columns of the cells, with those of a table.

    Attributes
    ----------
    obs
        (n_cells,) columns; a cell that the table does not name has none of its values.
    gone
        (n_cells,) bool: which those are.
    why
        Why they are left out.
    notes
        What else is to be known.
    """

    obs: pd.DataFrame
    gone: np.ndarray
    why: str
    notes: list[str]


def join_cells(obs: pd.DataFrame, table: str | Path | pd.DataFrame, name: str) -> Joined:
    """Join a table to cells, by their names.

    Parameters
    ----------
    obs
        Columns of the cells, by their names.
    table
        One row a cell; or its .csv, .tsv or .parquet. A column "barcode", "cell", "cell_id" or
        the like names the cells, else the first; of several runs beside a column "run".
    name
        What errors call the cells.

    Raises
    ------
    InputError
        If it names a cell twice, none of these, or says otherwise than ``obs`` in a column.
    """
    with about(table):
        own = _by_barcode(table, obs)
        _refuse_twice(own.index, "the table of cells")
        _refuse_twice(obs.index, name)
        mine = obs.index.astype(str)
        theirs, notes = alike(own.index, mine, "the table of cells", name)
        own = own.set_axis(theirs)
        there = mine.isin(own.index)
        if not there.any():
            raise InputError(
                f"none of the {len(own):,} barcodes of the table of cells is of {name}: they are "
                f"{_few(own.index)}, the cells {_few(mine)}."
            )
        both = [c for c in own if c in obs]
        values = own.reindex(mine).set_axis(obs.index)
        for column in both:
            _refuse_other(values.loc[there, column], obs.loc[there, column], name)
    strange = int((~own.index.isin(mine)).sum())
    if strange:
        notes.append(f"{strange:,} of {len(own):,} barcodes of the table of cells are not in "
                     f"{name}.")  # fmt: skip
    joined = pd.concat([obs, values.drop(columns=both)], axis=1)
    why = f"cells of {name} are not in the table of cells: they are left out."
    return Joined(joined, ~there, why, notes)


def _by_barcode(table: str | Path | pd.DataFrame, obs: pd.DataFrame) -> pd.DataFrame:
    """Rows by the names of the cells that they are of."""
    if isinstance(table, (str, Path)):
        path = Path(table)
        packed = path.name.endswith((".csv.gz", ".tsv.gz"))
        sep = "\t" if ".tsv" in path.suffixes else ","
        table = read_text(path, sep, dtype={0: str}) if packed else read_table(path, text=_BARCODES)
    elif not isinstance(table.index, pd.RangeIndex) and table.index.dtype.kind not in "iuf":
        table = table.reset_index(names="barcode") if "barcode" not in table else table
    if not len(table.columns) or not len(table):
        raise InputError("the table of cells is empty.")
    named = {str(c).lower(): c for c in reversed(list(table.columns))}
    column = next((named[b] for b in _BARCODES if b in named), table.columns[0])
    if missing(table[column]).any():
        raise InputError(f"rows of the table of cells have no {column!r}: drop them.")
    names, rest = table[column].astype(str), table.drop(columns=column)
    if "run" in rest and "run" in obs:
        names = rest["run"].astype(str) + "_" + names
        rest = rest.drop(columns="run")
    return rest.set_axis(pd.Index(names.to_numpy(), dtype=object))


def alike(
    names: pd.Index, others: pd.Index, whose: str, of: str
) -> tuple[pd.Index, list[str]]:  # fmt: skip
    """Barcodes written as others are: "-1" at their end or not; and a note where that changed them.

    Cell Ranger writes AAACCTG-1 where other programs write AAACCTG. Only where all of the one end
    so, and none of the other ends in "-" and a number, is it taken for the same.
    """
    own, other = names.astype(str), others.astype(str)
    if not len(own) or not len(other) or own.isin(other).any():
        return names, []
    ends = [n.str.fullmatch(r".*-\d+") for n in (own, other)]
    if own.str.endswith("-1").all() and not ends[1].any():
        changed, how = own.str.removesuffix("-1"), "without"
    elif other.str.endswith("-1").all() and not ends[0].any():
        changed, how = own + "-1", "with"
    else:
        return names, []
    if not changed.isin(other).any():
        return names, []
    return changed, [f"barcodes of {whose} are read {how} '-1' at their end, as {of} has them."]


def _refuse_twice(names: pd.Index, where: str) -> None:
    twice = names.duplicated()
    if twice.any():
        raise InputError(
            f"{where} names {int(twice.sum()):,} cells twice (first: {names[twice][0]!r}): keep "
            "one each; of several runs add a column 'run' with their names."
        )


def _refuse_other(values: pd.Series, own: pd.Series, name: str) -> None:
    """Where both have a column it must say the same, for nobody could know which is meant."""
    said = ~missing(values) & ~missing(own)
    differ = np.asarray(said) & (values.astype(str).to_numpy() != own.astype(str).to_numpy())
    if differ.any():
        at = int(np.flatnonzero(differ)[0])
        raise InputError(
            f"{values.name!r} of cell {own.index[at]!r} is {own.iloc[at]!r} in {name} and "
            f"{values.iloc[at]!r} in the table of cells: rename one of the columns."
        )


def _few(names: pd.Index) -> str:
    return ", ".join(map(repr, names[:2])) + (", ..." if len(names) > 2 else "")
