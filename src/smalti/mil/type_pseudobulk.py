"""Baseline: the mean of each cell type and a penalised linear model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from smalti import segment
from smalti.bags import Bags
from smalti.batch import Batch, Shape
from smalti.core.stage import Stage, Sweep, Training
from smalti.errors import InputError
from smalti.mil.base import Method
from smalti.nn.linear import BagLinear, linear_sweep
from smalti.segment import Segments


class TypePseudobulk(Method):
    """Mean of the cells of each type, side by side, then the linear model of all baselines.

    Where a sample lacks a type, the mean of that type over the training samples that have it
    stands in, so that absence itself says nothing here (``type_composition`` reads that).
    """

    name: ClassVar[str] = "type_pseudobulk"
    reference: ClassVar[str] = "Baseline: pseudobulk of each cell type, penalised linear model"
    baseline: ClassVar[bool] = True

    group: str | None = "cell_type"  # column of the instances

    def unfit_for(self, bags: Bags) -> str | None:
        """It needs the types, and a table of (bags, types x features) that fits into memory."""
        if self.group not in bags.instance:
            return f"no instance column {self.group!r}"
        width = int(np.prod(bags.shape[1:])) * bags.instance[self.group].nunique()
        if width * len(bags) > 2**28:
            return f"{width:,} type means a sample are too many: select genes first (preprocess=)"
        return None

    def network(self, shape: Shape) -> nn.Module:
        """Means, scale, linear head."""
        if self.group is None:
            raise InputError("type_pseudobulk needs a group column; without types use bag_mean.")
        return _Net(shape)

    def plan(self, shape: Shape) -> Iterator[Stage]:
        """The typical mean of each type, then one convex fit."""
        yield Sweep(step=_typical, name="typical")
        yield linear_sweep()

    @classmethod
    def example(cls) -> TypePseudobulk:
        """The same: it is small already."""
        return cls()


def _typical(network: nn.Module, training: Training) -> None:
    assert isinstance(network, _Net)
    total = torch.zeros_like(network.typical)
    count = total.new_zeros(len(total))
    for batch in training.batches(network):
        means, there = network.means(batch)
        total += (means * there[:, :, None]).sum(0)
        count = count + there.sum(0)
    network.typical.copy_(total / count.clamp(min=1)[:, None])


class _Net(BagLinear):
    typical: Tensor

    def __init__(self, shape: Shape) -> None:
        width = int(np.prod(shape.x))
        super().__init__(len(shape.levels) * width, shape)
        self.register_buffer("typical", torch.zeros(len(shape.levels), width))

    def means(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(n_bags, n_types, width) means, and whether a sample has the type."""
        n_bags, n_types = len(batch.segments.lengths), len(self.typical) + 1
        key = batch.segments.index * n_types + batch.instance["group"]
        order = key.argsort(stable=True)
        lengths = torch.bincount(key, minlength=n_bags * n_types)
        parts = Segments.of(nn.functional.pad(lengths.cumsum(0), (1, 0)))
        means = segment.mean(batch.x.flatten(1)[order], parts).view(n_bags, n_types, -1)
        return means[:, :-1], (lengths.view(n_bags, n_types) > 0)[:, :-1]

    def features(self, batch: Batch) -> Tensor:
        means, there = self.means(batch)
        return torch.where(there[:, :, None], means, self.typical).flatten(1)
