"""scikit-learn's searches as candidates, on inner folds that never part a donor."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import clone
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    ParameterGrid,
    StratifiedGroupKFold,
    StratifiedKFold,
)
from sklearn.model_selection._search import BaseSearchCV

from smalti.bags import Bags
from smalti.comparison.phenotype_fit import Folds
from smalti.comparison.pipelines import as_method, last_of
from smalti.comparison.protocols import Protocol
from smalti.comparison.search.base import Choice, Choosing
from smalti.comparison.search.inside import metric_of, parts_of_bags, unit_of
from smalti.comparison.search.space import Space, as_text
from smalti.core.validation import k_folds
from smalti.errors import InputError
from smalti.scores.metrics import LOWER_IS_BETTER, METRICS

_BLIND = (KFold, StratifiedKFold)  # as many folds by donor take their place
_HEED = (GroupKFold, StratifiedGroupKFold)


@dataclasses.dataclass(eq=False, repr=False)
class ScikitSearch(Choosing):
    """A search of scikit-learn (grid, random, halving) over a method, or a pipeline ending in one.

    It runs as scikit-learn has it, but for its inner folds, which are by donor; for its score,
    which is the one that a comparison ranks by unless ``scoring`` says another one; and for its
    processes, of which it has one.
    """

    search: Any = None
    metric: str | None = None  # where the search has no scoring of its own

    @property
    def method(self) -> Any:
        """The method whose settings are chosen."""
        return last_of(self.search.estimator)

    @property
    def unsearched(self) -> Any:
        """The method as it was given, with the steps of a pipeline before it."""
        return as_method(self.search.estimator)

    @property
    def preprocess(self) -> Any:
        """Steps before the method, those of a pipeline among them."""
        return self.unsearched.preprocess

    @staticmethod
    def _plain(own: dict[str, Any]) -> Any:
        if "search" not in own:
            raise AttributeError("search")
        return last_of(own["search"].estimator)

    def check(self) -> list[str]:
        """Refuse what cannot be searched; say which folds take the place of others.

        Raises
        ------
        InputError
            If there is no method in it, its ``cv`` parts donors, or the settings are none.
        """
        self._check_method()
        for grid in self._grids():
            own = {k: v for k, v in map(self._own, grid.items()) if k}
            if own:
                Space(own, self.method)
        cv, kind = self.search.cv, type(self.search).__name__
        if isinstance(self.search.scoring, (list, tuple, set, dict)):
            raise InputError(f"{kind} of {self.method.name}: name one score to choose by, not "
                             "several.")  # fmt: skip
        if isinstance(cv, _BLIND):
            return [f"{kind} of {self.method.name}: {type(cv).__name__} knows no donors, so "
                    f"{cv.get_n_splits()} folds by donor take its place."]  # fmt: skip
        if not (cv is None or isinstance(cv, (int, np.integer, *_HEED))):
            raise InputError(
                f"{kind} of {self.method.name}: cv={cv!r} would put bags of one donor on both "
                "sides: say a number of folds (cv=5), GroupKFold or StratifiedGroupKFold."
            )
        return []

    def _grids(self) -> list[dict[str, Any]]:
        params = self.search.get_params(deep=False)
        found = params.get("param_grid", params.get("param_distributions")) or {}
        return [found] if isinstance(found, dict) else list(found)

    def _own(self, item: tuple[str, Any]) -> tuple[str, Any]:
        """A setting of the method by its own name and what it may be; "" of another step's."""
        name, values = item
        if self.method is self.search.estimator:
            return name, values if hasattr(values, "rvs") else list(values)
        step, _, name = name.partition("__")
        last = self.search.estimator.steps[-1][0]
        return name if step == last else "", values if hasattr(values, "rvs") else list(values)

    def describe(self) -> str:
        """Which search of how many settings."""
        return f"{type(self.search).__name__} of {self._candidates()} settings"

    def inner_fits(self) -> int:
        """Candidates times folds, at most; a search that halves fits the best of them again."""
        n, factor = self._candidates(), getattr(self.search, "factor", None)
        rounds = n
        while factor and n > 1:
            n = math.ceil(n / factor)
            rounds += n
        cv = self.search.cv
        if cv is None:
            return 5 * rounds
        return rounds * (int(cv) if isinstance(cv, (int, np.integer)) else cv.get_n_splits())

    def _candidates(self) -> int:
        n = getattr(self.search, "n_iter", None) or getattr(self.search, "n_candidates", None)
        if isinstance(n, int):
            return n
        grids = self._grids()
        if any(hasattr(v, "rvs") for grid in grids for v in grid.values()):
            return len(grids)
        return len(ParameterGrid(grids))

    # ---------------------------------------------------------------- the choice

    def _choose(self, bags: Any) -> Choice:
        parts = self._parts(bags)
        metric, scoring = self._scoring(bags, parts)
        search = clone(self.search)
        params = search.get_params(deep=False)
        search.set_params(cv=parts, n_jobs=1, scoring=scoring, error_score=np.nan)
        if params["refit"] is True:
            search.set_params(refit=False)  # what was chosen is fitted as all methods are
        if "random_state" in params and params["random_state"] is None:
            search.set_params(random_state=self.method.seed)
        last_of(search.estimator).set_params(progress=False)
        labels = None if bags.target is None else bags.labels
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of each fit that fails or could go on
                search.fit(bags, labels)
        except ValueError as error:
            last = str(error).strip().splitlines()[-1]  # of a traceback, where all fits failed
            many = "all trials failed. " if "fits failed" in str(error) else ""
            reason = last.partition("Error: ")[2] or last
            raise InputError(f"{self.describe()}: {many}{reason}") from error
        trials = _trials(search)
        best = search.best_index_
        inner = float(search.cv_results_["mean_test_score"][best])
        if np.isnan(inner):
            raise InputError(f"all {len(trials)} trials of {self.describe()} failed, or had no "
                             f"{metric}.")  # fmt: skip
        settings = search.cv_results_["params"][best]
        method = as_method(clone(self.search.estimator).set_params(**settings))
        sign = -1 if metric in LOWER_IS_BETTER else 1
        unit = unit_of(bags) if bags.target is not None or len(np.unique(_groups(bags))) < len(
            bags) else "slide"  # fmt: skip
        return Choice(method, dict(settings), sign * inner, metric, len(parts), unit, trials)

    def _parts(self, bags: Bags) -> list[tuple[np.ndarray, np.ndarray]]:
        """Positions of the bags of each inner fold; no donor is on both sides."""
        cv = 5 if self.search.cv is None else self.search.cv
        rng = np.random.default_rng([self.method.seed, 53])
        if isinstance(cv, _HEED):
            strata = None if bags.target is None else bags.as_task().strata(bags.labels)
            try:
                return list(cv.split(np.zeros((len(bags), 1)), strata, _groups(bags)))
            except ValueError as error:
                raise InputError(f"{cv!r} cannot part these donors: {error}.") from error
        n = cv.get_n_splits() if isinstance(cv, _BLIND) else int(cv)
        return (parts_of_bags if bags.target is not None else _parts_of_slides)(bags, n, rng)

    def _scoring(self, bags: Bags, parts: Any) -> tuple[str, Any]:
        """The name of the score inside, and what scikit-learn is to call for it.

        A name that smalti's own metrics have is that metric; any other scoring stays as it is, and
        nothing outside can be set beside it.
        """
        asked = self.search.scoring
        if self.method.room == "expression":
            return ("pcc_slide", None) if asked is None else (as_text(asked), asked)
        known = METRICS[bags.as_task().kind]
        if asked is not None and asked not in known:
            return as_text(asked), asked
        metric = metric_of(bags, asked or self.metric)
        return metric, _scorer(bags, metric)


