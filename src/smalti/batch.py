"""What a network sees and what it gives back.

``Batch`` and ``Output`` are plain classes on purpose: Lightning walks through data classes and
containers at every call to convert them, which costs more than a small network's step.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from smalti.segment import Segments
from smalti.task import Task


class Batch:
    """Some bags as tensors on the device of the network.

    Attributes
    ----------
    views
        View name -> (n_instances, ...) float rows.
    segments
        The bags as slices of those rows.
    instance
        "group": (n_instances,) int64 codes of the groups, where the method has asked for them.
        "batch": (n_instances,) int64 codes of the batches, -1 for one that training did not have,
        where the method has asked for them.
        "place": (n_instances,) int64 rank in reading order of where they lie, where the method has
        asked for it and training bags say it.
        "present": (n_instances, n_views) 1 where an instance was measured in a view and 0 where
        not, where that is not everywhere.
    bag
        "covariates": (n_bags, n_covariates), where the method has asked for them. "donor":
        (n_bags,) int64, which donor of training each is of, where the method has asked for it; of
        other bags the numbers mean nothing.
    genes
        The genes to predict, where a method predicts genes by their vectors (see
        :mod:`smalti.expression.zero_shot`).
    """

    def __init__(
        self,
        views: dict[str, Tensor],
        segments: Segments,
        instance: dict[str, Tensor] | None = None,
        bag: dict[str, Tensor] | None = None,
        genes: Any = None,
    ) -> None:
        self.views = views
        self.segments = segments
        self.instance = instance or {}
        self.bag = bag or {}
        self.genes = genes

    @property
    def x(self) -> Tensor:
        """(n_instances, ...) rows of the first view."""
        return next(iter(self.views.values()))

    def to(self, device: torch.device | str, *, non_blocking: bool = False) -> Batch:
        """The same bags on another device."""
        return self.each(lambda t: t.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Batch:
        """The same bags in memory from which a GPU copies while it computes."""
        return self.each(Tensor.pin_memory)

    def each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """The same bags with every tensor changed, (n, ...) to (n, ...)."""
        views, instance, bag = (
            {name: change(t) for name, t in part.items()}
            for part in (self.views, self.instance, self.bag)
        )
        return Batch(views, self.segments.each(change), instance, bag, self.genes)

    @classmethod
    def join(cls, batches: Sequence[Batch]) -> Batch:
        """The bags of several batches as one, in their order; their genes are those of the first.

        Tensors are those of the same names, each of shape (n, ...).
        """
        first = batches[0]
        lengths = torch.cat([b.segments.lengths for b in batches])
        ends = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
        views, instance, bag = (
            {name: _stacked([getattr(b, part)[name] for b in batches])
             for name in getattr(first, part)} for part in ("views", "instance", "bag")
        )  # fmt: skip
        return cls(views, Segments.of(ends), instance, bag, first.genes)


def _stacked(parts: list[Tensor]) -> Tensor:
    """Rows (n_i, ...) of several tensors one below another, dense or CSR: (n, ...)."""
    if parts[0].layout != torch.sparse_csr:
        return torch.cat(parts)
    ends, stored = [parts[0].crow_indices()], parts[0].crow_indices()[-1]
    for part in parts[1:]:
        ends.append(part.crow_indices()[1:] + stored)
        stored = stored + part.crow_indices()[-1]
    return torch.sparse_csr_tensor(
        torch.cat(ends), torch.cat([p.col_indices() for p in parts]),
        torch.cat([p.values() for p in parts]),
        (sum(len(p) for p in parts), parts[0].shape[1]),
    )  # fmt: skip


class Output:
    """What ``forward`` returns, always.

    Attributes
    ----------
    raw
        (n_units, n_outputs), one row per target unit; the task says what it means.
    instance
        Named tensors aligned with the instances: attention, contribution, ...
    bag
        Named tensors aligned with the bags: embedding, ...
    extra
        For the loss alone.
    """

    def __init__(
        self,
        raw: Tensor,
        *,
        instance: dict[str, Tensor] | None = None,
        bag: dict[str, Tensor] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        self.raw = raw
        self.instance = instance or {}
        self.bag = bag or {}
        self.extra = extra or {}


@dataclasses.dataclass(frozen=True)
class Shape:
    """What a method must know of the data to build its network.

    Attributes
    ----------
    views
        View name -> shape of one instance: (n_features,) or (channels, height, width).
    task
        The fitted task.
    n_units
        Training units: bags, cells of an integration, tiles of a method of expression.
    levels
        Names of the groups of instances (cell types), where the method has asked for them.
    n_covariates
        Columns of ``batch.bag["covariates"]``.
    outputs, groups
        Names of the genes to predict, and the group of each, where a method predicts expression.
    meaning
        (width of the genes' vectors, width of their words), where a method predicts by them.
    batches
        Names of the batches of cells, where an integration has asked for them.
    n_donors
        Donors of training, where the method has asked for them.
    """

    views: Mapping[str, tuple[int, ...]]
    task: Task
    n_units: int
    levels: tuple[str, ...] = ()
    n_covariates: int = 0
    outputs: tuple[str, ...] = ()
    groups: tuple[int, ...] = ()
    meaning: tuple[int, ...] = ()
    batches: tuple[str, ...] = ()
    n_donors: int = 0

    @property
    def x(self) -> tuple[int, ...]:
        """Shape of one instance of the first view."""
        return next(iter(self.views.values()))
