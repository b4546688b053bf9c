"""Classes with an order: grades, stages."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smalti.labels import may_be_graded
from smalti.task.base import Task, doubles
from smalti.task.classes import Classes


class Ordinal(Classes, of="ordinal"):
    """One of several classes with an order; ``raw`` are the K - 1 falling logits of P(y > k)."""

    metric = "spearman"
    _between = " < "

    @classmethod
    def of_labels(
        cls, series: pd.Series, values: list[Any], said: bool, positive: Any,
        column: str | tuple[str, ...],
    ) -> Task:  # fmt: skip
        """Of labels that are numbers, or whose order was said."""
        may_be_graded(values, said, f"target {column!r}")
        return super().of_labels(series, values, said, positive, column)

    @property
    def n_outputs(self) -> int:
        """One for each threshold."""
        return len(self.classes) - 1

    def head(self, width: int) -> nn.Module:
        """One score, thresholds in order."""
        return Ordered(width, self.n_outputs)

    def loss(self, raw: Tensor, target: Tensor) -> Tensor:
        """Cumulative-logit negative log likelihood, (n,)."""
        # p(y = k) = s(raw_{k-1}) - s(raw_k); the logs are taken without cancelling
        return -_log_p(raw).gather(1, target[:, None])[:, 0]

    def probabilities(self, raw: np.ndarray) -> np.ndarray:
        """Of the classes, (n, n_classes)."""
        return _log_p(doubles(raw)).exp().numpy()


def _log_p(raw: Tensor) -> Tensor:
    """Log probability of each of K ordered classes from K - 1 falling logits of P(y > k)."""
    above = F.pad(raw, (1, 0), value=1e4)  # P(y > -1) = 1
    below = F.pad(raw, (0, 1), value=-1e4)  # P(y > K - 1) = 0
    # log(s(a) - s(b)) = log s(a) + log s(-b) + log(1 - exp(b - a))
    gap = (above - below).clamp(min=1e-6)
    return F.logsigmoid(above) + F.logsigmoid(-below) + torch.log(-torch.expm1(-gap))


class Ordered(nn.Module):
    """Proportional odds (McCullagh 1980): one score, thresholds that cannot cross.

    Parameters
    ----------
    width
        Of the embedding that it reads.
    n
        Number of thresholds.
    """

    def __init__(self, width: int, n: int) -> None:
        super().__init__()
        self.score = nn.Linear(width, 1, bias=False)
        self.first = nn.Parameter(torch.tensor([0.5 * (n - 1)]))
        self.steps = nn.Parameter(torch.full((n - 1,), 0.5413))  # softplus(0.5413) = 1

    def forward(self, z: Tensor) -> Tensor:
        """(n_bags, width) embeddings to (n_bags, n) falling logits."""
        steps = F.pad(F.softplus(self.steps).cumsum(0), (1, 0))
        return self.score(z) + self.first - steps
