"""What the total count of a spot alone says of its genes: a control."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from smalti.batch import Batch, Output, Shape
from smalti.core.stage import Stage, Sweep, Training
from smalti.expression.base import ExpressionMethod


class TotalCount(ExpressionMethod):
    """Each gene regressed on the log of the spot's measured total: what depth alone is worth.

    It looks at the counts of the spots that it predicts, so it is no prediction but a yardstick: a
    method that does not beat it may have learned cellularity and no gene. An unseen gene gets the
    mean line of the seen ones.
    """

    name: ClassVar[str] = "total_count"
    reference: ClassVar[str] = "control"
    baseline: ClassVar[bool] = True
    oracle: ClassVar[bool] = True
    zero_shot: ClassVar[bool] = True
    sparse: ClassVar[bool] = False

    def network(self, shape: Shape) -> nn.Module:
        """A line per gene, as buffers."""
        return _Line(shape)

    def plan(self, shape: Shape) -> Iterator[Stage]:
        """Least squares."""

        def step(network: Any, training: Training) -> None:
            total = np.asarray(training.bags.view()[1].sum(1), dtype=np.float64).reshape(-1)
            depth = np.log1p(np.maximum(total, 0))
            y = training.target.astype(np.float64)
            about = depth - depth.mean()
            slope = about @ y / max(float(about @ about), 1e-12)
            network.slope.copy_(torch.as_tensor(slope))
            network.level.copy_(torch.as_tensor(y.mean(0) - slope * depth.mean()))

        yield Sweep(step=step, name="line")

    @classmethod
    def example(cls) -> TotalCount:
        """As it is."""
        return cls()


class _Line(nn.Module):
    slope: Tensor
    level: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        for name in ("slope", "level"):
            self.register_buffer(name, torch.zeros(len(shape.outputs)))

    def forward(self, batch: Batch) -> Output:
        depth = batch.x.sum(1, keepdim=True).clamp(min=0).log1p()
        return Output(self.level + self.slope * depth)
