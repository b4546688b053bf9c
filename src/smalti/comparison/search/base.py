"""``Choosing``: an estimator that chooses the settings of a method by its training donors alone."""

from __future__ import annotations

import dataclasses
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import pandas as pd

from smalti.comparison.search.space import as_text
from smalti.core.fit import fresh
from smalti.errors import InputError
from smalti.expression.base import ExpressionMethod
from smalti.expression.output import as_slides
from smalti.mil.base import Method

if TYPE_CHECKING:

    class BaseEstimator:
        """scikit-learn's, which has no types."""

        def get_params(self, deep: bool = True) -> dict[str, Any]: ...  # noqa: D102
        def set_params(self, **params: Any) -> Self: ...  # noqa: D102
else:
    from sklearn.base import BaseEstimator


@dataclasses.dataclass
class Choice:
    """What a search came to.

    Attributes
    ----------
    method
        With the settings that were chosen, not fitted.
    settings
        Those settings.
    inner
        Their score, the mean over the inner folds.
    metric, folds, unit
        What it is, over how many folds, and what was never on both sides of one.
    trials
        One row for each settings tried: the settings, score (NaN: failed) and why it failed.
    """

    method: Any
    settings: dict[str, Any]
    inner: float
    metric: str
    folds: int
    unit: str
    trials: pd.DataFrame


@dataclasses.dataclass(eq=False, repr=False)
class Choosing(BaseEstimator, ABC):
    """What searches of settings share: to a comparison they are as the method that they set.

    All that is not asked here is asked of the fitted method that was chosen, and before a fit of
    the method as it was given.
    """

    baseline: ClassVar[bool] = False  # whatever the method is

    if TYPE_CHECKING:

        @property
        def method(self) -> Any: ...  # noqa: D102

    # ---------------------------------------------------------------- said by each search

    @abstractmethod
    def _choose(self, bags: Any) -> Choice:
        """Settings by inner folds of the training bags."""

    @abstractmethod
    def check(self) -> list[str]:
        """Refuse before any fit what cannot be searched; notes of what is done otherwise."""

    @abstractmethod
    def describe(self) -> str:
        """The search in a line."""

    @abstractmethod
    def inner_fits(self) -> int:
        """Fits inside one fit, at most; the last one, with what was chosen, is not among them."""

    @property
    def unsearched(self) -> Any:
        """The method as it was given, with none of its settings chosen."""
        return self.method

    def choose_by(self, metric: str | None) -> None:
        """Choose by this metric, unless it names one."""
        if self.get_params(deep=False)["metric"] is None:
            self.set_params(metric=metric)

    # ---------------------------------------------------------------- as the method is

    def fit(
        self,
        X: Any,
        y: Any = None,
        *,
        positive: Any = None,
        order: Sequence[Any] | None = None,
        checkpoint: str | Path | None = None,
        callbacks: Any = None,
    ) -> Self:
        """Choose settings by inner folds of these bags, then fit them on all of the bags.

        Parameters
        ----------
        X, y
            As the method takes them. Donors never part in the inner folds; where none is named
            (arrays), each bag is a donor of its own.
        positive, order
            Of the labels, as a method of bags takes them.
        checkpoint, callbacks
            Of the last fit, with the settings that were chosen.

        Returns
        -------
        Choosing
            Itself, fitted: ``best_`` (the fitted method), ``chosen_`` (its settings), ``trials_``
            (all that was tried), ``searched_`` (a note that a model file keeps).

        Raises
        ------
        InputError
            If there are too few donors, or every trial failed.
        """
        self.check()
        if isinstance(self.method, ExpressionMethod):
            bags = as_slides(X)
        else:
            bags = self.method._read_training(X, y, positive, order)
        with fresh(self):
            choice = self._choose(bags)
            more = {"checkpoint": checkpoint, "callbacks": callbacks}
            asked = {k: v for k, v in more.items() if v is not None}
            best = choice.method.fit(bags, **asked)
            self.trials_, self.chosen_ = choice.trials, choice.settings
            self.searched_ = best.searched_ = _note(choice, self.describe())
            self.best_ = best
        return self

    def fit_transform(self, X: Any, y: Any = None) -> Any:
        """Fit, then embed the same bags: (n_bags, width)."""
        return self.fit(X, y).transform(X)

    def set_output(self, *, transform: str | None = None) -> Self:
        """What the method's ``transform`` is to give: "default", "pandas" or "polars"."""
        for method in {self.method, self.__dict__.get("best_", self.method)}:
            method.set_output(transform=transform)
        return self

    def set_params(self, **params: Any) -> Self:
        """Set what is its own; all else is set of the method."""
        own = {k: v for k, v in params.items() if k.partition("__")[0] in self.get_params(False)}
        super().set_params(**own)
        rest = {k: v for k, v in params.items() if k not in own}
        if rest:
            self.method.set_params(**rest)
        return self

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # copying and pickling ask before there is anything
            raise AttributeError(name)
        own = self.__dict__
        return getattr(own["best_"] if "best_" in own else type(self)._plain(own), name)

    @staticmethod
    def _plain(own: dict[str, Any]) -> Any:
        """The method as it was given, of the attributes."""
        if "method" not in own:
            raise AttributeError("method")
        return own["method"]

    def __sklearn_is_fitted__(self) -> bool:
        return "best_" in self.__dict__

    def __sklearn_tags__(self) -> Any:
        return self.method.__sklearn_tags__()

    def _check_method(self) -> None:
        if not isinstance(self.method, (Method, ExpressionMethod)):
            raise InputError(
                f"{self.method!r} has no score of left-out donors to choose settings by: a search "
                "is of a method of mil or expression."
            )


def _note(choice: Choice, how: str) -> dict[str, Any]:
    """What is kept of a search, as JSON holds it."""
    trials = choice.trials
    return {
        "how": how, "metric": choice.metric, "inner": choice.inner, "folds": choice.folds,
        "unit": choice.unit, "trials": len(trials), "failed": int(trials["score"].isna().sum()),
        "chosen": {k: _json(v) for k, v in choice.settings.items()},
    }  # fmt: skip


def _json(value: Any) -> Any:
    try:
        return json.loads(json.dumps(value))
    except TypeError:
        return as_text(value)
