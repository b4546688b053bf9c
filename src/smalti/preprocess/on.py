"""``On``: a step on one view of several."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import scipy.sparse as sp

from smalti.bags import Bags
from smalti.columns import column_of
from smalti.errors import InputError
from smalti.preprocess.step import Step
from smalti.preprocess.trace import Trace
from smalti.views import take


class On(Step):
    """A step on one view of several, fitted on the instances that were measured in it.

    Parameters
    ----------
    view
        Name of the view.
    step
        What to do with it.
    """

    name: ClassVar[str] = "on"

    def __init__(self, view: str, step: Step) -> None:
        self.view, self.step = view, step

    def fit(self, X: Bags, y: Any = None) -> On:
        """Learn from the instances of training bags that were measured."""
        from sklearn.base import clone

        there = X.present.get(self.view)
        if there is not None and not there.any():
            X.view(self.view)  # that it is there at all
            raise InputError(f"no training cell was measured in view {self.view!r}.")
        with _named(self.view):
            self.step_ = clone(self.step).fit(self._alone(X, self._measured(X)))
        return self

    def transform(self, X: Bags) -> Bags:
        """Bags with that view changed; rows that were not measured stay 0."""
        rows, n = self._measured(X), X.n_instances
        with _named(self.view):
            out = self.step_.transform(self._alone(X, rows))
        changed = out.x[self.view]
        if rows is not None:
            changed = _spread_out(changed, rows, n)
        features = {k: v for k, v in X.features.items() if k != self.view} | dict(out.features)
        views = {k: changed if k == self.view else v for k, v in X.x.items()}
        return dataclasses.replace(
            X, x=views, features=features,
            lacking={k: v for k, v in X.lacking.items() if k != self.view} | dict(out.lacking),
        )  # fmt: skip

    def _measured(self, X: Bags) -> np.ndarray | None:
        """(k,) rows that were measured in the view; None: all, or not one of them."""
        there = X.present.get(self.view)
        return None if there is None or there.all() or not there.any() else np.flatnonzero(there)

    @property
    def transductive(self) -> bool:  # type: ignore[override]
        """Whether its step takes no other cells than those of its fit."""
        return self.step.transductive

    @property
    def by_company(self) -> bool:  # type: ignore[override]
        """Whether what its step makes of a new cell may hang on which others came with it."""
        return self.step.by_company

    @property
    def known_only(self) -> bool:  # type: ignore[override]
        """Whether its step takes no cell of a group that training lacked."""
        return self.step.known_only

    def columns(self) -> tuple[str, ...]:
        """Those of its step."""
        return self.step.columns()

    def follow(self, trace: Trace, view: str | None = None) -> None:
        """Say of the columns of its view which the step keeps or reads."""
        self.step_.follow(trace, self.view)

    def _alone(self, X: Bags, rows: np.ndarray | None) -> Bags:
        """Those rows of the view as one bag; all where None. Steps look at instances only."""
        _, view = X.view(self.view)
        table = {name: column_of(X, name) for name in self.step.columns()}
        if rows is not None:
            view, table = take(view, rows), {k: v.iloc[rows] for k, v in table.items()}
        n, names = int(view.shape[0]), X.features.get(self.view)
        return Bags(
            x={self.view: view}, offsets=np.array([0, n]), rows=np.arange(n),
            instance=pd.DataFrame({k: v.to_numpy() for k, v in table.items()}, index=range(n)),
            bag=pd.DataFrame(index=[0]), features={} if names is None else {self.view: names},
            lacking={k: v for k, v in X.lacking.items() if k == self.view},
        )  # fmt: skip

    def spec(self) -> dict[str, Any]:
        """View -> what makes the step again."""
        return {self.view: self.step.spec()}

    def finding(self) -> str | None:
        """What fitting the step found."""
        return self.step_.finding()

    def inner_methods(self) -> list[Any]:
        """Those of the step."""
        step: Step = self.step_ if hasattr(self, "step_") else self.step
        return step.inner_methods()

    def arrays(self) -> dict[str, np.ndarray]:
        """Fitted arrays by name."""
        return self.step_.arrays()

    def note(self) -> dict[str, Any]:
        """What else was fitted."""
        return self.step_.note()

    def restore(self, arrays: dict[str, np.ndarray], note: dict[str, Any]) -> None:
        """Take back what :meth:`arrays` and :meth:`note` gave."""
        from sklearn.base import clone

        self.step_ = clone(self.step)
        self.step_.restore(arrays, note)


def _spread_out(part: Any, rows: np.ndarray, n: int) -> Any:
    """(n, d) with the rows of a part (k, d) at their places, and 0 elsewhere."""
    if not hasattr(part, "__getitem__"):
        place = np.full(n, -1)
        place[rows] = np.arange(len(rows))
        return take(part, place)
    if sp.issparse(part):
        ones = np.ones(len(rows), dtype=part.dtype)
        return sp.csr_matrix((ones, (rows, np.arange(len(rows)))), shape=(n, len(rows))) @ part
    out = np.zeros((n, *part.shape[1:]), dtype=part.dtype)
    out[rows] = part
    return out


@contextmanager
def _named(view: str) -> Iterator[None]:
    """Put the name of the view before an error."""
    try:
        yield
    except InputError as error:
        raise InputError(f"view {view!r}: {error}") from error
