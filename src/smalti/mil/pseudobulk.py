"""Baseline: summed counts of a sample and a penalised linear model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np
from torch import Tensor, nn

from smalti import segment
from smalti.bags import Bags
from smalti.batch import Batch, Shape
from smalti.core.settings import Positive
from smalti.core.stage import Stage, Sweep, Training
from smalti.counts import count_problem
from smalti.errors import InputError
from smalti.mil.base import Method
from smalti.nn.linear import BagLinear, linear_sweep


class Pseudobulk(Method):
    """Counts summed over the cells, per 10,000, log(1 + x), then the linear model of all baselines.

    For raw counts only: of normalised values or an embedding the mean is what there is, and
    ``bag_mean`` takes it. A cell counts for as much as it was sequenced.
    """

    name: ClassVar[str] = "pseudobulk"
    reference: ClassVar[str] = "Baseline: summed counts and penalised linear model"
    baseline: ClassVar[bool] = True
    takes_counts: ClassVar[bool] = True

    target_sum: Positive = 1e4  # counts of a sample after normalising

    def unfit_for(self, bags: Bags) -> str | None:
        """It needs counts."""
        view = bags.view()[1]
        return "not a table of counts" if len(view.shape) != 2 else count_problem(view)

    def network(self, shape: Shape) -> nn.Module:
        """Sum, normalise, log, linear head."""
        return _Net(int(np.prod(shape.x)), shape, self.target_sum)

    def plan(self, shape: Shape) -> Iterator[Stage]:
        """Look at the counts, then one convex fit."""
        yield Sweep(step=self._are_counts, name="counts")
        yield linear_sweep()

    def _are_counts(self, network: nn.Module, training: Training) -> None:
        problem = count_problem(training.bags.view()[1])
        if problem is not None:
            raise InputError(f"pseudobulk needs raw counts: {problem}. Or take bag_mean.")

    @classmethod
    def example(cls) -> Pseudobulk:
        """The same: it is small already."""
        return cls()


class _Net(BagLinear):
    def __init__(self, width: int, shape: Shape, target_sum: float) -> None:
        super().__init__(width, shape)
        self.target_sum = target_sum

    def features(self, batch: Batch) -> Tensor:
        whole = segment.total(batch.x.flatten(1), batch.segments)
        return (self.target_sum * whole / whole.sum(1, keepdim=True).clamp(min=1.0)).log1p()
