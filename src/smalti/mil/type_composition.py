"""Baseline: the shares of the cell types and a penalised linear model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor, nn

from smalti.bags import Bags
from smalti.batch import Batch, Shape
from smalti.core.stage import Stage
from smalti.mil.base import Method
from smalti.nn.linear import BagLinear, linear_sweep


class TypeComposition(Method):
    """How many cells of each type a sample has, then logistic regression, ridge or ordinal logit.

    With ``log_ratio`` the shares are centred log-ratios (Aitchison 1982) of counts + 0.5, so that
    an absent type is finite and the shares' sum, which is always 1, carries no weight.
    """

    name: ClassVar[str] = "type_composition"
    reference: ClassVar[str] = (
        "Baseline: shares of the cell types, centred log-ratio of Aitchison (1982). J. R. Stat. "
        "Soc. B 44"
    )
    cite: ClassVar[tuple[str, ...]] = ("aitchison1982",)
    baseline: ClassVar[bool] = True

    group: str | None = "cell_type"  # column of the instances
    log_ratio: bool = True  # False: plain shares

    def unfit_for(self, bags: Bags) -> str | None:
        """It needs the types."""
        return None if self.group in bags.instance else f"no instance column {self.group!r}"

    def network(self, shape: Shape) -> nn.Module:
        """Shares, scale, linear head."""
        return _Net(shape, log_ratio=self.log_ratio)

    def plan(self, shape: Shape) -> Iterator[Stage]:
        """One convex fit."""
        yield linear_sweep()

    @classmethod
    def example(cls) -> TypeComposition:
        """The same: it is small already."""
        return cls()


class _Net(BagLinear):
    def __init__(self, shape: Shape, *, log_ratio: bool) -> None:
        super().__init__(len(shape.levels), shape)
        self.log_ratio = log_ratio

    def features(self, batch: Batch) -> Tensor:
        n_bags, n_types = len(batch.segments.lengths), len(self.center) + 1
        key = batch.segments.index * n_types + batch.instance["group"]
        count = torch.bincount(key, minlength=n_bags * n_types).view(n_bags, n_types)
        count = count.to(self.center.dtype)
        if not self.log_ratio:
            return (count / count.sum(1, keepdim=True))[:, :-1]
        logs = (count[:, :-1] + 0.5).log()  # cells of types that training lacked are left out
        return logs - logs.mean(1, keepdim=True)
