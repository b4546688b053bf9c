"""Baseline: what one would say without looking."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from torch import Tensor, nn

from smalti.batch import Batch, Shape
from smalti.core.stage import Stage
from smalti.mil.base import Method
from smalti.nn.linear import BagLinear, linear_sweep


class Majority(Method):
    """The share of each class in training, or the mean of the target, for every bag."""

    name: ClassVar[str] = "majority"
    reference: ClassVar[str] = "Baseline: class frequencies (or mean) of the training bags"
    baseline: ClassVar[bool] = True
    embeds: ClassVar[bool] = False

    def network(self, shape: Shape) -> nn.Module:
        """An intercept."""
        return _Net(1, shape)

    def plan(self, shape: Shape) -> Iterator[Stage]:
        """One convex fit of the intercept alone."""
        yield linear_sweep(penalties=(1.0,))

    @classmethod
    def example(cls) -> Majority:
        """The same: it is small already."""
        return cls()


class _Net(BagLinear):
    def features(self, batch: Batch) -> Tensor:
        return self.center.new_zeros(len(batch.segments.lengths), 1)
