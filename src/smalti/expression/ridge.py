"""Ridge regression, its penalty chosen by leaving one donor out at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from smalti.batch import Batch, Output, Shape
from smalti.core.settings import Weight
from smalti.core.stage import Stage, Sweep, Training
from smalti.expression.base import ExpressionMethod, linear_map
from smalti.solve.leave_out import tuning_folds
from smalti.solve.ridge import ALPHAS, ridge_path, tune, tune_each


class Ridge(ExpressionMethod):
    """Ridge regression on frozen features: the baseline that every network has to beat.

    Features are standardised, targets centred. The penalty is the one with the least squared error,
    relative to each gene's variance and averaged over genes, where each training donor is predicted
    from the others (slides where there is one donor; strips of the slide where there is one). All
    penalties come from one decomposition per donor (:mod:`smalti.solve.ridge`), each equal to a
    refit.

    Examples
    --------
    >>> import smalti as sm
    >>> slides = sm.datasets.planted_slides(4, 16, n_genes=12, seed=0)
    >>> slides
    Bags: 4 bags of 16-16 instances, X_planted 16, counts 12, 2 donors
    >>> train, test = slides[:2], slides[2:]  # two donors of two slides each
    >>> model = sm.expression.Ridge().fit(train)
    >>> model.predict(test).shape  # (n_tiles, n_genes)
    (32, 12)
    >>> model.predict(test, genes=["AAA1", "BBB1"]).shape
    (32, 2)
    """

    name: ClassVar[str] = "ridge"
    reference: ClassVar[str] = "Hoerl & Kennard (1970), Technometrics 12:55"
    cite: ClassVar[tuple[str, ...]] = ("hoerl1970",)
    baseline: ClassVar[bool] = True

    alpha: Weight | None = None  # penalty on standardised features; None: tuned
    alphas: tuple[Weight, ...] = ALPHAS  # to choose from
    per_gene: bool = False  # a penalty of each gene's own
    standardize: bool = True  # features to s.d. 1; components of a PCA keep their own without it

    def network(self, shape: Shape) -> nn.Module:
        """One linear layer."""
        return LinearNet(shape, len(self.alphas))

    def plan(self, shape: Shape) -> Iterator[Stage]:
        """The closed form."""

        def step(network: Any, training: Training) -> None:
            x, y = training.bags.table(), training.target
            alpha: Any = self.alpha
            if alpha is None:
                alpha, error = self._tuned(x, y, training)
                network.error.copy_(torch.as_tensor(error))
            network.alpha.copy_(torch.as_tensor(np.broadcast_to(alpha, y.shape[1]).copy()))
            linear_map(network, *ridge_path(x, y, standardize=self.standardize).solution(alpha))

        yield Sweep(step=step, name="ridge")

    def _tuned(self, x: np.ndarray, y: np.ndarray, training: Training) -> tuple[Any, np.ndarray]:
        folds = tuning_folds(training.bags)[0]
        error = tune(x, y, folds, self.alphas, standardize=self.standardize)
        common = self.alphas[int(error.argmin())]
        if not self.per_gene:
            return common, error
        each = tune_each(x, y, folds, self.alphas, standardize=self.standardize)
        known = np.isfinite(each).all(0)
        own = np.asarray(self.alphas)[np.where(known, each, 0).argmin(0)]
        return np.where(known, own, common), error

    @classmethod
    def example(cls) -> Ridge:
        """As it is."""
        return cls()


class LinearNet(nn.Module):
    """A linear map from features to genes; with the penalties, and the error of each in tuning."""

    alpha: Tensor  # (n_genes,)
    error: Tensor  # (n_alphas, n_genes)

    def __init__(self, shape: Shape, n_alphas: int) -> None:
        super().__init__()
        self.linear = nn.Linear(shape.x[0], len(shape.outputs)).requires_grad_(False)
        self.register_buffer("alpha", torch.zeros(len(shape.outputs)))
        self.register_buffer("error", torch.zeros(n_alphas))

    def forward(self, batch: Batch) -> Output:
        """(n_tiles, n_genes)."""
        return Output(self.linear(batch.x))
