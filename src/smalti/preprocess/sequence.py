"""Sequences of steps: from a text, on several views, fitted one after another, saved."""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import scipy.sparse as sp

from smalti.bags import Bags
from smalti.errors import InputError
from smalti.preprocess.components import PCA, Scale
from smalti.preprocess.genes import GenesOfCounts, Log1p, MinCells, Normalize, SelectGenes
from smalti.preprocess.omics import CLR, TFIDF, Top
from smalti.preprocess.step import Step, count_problem
from smalti.views import take

# what stands after "=" in the short text
_STEPS: dict[str, tuple[type[Step], str | None, type]] = {
    "normalize": (Normalize, "target_sum", float), "log1p": (Log1p, None, float),
    "min_cells": (MinCells, "n", int), "genes": (SelectGenes, "n", int),
    "scale": (Scale, "max_value", float), "pca": (PCA, "n", int),
    "clr": (CLR, "of", str), "tfidf": (TFIDF, "scale_factor", float), "top": (Top, "n", int),
    "count_genes": (GenesOfCounts, "n", int),
}  # fmt: skip


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

        _, view = X.view(self.view)
        there = X.present.get(self.view)
        if there is not None and not there.all():
            if not there.any():
                raise InputError(f"no training cell was measured in view {self.view!r}.")
            view = take(view, np.flatnonzero(there))
        with _named(self.view):
            self.step_ = clone(self.step).fit(self._alone(view, X))
        return self

    def transform(self, X: Bags) -> Bags:
        """Bags with that view changed; rows that were not measured stay 0."""
        _, view = X.view(self.view)
        with _named(self.view):
            out = self.step_.transform(self._alone(view, X))
        changed = out.x[self.view]
        there = X.present.get(self.view)
        if there is not None and not there.all() and not sp.issparse(changed):
            changed[~there] = 0
        features = {k: v for k, v in X.features.items() if k != self.view} | dict(out.features)
        views = {k: changed if k == self.view else v for k, v in X.x.items()}
        return dataclasses.replace(X, x=views, features=features)

    def _alone(self, view: Any, X: Bags) -> Bags:
        """The view as one bag: steps look at instances only."""
        n, names = int(view.shape[0]), X.features.get(self.view)
        return Bags(
            x={self.view: view}, offsets=np.array([0, n]), instance=pd.DataFrame(index=range(n)),
            bag=pd.DataFrame(index=[0]), rows=np.arange(n),
            features={} if names is None else {self.view: names},
        )  # fmt: skip

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


@contextmanager
def _named(view: str) -> Iterator[None]:
    """Put the name of the view before an error."""
    try:
        yield
    except InputError as error:
        raise InputError(f"view {view!r}: {error}") from error


class Embed(Step):
    """An integration of all views as the one view of the next method, fitted in the fold.

    Parameters
    ----------
    method
        A method of :mod:`smalti.integrate`, or its name: ``Embed("umint:fast")``.
    """

    name: ClassVar[str] = "embed"

    def __init__(self, method: Any) -> None:
        self.method = method

    def fit(self, X: Bags, y: Any = None) -> Embed:
        """Fit the method on the instances of training bags."""
        from sklearn.base import clone

        from smalti.registry import make

        method = make(self.method) if isinstance(self.method, str) else clone(self.method)
        if method.transductive:
            raise InputError(
                f"{method.name} embeds only the cells that it was fitted on, and a step must embed "
                "new ones: choose another, such as umint."
            )
        self.method_ = method.fit(X)
        return self

    def transform(self, X: Bags) -> Bags:
        """Bags with the embedding as their only view."""
        # fitted inside the fold: the note that embed() adds does not apply
        return dataclasses.replace(self.method_.embed(X), notes=X.notes)

    def arrays(self) -> dict[str, np.ndarray]:
        """Weights of the fitted method."""
        from smalti.model_files import describe

        return {k: v.numpy() for k, v in describe(self.method_)[1].items()}

    def note(self) -> dict[str, Any]:
        """Everything else of the fitted method."""
        from smalti.model_files import describe

        return describe(self.method_)[0]

    def restore(self, arrays: dict[str, np.ndarray], note: dict[str, Any]) -> None:
        """Take back what :meth:`arrays` and :meth:`note` gave."""
        import torch

        from smalti.model_files import rebuild

        self.method_ = rebuild(note, {k: torch.as_tensor(v) for k, v in arrays.items()})


def steps_of(spec: Any) -> list[Step]:
    """Steps from a text, a step, a mapping from view to steps, or a sequence of these.

    Raises
    ------
    InputError
        For a step that is not known, or a number that is none.
    """
    if spec is None:
        return []
    if isinstance(spec, Step):
        return [spec]
    if isinstance(spec, str):
        return [_step(word) for word in filter(None, (w.strip() for w in spec.split(",")))]
    if isinstance(spec, Mapping):
        if set(spec) == {"embed", "settings"}:  # as a model file has it
            from smalti.registry import make

            settings = {k: tuple(v) if isinstance(v, list) else v
                        for k, v in spec["settings"].items()}  # fmt: skip
            return [Embed(make(spec["embed"], **settings))]
        return [On(view, step) for view, steps in spec.items() for step in steps_of(steps)]
    try:
        return [step for part in spec for step in steps_of(part)]
    except TypeError as error:
        raise InputError(
            f"preprocess={spec!r}: a text, steps of smalti.preprocess, or a mapping from view to "
            "these."
        ) from error


