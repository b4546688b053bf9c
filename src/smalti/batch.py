"""What a network sees and what it gives back.

``Batch`` and ``Output`` are plain classes on purpose: Lightning walks through data classes and
containers at every call to convert them, which costs more than a small network's step.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

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
