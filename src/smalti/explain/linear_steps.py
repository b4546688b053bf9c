"""The last steps of a fitted model that are linear, as one matrix: from components to genes."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import scipy.sparse as sp

from smalti.bags import Bags
from smalti.preprocess import PCA, On, Scale, Step, apply_steps
from smalti.solve.moments import moments
from smalti.views import dense, pieces


@dataclasses.dataclass(frozen=True)
class Chain:
    """What a network reads, z, as x A + c of the features before the last linear steps.

    Attributes
    ----------
    bags
        Their first view is x, (n_instances, n_features).
    matrix
        A, (n_features, width); None where x is z.
    middle
        (n_features,) the mean of x in training; of features without names, of which a model keeps
        none, that of these bags.
    start
        (width,) what the steps make of it.
    """

    bags: Bags
    matrix: np.ndarray | None
    middle: np.ndarray
    start: np.ndarray

    @classmethod
    def of(cls, model: Any, bags: Bags, read: Bags) -> Chain:
        """Follow the steps of a model from their end.

        Parameters
        ----------
        model
            Fitted.
        bags
            As they are before its steps.
        read
            The same after them.
        """
        name, view = read.view()
        steps = list(model.steps_)
        linear = _trailing(steps, name)
        if linear:
            before = apply_steps(steps[: len(steps) - len(linear)], bags)
            matrix, shift = _composed(linear)
            # cut values and features that are lacking make it another map: then z itself is named
            if _same(before.x[name], matrix, shift, view):
                middle = np.asarray(linear[0].mean_, dtype=float)
                return cls(before.only(name), matrix, middle, middle @ matrix + shift)
        means = getattr(model, "means_", {}).get(name)
        middle = (moments(view)[0] if means is None else means).astype(float)
        return cls(read.only(name), None, middle, middle)

    @property
    def names(self) -> list[str]:
        """Names of the columns of x."""
        name, view = self.bags.view()
        known = self.bags.features.get(name)
        return list(known) if known else [f"{name} {i + 1}" for i in range(view.shape[1])]


def _trailing(steps: list[Step], name: str) -> list[Any]:
    """Steps at the end that scale or project one view, in their order."""
    found: list[Any] = []
    for step in reversed(steps):
        own: Any = step.step_ if isinstance(step, On) and step.view == name else step
        if not isinstance(own, (Scale, PCA)) or getattr(own, "max_value", None) is not None:
            break
        found.insert(0, own)
    return found


def _composed(steps: list[Any]) -> tuple[np.ndarray, np.ndarray]:
    """(n_features, width) and (width,), of all steps together."""
    width = len(steps[0].mean_)
    matrix, shift = np.eye(width), np.zeros(width)
    for step in steps:
        own = step.axes_ if isinstance(step, PCA) else np.diag(1 / np.asarray(step.sd_, float))
        matrix, shift = matrix @ own, (shift - np.asarray(step.mean_, float)) @ own
    return matrix, shift


def _same(x: Any, matrix: np.ndarray, shift: np.ndarray, z: Any) -> bool:
    """Whether z is what the matrix makes of x, by the first rows."""
    some = next(pieces(x))[:64]
    made = np.asarray(some @ matrix if sp.issparse(some) else dense(some) @ matrix) + shift
    rows = dense(next(pieces(z))[:64])
    return np.allclose(made, rows, atol=1e-3 * max(1.0, float(np.abs(rows).max())))
