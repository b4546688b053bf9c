"""Bilinear ridge: the closed form of predicting genes by their vectors."""

from __future__ import annotations

import dataclasses
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
    """Bilinear ridge: expression is features of the tile times vector of the gene.

    Of the features x of a tile and the vector t of a gene:

        y = x' W t

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
        """Standardise, tune fold by fold, solve."""
        t = unit_rows(self.known(shape.outputs).x.astype(np.float64))
        tuning = _Tuning(self, t)

        def solve(network: Any, training: Training) -> None:
            scale = network.scale
            x = training.bags.table()
            x = (x - scale.mean.numpy(force=True)) / scale.sd.numpy(force=True)
            tiles, genes = Side.of(x, standardize=True), Side.of(t, standardize=False)
            path = BilinearPath(tiles, genes, training.target)
            network.weight.copy_(torch.as_tensor(path.weights(*network.penalties.tolist())))

        yield standardize_sweep()
        yield Sweep(step=tuning.step, begin=tuning.begin, name="tuning")
        yield Sweep(step=solve, name="bilinear")

    @classmethod
    def example(cls) -> Bilinear:
        """Vectors that mean nothing still tell the seen genes apart."""
        return cls(vectors="random", beta=0.1, level=0.1)


class _Tuning:
    """Errors of all penalties, a fold of the tiles in each step; the last step chooses.

    ``t`` are (n_genes, width) vectors of the seen genes.
    """

    def __init__(self, method: Bilinear, t: np.ndarray) -> None:
        given = method.alpha, method.beta, method.level
        self.grids = tuple(method.alphas if p is None else (p,) for p in given)
        self.t = t
        self.parts = min(method.parts, len(t) // 2)
        self.error = np.zeros((len(self.grids[0]), len(self.grids[1])))
        self.level = np.zeros(len(self.grids[2]))

    def begin(self, stage: Sweep, training: Training) -> Sweep:
        """As many steps as there are folds; one, and no fold, where nothing is to be chosen."""
        self.folds, self.left, parts = tuning_folds(training.bags)[0], [], self.parts
        if max(map(len, self.grids)) > 1:
            if parts < 2:
                raise InputError(
                    f"bilinear: {len(self.t)} seen genes are too few to tune on; give alpha, beta "
                    "and level."
                )
            self.left = list(np.unique(self.folds))
            self.part = np.random.default_rng(0).permutation(len(self.t)) % parts
            self.genes = [Side.of(self.t[self.part != k], standardize=False) for k in range(parts)]
        return dataclasses.replace(stage, rounds=max(1, len(self.left)))

    def step(self, network: Any, training: Training) -> None:
        """The next fold, left out with each part of the genes in turn."""
        if self.left:
            out = self.folds == self.left.pop(0)
            self._add(training.bags.table(), training.target, out)
        if not self.left:
            at = *np.unravel_index(int(self.error.argmin()), self.error.shape), self.level.argmin()
            chosen = [grid[int(i)] for grid, i in zip(self.grids, at, strict=True)]
            network.penalties.copy_(torch.as_tensor(chosen))

    def _add(self, x: np.ndarray, y: np.ndarray, out: np.ndarray) -> None:
        tiles, (a, b, c) = Side.of(x[~out], standardize=True), self.grids
        for k, genes in enumerate(self.genes):
            hidden = self.part == k
            path, new = BilinearPath(tiles, genes, y[~out][:, ~hidden]), self.t[hidden]
            held = y[out][:, hidden]
            self.error += np.nan_to_num(path.errors(x[out], new, held, a, b))
            self.level += path.level_errors(new, held, c)


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
