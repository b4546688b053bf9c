"""``Task``: what is predicted, and the only place that knows losses, scales and default metrics.

A network returns ``raw`` numbers, ``n_outputs`` per target unit. What they mean, how they are
scored against the truth and how they become probabilities is decided here:

==============  =======================  ===========================================  ============
kind            raw                      loss                                         default score
==============  =======================  ===========================================  ============
binary          logit of the positive    Bernoulli negative log likelihood            roc_auc
multiclass      logit of each class      categorical negative log likelihood          roc_auc
multilabel      logit of each label      Bernoulli negative log likelihood, summed    roc_auc
ordinal         logits of P(y > k)       cumulative-logit negative log likelihood     spearman
binomial        logit of each count      binomial negative log likelihood, summed     spearman
regression      standardised value       squared error / 2                            r2
==============  =======================  ===========================================  ============
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smalti.errors import InputError
from smalti.labels import (
    check_kind,
    check_said,
    clean,
    in_order,
    is_numeric,
    kind_of,
    may_be_graded,
    positive_last,
)  # fmt: skip

_SCORE = {"binary": "roc_auc", "multiclass": "roc_auc", "multilabel": "roc_auc",
          "ordinal": "spearman", "binomial": "spearman", "regression": "r2"}  # fmt: skip


_SEVERAL = "Several at once are kind='multilabel' (each 0 or 1) or kind='binomial' (counts)."


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """The target of a fit.

    Attributes
    ----------
    kind
        One of "binary", "multiclass", "multilabel", "ordinal", "binomial", "regression".
    column
        Where the target stands; several columns for multi-label and, if wanted, binomial.
    classes
        The classes in order (binary: the positive one last; multi-class: sorted; ordinal: from
        the least to the most), or the names of the columns (multi-label, binomial).
    center, scale
        Mean and standard deviation of a regression target in the training bags.
    trials
        n of a binomial target: each value counts successes among n, e.g. 2 for a genotype dosage.
    """

    kind: str
    column: str | tuple[str, ...] = "target"
    classes: tuple[Any, ...] = ()
    center: float = 0.0
    scale: float = 1.0
    trials: int = 1

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
        multi-label one, all else a multi-class one. A binomial task is never inferred; its number
        of trials is the largest value, at least 2. The rules are in :mod:`smalti.labels`.

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
        if kind == "binomial" or np.ndim(labels) == 2:
            check_said(kind or "multilabel", positive, order, what)
            if kind == "binomial":
                return cls._binomial(labels, column)
            if kind not in (None, "multilabel"):
                raise InputError(
                    f"{what} has {np.shape(labels)[1]} columns, and a {kind} target is one: name "
                    f"one of them. {_SEVERAL}"
                )
            return cls._multilabel(np.asarray(labels), column)
        series = clean(labels, what)
        values, said = in_order(series, order, what)
        if len(values) < 2:
            raise InputError(
                f"{what} is constant ({values[0]!r} in all {len(series)} bags), one class only: "
                "there is nothing to learn. Choose another column, or more bags."
            )
        kind = kind or kind_of(series, values, said, what)
        check_said(kind, positive, order, what)
        if kind == "regression":
            if not is_numeric(series):
                raise InputError(
                    f"Unknown label type: {what} is not numeric, so it cannot be regressed on."
                )
            y = series.to_numpy(float)
            return cls(kind=kind, column=column, center=float(y.mean()), scale=float(y.std()))
        if kind == "binary" and len(values) != 2:
            raise InputError(f"{what} has {len(values)} classes {values[:5]}: not binary.")
        if kind == "multilabel":
            raise InputError(f"{what} is one column; multilabel needs one column per label.")
        if kind == "ordinal":
            may_be_graded(values, said, what)
        if kind == "binary":
            values = list(positive_last(values, positive, said, what))
        return cls(kind=kind, column=column, classes=tuple(values))

    @classmethod
    def _multilabel(cls, y: np.ndarray, column: str | tuple[str, ...]) -> Task:
        names = column if isinstance(column, tuple) else tuple(str(j) for j in range(y.shape[1]))
        if pd.isna(y).any():
            raise InputError(f"labels {names} contain NaN: fill them in, or drop these bags.")
        for name, values in zip(names, y.T, strict=True):
            if not np.isin(values.astype(object), (0, 1)).all():
                raise InputError(f"label {name!r} must be 0 or 1 in a multi-label task. {_SEVERAL}")
            if len(np.unique(values.astype(float))) < 2:
                raise InputError(f"label {name!r} is constant in all bags: leave it out.")
        return cls(kind="multilabel", column=column, classes=names)

    @classmethod
    def _binomial(cls, labels: Any, column: str | tuple[str, ...]) -> Task:
        y = np.asarray(labels)
        try:
            y = y.reshape(len(y), -1).astype(float)
        except (TypeError, ValueError) as error:
            raise InputError(f"target {column!r} is not numeric: binomial needs counts.") from error
        if isinstance(column, tuple):
            names = column
        else:
            names = (column,) if y.shape[1] == 1 else tuple(map(str, range(y.shape[1])))
        for name, values in zip(names, y.T, strict=True):
            if np.isnan(values).any():
                raise InputError(f"target {name!r} is missing for some bags: drop them.")
            if (values < 0).any() or (values != values.round()).any():
                raise InputError(f"target {name!r} must be whole numbers from 0: binomial counts.")
            if len(np.unique(values)) < 2:
                raise InputError(f"target {name!r} is constant in all bags: leave it out.")
        return cls(kind="binomial", column=column, classes=names, trials=max(2, int(y.max())))

    # ---------------------------------------------------------------- shape

    @property
    def n_outputs(self) -> int:
        """Width of ``raw``."""
        return {
            "multiclass": len(self.classes),
            "multilabel": len(self.classes),
            "binomial": len(self.classes),
            "ordinal": len(self.classes) - 1,
        }.get(self.kind, 1)

    @property
    def is_classifier(self) -> bool:
        """Whether the target is a class (or ordered class, or several labels)."""
        return self.kind not in ("regression", "binomial", "none")

    @property
    def positive(self) -> Any:
        """The class that a binary task finds, the last; None of other kinds."""
        return self.classes[1] if self.kind == "binary" else None

    @property
    def sorted_classes(self) -> np.ndarray:
        """(n_classes,) sorted, as scikit-learn wants them; names of labels as they stand."""
        classes = np.asarray(self.classes)
        return classes if self.kind == "multilabel" else np.sort(classes)

    @property
    def several(self) -> bool:
        """Whether a bag has several values, one per column."""
        return self.kind == "multilabel" or (self.kind == "binomial" and len(self.classes) > 1)

    @property
    def metric(self) -> str:
        """Name of the default score, higher is better."""
        return _SCORE[self.kind]

    def describe(self, labels: np.ndarray) -> str:
        """One line for people: ``disease: binary (27 control, 23 case; positive: case)``.

        ``labels`` are those of the bags, as the user wrote them: (n,), or (n, n_labels).
        """
        name = self.column if isinstance(self.column, str) else ", ".join(self.column)
        if self.kind == "regression":
            values = np.asarray(labels, dtype=float)
            return f"{name}: regression ({values.min():.3g} to {values.max():.3g})"
        if self.kind == "binomial":
            return f"{name}: binomial ({len(self.classes)} x 0 to {self.trials})"
        if self.kind == "multilabel":
            counts = np.asarray(labels, dtype=int).sum(0)
        else:
            counts = np.bincount(self._codes(labels), minlength=len(self.classes))
        between = " < " if self.kind == "ordinal" else ", "
        text = between.join(f"{n} {c}" for n, c in zip(counts, self.classes, strict=True))
        text += f"; positive: {self.positive}" if self.kind == "binary" else ""
        return f"{name}: {self.kind} ({text})"

    def alone(self, labels: Any) -> list[Any]:
        """Classes that one bag only is of; ``labels`` (n,) are those of the bags."""
        if self.kind not in ("binary", "multiclass", "ordinal"):
            return []
        counts = np.bincount(self._codes(labels), minlength=len(self.classes))
        return [c for c, n in zip(self.classes, counts, strict=True) if n == 1]

    # ---------------------------------------------------------------- targets

    def _codes(self, labels: Any) -> np.ndarray:
        place = {c: i for i, c in enumerate(self.classes)}
        values = np.asarray(labels, dtype=object).tolist()
        unknown = sorted({str(v) for v in values if v not in place})
        if unknown:
            raise InputError(
                f"target {self.column!r} holds {unknown[:3]}, unknown in training; the classes are "
                f"{list(self.classes)}."
            )
        return np.array([place[v] for v in values], dtype=np.int64)

    def encode(self, labels: Any) -> np.ndarray:
        """Labels as numbers for :meth:`loss`.

        Class codes (n,) int64; labels or counts (n, n_labels) float32; standardised values (n,)
        float32.
        """
        if self.kind == "binomial":
            return np.asarray(labels, dtype=np.float32).reshape(-1, len(self.classes))
        if self.kind == "regression":
            return ((np.asarray(labels, dtype=float) - self.center) / self.scale).astype(np.float32)
        if self.kind == "multilabel":
            return np.asarray(labels, dtype=np.float32)
        return self._codes(labels)

    def strata(self, labels: Any) -> np.ndarray:
        """(n,) groups that a stratified split should keep in proportion."""
        if self.kind in ("regression", "binomial"):
            values = np.asarray(labels, dtype=float).reshape(len(labels), -1).sum(1)
            return np.searchsorted(np.quantile(values, [0.25, 0.5, 0.75]), values)
        if self.kind == "multilabel":
            return np.unique(np.asarray(labels, dtype=int), axis=0, return_inverse=True)[1].ravel()
        return self._codes(labels)

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
        if classes is None:
            return np.ones(len(labels), dtype=np.float32)
        if self.kind in ("regression", "multilabel", "binomial"):
            raise InputError(f"class_weight has no meaning for a {self.kind} target.")
        codes = self._codes(labels)
        if isinstance(classes, Mapping):
            unknown = [c for c in classes if c not in self.classes]
            if unknown and len(unknown) == len(classes):
                raise InputError(f"class_weight names {unknown}, the classes are {self.classes}.")
            return np.array([classes.get(c, 1.0) for c in self.classes], np.float32)[codes]
        if classes != "balanced":
            raise InputError(f"class_weight={classes!r} is not None, 'balanced' or a mapping.")
        counts = np.bincount(codes, minlength=len(self.classes))
        return (len(codes) / (np.count_nonzero(counts) * counts[codes])).astype(np.float32)

    # ---------------------------------------------------------------- networks

    def head(self, width: int) -> nn.Module:
        """Map an embedding of ``width`` to ``raw``: linear, or ordered thresholds if ordinal."""
        layer = _Ordered if self.kind == "ordinal" else nn.Linear
        return layer(width, self.n_outputs)

    def loss(self, raw: Tensor, target: Tensor) -> Tensor:
        """Loss of each unit: raw (n, n_outputs) and encoded target to (n,)."""
        if self.kind == "binary":
            return F.binary_cross_entropy_with_logits(
                raw.squeeze(1), target.to(raw.dtype), reduction="none"
            )
        if self.kind == "multiclass":
            return F.cross_entropy(raw, target, reduction="none")
        if self.kind == "multilabel":
            return F.binary_cross_entropy_with_logits(
                raw, target.to(raw.dtype), reduction="none"
            ).sum(1)
        if self.kind == "binomial":  # without the binomial coefficient, which no weight changes
            y = target.to(raw.dtype)
            return -(y * F.logsigmoid(raw) + (self.trials - y) * F.logsigmoid(-raw)).sum(1)
        if self.kind == "ordinal":
            # p(y = k) = s(raw_{k-1}) - s(raw_k); the logs are taken without cancelling
            return -_ordinal_log_p(raw).gather(1, target[:, None])[:, 0]
        return 0.5 * torch.square(raw[:, 0] - target.to(raw.dtype))

    def values(self, raw: Tensor) -> Tensor:
        """Put raw numbers (n, n_outputs) on the scale on which a mean has a meaning; same shape.

        Probabilities for the classes (cumulative ones if ordinal), the value itself otherwise.
        Inverse of :meth:`raw`.
        """
        if self.kind == "multiclass":
            return raw.softmax(1)
        return raw if self.kind == "regression" else raw.sigmoid()

    def raw(self, values: Tensor) -> Tensor:
        """Inverse of :meth:`values`, (n, n_outputs) too.

        Probabilities are kept off 0 and 1 by 1e-6.
        """
        if self.kind == "regression":
            return values
        if self.kind == "multiclass":
            return values.clamp(min=1e-6).log()
        return values.clamp(1e-6, 1 - 1e-6).logit()

    # ---------------------------------------------------------------- predictions

    def probabilities(self, raw: np.ndarray) -> np.ndarray:
        """(n, n_classes) probabilities from raw; (n, n_labels) for a multi-label task."""
        if not self.is_classifier:
            raise AttributeError(f"a {self.kind} task has no probabilities: use predict.")
        tensor = torch.as_tensor(np.asarray(raw, dtype=np.float64))
        if self.kind == "ordinal":
            return _ordinal_log_p(tensor).exp().numpy()
        p = self.values(tensor).numpy()
        return np.column_stack([1 - p[:, 0], p[:, 0]]) if self.kind == "binary" else p

    def decide(self, raw: np.ndarray) -> np.ndarray:
        """Predicted classes, labels (n, n_labels) or values, as the user wrote them."""
        if self.kind == "regression":
            return np.asarray(raw, dtype=float)[:, 0] * self.scale + self.center
        if self.kind == "binomial":  # the expected count
            p = torch.as_tensor(np.asarray(raw, dtype=np.float64)).sigmoid().numpy() * self.trials
            return p if self.several else p[:, 0]
        if self.kind == "multilabel":
            return (np.asarray(raw) > 0).astype(int)
        if self.kind == "binary":
            codes = (np.asarray(raw)[:, 0] > 0).astype(int)
        else:
            codes = self.probabilities(raw).argmax(1)
        return np.asarray(self.classes)[codes]


def _ordinal_log_p(raw: Tensor) -> Tensor:
    """Log probability of each of K ordered classes from K - 1 falling logits of P(y > k)."""
    above = F.pad(raw, (1, 0), value=1e4)  # P(y > -1) = 1
    below = F.pad(raw, (0, 1), value=-1e4)  # P(y > K - 1) = 0
    # log(s(a) - s(b)) = log s(a) + log s(-b) + log(1 - exp(b - a))
    gap = (above - below).clamp(min=1e-6)
    return F.logsigmoid(above) + F.logsigmoid(-below) + torch.log(-torch.expm1(-gap))


class _Ordered(nn.Module):
    """Proportional odds (McCullagh 1980): one score, thresholds that cannot cross."""

    def __init__(self, width: int, n: int) -> None:
        super().__init__()
        self.score = nn.Linear(width, 1, bias=False)
        self.first = nn.Parameter(torch.tensor([0.5 * (n - 1)]))
        self.steps = nn.Parameter(torch.full((n - 1,), 0.5413))  # softplus(0.5413) = 1

    def forward(self, z: Tensor) -> Tensor:
        steps = F.pad(F.softplus(self.steps).cumsum(0), (1, 0))
        return self.score(z) + self.first - steps


NOTHING = Task(kind="none", column="")
"""The task of a method that learns without a target."""
