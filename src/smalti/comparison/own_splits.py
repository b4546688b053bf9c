"""Splits that a user brings: pairs of positions, or a table of folds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from smalti.bags import Bags
from smalti.comparison.splits import Split
from smalti.core.seen import donor_names
from smalti.errors import InputError
from smalti.labels import missing
from smalti.names import some
from smalti.system.tables import read_table


def given_folds(bags: Bags, parts: Any) -> list[Split]:
    """Check a user's own splits.

    Parameters
    ----------
    bags
        With a donor.
    parts
        Pairs of training and test positions, (k,) whole numbers, or (n_bags,) masks. Or a table, a
        data frame or the path of a .csv, with the columns ``bag`` (or ``donor``), ``fold`` (the one
        that tests it; empty: it always trains) and, for several dealings, ``repeat``;
        predictions.csv of a comparison is one. Or the name of a column of the bags that holds the
        fold. Where it holds ``train`` and ``test`` there is one split.

    Raises
    ------
    InputError
        If a donor is on both sides, a side is empty, positions are not those of bags, or a table
        does not name each bag once a repeat.

    Examples
    --------
    >>> import smalti as sm
    >>> import pandas as pd
    >>> bags = sm.datasets.planted_bags(4, seed=0)
    >>> table = pd.DataFrame({"bag": bags.bag.index, "fold": [0, 0, 1, 1]})
    >>> [split.test.tolist() for split in sm.comparison.given_folds(bags, table)]
    [[0, 1], [2, 3]]
    """
    donors = bags.donors
    if isinstance(parts, str) and parts in bags.bag:
        name, parts = parts, list(_of_column(bags, parts))
        if not parts:
            raise InputError(f"column {name!r} has no fold that tests a bag: fill it in.")
    elif isinstance(parts, (str, Path, pd.DataFrame)):
        source, parts = parts, list(_of_table(bags, parts))
        if not parts:
            where = "the table of splits" if isinstance(source, pd.DataFrame) else source
            raise InputError(f"{where} has no fold that tests a bag: fill in the column fold.")
    splits: list[Split] = []
    for i, part in enumerate(parts):
        if isinstance(part, Split):
            repeat, fold, sides = part.repeat, part.fold, [part.train, part.test]
        else:
            repeat, fold, sides = 0, i, list(part)
        if len(sides) != 2:
            raise InputError(f"split {i} has {len(sides)} parts, not (training, test).")
        if any((s.repeat, s.fold) == (repeat, fold) for s in splits):
            raise InputError(f"split {i} is a second one for repeat {repeat}, fold {fold}.")
        split = Split(repeat, fold, *(_positions(side, len(bags), i) for side in sides))
        if not len(split.train) or not len(split.test):
            raise InputError(f"split {i} has an empty side.")
        if len(np.unique(split.test)) < len(split.test):
            raise InputError(f"split {i} tests a bag twice.")
        both = np.intersect1d(donors[split.train], donors[split.test])
        if len(both):
            bag = bags.bag.index[np.flatnonzero(donors == both[0])[0]]
            name = bag if bags.donor == "bag" else bags.bag[bags.donor].loc[bag]
            name = name.item() if isinstance(name, np.generic) else name
            raise InputError(
                f"donor {name!r} is on both sides of split {i}: its samples would leak. Split by "
                "donor."
            )
        splits.append(split)
    if not splits:
        raise InputError("splits= is empty: give pairs of training and test positions, or a table.")
    return splits


def _of_column(bags: Bags, name: str) -> Iterator[Split]:
    """The folds that a column of the bags holds."""
    column = bags.bag[name]
    fold = pd.Series(column.mask(missing(column)).to_numpy(), bags.bag.index.astype(str))
    yield from _dealt(_codes(_without_train(fold, f"column {name!r}")), 0)


def _dealt(fold: np.ndarray, repeat: Any) -> Iterator[Split]:
    """Splits of one dealing."""
    for k in range(fold.max() + 1):
        yield Split(repeat, k, np.flatnonzero(fold != k), np.flatnonzero(fold == k))


def _codes(fold: pd.Series) -> np.ndarray:
    return pd.factorize(fold, sort=True)[0]


def _without_train(fold: pd.Series, where: str) -> pd.Series:
    """Folds in which "train" is none: where a column says train and test, test alone is tested.

    Raises
    ------
    InputError
        If there is a third kind beside them.
    """
    word = fold.astype(str).str.strip().str.lower()
    if not (word == "train").any():
        return fold
    third = fold[~word.isin(["train", "test"]) & fold.notna()]
    if len(third):
        raise InputError(
            f"{where} says 'train' and {third.iloc[0]!r}: beside train there is test alone. Call "
            "it one of them, or leave these bags out."
        )
    return fold.mask(word == "train")


def _of_table(bags: Bags, source: str | Path | pd.DataFrame) -> Iterator[Split]:
    """The folds of a table with one row for each bag (or donor) and repeat."""
    if isinstance(source, pd.DataFrame):
        frame, where = source, "the table of splits"
    else:
        frame, where = read_table(source, text=("bag", "donor")), Path(source).name
    unit = "bag" if "bag" in frame else "donor"
    if not {unit, "fold"} <= set(frame):
        raise InputError(f"{where} needs the columns bag (or donor) and fold; there are "
                         f"{', '.join(map(str, frame.columns))}.")  # fmt: skip
    frame = frame.assign(**{unit: frame[unit].astype(str)})
    if "repeat" not in frame:
        frame = frame.assign(repeat=0)
    frame = frame[[unit, "repeat", "fold"]].drop_duplicates()
    names = pd.Index(bags.bag.index if unit == "bag" else donor_names(bags)).astype(str)
    for repeat, (_, part) in enumerate(frame.groupby("repeat")):
        fold = _fold_of(names, part.set_index(unit)["fold"], f"{where} (repeat {repeat})", unit)
        yield from _dealt(fold, repeat)


def _fold_of(names: pd.Index, fold: pd.Series, where: str, unit: str) -> np.ndarray:
    """(n_bags,) which fold tests a bag; -1: none, it always trains."""
    wrong = {
        f"gives several folds to {unit}s": fold.index[fold.index.duplicated()],
        f"has no row of {unit}s": names.difference(fold.index, sort=False),
        f"names {unit}s that there are not": fold.index.difference(names, sort=False),
    }
    for what, which in wrong.items():
        if len(which):
            raise InputError(f"{where} {what}: {some(list(dict.fromkeys(which)))}.")
    return _codes(_without_train(fold.loc[names], where))


def _positions(side: Any, n: int, i: int) -> np.ndarray:
    """Positions of one side, counted from the start."""
    side = np.asarray(side)
    if side.dtype == bool:
        if side.shape != (n,):
            raise InputError(f"split {i} is a mask of {len(side)} bags, there are {n}.")
        return np.flatnonzero(side)
    if len(side) and (side.ndim != 1 or side.dtype.kind not in "iu"):
        raise InputError(f"split {i} must be whole positions or a mask, not {side.dtype}.")
    if len(side) and not (side.min() >= 0 and side.max() < n):
        raise InputError(f"split {i} has positions outside 0 to {n - 1}: there are {n} bags.")
    return side