def _step(word: str) -> Step:
    name, equals, text = (part.strip() for part in word.partition("="))
    if name not in _STEPS:
        near = difflib.get_close_matches(name, _STEPS, 1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise InputError(f"no step {name!r}; there are {', '.join(_STEPS)}.{hint}")
    cls, setting, kind = _STEPS[name]
    if not equals:
        return cls()
    if kind is str and setting is not None:
        return cls(**{setting: text})
    try:
        number = kind(float(text))
        if setting is None or number <= 0:
            raise ValueError
    except ValueError as error:
        wanted = "takes no number" if setting is None else f"needs {setting} over 0"
        raise InputError(f"step {word!r}: {name} {wanted}.") from error
    return cls(**{setting: number})


def spec_of(steps: Sequence[Step]) -> Any:
    """What makes the same steps again, as JSON has it: a text, where all are on the first view."""
    parts: list[Any] = []
    for step in steps:
        if isinstance(step, On):
            before = parts[-1] if parts and isinstance(parts[-1], dict) else None
            if before is None or "embed" in before:
                parts.append(before := {})
            text = _word(step.step)
            before[step.view] = f"{before[step.view]},{text}" if step.view in before else text
        elif isinstance(step, Embed):
            from smalti.registry import make

            method = make(step.method) if isinstance(step.method, str) else step.method
            settings = method.get_params(deep=False)
            fitted = getattr(step, "method_", None)
            if fitted is not None:  # what "auto" came to
                settings["preprocess"] = spec_of(fitted.steps_)
            elif settings["preprocess"] != "auto":
                settings["preprocess"] = spec_of(steps_of(settings["preprocess"]))
            parts.append({"embed": method.name, "settings": settings})
        elif parts and isinstance(parts[-1], str):
            parts[-1] += f",{_word(step)}"
        else:
            parts.append(_word(step))
    if not parts:
        return ""
    return parts[0] if len(parts) == 1 else parts


def spec_text(steps: Sequence[Step]) -> str:
    """:func:`spec_of` as a text, for tables and AnnData."""
    spec = spec_of(steps)
    return spec if isinstance(spec, str) else json.dumps(spec, default=str)


def _word(step: Step) -> str:
    cls, setting, _ = _STEPS.get(step.name, (None, None, None))
    if cls is not type(step):
        return f"{step!r}"
    value = None if setting is None else getattr(step, setting)
    if value is None:
        return step.name
    return f"{step.name}={value}" if isinstance(value, str) else f"{step.name}={value:g}"


def guess_steps(bags: Bags) -> dict[str, str]:
    """Steps for each view, by its name and by whether it holds counts.

    Counts of proteins (a name with "prot", "adt", "antibod"): ``clr``. Counts of peaks ("atac",
    "peak", "access"): ``tfidf,top=20000``. Other counts: ``normalize,log1p,genes=2000``. What is
    no count stays as it is.
    """
    out = {}
    for name, view in bags.x.items():
        if len(view.shape) != 2:
            raise InputError(f"view {name!r} holds images: integration takes tables.")
        there = bags.present.get(name)
        rows = None if there is None or there.all() else np.flatnonzero(there)
        if count_problem(view if rows is None else take(view, rows)) is not None:
            continue
        low = name.lower()
        if any(w in low for w in ("prot", "adt", "antibod")):
            out[name] = "clr" if view.shape[1] > 1 else "log1p"
        elif any(w in low for w in ("atac", "peak", "access")):
            out[name] = "tfidf,top=20000"
        else:
            out[name] = "normalize,log1p,genes=2000"
    return out


def fit_steps(steps: Sequence[Step], bags: Bags) -> tuple[list[Step], Bags]:
    """Clones of the steps, fitted one after another; and the bags after the last."""
    from sklearn.base import clone

    fitted = []
    for step in steps:
        fitted.append(clone(step).fit(bags))
        bags = fitted[-1].transform(bags)
    return fitted, bags


def apply_steps(steps: Sequence[Step], bags: Bags) -> Bags:
    """Bags after fitted steps."""
    for step in steps:
        bags = step.transform(bags)
    return bags


def state_of(steps: Sequence[Step]) -> dict[str, np.ndarray]:
    """Fitted arrays of the steps, by position and name."""
    return {f"{i}/{name}": values for i, s in enumerate(steps)
            for name, values in s.arrays().items()}  # fmt: skip


def names_of(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """What else each step was fitted to, as JSON has it."""
    return [s.note() for s in steps]


def from_state(
    spec: Any, arrays: dict[str, np.ndarray], names: Sequence[dict[str, Any]]
) -> list[Step]:
    """Fitted steps, from what :func:`spec_of`, :func:`state_of` and :func:`names_of` gave."""
    steps = steps_of(spec)
    for i, (step, known) in enumerate(zip(steps, names, strict=True)):
        own = {k.removeprefix(f"{i}/"): v for k, v in arrays.items() if k.startswith(f"{i}/")}
        step.restore(own, known)
    return steps
