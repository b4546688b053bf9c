"""Partial least squares regression."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from smalti.batch import Batch, Output, Shape
from smalti.core.settings import Count
from smalti.core.stage import Stage, Sweep, Training
from smalti.expression.base import ExpressionMethod, linear_map
from smalti.solve.leave_out import tuning_folds


class PLS(ExpressionMethod):
    """Partial least squares: directions of features that covary most with the genes together.

    The number of directions is tuned as the penalty of ridge is, by leaving donors out. Directions
    are nested, so one fit per donor answers for all numbers of them.
    """

    name: ClassVar[str] = "pls"
    reference: ClassVar[str] = "Wold, Sjöström & Eriksson (2001), Chemom. Intell. Lab. Syst. 58:109"
    cite: ClassVar[tuple[str, ...]] = ("wold2001",)

    components: Count | None = None  # directions; None: tuned
    most: Count = 12  # directions to tune over

    def network(self, shape: Shape) -> nn.Module:
        """One linear layer."""
        return _Linear(shape)

    def plan(self, shape: Shape) -> Iterator[Stage]:
        """The deflations, by scikit-learn."""

        def step(network: Any, training: Training) -> None:
            x, y = training.bags.table().astype(np.float64), training.target.astype(np.float64)
            k = self.components
            k = self._tuned(x, y, tuning_folds(training.bags)[0]) if k is None else k
            weights, bias = _path(x, y, k)[-1]
            linear_map(network, weights, bias)
            network.components.fill_(k)

        yield Sweep(step=step, name="pls")

    def _tuned(self, x: np.ndarray, y: np.ndarray, folds: np.ndarray) -> int:
        spread = ((y - y.mean(0)) ** 2).sum(0)
        error = np.zeros((self.most, y.shape[1]))
        for fold in np.unique(folds):
            out = folds == fold
            fits = _path(x[~out], y[~out], self.most)
            fits += [fits[-1]] * (self.most - len(fits))
            for i, (weight, bias) in enumerate(fits):
                error[i] += ((x[out] @ weight + bias - y[out]) ** 2).sum(0)
        known = spread > 1e-12
        if not known.any():
            return 1
        return int((error[:, known] / spread[known]).mean(1).argmin()) + 1

    @classmethod
    def example(cls) -> PLS:
        """As it is."""
        return cls(most=6)


def _path(x: np.ndarray, y: np.ndarray, most: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Weights (d, g) and intercept (g,) with 1, 2, ... directions."""
    from sklearn.cross_decomposition import PLSRegression

    keep = x.std(0) > 1e-9
    most = max(1, min(most, int(keep.sum()), len(x) - 1))
    model = PLSRegression(n_components=most, scale=True, tol=1e-4).fit(x[:, keep], y)
    mean, sd = x[:, keep].mean(0), x[:, keep].std(0, ddof=1)
    scale = np.where(y.std(0, ddof=1) > 0, y.std(0, ddof=1), 1.0)
    fits = []
    for k in range(1, most + 1):
        inner = model.x_rotations_[:, :k] @ model.y_loadings_[:, :k].T * scale
        weight = np.zeros((x.shape[1], y.shape[1]))
        weight[keep] = inner / sd[:, None]
        fits.append((weight, y.mean(0) - mean @ weight[keep]))
    return fits


class _Linear(nn.Module):
    components: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.linear = nn.Linear(shape.x[0], len(shape.outputs)).requires_grad_(False)
        self.register_buffer("components", torch.zeros((), dtype=torch.int64))

    def forward(self, batch: Batch) -> Output:
        return Output(self.linear(batch.x))
