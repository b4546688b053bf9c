"""Would more donors help? Methods again on growing shares of the training donors of each fold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from smalti.bags import Bags
from smalti.comparison.lineup import Lineup
from smalti.comparison.phenotype_fit import Folds
from smalti.comparison.protocols import Protocol
from smalti.comparison.race import Outcome
from smalti.comparison.splits import Split
from smalti.errors import InputError
from smalti.names import meant

Asked: TypeAlias = bool | Sequence[float] | Mapping[str, Any]
SHARES = (0.25, 0.5, 0.75)  # those of all donors are in the comparison already
COLUMNS = ["method", "share", "donors", "repeat", "fold", "metric", "value", "n_train", "n_test"]
_LEAST = 2  # donors of a class: with one no method can choose a setting


class Shares(Folds):
    """The folds of a comparison, trained on a share of the donors; the same bags test.

    Splits are numbered on: fold ``i * n + fold`` is that of share i, of n folds.
    """

    title = "learning curve"

    def __init__(self, whole: Folds, shares: Sequence[float], seed: int) -> None:
        self.folds = 1 + max(s.fold for s in whole.parts)
        self.shares = tuple(shares)
        parts = [
            Split(s.repeat, i * self.folds + s.fold, train, s.test)
            for s in whole.parts
            for i, train in _growing(whole.bags, s, self.shares, seed)
        ]
        super().__init__(whole.bags, Protocol(whole.protocol.name, parts), False, whole.test_bags,
                         recalibrate=whole.recalibrate, contrast=whole.contrast)  # fmt: skip

    def seed(self, method: Any, split: Split) -> int:
        """That of the fit on all donors of the fold."""
        return super().seed(method, Split(split.repeat, split.fold % self.folds, *_NOTHING))

    def keeps(self, split: Split) -> bool:
        """Scores are enough."""
        return False

    def tidy(self, outcome: Outcome) -> pd.DataFrame:
        """Scores of a race of it, with the share and the number of training donors."""
        donors = {(s.repeat, s.fold): _count(self.bags, s.train) for s in self.parts}
        rows = outcome.folds
        return rows.assign(
            share=[self.shares[f // self.folds] for f in rows["fold"]],
            donors=[donors[r, f] for r, f in zip(rows["repeat"], rows["fold"], strict=True)],
            fold=rows["fold"] % self.folds,
        )[COLUMNS]


_NOTHING = (np.empty(0, np.int64), np.empty(0, np.int64))


def _growing(
    bags: Bags, split: Split, shares: Sequence[float], seed: int
) -> Iterable[tuple[int, np.ndarray]]:
    """Training bags of each share of the donors: each holds those of the share before.

    Of each class so many donors as it has among all; a donor counts for the class of its first
    bag. Shares that leave a class fewer than two donors, or that hold as many donors as another,
    are left out.
    """
    donors = bags.donors[split.train]
    task = bags.task
    assert task is not None
    names, first = np.unique(donors, return_index=True)
    strata = np.zeros(len(names)) if task.several else task.strata(bags.labels[split.train])[first]
    rng = np.random.default_rng([seed, split.repeat, split.fold, 9])
    order = [rng.permutation(names[strata == code]) for code in np.unique(strata)]
    sizes = {len(names)}
    for i, share in enumerate(shares):
        chosen = [group[: round(share * len(group))] for group in order]
        if task.is_classifier and min(map(len, chosen)) < _LEAST:
            continue
        inside = np.concatenate(chosen)
        if len(inside) < 2 * _LEAST or len(inside) in sizes:
            continue
        sizes.add(len(inside))
        yield i, split.train[np.isin(donors, inside)]


def _count(bags: Bags, rows: np.ndarray) -> int:
    return len(np.unique(bags.donors[rows]))


def check_asked(asked: Asked, lineup: Lineup) -> None:
    """Refuse before any fit what is no learning curve.

    Raises
    ------
    InputError
        If a share is not between 0 and 1, or there is no such method.
    """
    shares, names = _said(asked)
    if any(not 0 < share < 1 for share in shares):
        raise InputError(f"learning_curve={list(shares)}: shares of the donors lie between 0 and "
                         "1; all of them are in the comparison anyway.")  # fmt: skip
    unknown = [k for k in names if k not in lineup.methods]
    if unknown:
        there = ", ".join(lineup.methods)
        raise InputError(f"learning curve of {unknown[0]!r}: no such method; there are {there}."
                         f"{meant(unknown[0], lineup.methods)}")  # fmt: skip


def _said(asked: Asked) -> tuple[tuple[float, ...], list[str]]:
    """Shares, and methods that were named: learning_curve={"abmil": True} or {"abmil": (0.5,)}."""
    if isinstance(asked, Mapping):
        shares = {s for v in asked.values() for s in _said(v)[0]}
        return tuple(sorted(shares)), list(asked)
    if asked is True:
        return SHARES, []
    return tuple(sorted(set(map(float, asked or ())))), []


def smaller(arena: Folds, asked: Asked, seed: int) -> Shares:
    """The arena of the shares that are asked for.

    Raises
    ------
    InputError
        If no share leaves enough donors.
    """
    found = Shares(arena, _said(asked)[0], seed)
    if not found.parts:
        raise InputError("learning_curve=: too few donors to train on fewer; a class keeps two.")
    return found


def chosen(asked: Asked, lineup: Lineup, seconds: Mapping[str, float]) -> Lineup:
    """Who is fitted again: those named, else the cheapest candidate, by seconds of a fit."""
    return lineup.some(_said(asked)[1] or [lineup.cheapest(seconds)])


def with_all(found: pd.DataFrame, arena: Folds, folds: pd.DataFrame) -> pd.DataFrame:
    """Beside the shares what the comparison itself has: all training donors."""
    donors = {(s.repeat, s.fold): _count(arena.bags, s.train) for s in arena.parts}
    own = folds[folds["method"].isin(found["method"].unique())]
    whole = own.assign(
        share=1.0,
        donors=[donors[r, f] for r, f in zip(own["repeat"], own["fold"], strict=True)],
    )
    return pd.concat([found, whole[COLUMNS]], ignore_index=True)
