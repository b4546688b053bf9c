"""The nearest seen gene: a control."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smalti.batch import Batch, Output, Shape
from smalti.core.settings import Count, Weight
from smalti.core.stage import Stage, Sweep, Training
from smalti.expression.base import linear_map
from smalti.expression.zero_shot import ZeroShotMethod
from smalti.nn.gene_graph import nearest_genes
from smalti.nn.gene_table import GeneTable
from smalti.solve.leave_out import tuning_folds
from smalti.solve.ridge import ALPHAS, ridge_path, tune


class NearestGene(ZeroShotMethod):
    """A gene is predicted as ridge predicts the seen genes whose vectors are most like its own.

    What a look into the neighbourhood is worth, without learning how meaning and morphology go
    together. ``k=None`` takes the mean of all seen genes, so that nothing of the gene is used: what
    every gene shares, cellularity for one. A seen gene is predicted as itself.
    """

    name: ClassVar[str] = "nearest_gene"
    reference: ClassVar[str] = "control"

    k: Count | None = 1  # seen genes whose predictions are averaged; None: all of them
    alpha: Weight | None = None  # penalty of ridge; None: tuned
    alphas: tuple[Weight, ...] = ALPHAS  # to choose from

    def network(self, shape: Shape) -> nn.Module:
        """One linear layer to the seen genes."""
        return _Net(self, shape)

    def plan(self, shape: Shape) -> Iterator[Stage]:
        """The closed form."""

        def step(network: Any, training: Training) -> None:
            x, y = training.bags.table(), training.target
            alpha = self.alpha
            if alpha is None:
                error = tune(x, y, tuning_folds(training.bags)[0], self.alphas)
                alpha = self.alphas[int(error.argmin())]
            linear_map(network, *ridge_path(x, y).solution(alpha))

        yield Sweep(step=step, name="ridge")

    @classmethod
    def example(cls) -> NearestGene:
        """Vectors that mean nothing still tell the seen genes apart."""
        return cls(vectors="random")


class _Net(nn.Module):
    def __init__(self, method: NearestGene, shape: Shape) -> None:
        super().__init__()
        self.k = method.k
        self.linear = nn.Linear(shape.x[0], len(shape.outputs)).requires_grad_(False)

    def genes(self, table: GeneTable) -> tuple[Tensor, Tensor]:
        """(g, n_features) weights and (g,) intercepts of each gene."""
        weight, bias, seen = self.linear.weight, self.linear.bias, table.seen
        if self.k is None:
            w, b = weight.mean(0).expand(len(table), -1), bias.mean().expand(len(table))
        else:
            center = seen.x.mean(0)
            k = min(self.k, len(seen))
            near = nearest_genes(table.x - center, seen.x - center, k)
            w = torch.stack([weight[own] for own in near.t()]).mean(0)
            b = bias[near].mean(1)
        own, mine = table.own.clamp(min=0), table.own >= 0
        return torch.where(mine[:, None], weight[own], w), torch.where(mine, bias[own], b)

    def forward(self, batch: Batch) -> Output:
        weight, bias = batch.genes
        return Output(F.linear(batch.x, weight, bias))
