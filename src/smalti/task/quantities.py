"""Numbers: a real value, or counts among so many trials."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from smalti.errors import InputError
from smalti.labels import is_numeric
from smalti.task.base import Task, doubles


def quartiles(values: np.ndarray) -> np.ndarray:
    """(n,) the quarter of the range of ranks that each value falls in, from 0."""
    return np.searchsorted(np.quantile(values, [0.25, 0.5, 0.75]), values)


class Regression(Task, of="regression"):
    """A real number; ``raw`` is the value, standardised by the training bags."""

    metric = "r2"

    @classmethod
    def of_labels(
        cls, series: pd.Series, values: list[Any], said: bool, positive: Any,
        column: str | tuple[str, ...],
    ) -> Task:  # fmt: skip
        """Of numbers."""
        if not is_numeric(series):
            raise InputError(
                f"Unknown label type: target {column!r} is not numeric, so it cannot be regressed "
                "on."
            )
        y = series.to_numpy(float)
        return cls(kind="regression", column=column, center=float(y.mean()), scale=float(y.std()))

    def describe(self, labels: np.ndarray) -> str:
        """From what to what."""
        values = np.asarray(labels, dtype=float)
        return f"{self.name}: regression ({values.min():.3g} to {values.max():.3g})"

    def encode(self, labels: Any) -> np.ndarray:
        """Standardised, (n,) float32."""
        return ((np.asarray(labels, dtype=float) - self.center) / self.scale).astype(np.float32)

    def strata(self, labels: Any) -> np.ndarray:
        """Quartiles."""
        return quartiles(np.asarray(labels, dtype=float))

    def loss(self, raw: Tensor, target: Tensor) -> Tensor:
        """Half the squared error, (n,)."""
        return 0.5 * torch.square(raw[:, 0] - target.to(raw.dtype))

    def values(self, raw: Tensor) -> Tensor:
        """As they are, (n, 1)."""
        return raw

    def raw(self, values: Tensor) -> Tensor:
        """As they are, (n, 1)."""
        return values

    def decide(self, raw: np.ndarray) -> np.ndarray:
        """In the user's unit, (n,)."""
        return np.asarray(raw, dtype=float)[:, 0] * self.scale + self.center


class Binomial(Task, of="binomial"):
    """Successes among ``trials``, of one column or several; ``raw`` is the logit of each."""

    metric = "spearman"

    @classmethod
    def of_columns(cls, labels: Any, column: str | tuple[str, ...]) -> Task:
        """Of whole numbers from 0, (n,) or (n, n_columns)."""
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

    @property
    def n_outputs(self) -> int:
        """One for each column."""
        return len(self.classes)

    @property
    def several(self) -> bool:
        """Whether a bag has several values."""
        return len(self.classes) > 1

    def describe(self, labels: np.ndarray) -> str:
        """How many columns, and of what range."""
        return f"{self.name}: binomial ({len(self.classes)} x 0 to {self.trials})"

    def encode(self, labels: Any) -> np.ndarray:
        """Counts, (n, n_columns) float32."""
        return np.asarray(labels, dtype=np.float32).reshape(-1, len(self.classes))

    def strata(self, labels: Any) -> np.ndarray:
        """Quartiles of the sum of the columns."""
        return quartiles(np.asarray(labels, dtype=float).reshape(len(labels), -1).sum(1))

    def loss(self, raw: Tensor, target: Tensor) -> Tensor:
        """Binomial negative log likelihood, summed over the columns, (n,)."""
        y = target.to(raw.dtype)  # without the binomial coefficient, which no weight changes
        # y logs(raw) + (m - y) logs(-raw), with logs(-raw) = logs(raw) - raw
        return ((self.trials - y) * raw - self.trials * F.logsigmoid(raw)).sum(1)

    def decide(self, raw: np.ndarray) -> np.ndarray:
        """The expected count, (n,) or (n, n_columns)."""
        p = doubles(raw).sigmoid().numpy() * self.trials
        return p if self.several else p[:, 0]
