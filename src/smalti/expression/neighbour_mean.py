"""The mean of the measured neighbours: a control."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from smalti.batch import Batch, Output, Shape
from smalti.core.settings import Count
from smalti.core.stage import Stage, Sweep, Training
from smalti.expression.base import ExpressionMethod
from smalti.genes.units import gene_positions


class NeighbourMean(ExpressionMethod):
    """The mean measured expression of the nearest spots of the same slide: how smooth a gene is.

    It looks at the measured expression of the slide that it predicts (never of the spot itself), so
    it is no prediction but a yardstick: what interpolation would give where half were measured.
    """

    name: ClassVar[str] = "neighbour_mean"
    reference: ClassVar[str] = "control"
    baseline: ClassVar[bool] = True
    oracle: ClassVar[bool] = True
    slides: ClassVar[bool] = True
    positions: ClassVar[bool] = True

    k: Count = 6  # nearest spots

    def network(self, shape: Shape) -> nn.Module:
        """Which columns to average, and the training means for a spot without neighbours."""
        return _Neighbours(self, shape)

    def plan(self, shape: Shape) -> Iterator[Stage]:
        """Note columns and means."""

        def step(network: Any, training: Training) -> None:
            name = next(iter(training.bags.x))
            at = gene_positions(training.bags, shape.outputs, name)
            network.at.copy_(torch.as_tensor(at))
            network.mean.copy_(torch.as_tensor(training.target.mean(0, dtype="float64")))

        yield Sweep(step=step, name="columns")

    @classmethod
    def example(cls) -> NeighbourMean:
        """As it is."""
        return cls()


class _Neighbours(nn.Module):
    at: Tensor
    mean: Tensor

    def __init__(self, method: NeighbourMean, shape: Shape) -> None:
        super().__init__()
        self.k, self.units = method.k, method.units
        self.register_buffer("at", torch.zeros(len(shape.outputs), dtype=torch.int64))
        self.register_buffer("mean", torch.zeros(len(shape.outputs)))

    def forward(self, batch: Batch) -> Output:
        x = batch.x
        if self.units == "log1p_cp10k":
            x = x * (1e4 / x.sum(1, keepdim=True).clamp(min=1e-12))
        x = x.index_select(1, self.at)
        x = x if self.units == "given" else x.log1p()
        raw = self.mean.expand(len(x), -1).clone()
        edges = batch.segments.offsets.tolist()
        for start, stop in pairwise(edges):
            k = min(self.k, stop - start - 1)
            if k:
                xy = batch.instance["position"][start:stop]
                apart = torch.cdist(xy, xy).fill_diagonal_(torch.inf)
                near = apart.topk(k, dim=1, largest=False).indices
                raw[start:stop] = x[start:stop][near].mean(1)
        return Output(raw)
