"""Which bags test and which train, by name: dealt donors or sites, one donor or site at a time.

A protocol is a name, its splits, and what is to be known of them.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd

from smalti.bags import Bags
from smalti.comparison.own_splits import given_folds
from smalti.comparison.site_folds import site_folds
from smalti.comparison.splits import Split, donor_folds
from smalti.core.seen import Seen, donor_names
from smalti.errors import InputError
from smalti.names import some

DONORS, SITES = "leave-one-donor-out", "leave-one-site-out"
FOLDS, OWN, EXTERNAL = "donor folds", "own splits", "external validation"
WHOLE = "preserved-sites"
NAMED = (DONORS, SITES, WHOLE)
"""What ``splits=`` may name."""


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How a comparison parts its bags.

    Attributes
    ----------
    name
        What the table calls it.
    splits
        Positions of training bags, and of test bags: of the same bags, or of those of ``test``.
    notes
        What is to be known of it.
    """

    name: str
    splits: list[Split]
    notes: tuple[str, ...] = ()


def protocol_of(
    bags: Bags, splits: Any = None, *, folds: int = 5, repeats: int = 1, seed: int = 0
) -> Protocol:
    """The protocol that ``splits=`` of a comparison says.

    Parameters
    ----------
    bags
        With a donor and a target.
    splits
        None: :func:`donor_folds`. A name: "leave-one-donor-out", "leave-one-site-out" or
        "preserved-sites". Anything else: as :func:`given_folds` takes it.
    folds, repeats, seed
        Of the donor folds; folds also of whole sites, which are dealt once.

    Raises
    ------
    InputError
        If there are no such splits.
    """
    if splits is None:
        parts = donor_folds(bags, folds=folds, repeats=repeats, seed=seed)
        return Protocol(FOLDS, parts)
    if isinstance(splits, str) and splits == DONORS:
        return Protocol(DONORS, leave_one_out(bags, "donor"))
    if isinstance(splits, str) and splits == SITES:
        parts = leave_one_out(bags, "site")
        return Protocol(SITES, parts, tuple(_parted(bags, parts)))
    if isinstance(splits, str) and splits == WHOLE:
        if repeats > 1:
            raise InputError(f"repeats={repeats}: whole sites are dealt once, in the best way.")
        parts, notes = site_folds(bags, folds)
        return Protocol(WHOLE, parts, tuple(notes))
    return Protocol(OWN, given_folds(bags, splits))


def leave_one_out(bags: Bags, what: str) -> list[Split]:
    """One split for each donor, or for each site, whose bags are tested.

    A donor who was seen at two sites trains for neither, so that no donor is on both sides.

    Parameters
    ----------
    bags
        With a donor, and a site where sites are left out.
    what
        "donor" or "site".

    Raises
    ------
    InputError
        If there is one donor or site only, or nobody is left to train on.
    """
    donors = bags.donors
    units = donors if what == "donor" else bags.sites
    n = int(units.max()) + 1
    if n < 2:
        raise InputError(f"one {what} only: there is nothing to leave out.")
    splits = []
    for i in range(n):
        test = units == i
        train = ~test & ~np.isin(donors, donors[test])
        if not train.any():
            name = bags.bag[bags.site].tolist()[int(np.argmax(test))]
            raise InputError(
                f"every donor has a bag of site {name!r}: without them nobody is left to train on. "
                "Deal donors to folds instead."
            )
        splits.append(Split(0, i, np.flatnonzero(train), np.flatnonzero(test)))
    return splits


def external(train: Bags, test: Bags) -> Protocol:
    """One split: all of one set of bags trains, all of another is tested.

    Parameters
    ----------
    train, test
        With the same target.

    Raises
    ------
    InputError
        If a donor or a bag is in both, or the labels of the test are not those of the training.
    """
    seen = Seen.of(train)
    names = donor_names(test)
    if test.donor not in (None, "bag") and train.donor not in (None, "bag"):
        both = names[seen.has_donors(test)]
        if len(both):
            raise InputError(
                f"donors are in training and in test: {some(list(dict.fromkeys(map(str, both))))}. "
                "Leave them out of one of them; where they are other people, give them other names."
            )
    same = test.bag.index[seen.has_bags(test)]
    if len(same):
        raise InputError(
            f"bags of the test hold what bags of the training hold: {some(list(map(str, same)))}. "
            "Leave them out of one of them."
        )
    _check_labels(train, test)
    split = Split(0, 0, np.arange(len(train)), np.arange(len(test)))
    return Protocol(EXTERNAL, [split])


def _check_labels(train: Bags, test: Bags) -> None:
    task = train.task
    if task is None or not task.is_classifier or task.several:
        return
    other = [c for c in pd.unique(pd.Series(test.labels)).tolist() if c not in task.classes]
    if other:
        raise InputError(
            f"the test has the label {other[0]!r}, the training "
            f"{', '.join(map(repr, task.classes))}: call them alike, or leave these bags out."
        )


def _parted(bags: Bags, parts: list[Split]) -> list[str]:
    """What leaving out a site costs: donors of several sites train for none of them."""
    lost = sum(len(bags) - len(s.train) - len(s.test) for s in parts)
    if not lost:
        return []
    return [f"donors were seen at several sites: {lost} times a bag was left out of training, "
            "as its donor is tested."]  # fmt: skip
