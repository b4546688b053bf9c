"""Steps that know a site, a batch or a donor: whether splits test one that training lacked."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from smalti.columns import batches_of
from smalti.comparison.lineup import Lineup, unsearched
from smalti.comparison.phenotype_fit import Folds
from smalti.errors import InputError
from smalti.names import some
from smalti.preprocess import steps_of

MARK = "(transductive)"
"""Behind the name of a method that reads unlabelled bags of other test donors."""


@dataclasses.dataclass(frozen=True)
class New:
    """Groups that a split tests and training lacked.

    Attributes
    ----------
    names
        Of the groups.
    donors
        The most donors that one of them has among the test bags of a split.
    """

    names: list[str]
    donors: int


def new_groups(arena: Folds, column: str) -> New:
    """Groups of a column that some split tests and does not train on.

    Parameters
    ----------
    arena
        Bags and splits.
    column
        Of the bags, or of the instances.

    Raises
    ------
    InputError
        If the column is not there.
    """
    train, test = (_groups(bags, column) for bags in (arena.bags, arena.test_bags))
    donors = arena.test_bags.donors
    names: dict[str, None] = {}
    most = 0
    for split in arena.parts:
        known = set(train.loc[train["bag"].isin(split.train), "group"])
        own = test[test["bag"].isin(split.test) & ~test["group"].isin(known)]
        if len(own):
            names |= dict.fromkeys(own["group"])
            each = own.assign(donor=donors[own["bag"]]).groupby("group")["donor"].nunique()
            most = max(most, int(each.max()))
    return New(sorted(names), most)


def check_groups(lineup: Lineup, arena: Folds) -> None:
    """Refuse steps that take no group that training lacked; mark methods of transductive ones.

    Raises
    ------
    InputError
        If a split tests such a group.
    """
    found: dict[str, New] = {}
    for label, method in list(lineup.methods.items()):
        marked = False
        for step, column in _reading(method):
            if not (step.known_only or step.by_company):
                continue
            if column not in found:
                found[column] = new_groups(arena, column)
            new = found[column]
            if new.names and step.known_only:
                raise InputError(
                    f"{label}: {step.name} is fitted on groups of {column!r} that train, and these "
                    f"splits test others: {some(new.names)}. Deal donors to folds, so that each "
                    f"trains; or name {step.name}_transductive, which reads all unlabelled bags of "
                    "such a group."
                )
            marked |= step.by_company and new.donors > 1
        if marked:
            lineup.rename(label, f"{label} {MARK}")


def _reading(method: Any) -> Iterator[tuple[Any, str]]:
    """Steps of a method that read a column, and the column."""
    spec = unsearched(method).preprocess
    for step in [] if isinstance(spec, str) and spec == "auto" else steps_of(spec):
        for column in step.columns():
            inner = getattr(step, "step", step)
            yield inner, column


def _groups(bags: Any, column: str) -> pd.DataFrame:
    """Bag, by position, and group: a row for each that meet."""
    codes, names = pd.factorize(batches_of(bags, column))
    pairs = np.unique(np.column_stack([bags.index, codes]), axis=0)
    return pd.DataFrame({"bag": pairs[:, 0], "group": np.asarray(names, object)[pairs[:, 1]]})
