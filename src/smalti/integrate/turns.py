"""What is left out of a reference in turn: batches where they are named, donors, samples, cells."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.model_selection import GroupKFold, StratifiedKFold

from smalti.bags import Bags
from smalti.columns import of_instances
from smalti.errors import InputError
from smalti.labels import missing


def several(what: str) -> str:
    """More than one donor, batch, sample or cell."""
    return f"{what}es" if what.endswith("ch") else f"{what}s"


def parts_of(
    bags: Bags, codes: np.ndarray, batch: str | None, folds: int, seed: int = 0
) -> tuple[np.ndarray, str, int]:
    """The turn in which each cell is left out, (n_instances,); what is left out; how many.

    Batches where they are named, else donors, else samples, else cells.

    Parameters
    ----------
    bags
        The reference.
    codes
        (n_instances,) int64 labels, among which loose cells are dealt evenly.
    batch
        Column of batches.
    folds
        How many turns, at most.
    seed
        Of how loose cells are dealt.

    Raises
    ------
    InputError
        If a cell has no batch, there is one only, or fewer cells than folds.
    """
    who, what = _left_out(bags, batch)
    if who is not None:
        n = int(who.max()) + 1
        turns = GroupKFold(min(folds, n)).split(who, groups=who)
    else:
        n = bags.n_instances
        if n < folds:
            raise InputError(f"folds={folds} of {n} cells: give more cells, or fewer folds.")
        turns = StratifiedKFold(folds, shuffle=True, random_state=seed).split(codes, codes)
    fold = np.zeros(bags.n_instances, dtype=np.int64)
    with warnings.catch_warnings():  # a label of fewer cells than folds
        warnings.simplefilter("ignore", UserWarning)
        for i, (_, held) in enumerate(turns):
            fold[held] = i
    return fold, what, n


def _left_out(bags: Bags, batch: str | None) -> tuple[np.ndarray | None, str]:
    if batch is not None:
        of_bags = batch in bags.bag
        column = bags.bag[batch].iloc[bags.index] if of_bags else of_instances(bags, batch)
        if missing(column).any():
            raise InputError(
                f"batch {batch!r} is missing for {int(missing(column).sum()):,} cells: fill it in, "
                "or leave these cells out."
            )
        who = np.unique(column.astype(str), return_inverse=True)[1]
        if who.max() == 0:
            raise InputError(
                f"batch {batch!r} is the same for every cell, and one batch cannot be left out: "
                "name another column, or leave batch= out."
            )
        return who, "batch"
    if len(bags) == bags.n_instances and bags.donor in (None, "bag"):
        return None, "cell"
    who = np.arange(len(bags)) if bags.donor is None else bags.donors
    what = "sample" if bags.donor is None else "donor"
    return (who[bags.index], what) if who.max() > 0 else (None, "cell")
