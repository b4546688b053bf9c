"""``Task``: the target of a fit. What all kinds share; each kind is one file beside this one."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from smalti.errors import InputError
from smalti.labels import check_kind, check_said, clean, in_order, kind_of, looks_censored

SEVERAL = (
    "Several at once are kind='multilabel' (each 0 or 1), kind='binomial' (counts) or "
    "kind='survival' (a time, and whether the event was seen then)."
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """The target of a fit.

    ``Task(kind=...)`` is of the class of that kind.

    Attributes
    ----------
    kind
        One of "binary", "multiclass", "multilabel", "ordinal", "binomial", "regression",
        "survival".
    column
        Where the target stands; several columns for multi-label and survival and, if wanted,
        binomial.
    classes
        The classes in order (binary: the positive one last; multi-class: sorted; ordinal: from
        the least to the most), or the names of the columns (multi-label, binomial).
    center, scale
        Mean and standard deviation of a regression target in the training bags.
    trials
        n of a binomial target: each value counts successes among n, e.g. 2 for a genotype dosage.
    model
        Of a survival target: "cox", "discrete" or "weibull" (see :mod:`smalti.task.survival`).
    cuts
        Ends of the intervals of a discrete survival target, in the unit of its times.
    hazard_times, hazard
        Times of events in training and the baseline hazard cumulated up to each (Cox).
    deciles
        Of the times of events in training.
    """

    kind: str
    column: str | tuple[str, ...] = "target"
    classes: tuple[Any, ...] = ()
    center: float = 0.0
    scale: float = 1.0
    trials: int = 1
    model: str = ""
    cuts: tuple[float, ...] = ()
    hazard_times: tuple[float, ...] = ()
    hazard: tuple[float, ...] = ()
    deciles: tuple[float, ...] = ()

    by_kind: ClassVar[dict[str, type[Task]]] = {}
    of: ClassVar[str] = "none"
    """The kind of its class."""
    metric: ClassVar[str] = ""
    """Name of the default score."""
    is_classifier: ClassVar[bool] = False
    """Whether the target is a class (or ordered class, or several labels)."""
    needs: ClassVar[str] = ""
    """What a target of several columns holds in them, for whoever names one."""

    def __init_subclass__(cls, of: str = "", **more: Any) -> None:
        super().__init_subclass__(**more)
        if of:
            cls.of, cls.by_kind[of] = of, cls

    def __new__(cls, *, kind: str = "", **_: Any) -> Self:
        """Of the class of its kind."""
        if cls is Task:
            return object.__new__(cls.by_kind.get(kind, cls))  # type: ignore[return-value]
        if kind not in ("", cls.of):  # "": a copy
            raise TypeError(f"a {cls.__name__} is no {kind} target: Task(kind={kind!r}) is one.")
        return object.__new__(cls)

    # ---------------------------------------------------------------- making

    @classmethod
    def infer(
        cls,
        labels: Any,
        *,
        column: str | tuple[str, ...] = "target",
        kind: str | None = None,
        positive: Any = None,
        order: Sequence[Any] | None = None,
    ) -> Task:
        """Make the task of some labels.

        Two distinct values make a binary task, an ordered categorical (or ``order``) an ordinal
        one, real numbers a regression (so do more than 20 distinct integers), several columns a
        multi-label one (a time and whether an event was seen: survival), all else a multi-class
        one. A binomial task is never inferred; its number of trials is the largest value, at least
        2. The rules are in :mod:`smalti.labels`.

        Parameters
        ----------
        labels
            (n,) labels, or (n, n_labels) of several columns.
        column
            Where they stand.
        kind
            One of the kinds; inferred when left out.
        positive
            The positive one of two labels. When left out the last of an ordered categorical or of
            ``order``, else the one that does not mean control ("healthy", "ctrl", "wild type",
            "no", ...); where none or both do, the last in sorted order.
        order
            The labels from the least to the most.

        Raises
        ------
        InputError
            If labels are missing, constant or of mixed types, or do not fit what was asked for; if
            whole numbers could be classes or a quantity, or grades have no order but the alphabet.
        """
        what = f"target {column!r}"
        check_kind(kind)
        wide = np.ndim(labels) == 2
        if wide or kind == "binomial":
            kind = kind or ("survival" if looks_censored(labels) else "multilabel")
            check_said(kind, positive, order, what)
            return cls.by_kind[kind].of_columns(labels, column)
        series = clean(labels, what)
        values, said = in_order(series, order, what)
        if len(values) < 2:
            raise InputError(
                f"{what} is constant ({values[0]!r} in all {len(series)} bags), one class only: "
                "there is nothing to learn. Choose another column, or more bags."
            )
        kind = kind or kind_of(series, values, said, what)
        check_said(kind, positive, order, what)
        return cls.by_kind[kind].of_labels(series, values, said, positive, column)

    @classmethod
    def of_labels(
        cls, series: pd.Series, values: list[Any], said: bool, positive: Any,
        column: str | tuple[str, ...],
    ) -> Task:  # fmt: skip
        """The task of one column: ``values`` are its labels in an order, which was ``said`` or not.

        Raises
        ------
        InputError
            If this kind is one of several columns, or the labels do not make one of it.
        """
        raise InputError(f"target {column!r} is one column; {cls.of} needs {cls.needs}.")

    @classmethod
    def of_columns(cls, labels: Any, column: str | tuple[str, ...]) -> Task:
        """The task of several columns, (n, n_columns), or of one, (n,), where that makes one.

        Raises
        ------
        InputError
            If this kind is one of one column, or the columns do not make one of it.
        """
        raise InputError(
            f"target {column!r} has {np.shape(labels)[1]} columns, and a {cls.of} target is one: "
            f"name one of them. {SEVERAL}"
        )

    # ---------------------------------------------------------------- shape

    @property
    def n_outputs(self) -> int:
        """Width of ``raw``."""
        return 1

    @property
    def positive(self) -> Any:
        """The class that a binary task finds, the last; None of other kinds."""
        return None

    @property
    def sorted_classes(self) -> np.ndarray:
        """(n_classes,) sorted, as scikit-learn wants them; names of labels as they stand."""
        return np.sort(np.asarray(self.classes))

    @property
    def several(self) -> bool:
        """Whether a bag has several values, one per column."""
        return False

    @property
    def truths(self) -> tuple[str, ...]:
        """Columns that say what is true of a bag, in a table of predictions."""
        return tuple(f"true_{c}" for c in self.classes) if self.several else ("true",)

    @property
    def by_itself(self) -> bool:
        """Whether what was said of one bag can be held against that bag: not of several targets."""
        return len(self.truths) == 1

    @property
    def compares(self) -> bool:
        """Whether the loss of a unit depends on the others of its step, which must hold all."""
        return False

    @property
    def name(self) -> str:
        """The column, or all of them."""
        return self.column if isinstance(self.column, str) else ", ".join(self.column)

    def describe(self, labels: np.ndarray) -> str:
        """One line for people: ``disease: binary (27 control, 23 case; positive: case)``.

        ``labels`` are those of the bags, as the user wrote them: (n,), or (n, n_labels).
        """
        raise NotImplementedError

    def alone(self, labels: Any) -> list[Any]:
        """Classes that one bag only is of; ``labels`` (n,) are those of the bags."""
        return []

    # ---------------------------------------------------------------- targets

    def encode(self, labels: Any) -> np.ndarray:
        """Labels as numbers for :meth:`loss`.

        Class codes (n,) int64; labels or counts (n, n_labels) float32; standardised values (n,)
        float32; time, event and entry (n, 3) float64.
        """
        raise NotImplementedError

    def strata(self, labels: Any) -> np.ndarray:
        """(n,) groups that a stratified split should keep in proportion."""
        raise NotImplementedError

    def weights(self, labels: Any, classes: Any) -> np.ndarray:
        """(n,) float32 weights of the bags in the loss.

        ``classes`` is None (all 1), "balanced" (every class the same mass, mean 1), or a mapping
        from class to weight (1 where it has none).

        Raises
        ------
        InputError
            If a bag of this kind of target is of no one class, or ``classes`` is none of these or a
            mapping of other classes.
        """
        if classes is not None:
            raise InputError(f"class_weight has no meaning for a {self.kind} target.")
        return np.ones(len(labels), dtype=np.float32)

    # ---------------------------------------------------------------- networks

    def head(self, width: int) -> nn.Module:
        """Map an embedding of ``width`` to ``raw``: linear, or ordered thresholds if ordinal."""
        return nn.Linear(width, self.n_outputs)

    def loss(self, raw: Tensor, target: Tensor) -> Tensor:
        """Loss of each unit: raw (n, n_outputs) and encoded target to (n,)."""
        raise NotImplementedError

    def values(self, raw: Tensor) -> Tensor:
        """Put raw numbers (n, n_outputs) on the scale on which a mean has a meaning; same shape.

        Probabilities for the classes (cumulative ones if ordinal), the value itself otherwise.
        Inverse of :meth:`raw`.
        """
        return raw.sigmoid()

    def raw(self, values: Tensor) -> Tensor:
        """Inverse of :meth:`values`, (n, n_outputs) too.

        Probabilities are kept off 0 and 1 by 1e-6.
        """
        return values.clamp(1e-6, 1 - 1e-6).logit()

    # ---------------------------------------------------------------- predictions

    def settled(self, raw: np.ndarray, target: np.ndarray) -> Task:
        """The task with what only a fitted network can tell of it: of Cox, a baseline hazard.

        ``raw`` (n, n_outputs) are its predictions for the training bags, ``target`` (n, ...) what
        is true of them, encoded.
        """
        return self

    def probabilities(self, raw: np.ndarray) -> np.ndarray:
        """(n, n_classes) probabilities from raw; (n, n_labels) for a multi-label task.

        Raises
        ------
        AttributeError
            If it predicts no classes.
        """
        raise AttributeError(f"a {self.kind} task has no probabilities: use predict.")

    def decide(self, raw: np.ndarray) -> np.ndarray:
        """Predicted classes, labels (n, n_labels) or values, as the user wrote them; or a risk."""
        raise NotImplementedError


def doubles(raw: np.ndarray) -> Tensor:
    """Raw predictions of any shape as float64."""
    return torch.as_tensor(np.asarray(raw, dtype=np.float64))


NOTHING = Task(kind="none", column="")
"""The task of a method that learns without a target."""
