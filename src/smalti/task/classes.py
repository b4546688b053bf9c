"""One class of two, or one of several."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import torch.nn.functional as F
from torch import Tensor

from smalti.errors import InputError
from smalti.labels import positive_last
from smalti.task.base import Task, doubles


class Classes(Task):
    """A bag is of one of some classes."""

    metric = "roc_auc"
    is_classifier = True

    @classmethod
    def of_labels(
        cls, series: pd.Series, values: list[Any], said: bool, positive: Any,
        column: str | tuple[str, ...],
    ) -> Task:  # fmt: skip
        """Of labels, in their order."""
        return cls(kind=cls.of, column=column, classes=tuple(values))

    def describe(self, labels: np.ndarray) -> str:
        """How many bags are of each class."""
        counts = np.bincount(self.encode(labels), minlength=len(self.classes))
        text = self._between.join(f"{n} {c}" for n, c in zip(counts, self.classes, strict=True))
        text += f"; positive: {self.positive}" if self.positive is not None else ""
        return f"{self.name}: {self.kind} ({text})"

    _between = ", "

    def alone(self, labels: Any) -> list[Any]:
        """Classes that one bag only is of."""
        counts = np.bincount(self.encode(labels), minlength=len(self.classes))
        return [c for c, n in zip(self.classes, counts, strict=True) if n == 1]

    def encode(self, labels: Any) -> np.ndarray:
        """Codes of the classes, (n,) int64.

        Raises
        ------
        InputError
            If a label is none of them.
        """
        place = {c: i for i, c in enumerate(self.classes)}
        values = np.asarray(labels, dtype=object).tolist()
        unknown = sorted({str(v) for v in values if v not in place})
        if unknown:
            raise InputError(
                f"target {self.column!r} holds {unknown[:3]}, unknown in training; the classes are "
                f"{list(self.classes)}."
            )
        return np.array([place[v] for v in values], dtype=np.int64)

    def strata(self, labels: Any) -> np.ndarray:
        """The classes."""
        return self.encode(labels)

    def weights(self, labels: Any, classes: Any) -> np.ndarray:
        """By class, (n,)."""
        if classes is None:
            return super().weights(labels, classes)
        codes = self.encode(labels)
        if isinstance(classes, Mapping):
            unknown = [c for c in classes if c not in self.classes]
            if unknown and len(unknown) == len(classes):
                raise InputError(f"class_weight names {unknown}, the classes are {self.classes}.")
            return np.array([classes.get(c, 1.0) for c in self.classes], np.float32)[codes]
        if classes != "balanced":
            raise InputError(f"class_weight={classes!r} is not None, 'balanced' or a mapping.")
        counts = np.bincount(codes, minlength=len(self.classes))
        return (len(codes) / (np.count_nonzero(counts) * counts[codes])).astype(np.float32)

    def decide(self, raw: np.ndarray) -> np.ndarray:
        """The likeliest class, (n,)."""
        return np.asarray(self.classes)[self.probabilities(raw).argmax(1)]


class Binary(Classes, of="binary"):
    """One class of two; ``raw`` is the logit of the positive one."""

    @classmethod
    def of_labels(
        cls, series: pd.Series, values: list[Any], said: bool, positive: Any,
        column: str | tuple[str, ...],
    ) -> Task:  # fmt: skip
        """Of two labels, the positive one last."""
        what = f"target {column!r}"
        if len(values) != 2:
            raise InputError(f"{what} has {len(values)} classes {values[:5]}: not binary.")
        return super().of_labels(
            series, list(positive_last(values, positive, said, what)), said, positive, column
        )

    @property
    def positive(self) -> Any:
        """The class that it finds, the last."""
        return self.classes[1]

    def loss(self, raw: Tensor, target: Tensor) -> Tensor:
        """Bernoulli negative log likelihood, (n,)."""
        return F.binary_cross_entropy_with_logits(
            raw.squeeze(1), target.to(raw.dtype), reduction="none"
        )

    def probabilities(self, raw: np.ndarray) -> np.ndarray:
        """Of both classes, (n, 2)."""
        p = self.values(doubles(raw)).numpy()
        return np.column_stack([1 - p[:, 0], p[:, 0]])

    def decide(self, raw: np.ndarray) -> np.ndarray:
        """The positive class where its logit is above 0, (n,)."""
        return np.asarray(self.classes)[(np.asarray(raw)[:, 0] > 0).astype(int)]


class Multiclass(Classes, of="multiclass"):
    """One class of several; ``raw`` are their logits."""

    @property
    def n_outputs(self) -> int:
        """One for each class."""
        return len(self.classes)

    def loss(self, raw: Tensor, target: Tensor) -> Tensor:
        """Categorical negative log likelihood, (n,)."""
        return F.cross_entropy(raw, target, reduction="none")

    def values(self, raw: Tensor) -> Tensor:
        """Probabilities, (n, n_classes)."""
        return raw.softmax(1)

    def raw(self, values: Tensor) -> Tensor:
        """Their logarithms, (n, n_classes)."""
        return values.clamp(min=1e-6).log()

    def probabilities(self, raw: np.ndarray) -> np.ndarray:
        """Of the classes, (n, n_classes)."""
        return self.values(doubles(raw)).numpy()
