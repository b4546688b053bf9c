"""``Join``: views side by side as one."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import numpy as np

from smalti.bags import Bags
from smalti.errors import InputError
from smalti.preprocess.step import Step
from smalti.preprocess.trace import Trace
from smalti.views import Beside, side_by_side


class Join(Step):
    """All views side by side as one, called as they are with "+" between.

    What methods of :mod:`smalti.mil` do with the views that ``views=`` names, after the steps. Each
    column counts as it is: views of like width and scale weigh the same (``pca=20`` of each, and
    ``standardize=True`` where a method has it).

    Examples
    --------
    >>> import smalti as sm
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> cells = {"genes": rng.normal(size=(40, 6)), "look": rng.normal(size=(40, 3))}
    >>> bags = sm.Bags.from_rows(cells, np.arange(40) // 10)
    >>> sm.preprocess.Join().fit(bags).transform(bags)
    Bags: 4 bags of 10-10 instances, genes+look 9
    """

    name: ClassVar[str] = "join"

    def fit(self, X: Bags, y: Any = None) -> Join:
        """Keep the names and widths of the views.

        Raises
        ------
        InputError
            If one is no table.
        """
        for name, view in X.x.items():
            if len(view.shape) != 2 and len(X.x) > 1:
                raise InputError(
                    f"view {name!r} holds instances of shape {tuple(view.shape[1:])}, and only "
                    "tables can be read side by side: make features of them first "
                    "(sm.features.extract), and name those."
                )
        self.widths_ = {name: int(view.shape[1]) for name, view in X.x.items()}
        return self

    def transform(self, X: Bags) -> Bags:
        """Bags with one view; one that is alone stays as it is.

        Raises
        ------
        InputError
            If a view lacks, or has another width than in training.
        """
        if len(self.widths_) < 2:
            return X
        parts = []
        for name, width in self.widths_.items():
            part = X.view(name)[1]
            if part.shape[1] != width:
                raise InputError(f"join was fitted on {width} features of view {name!r}, which has "
                                 f"{part.shape[1]}.")  # fmt: skip
            parts.append(part)
        here = all(hasattr(part, "__getitem__") for part in parts)
        joined = side_by_side(parts) if here else Beside(parts)
        return dataclasses.replace(
            X, x={self._joined: joined}, features=self._names_of(X),
            present=self._present(X), lacking=self._lacking(X), kinds={},
        )  # fmt: skip

    @property
    def _joined(self) -> str:
        return "+".join(self.widths_)

    def _names_of(self, X: Bags) -> dict[str, tuple[str, ...]]:
        """Names of the features, where all have some: "genes:CD4"."""
        if not all(X.features.get(name) for name in self.widths_):
            return {}
        return {self._joined: tuple(f"{name}:{one}" for name in self.widths_
                                    for one in X.features[name])}  # fmt: skip

    def _present(self, X: Bags) -> dict[str, np.ndarray]:
        there = [X.present[name] for name in self.widths_ if name in X.present]
        return {self._joined: np.logical_and.reduce(there)} if there else {}

    def _lacking(self, X: Bags) -> dict[str, np.ndarray]:
        if not any(name in X.lacking for name in self.widths_):
            return {}
        gone = [X.lacking.get(name, np.zeros(width, dtype=bool))
                for name, width in self.widths_.items()]  # fmt: skip
        return {self._joined: np.concatenate(gone)}

    def follow(self, trace: Trace, view: str | None = None) -> None:
        """Say that it reads all columns of all views."""
        if len(self.widths_) > 1:
            for name in self.widths_:
                trace.take(name)
            trace.now = {self._joined: None}

    def note(self) -> dict[str, Any]:
        """View -> its width."""
        return {"widths": self.widths_}

    def restore(self, arrays: dict[str, np.ndarray], note: dict[str, Any]) -> None:
        """Take back what :meth:`note` gave; there are no arrays."""
        self.widths_ = dict(note["widths"])
