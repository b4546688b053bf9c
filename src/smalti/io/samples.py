"""A table with one row per sample, beside cells that only say of which sample they are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from smalti.errors import InputError
from smalti.labels import missing, missing_words
from smalti.system.reading import about
from smalti.system.tables import read_table


def samples_of(
    labels: str | Path | pd.DataFrame | None, id: str | None, sample: str | None,
    obs: pd.DataFrame, needed: Sequence[str], name: str,
) -> tuple[pd.DataFrame | None, np.ndarray | None, list[str]]:  # fmt: skip
    """The rows of a table that are samples of the cells, by the sample's name as cells have it.

    Parameters
    ----------
    labels
        The table, or its file; None: there is none.
    id
        Its column of samples; called as that of the cells where left out.
    sample
        Column of ``obs`` with the sample of each cell.
    obs
        (n_cells,) columns of the cells.
    needed
        Columns that each sample must have, here or in ``obs``.
    name
        How errors call the cells' table.

    Returns
    -------
    tuple
        The table, (n_samples,), without what ``obs`` says too; which cells are of its samples,
        (n_cells,) bool; and notes on what the two do not share.

    Raises
    ------
    InputError
        If no column names the samples, one is there twice or none is of the cells, a column is in
        neither table or a value missing, or the two differ in a column that is asked for.
    """
    if labels is None:
        if id is not None:
            raise InputError(f"id={id!r} is a column of the labels: give them too, labels=...")
        return None, None, []
    if sample is None:
        raise InputError("labels= has a row for each sample: name the column of the cells that "
                         "says of which sample they are, sample=...")  # fmt: skip
    with about(labels):
        table = _by_name(labels, id or sample)
        ids = obs[sample].astype(object)
        there = pd.unique(ids[~missing(ids)])
        known = [s for s in there if str(s) in table.index]
        if not known:
            raise InputError(
                f"none of the {len(there)} samples of {name} is in the labels: cells are of "
                f"{', '.join(map(str, there[:3]))}, rows of {', '.join(table.index[:3])}."
            )
        table = table.loc[[str(s) for s in known]].set_axis(pd.Index(known, name="bag"))
        _check_whole(table, obs, needed, name)
    both = [c for c in table if c in needed and c in obs]
    for column in both:
        _check_alike(table[column], obs, sample, name)
    gone = [str(s) for s in there if s not in known]
    notes = [f"{len(gone)} of {len(there)} samples of {name} are not in the labels and are left "
             f"out: {gone[:3]}."] if gone else []  # fmt: skip
    among = ~obs[sample].isin(set(there) - set(known)).to_numpy()  # none at all: an error
    return table.drop(columns=both), among, notes


def _by_name(labels: str | Path | pd.DataFrame, id: str) -> pd.DataFrame:
    """The table by the names of its samples."""
    table = labels if isinstance(labels, pd.DataFrame) else read_table(labels, text=[id])
    if id not in table:
        raise InputError(
            f"no column {id!r} in the labels; there are {list(table)}: name the one of the "
            "samples, id=..."
        )
    empty = missing(table[id])
    names = table[id].astype(str)
    twice = names[names.duplicated() & ~empty].unique().tolist()
    if twice:
        raise InputError(f"samples named twice in column {id!r} of the labels: {twice[:3]}. Keep "
                         "one row each.")  # fmt: skip
    return table[~empty].drop(columns=id).set_axis(pd.Index(names[~empty]))


def _check_whole(table: pd.DataFrame, obs: pd.DataFrame, needed: Sequence[str], name: str) -> None:
    """Every column is somewhere, and where it is of the samples, each has a value."""
    for column in needed:
        if column in table:
            absent = missing(table[column])
            if absent.any():
                who = table.index[np.asarray(absent)].astype(str).tolist()
                raise InputError(
                    f"{column!r} is missing for {len(who)} of {len(table)} samples (written "
                    f"{missing_words(table[column])}): {who[:3]}. Fill it in, or drop these rows."
                )
        elif column not in obs:
            raise InputError(f"no column {column!r} in the labels, which have {list(table)}, nor "
                             f"in {name}.")  # fmt: skip


def _check_alike(values: pd.Series, obs: pd.DataFrame, sample: str, name: str) -> None:
    """Where both have a column it must say the same, for nobody could know which is meant."""
    own = obs[[sample, values.name]].drop_duplicates().dropna()
    said = own[sample].map(values)
    differ = said.notna() & (said.astype(str) != own[values.name].astype(str))
    if differ.any():
        at = int(np.flatnonzero(differ)[0])
        raise InputError(
            f"{values.name!r} of sample {own[sample].iloc[at]!r} is {own[values.name].iloc[at]!r} "
            f"in {name} and {said.iloc[at]!r} in the labels: rename one of the columns."
        )
