"""Probabilities and curves made to mean what they say, by predictions of donors left out.

The map is fitted inside a fold: its training donors are left out in turn, and what models say of
them beside what is true of them says how the probabilities of the fold's own model are to be read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.optimize import minimize_scalar
from scipy.special import logit
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator

from smalti.bags import Bags
from smalti.core.validation import folds_by_donor
from smalti.errors import InputError
from smalti.task import Task
from smalti.task.survival import Survival, partial_likelihood

if TYPE_CHECKING:

    class BaseEstimator:
        """scikit-learn's, which has no types."""

    class ClassifierMixin:
        """scikit-learn's, which has no types."""
else:
    from sklearn.base import BaseEstimator, ClassifierMixin

HOW = ("sigmoid", "isotonic", "cox")
_FOLDS = 5
_EDGE = 1e-9  # probabilities nearer to 0 or 1 have no logit that means anything
_KINDS = {"sigmoid": ("binary", "multiclass", "ordinal"), "cox": ("survival",)}
_KINDS["isotonic"] = _KINDS["sigmoid"]
_STEEPEST = 20.0  # log hazards a standard deviation of the risks: more is no slope but a wall


def check(how: str | None, task: Task) -> None:
    """Refuse what cannot be recalibrated.

    Raises
    ------
    InputError
        If there is no such way, or it is not one of this kind of target.
    """
    if how is None:
        return
    if how not in HOW:
        raise InputError(f"recalibrate={how!r} is not one of {', '.join(HOW)}.")
    fit = [way for way in HOW if task.kind in _KINDS[way]]
    if not fit:
        raise InputError(
            "recalibrate= is for classes one of which is true, and for times until an event, and "
            f"the target is {task.kind}: leave it out."
        )
    if how not in fit:
        raise InputError(f"recalibrate={how!r} is not for a {task.kind} target: "
                         f"{' or '.join(fit)} is.")  # fmt: skip


def left_out(
    method: Any, bags: Bags, say: Callable[[Any, Bags], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Positions of bags, and (n, ...) what models of the others say of them, donor by donor.

    Parameters
    ----------
    method
        Not fitted; not changed.
    bags
        Training bags of a fold.
    say
        Probabilities, or risks, that a fitted model gives to bags.

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


def recalibrated_curves(
    said: np.ndarray, truth: np.ndarray, risk: np.ndarray, times: np.ndarray
) -> np.ndarray:
    """Curves of no event that a Cox model of left-out risks reads off the risks.

    A network that has learned its training bags by heart parts them too far, and a baseline hazard
    that is learned of them is of no use for others.

    Parameters
    ----------
    said
        (n,) risks of bags that were left out.
    truth
        (n, 3) their time, event and entry.
    risk
        (m,) of other bags.
    times
        (n_times,) to ask at.

    Returns
    -------
    ndarray
        (m, n_times); the curve of all, where risks say nothing or the contrary.
    """
    middle, width = float(said.mean()), float(said.std()) or 1.0
    score = torch.as_tensor((said - middle) / width)
    time, event, entry = torch.as_tensor(np.asarray(truth, float)).T
    none = torch.zeros_like(time)

    def loss(slope: float) -> float:
        return float(partial_likelihood(slope * score, time, event, entry, none).sum())

    slope = float(minimize_scalar(loss, bounds=(0.0, _STEEPEST), method="bounded").x)
    task = Survival(kind="survival", model="cox")
    read = task.settled(slope * score[:, None].numpy(), truth)
    assert isinstance(read, Survival)
    return read.curves(slope * ((risk - middle) / width)[:, None], times)


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
