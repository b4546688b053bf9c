"""The mean of each gene over the training tiles."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from smalti.batch import Batch, Output, Shape
from smalti.core.stage import Stage, Sweep, Training
from smalti.expression.base import ExpressionMethod


class GeneMean(ExpressionMethod):
    """Each gene's mean over the training tiles, whatever the tile shows.

    Its correlation over tiles is not defined, that over genes of one tile is high: this is what the
    mean profile alone is worth in each score.
    """

    name: ClassVar[str] = "gene_mean"
    reference: ClassVar[str] = "control"
    baseline: ClassVar[bool] = True

    def network(self, shape: Shape) -> nn.Module:
        """The means as a buffer."""
        return _Mean(shape)

    def plan(self, shape: Shape) -> Iterator[Stage]:
        """Take the means."""

        def step(network: Any, training: Training) -> None:
            network.mean.copy_(torch.as_tensor(training.target.mean(0, dtype="float64")))

        yield Sweep(step=step, name="mean")

    @classmethod
    def example(cls) -> GeneMean:
        """As it is."""
        return cls()


class _Mean(nn.Module):
    mean: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(len(shape.outputs)))

    def forward(self, batch: Batch) -> Output:
        return Output(self.mean.expand(len(batch.x), -1))
