"""Baseline: the mean of the instances and a penalised linear model (pseudobulk)."""

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


class BagMean(Method):
    """Mean of the instances, then logistic regression (or ridge, ordinal logit) with L2 penalty.

    With gene expression this is the pseudobulk baseline. The penalty is chosen among powers of
    ten in folds of the training donors. ``contribution`` of an instance is its share of the
    logit, w'x_i / n.
    """

    name: ClassVar[str] = "bag_mean"
    reference: ClassVar[str] = "Baseline: pseudobulk and penalised linear model"
    baseline: ClassVar[bool] = True

    covariates: tuple[str, ...] = ()  # columns of the bags, beside the means

    def network(self, shape: Shape) -> nn.Module:
        """Mean, scale, linear head."""
        return _Net(int(np.prod(shape.x)) + shape.n_covariates, shape)

    def plan(self, shape: Shape) -> Iterator[Stage]:
        """One convex fit."""
        yield linear_sweep()

    @classmethod
    def example(cls) -> BagMean:
        """The same: it is small already."""
        return cls()


class _Net(BagLinear):
    def features(self, batch: Batch) -> Tensor:
        means = segment.mean(batch.x.flatten(1), batch.segments)
        return torch.cat([means, batch.bag.get("covariates", means[:, :0])], dim=1)

    def shares(self, batch: Batch, z: Tensor) -> Tensor:
        part = batch.x.flatten(1) / batch.segments.lengths[batch.segments.index][:, None]
        covariates = z.shape[1] - part.shape[1]  # which are no sum
        return nn.functional.pad(part, (0, covariates)) if covariates else part