def _groups(bags: Bags) -> np.ndarray:
    """(n_bags,) donor of each bag; the bag itself where there is one donor or none is named."""
    if bags.donor is None or len(np.unique(bags.donors)) < 2:
        return np.arange(len(bags))
    return bags.donors


def _parts_of_slides(
    bags: Bags, folds: int, rng: np.random.Generator
) -> list[tuple[np.ndarray, np.ndarray]]:
    groups = _groups(bags)
    n = min(folds, len(np.unique(groups)))
    if n < 2:
        raise InputError("one slide in training: scikit-learn's searches cannot part its tiles; "
                         "sm.Search does.")  # fmt: skip
    return k_folds(n, np.zeros(len(bags), dtype=int), groups, int(rng.integers(2**31)))


def _scorer(bags: Bags, metric: str) -> Callable[..., float]:
    arena = Folds(bags, Protocol("inner folds", []), False, bags)
    sign = -1 if metric in LOWER_IS_BETTER else 1

    def scored(estimator: Any, X: Bags, y: Any = None) -> float:
        model = last_of(estimator)
        test = X if model is estimator else estimator[:-1].transform(X)
        return sign * arena.scores(bags, test, arena.answer(model, test))[metric]

    return scored


def _trials(search: Any) -> pd.DataFrame:
    found = search.cv_results_
    rows = [{k: as_text(v) if isinstance(v, (list, tuple, dict)) else v for k, v in p.items()}
            for p in found["params"]]  # fmt: skip
    scores = np.asarray(found["mean_test_score"], float)
    reason = np.where(np.isnan(scores), "a fit of it failed, or has no such score", "")
    seconds = found["mean_fit_time"] + found["mean_score_time"]
    return pd.DataFrame(rows).assign(score=scores, reason=reason, seconds=seconds)


def is_scikit_search(candidate: Any) -> bool:
    """Whether it is one of scikit-learn's searches."""
    return isinstance(candidate, BaseSearchCV)
