"""Baseline: the covariates of the patient alone, and a penalised linear model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

from torch import Tensor, nn

from smalti.batch import Batch, Shape
from smalti.core.stage import Stage
from smalti.errors import InputError
from smalti.mil.base import Method
from smalti.nn.linear import BagLinear, linear_sweep


class Covariates(Method):
    """Age, sex and the like, without a single cell: what a method with covariates has to beat."""

    name: ClassVar[str] = "covariates"
    reference: ClassVar[str] = "Baseline: covariates and penalised linear model"

    covariates: tuple[str, ...] = ()  # columns of the bags

    def network(self, shape: Shape) -> nn.Module:
        """Scale, linear head."""
        if not shape.n_covariates:
            raise InputError("the covariates baseline needs columns: covariates=('age',).")
        return _Net(shape.n_covariates, shape)

    def plan(self, shape: Shape) -> Iterator[Stage]:
        """One convex fit."""
        yield linear_sweep()

    @classmethod
    def example(cls) -> Covariates:
        """The trait that simulated bags carry."""
        return cls(covariates=("trait",))


class _Net(BagLinear):
    def features(self, batch: Batch) -> Tensor:
        return batch.bag["covariates"]
