"""Several labels of a bag, each there or not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch.nn.functional as F
from torch import Tensor

from smalti.errors import InputError
from smalti.task.base import SEVERAL, Task, doubles


class Multilabel(Task, of="multilabel"):
    """Several labels, each 0 or 1; ``raw`` is the logit of each."""

    metric = "roc_auc"
    is_classifier = True
    needs = "one column per label"

    @classmethod
    def of_columns(cls, labels: Any, column: str | tuple[str, ...]) -> Task:
        """Of columns that hold 0 and 1, (n, n_labels)."""
        y = np.asarray(labels)
        names = column if isinstance(column, tuple) else tuple(str(j) for j in range(y.shape[1]))
        if pd.isna(y).any():
            raise InputError(f"labels {names} contain NaN: fill them in, or drop these bags.")
        for name, values in zip(names, y.T, strict=True):
            if not np.isin(values.astype(object), (0, 1)).all():
                raise InputError(f"label {name!r} must be 0 or 1 in a multi-label task. {SEVERAL}")
            if len(np.unique(values.astype(float))) < 2:
                raise InputError(f"label {name!r} is constant in all bags: leave it out.")
        return cls(kind="multilabel", column=column, classes=names)

    @property
    def n_outputs(self) -> int:
        """One for each label."""
        return len(self.classes)

    @property
    def sorted_classes(self) -> np.ndarray:
        """(n_labels,) names as they stand."""
        return np.asarray(self.classes)

    @property
    def several(self) -> bool:
        """Whether a bag has several values."""
        return True

    def describe(self, labels: np.ndarray) -> str:
        """How many bags have each label."""
        counts = np.asarray(labels, dtype=int).sum(0)
        text = ", ".join(f"{n} {c}" for n, c in zip(counts, self.classes, strict=True))
        return f"{self.name}: {self.kind} ({text})"

    def encode(self, labels: Any) -> np.ndarray:
        """As they are, (n, n_labels) float32."""
        return np.asarray(labels, dtype=np.float32)

    def strata(self, labels: Any) -> np.ndarray:
        """Bags that share all labels, (n,)."""
        return np.unique(np.asarray(labels, dtype=int), axis=0, return_inverse=True)[1].ravel()

    def loss(self, raw: Tensor, target: Tensor) -> Tensor:
        """Bernoulli negative log likelihood, summed over the labels, (n,)."""
        return F.binary_cross_entropy_with_logits(raw, target.to(raw.dtype), reduction="none").sum(
            1
        )

    def probabilities(self, raw: np.ndarray) -> np.ndarray:
        """Of each label, (n, n_labels)."""
        return self.values(doubles(raw)).numpy()

    def decide(self, raw: np.ndarray) -> np.ndarray:
        """1 where the logit is above 0, (n, n_labels)."""
        return (np.asarray(raw) > 0).astype(int)
