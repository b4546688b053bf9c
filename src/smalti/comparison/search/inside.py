"""Folds inside the training donors of a fold, judged as the outer folds are."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from smalti.bags import Bags
from smalti.comparison.arena import Arena
from smalti.comparison.expression_fit import Slides
from smalti.comparison.phenotype_fit import Folds
from smalti.comparison.protocols import Protocol
from smalti.comparison.splits import Split
from smalti.core.validation import folds_by_donor
from smalti.errors import InputError
from smalti.scores.metrics import LOWER_IS_BETTER, METRICS
from smalti.solve.leave_out import tuning_folds

_GENES = "pcc_slide"  # a comparison of expression ranks by it


class Inside:
    """Where settings are tried: an arena of its own, of training donors alone.

    Parameters
    ----------
    method
        Whose settings are chosen; not changed.
    bags
        Of the training donors.
    folds
        How many inner folds; fewer where a class has fewer donors.
    metric
        To choose by; that which a comparison ranks by where None.

    Attributes
    ----------
    unit
        What never stands on both sides: "donor"; "bag" where no donor is named; of one donor's
        slides "slide", of one slide "strip of the slide".

    Raises
    ------
    InputError
        If there are too few donors for two folds, or no such metric.
    """

    def __init__(self, method: Any, bags: Bags, folds: int, metric: str | None = None) -> None:
        self.bags = bags
        rng = np.random.default_rng([method.seed, 53])
        self.arena: Arena
        if method.room == "expression":
            parts, self.unit = _parts_of_tiles(bags, folds, rng)
            # repeat 1 is not kept: tables of genes are for the outer folds
            self.splits = [Split(1, k, *part) for k, part in enumerate(parts)]
            self.metric = metric or _GENES
            self.arena = Slides(bags, parts, [0], bags.n_instances + 2**31, "drop")
            return
        parts, self.unit = parts_of_bags(bags, folds, rng), unit_of(bags)
        self.splits = [Split(0, k, *part) for k, part in enumerate(parts)]
        self.metric = metric_of(bags, metric)
        self.arena = Folds(bags, Protocol("inner folds", self.splits), False, bags)

    @property
    def lower_is_better(self) -> bool:
        """Whether the metric is a loss."""
        return self.metric in LOWER_IS_BETTER

    def judge(self, methods: Any) -> float:
        """Mean over the inner folds; folds that cannot have the metric do not count.

        Parameters
        ----------
        methods
            Makes a method, not fitted, for each fold.

        Raises
        ------
        InputError
            If no fold has the metric.
        """
        values = []
        for split in self.splits:
            method = methods()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                answer = self.arena.fit(method, split)
            values.append(self.arena.score(method, split, answer).get(self.metric, np.nan))
        if not np.isfinite(values).any():
            raise InputError(f"no inner fold has {self.metric}: choose by another metric.")
        return float(np.nanmean(values))


def metric_of(bags: Bags, metric: str | None) -> str:
    """The metric to choose by: that which a comparison of these bags ranks by, or another one.

    Raises
    ------
    InputError
        If there is no such metric of this kind of target.
    """
    task = bags.as_task()
    there = METRICS[task.kind]
    if metric is not None and metric not in there:
        raise InputError(f"metric {metric!r} is none of a {task.kind} target: {', '.join(there)}.")
    return metric or there[0]


def unit_of(bags: Bags) -> str:
    """What inner folds never part."""
    return "bag" if bags.donor in (None, "bag") else "donor"


def parts_of_bags(
    bags: Bags, folds: int, rng: np.random.Generator
) -> list[tuple[np.ndarray, np.ndarray]]:
    """(training, test) positions of bags; no donor is on both sides.

    Raises
    ------
    InputError
        If a class has one donor.
    """
    task = bags.as_task()
    parts = folds_by_donor(bags, task, folds, rng)
    if parts:
        return parts
    few = "a class has one donor" if task.is_classifier else "there are too few donors"
    raise InputError(
        f"{few} in training, so that settings cannot be tried on donors that were left out: "
        "have more donors in training, or set the settings."
    )


def _parts_of_tiles(
    bags: Bags, folds: int, rng: np.random.Generator
) -> tuple[list[tuple[np.ndarray, np.ndarray]], str]:
    """(training, test) positions of tiles, and what is never on both sides."""
    part, unit = tuning_folds(bags)
    n = int(part.max()) + 1
    if n < 2:
        raise InputError("one tile in training: settings cannot be tried on tiles left out.")
    dealt = rng.permutation(n) % min(folds, n)
    sides = [dealt[part] == k for k in range(min(folds, n))]
    return [(np.flatnonzero(~test), np.flatnonzero(test)) for test in sides], unit
