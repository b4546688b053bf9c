"""Bilinear ridge: the closed form of predicting genes by their vectors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smalti.batch import Batch, Output, Shape
from smalti.core.settings import Count, Weight
from smalti.core.stage import Stage, Sweep, Training
from smalti.errors import InputError
from smalti.expression.zero_shot import ZeroShotMethod, unit_rows
from smalti.nn import Standardize
from smalti.nn.gene_table import GeneTable
from smalti.nn.scale import standardize_sweep
from smalti.solve.bilinear import BilinearPath, Side
from smalti.solve.leave_out import tuning_folds

ALPHAS = tuple(float(a) for a in np.logspace(-1, 7, 25))


class Bilinear(ZeroShotMethod):
    """Bilinear ridge: expression is features of the tile times vector of the gene, y = x W t.

    The zero-shot counterpart of ridge, and the baseline that every network for unseen genes has to
    beat. Features are standardised; vectors have length 1 and are centred on the seen genes. Both
    sides are regularised (:mod:`smalti.solve.bilinear`). The penalties are those with the least
    squared error about each gene's mean, relative to its variance, where donors (or slides, or
    strips) *and* a third of the seen genes are left out together; a penalty of its own, for the
    genes' mean levels, is chosen by the levels of the left-out genes.
    """

    name: ClassVar[str] = "bilinear"
    reference: ClassVar[str] = "Romera-Paredes & Torr (2015), ICML (ESZSL), as a regression"
    cite: ClassVar[tuple[str, ...]] = ("romeraparedes2015",)

    alpha: Weight | None = None  # penalty on features; None: tuned
    beta: Weight | None = None  # penalty on vectors of genes; None: tuned
    level: Weight | None = None  # the same, for the mean levels of genes; None: tuned
    alphas: tuple[Weight, ...] = ALPHAS  # to choose all three from
    parts: Count = 3  # of the seen genes, each left out once in tuning

    def network(self, shape: Shape) -> nn.Module:
        """The weights."""
        return _Net(shape)

    def plan(self, shape: Shape) -> Iterator[Stage]:
        """Standardise, tune, solve."""

        def step(network: Any, training: Training) -> None:
            scale = network.scale
            x = training.bags.table()
            x = (x - scale.mean.numpy(force=True)) / scale.sd.numpy(force=True)
            t = unit_rows(self.known(shape.outputs).x.astype(np.float64))
            y = training.target
            chosen = self._tuned(x, t, y, training)
            path = BilinearPath(Side.of(x, standardize=True), Side.of(t, standardize=False), y)
            network.weight.copy_(torch.as_tensor(path.weights(*chosen)))
            network.penalties.copy_(torch.as_tensor(chosen))

        yield standardize_sweep()
        yield Sweep(step=step, name="bilinear")

    def _tuned(
        self, x: np.ndarray, t: np.ndarray, y: np.ndarray, training: Training
    ) -> tuple[float, float, float]:
        """Penalties of tiles, genes and levels."""
        a = self.alphas if self.alpha is None else (self.alpha,)
        b = self.alphas if self.beta is None else (self.beta,)
        c = self.alphas if self.level is None else (self.level,)
        if len(a) == len(b) == len(c) == 1:
            return a[0], b[0], c[0]
        parts = min(self.parts, len(t) // 2)
        if parts < 2:
            raise InputError(
                f"bilinear: {len(t)} seen genes are too few to tune on; give alpha, beta and level."
            )
        folds = tuning_folds(training.bags)[0]
        part = np.random.default_rng(0).permutation(len(t)) % parts
        error, level = np.zeros((len(a), len(b))), np.zeros(len(c))
        genes = [Side.of(t[part != k], standardize=False) for k in range(parts)]
        for fold in np.unique(folds):
            out = folds == fold
            tiles = Side.of(x[~out], standardize=True)
            for k in range(parts):
                path = BilinearPath(tiles, genes[k], y[~out][:, part != k])
                held = y[out][:, part == k]
                error += np.nan_to_num(path.errors(x[out], t[part == k], held, a, b))
                level += path.level_errors(t[part == k], held, c)
        i, j = np.unravel_index(int(error.argmin()), error.shape)
        return float(a[i]), float(b[j]), float(c[int(level.argmin())])

    @classmethod
    def example(cls) -> Bilinear:
        """Vectors that mean nothing still tell the seen genes apart."""
        return cls(vectors="random", beta=0.1, level=0.1)


class _Net(nn.Module):
    penalties: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.scale = Standardize(shape.x)
        weight = torch.zeros(shape.x[0] + 1, shape.meaning[0] + 1)
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.register_buffer("penalties", torch.zeros(3))

    def genes(self, table: GeneTable) -> Tensor:
        """(n_features + 1, g) weights of each gene, the intercept last."""
        t = F.normalize(table.x, dim=1)
        return self.weight[:, :-1] @ t.t() + self.weight[:, -1:]

    def forward(self, batch: Batch) -> Output:
        weight = batch.genes
        return Output(torch.addmm(weight[-1], self.scale(batch.x), weight[:-1]))
