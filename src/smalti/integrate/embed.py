"""``Embed``: an integration as a step before another method, fitted in the fold."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import torch
from sklearn.base import clone

from smalti.bags import Bags
from smalti.core.load import rebuild
from smalti.core.registry import make
from smalti.core.save import describe
from smalti.errors import InputError
from smalti.integrate.base import Integration
from smalti.preprocess.sequence import by_company, spec_of, steps_of
from smalti.preprocess.step import Step
from smalti.preprocess.trace import Trace


class Embed(Step):
    """An integration of all views as the one view of the next method, fitted in the fold.

    Parameters
    ----------
    method
        A method of :mod:`smalti.integrate`, or its name: ``Embed("umint:fast")``, as a text
        ``preprocess="embed=umint:fast"``.

    Examples
    --------
    >>> import smalti as sm
    >>> cells = sm.datasets.planted_modalities(120, n_bags=12, seed=0)
    >>> bags = cells.with_target([0, 1] * 6)
    >>> step = sm.integrate.Embed(sm.integrate.BlockPCA(width=4))
    >>> model = sm.mil.BagMean(preprocess=step, progress=False).fit(bags)  # saved with the model
    >>> model.predict(bags).shape
    (12,)
    """

    name: ClassVar[str] = "embed"
    argument: ClassVar[tuple[str, type] | None] = ("method", str)

    def __init__(self, method: Any) -> None:
        self.method = method

    def fit(self, X: Bags, y: Any = None) -> Embed:
        """Fit the method on the instances of training bags."""
        method = self._unfitted()
        if only := method.at_hand():
            raise InputError(
                f"{only} takes only the cells that it was fitted on, and a step before another "
                "method must take new ones: choose a method such as umint, and of batches a step "
                "such as scale_batch or batch= of a network."
            )
        self.method_ = method.fit(X)
        return self

    def _unfitted(self) -> Integration:
        return make(self.method) if isinstance(self.method, str) else clone(self.method)

    @property
    def by_company(self) -> bool:  # type: ignore[override]
        """Whether steps of the method make a new cell of a batch hang on which others came."""
        return bool(by_company(self._unfitted().preprocess))

    def spec(self) -> dict[str, Any]:
        """The method's name and settings."""
        method = self._unfitted()
        settings = method.get_params(deep=False)
        fitted = getattr(self, "method_", None)
        if fitted is not None:  # what "auto" came to
            settings["preprocess"] = spec_of(fitted.steps_)
        elif settings["preprocess"] != "auto":
            settings["preprocess"] = spec_of(steps_of(settings["preprocess"]))
        return {"embed": method.name, "settings": settings}

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Embed:
        """The step of a mapping that :meth:`spec` gave; lists of a JSON file become tuples."""
        settings = {k: tuple(v) if isinstance(v, list) and k != "preprocess" else v
                    for k, v in spec["settings"].items()}  # fmt: skip
        return cls(make(spec["embed"], **settings))

    def transform(self, X: Bags) -> Bags:
        """Bags with the embedding as their only view."""
        # fitted inside the fold: the note that embed() adds does not apply
        return dataclasses.replace(self.method_.embed(X), notes=X.notes)

    def follow(self, trace: Trace, view: str | None = None) -> None:
        """Say which columns of all views the method makes anything of."""
        inner = self.method_.reads()
        for name, columns in inner.read.items():
            # one view may have had another name when the method was fitted
            at = name if name in trace.now else next(iter(trace.now))
            trace.take(at, columns)
            trace.across.setdefault(at, []).extend(inner.across.get(name, ()))
        trace.now = {f"X_{self.method_.name}": None}

    def inner_methods(self) -> list[Any]:
        """The method."""
        return [getattr(self, "method_", None) or self._unfitted()]

    def arrays(self) -> dict[str, np.ndarray]:
        """Weights of the fitted method."""
        return {k: v.numpy() for k, v in describe(self.method_)[1].items()}

    def note(self) -> dict[str, Any]:
        """Everything else of the fitted method."""
        return describe(self.method_)[0]

    def restore(self, arrays: dict[str, np.ndarray], note: dict[str, Any]) -> None:
        """Take back what :meth:`arrays` and :meth:`note` gave."""
        self.method_ = rebuild(note, {k: torch.as_tensor(v) for k, v in arrays.items()})
