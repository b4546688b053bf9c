"""``Search``: a method whose settings are chosen by inner folds of the training donors."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone

from smalti.comparison.arena import FAILURES, reason_of
from smalti.comparison.search.base import Choice, Choosing
from smalti.comparison.search.inside import Inside
from smalti.comparison.search.samplers import planned, sampler_of
from smalti.comparison.search.space import Space, as_text
from smalti.core.registry import made
from smalti.errors import InputError
from smalti.scores.metrics import named
from smalti.system.progress import Progress


@dataclasses.dataclass(eq=False, repr=False)
class Search(Choosing):
    """A method whose settings are chosen anew in each fit, by folds of its training donors.

    A candidate of :func:`smalti.compare` and :func:`smalti.compare_expression`, where the test
    donors of a fold take no part in the choice (nested cross-validation), and an estimator of its
    own: it is fitted, predicts, says what instances had to do with it and is saved as the method
    is. A saved one is the method with the settings that were chosen, and a note of the search.

    Parameters
    ----------
    method
        A method, or the name of one.
    space
        Setting -> what it may be: a list of values; numbers from a tuple ``(low, high)``, or
        ``(low, high, "log")``, whole ones where both ends are; or a distribution of SciPy.
    trials
        How many settings are tried; 20 where None, all of a grid.
    folds
        Inner folds; fewer where a class has fewer donors in training.
    sampler
        "random"; "grid" (all of the lists); "optuna" (the extra "search").
    metric
        To choose by. None: the one that a comparison ranks by.
    budget
        Seconds after which no other trial begins. What is tried then hangs on the machine: only
        a search by trials gives the same again.

    Attributes
    ----------
    best_
        The method with the settings that were chosen, fitted on all the bags.
    chosen_
        Those settings.
    trials_
        One row for each settings tried: the settings, ``score``, ``reason`` (why it failed) and
        ``seconds``.

    Notes
    -----
    The best mean over the inner folds wins, the first of equals. It is the best of many, so it is
    better than what new donors will give: :meth:`smalti.Comparison.optimism` says by how much. A
    fit that fails is a failed trial. Inner fits run one after another; a comparison runs its
    outer fits side by side.

    Examples
    --------
    >>> import smalti as sm
    >>> bags = sm.datasets.planted_bags(24, seed=0)
    >>> search = sm.Search(sm.mil.MiFV(progress=False), {"components": [1, 2]}, sampler="grid")
    >>> search.fit(bags).trials_["components"].tolist()
    [1, 2]
    >>> search.predict(bags).shape
    (24,)
    """

    method: Any
    space: Mapping[str, Any]
    trials: int | None = None
    folds: int = 3
    sampler: str = "random"
    metric: str | None = None
    budget: float | None = None

    def __post_init__(self) -> None:
        if isinstance(self.method, str):
            self.method = made(self.method)

    def check(self) -> list[str]:
        """Refuse before any fit what cannot be searched.

        Raises
        ------
        InputError
            If a setting, a value, the sampler or a number is none that there can be.
        """
        self._check_method()
        if type(self.folds) is not int or self.folds < 2:
            raise InputError(f"folds={self.folds}: 2 or more inner folds are needed.")
        if self.budget is not None and not self.budget > 0:
            raise InputError(f"budget={self.budget}: seconds over 0 are needed.")
        planned(self.sampler, Space(self.space, self.method), self.trials)
        if self.budget is None:
            return []
        return [f"{self.method.name}: what is tried within {self.budget:g} seconds hangs on the "
                "machine; only trials give the same again."]  # fmt: skip

    def describe(self) -> str:
        """What is chosen from, and how."""
        space = Space(self.space, self.method)
        text = f"{space}; {planned(self.sampler, space, self.trials)} trials ({self.sampler})"
        text += "" if self.budget is None else f", none begun after {self.budget:g} s"
        return f"{text}, {self.folds} inner folds"

    def inner_fits(self) -> int:
        """Trials times inner folds."""
        return self.folds * planned(self.sampler, Space(self.space, self.method), self.trials)

    def _choose(self, bags: Any) -> Choice:
        space = Space(self.space, self.method)
        inside = Inside(self.method, bags, self.folds, self.metric)
        seed = self.method.seed
        sampler = sampler_of(self.sampler, space, self.trials, seed,
                             lower_is_better=inside.lower_is_better)  # fmt: skip
        rows: list[dict[str, Any]] = []
        tried, began = [], time.monotonic()
        with Progress(self.method.progress, f"search {self.method.name}") as bar:
            bar.start("", planned(self.sampler, space, self.trials))
            while self._goes_on(began, len(rows)) and (settings := sampler.ask()) is not None:
                row = self._try(inside, settings)
                sampler.tell(None if np.isnan(row["score"]) else row["score"])
                rows.append({k: as_text(v) if isinstance(v, (list, tuple, dict)) else v
                             for k, v in settings.items()} | row)  # fmt: skip
                tried.append(settings)
                bar.advance(note=_line(settings, row, inside.metric))
        trials = pd.DataFrame(rows)
        scores = trials["score"].to_numpy(float)
        if np.isnan(scores).all():
            raise InputError(f"all {len(trials)} trials of the search failed. "
                             f"{'; '.join(dict.fromkeys(trials['reason']))}")  # fmt: skip
        best = int(np.nanargmin(scores) if inside.lower_is_better else np.nanargmax(scores))
        return Choice(self._with(tried[best]), tried[best], float(scores[best]), inside.metric,
                      len(inside.splits), inside.unit, trials)  # fmt: skip

    def _goes_on(self, began: float, done: int) -> bool:
        return not done or self.budget is None or time.monotonic() - began < self.budget

    def _try(self, inside: Inside, settings: dict[str, Any]) -> dict[str, Any]:
        began, value, reason = time.perf_counter(), np.nan, ""
        try:
            value = inside.judge(lambda: self._with(settings).set_params(progress=False))
        except FAILURES as error:
            reason = reason_of(error)
        return {"score": value, "reason": reason, "seconds": time.perf_counter() - began}

    def _with(self, settings: dict[str, Any]) -> Any:
        return clone(self.method).set_params(**settings)


def _line(settings: Mapping[str, Any], row: Mapping[str, Any], metric: str) -> str:
    said = ", ".join(f"{k} {as_text(v)}" for k, v in settings.items())
    return f"{said}: " + (f"failed: {row['reason']}" if row["reason"] else
                          f"{named(metric)} {row['score']:.3f}")  # fmt: skip
