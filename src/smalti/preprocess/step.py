"""``Step``: a scikit-learn transformer of bags, known by its name; and tables piece by piece."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from smalti.bags import Bags
from smalti.errors import InputError
from smalti.preprocess.trace import Trace
from smalti.views import Through, View, told_of_arrays, whole

STEPS: dict[str, type[Step]] = {}  # by name: a step is known as soon as its class is
ELSEWHERE: dict[str, Callable[[], Any]] = {}  # steps of rooms above: what makes their class known


def step_named(name: str) -> type[Step] | None:
    """The class of a step, or None where there is none of that name."""
    if name not in STEPS and name in ELSEWHERE:
        ELSEWHERE[name]()
    return STEPS.get(name)


class Step(TransformerMixin, BaseEstimator):
    """One step. Works on the first view, and leaves bags, columns and notes as they are.

    A view that is on disk is read piece by piece in fitting, and changed as it is read afterwards
    (:class:`~smalti.views.Through`), where a step changes each row by itself; else it is read into
    memory. :class:`On` puts a step on another view.
    """

    name: ClassVar[str] = ""  # in the short text, and in model files
    argument: ClassVar[tuple[str, type] | None] = None  # the setting after "=", and its type
    state: ClassVar[tuple[str, ...]] = ()  # names of the fitted arrays
    columnwise: ClassVar[bool] = False  # each column that it gives is one column that it got
    transductive: bool = False  # it changes the cells that it was fitted on, and takes no others
    by_company: bool = False  # what comes out for a new cell may hang on which others came with it
    known_only: bool = False  # it takes no cell of a group of its column that training lacked

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.name:
            STEPS[cls.name] = cls

    def fit(self, X: Bags, y: Any = None) -> Self:
        """Learn from training bags.

        Raises
        ------
        InputError
            If the first view is no table.
        """
        name, view = X.view()
        if len(view.shape) != 2:
            raise InputError(f"{self.name} takes tables, not instances of shape {view.shape[1:]}.")
        self.features_in_ = X.features.get(name)
        self.width_ = int(view.shape[1])
        self._learn(view, X)
        return self

    def transform(self, X: Bags) -> Bags:
        """Bags with the first view changed; ``X`` itself stays as it is.

        Raises
        ------
        InputError
            If the first view has other features than the one that it was fitted on.
        """
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
        changed = self._changed(view, X)
        features = {k: v for k, v in X.features.items() if k != name}
        names = self._names(there or self.features_in_)
        if names is not None:
            features[name] = names
        lacking, kept = {k: v for k, v in X.lacking.items() if k != name}, self.kept()
        if name in X.lacking and kept is not None:
            lacking[name] = X.lacking[name][kept]
        return dataclasses.replace(
            X, x={**X.x, name: changed}, features=features, lacking=lacking
        )  # fmt: skip

    def _changed(self, view: View, X: Bags) -> View:
        """The changed rows, on disk where the view is."""
        rowwise = not (self.transductive or self.by_company or self.columns())
        if hasattr(view, "__getitem__") or not rowwise:
            return self._apply(whole(view), X)
        lacking = X.lacking.get(X.view()[0])
        numbers = [*self.arrays().values(), *([] if lacking is None else [lacking])]
        return Through(view, partial(self._apply, bags=X),
                       told_of_arrays(f"{self.spec()}", *numbers))  # fmt: skip

    def _learn(self, view: View, bags: Bags) -> None:
        """Set the fitted arrays."""

    def _apply(self, view: Any, bags: Bags) -> Any:
        """The changed rows."""
        raise NotImplementedError

    def _names(self, names: Sequence[str] | None) -> tuple[str, ...] | None:
        """Feature names after the step."""
        return None if names is None else tuple(names)

    # ---------------------------------------------------------------- which columns it reads

    def columns(self) -> tuple[str, ...]:
        """Columns of the instances or of the bags that it reads, beside the view."""
        return ()

    def kept(self) -> np.ndarray | None:
        """(n_out,) the column that each column it gives was; None: each is made of several."""
        return np.arange(self.width_) if self.columnwise else None

    def looks_across(self) -> bool:
        """Whether all columns of a row have a say in what one becomes, as in a library size."""
        return False

    def follow(self, trace: Trace, view: str | None = None) -> None:
        """Say of the columns of a view, the first when left out, which it keeps or reads."""
        view = next(iter(trace.now)) if view is None else view
        if self.looks_across():
            trace.across.setdefault(view, []).append(self.name)
        trace.keep(view, self.kept())

    # ---------------------------------------------------------------- saving

    def spec(self) -> Any:
        """What makes the same step again: its short text, or a mapping for :meth:`from_spec`."""
        value = None if self.argument is None else getattr(self, self.argument[0])
        if STEPS.get(self.name) is not type(self):
            return f"{self!r}"
        if value is None:
            return self.name
        if further := self._further():
            return {self.name: value, "settings": further}
        return f"{self.name}={value}" if isinstance(value, str) else f"{self.name}={value:g}"

    def _further(self) -> dict[str, Any]:
        """Settings besides the one that a text can say, where they are not the default."""
        said = self.argument and self.argument[0]
        default = {k: p.default for k, p in inspect.signature(type(self)).parameters.items()}
        now = self.get_params(deep=False)
        return {k: v for k, v in now.items() if k != said and v != default[k]}

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Step:
        """The step of a mapping that :meth:`spec` gave; only for what no text can say.

        Raises
        ------
        InputError
            If a text can say all that there is to the step, or it has no such settings.
        """
        if cls.argument is None:
            raise InputError(f"step {cls.name!r} is named by a text, not by a mapping.")
        try:
            return cls(**{cls.argument[0]: spec[cls.name], **spec["settings"]})
        except TypeError as error:
            raise InputError(f"step {cls.name!r}, settings {spec['settings']}: {error}.") from error

    def finding(self) -> str | None:
        """What fitting found that a user should know, in a sentence without its end; or None."""
        return None

    def inner_methods(self) -> list[Any]:
        """Methods inside the step, which a model file needs too."""
        return []

    def arrays(self) -> dict[str, np.ndarray]:
        """Fitted arrays by name: most are (n_features,), some of any shape."""
        return {name: np.asarray(getattr(self, name)) for name in self.state}

    def note(self) -> dict[str, Any]:
        """What else was fitted, as JSON has it: width and feature names."""
        return {"width": self.width_, "features": self.features_in_ and list(self.features_in_)}

    def restore(self, arrays: dict[str, np.ndarray], note: dict[str, Any]) -> None:
        """Take back what :meth:`arrays`, of any shape, and :meth:`note` gave."""
        self.width_ = note["width"]
        self.features_in_ = tuple(note["features"]) if note["features"] else None
        for name in self.state:
            setattr(self, name, arrays[name])


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
