"""Baseline: mean, maximum and minimum of the instances and a penalised linear model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from smalti import segment
from smalti.batch import Batch, Shape
from smalti.core.stage import Stage
from smalti.mil.base import Method
from smalti.nn.linear import BagLinear, linear_sweep


class BagStatistics(Method):
    """Mean, maximum and minimum of each feature over the bag, then a penalised linear model.

    A hard baseline to beat on small cohorts. The penalty is chosen in folds of the training
    donors.
    """

    name: ClassVar[str] = "bag_statistics"
    reference: ClassVar[str] = (
        "Gärtner, Flach, Kowalczyk & Smola (2002). Multi-instance kernels (the minimax statistics "
        "of a bag). ICML"
    )
    cite: ClassVar[tuple[str, ...]] = ("gaertner2002",)
    baseline: ClassVar[bool] = True

    def network(self, shape: Shape) -> nn.Module:
        """Statistics, scale, linear head."""
        return _Net(3 * int(np.prod(shape.x)), shape)

    def plan(self, shape: Shape) -> Iterator[Stage]:
        """One convex fit."""
        yield linear_sweep()

    @classmethod
    def example(cls) -> BagStatistics:
        """The same: it is small already."""
        return cls()


class _Net(BagLinear):
    def features(self, batch: Batch) -> Tensor:
        x, segments = batch.x.flatten(1), batch.segments
        top, bottom = segment.peak(x, segments), -segment.peak(-x, segments)
        return torch.cat([segment.mean(x, segments), top, bottom], dim=1)
