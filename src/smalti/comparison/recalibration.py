"""Probabilities made to mean what they say, by predictions of donors that training left out.

The map is fitted inside a fold: its training donors are left out in turn, and what models say of
them beside what is true of them says how the probabilities of the fold's own model are to be read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import logit
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator

from smalti.bags import Bags
from smalti.core.validation import folds_by_donor
from smalti.errors import InputError
from smalti.task import Task

if TYPE_CHECKING:

    class BaseEstimator:
        """scikit-learn's, which has no types."""

    class ClassifierMixin:
        """scikit-learn's, which has no types."""
else:
    from sklearn.base import BaseEstimator, ClassifierMixin

HOW = ("sigmoid", "isotonic")
_FOLDS = 5
_EDGE = 1e-9  # probabilities nearer to 0 or 1 have no logit that means anything
_KINDS = ("binary", "multiclass", "ordinal")


def check(how: str | None, task: Task) -> None:
    """Refuse what cannot be recalibrated.

    Raises
    ------
    InputError
        If there is no such way, or the target has no classes one of which is true.
    """
    if how is None:
        return
    if how not in HOW:
        raise InputError(f"recalibrate={how!r} is not one of {', '.join(HOW)}.")
    if task.kind not in _KINDS:
        raise InputError(
            f"recalibrate= is for classes one of which is true, and the target is {task.kind}: "
            "leave it out."
        )


def left_out(
    method: Any, bags: Bags, say: Callable[[Any, Bags], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Positions of bags, and (n, classes) what models of the others say of them, donor by donor.

    Parameters
    ----------
    method
        Not fitted; not changed.
    bags
        Training bags of a fold.
    say
        Probabilities that a fitted model gives to bags.

    Raises
    ------
    InputError
        If a class has one donor.
    """
    task = bags.as_task()
    parts = folds_by_donor(bags, task, _FOLDS, np.random.default_rng([method.seed, 59]))
    if not parts:
        raise InputError(
            "a class has one donor in training, so that there are no predictions of donors that "
            "were left out to recalibrate by: leave recalibrate= out."
        )
    found = [say(clone(method).fit(bags[train]), bags[test]) for train, test in parts]
    return np.concatenate([test for _, test in parts]), np.concatenate(found)


def recalibrated(said: np.ndarray, truth: np.ndarray, p: np.ndarray, how: str) -> np.ndarray:
    """Probabilities as they are to be read.

    Parameters
    ----------
    said
        (n, classes) probabilities of bags that were left out.
    truth
        (n,) codes of their classes.
    p
        (m, classes) probabilities of other bags.
    how
        "sigmoid": a straight line in logits (Platt). "isotonic": any rising steps, which takes a
        hundred bags or more. Of several classes one against the rest, then to a sum of one.

    Returns
    -------
    ndarray
        (m, classes) with rows that sum to 1; 0 of a class that is nowhere in ``truth``.

    Examples
    --------
    >>> import smalti as sm
    >>> import numpy as np
    >>> from smalti.comparison.recalibration import recalibrated
    >>> rng = np.random.default_rng(0)
    >>> truth = rng.integers(2, size=400)
    >>> right = rng.random(400) < 0.7
    >>> bold = np.where(right == truth, 0.99, 0.01)  # right in seven of ten
    >>> p = recalibrated(np.stack([1 - bold, bold], 1), truth, np.array([[0.01, 0.99]]), "sigmoid")
    >>> bool(0.6 < p[0, 1] < 0.8)
    True
    """
    there = np.unique(truth)
    out = np.zeros_like(p, dtype=np.float64)
    if len(there) < 2:
        out[:, there] = 1.0
        return out
    rows = np.arange(len(truth))
    given = FrozenEstimator(_Given().fit(said[:, there], truth))
    model = CalibratedClassifierCV(given, method=how, ensemble=False, cv=[(rows, rows)])
    out[:, there] = model.fit(said[:, there], truth).predict_proba(p[:, there])
    return out


class _Given(ClassifierMixin, BaseEstimator):
    """A classifier whose scores are the logits of the probabilities that it is given."""

    def fit(self, X: np.ndarray, y: np.ndarray) -> _Given:
        self.classes_ = np.unique(y)
        return self

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        scores = logit(np.clip(np.asarray(X, dtype=np.float64), _EDGE, 1 - _EDGE))
        return scores[:, 1] if len(self.classes_) == 2 else scores

    def predict(self, X: np.ndarray) -> np.ndarray:
        return np.asarray(self.classes_[np.asarray(X).argmax(1)])
