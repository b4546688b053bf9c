"""``Step``: a scikit-learn transformer of bags; and looking at tables piece by piece."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import scipy.sparse as sp
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from smalti.bags import Bags
from smalti.errors import InputError
from smalti.views import View, read_rows

_NUMBERS = 2**24  # of a dense piece of a table
_LOOKED_AT = 1_000_000  # values by which a table is told to be counts


class Step(TransformerMixin, BaseEstimator):
    """One step. Works on the first view, and leaves bags, columns and notes as they are.

    A view that is on disk is read piece by piece in fitting, and into memory in transforming.
    :class:`On` puts a step on another view.
    """

    name: ClassVar[str] = ""
    state: ClassVar[tuple[str, ...]] = ()  # names of the fitted arrays

    def fit(self, X: Bags, y: Any = None) -> Self:
        """Learn from training bags."""
        name, view = X.view()
        if len(view.shape) != 2:
            raise InputError(f"{self.name} takes tables, not instances of shape {view.shape[1:]}.")
        self.features_in_ = X.features.get(name)
        self.width_ = int(view.shape[1])
        self._learn(view, X)
        return self

    def transform(self, X: Bags) -> Bags:
        """Bags with the first view changed; ``X`` itself stays as it is."""
        check_is_fitted(self, "width_")
        name, view = X.view()
        if int(view.shape[1]) != self.width_:
            raise InputError(
                f"{self.name} was fitted on {self.width_} features, view {name!r} has "
                f"{view.shape[1]}."
            )
        there = X.features.get(name)
        if there and self.features_in_ and tuple(there) != tuple(self.features_in_):
            odd = next(a for a, b in zip(there, self.features_in_, strict=True) if a != b)
            raise InputError(f"{self.name}: feature {odd!r} is not where it was in training.")
        if not hasattr(view, "__getitem__"):
            view = view.read(0, X.n_instances)
        changed = self._apply(view, X)
        features = {k: v for k, v in X.features.items() if k != name}
        names = self._names(there or self.features_in_)
        if names is not None:
            features[name] = names
        return dataclasses.replace(X, x={**X.x, name: changed}, features=features)

    def _learn(self, view: View, bags: Bags) -> None:
        """Set the fitted arrays."""

    def _apply(self, view: Any, bags: Bags) -> Any:
        """The changed rows."""
        raise NotImplementedError

    def _names(self, names: Sequence[str] | None) -> tuple[str, ...] | None:
        """Feature names after the step."""
        return None if names is None else tuple(names)

    # ---------------------------------------------------------------- saving

    def arrays(self) -> dict[str, np.ndarray]:
        """Fitted arrays by name."""
        return {name: np.asarray(getattr(self, name)) for name in self.state}

    def note(self) -> dict[str, Any]:
        """What else was fitted, as JSON has it: width and feature names."""
        return {"width": self.width_, "features": self.features_in_ and list(self.features_in_)}

    def restore(self, arrays: dict[str, np.ndarray], note: dict[str, Any]) -> None:
        """Take back what :meth:`arrays` and :meth:`note` gave."""
        self.width_ = note["width"]
        self.features_in_ = tuple(note["features"]) if note["features"] else None
        for name in self.state:
            setattr(self, name, arrays[name])


def count_problem(view: View) -> str | None:
    """Why a table is not raw counts, or None.

    The first rows are looked at, up to a million values.
    """
    rows = max(1, min(int(view.shape[0]), _LOOKED_AT // max(1, int(np.prod(view.shape[1:])))))
    part = read_rows(view, 0, rows)
    values = part.data if sp.issparse(part) else np.asarray(part)
    if not values.size:
        return None
    if values.min() < 0:
        return f"there are negative values (least: {values.min():.3g})"
    if (values != np.round(values)).any():
        logs = " they look like logs" if values.max() < 20 else ""
        return f"not all values are whole numbers;{logs or ' they look normalised'}"
    return None


def cells_per_bag_note(bags: Bags, tiny: int = 10) -> str | None:
    """One line on bags with fewer than ``tiny`` instances, or None."""
    lengths = bags.lengths
    small = np.flatnonzero(lengths < tiny)
    if not len(small):
        return None
    named = ", ".join(f"{bags.bag.index[i]} ({lengths[i]})" for i in small[:5])
    return (
        f"{len(small)} of {len(bags)} bags have fewer than {tiny} instances: {named}"
        f"{', ...' if len(small) > 5 else ''} (all: {lengths.min():,} to {lengths.max():,}, median "
        f"{int(np.median(lengths)):,})."
    )


def placed(view: View) -> Iterator[tuple[int, Any]]:
    """Pieces of a table, each with the position of its first row."""
    n, width = int(view.shape[0]), max(1, int(view.shape[1]))
    step = max(1, _NUMBERS // width)
    for start in range(0, n, step):
        yield start, read_rows(view, start, min(start + step, n))


def pieces(view: View) -> Iterator[Any]:
    """Pieces of a table that may be dense."""
    return (part for _, part in placed(view))


def dense(part: Any) -> np.ndarray:
    """A piece as a dense array."""
    return part.toarray() if sp.issparse(part) else np.asarray(part)
