"""What a fit is: its network, its bags and its randomness; where in its plan it stands; its end."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from smalti.task import Task


@dataclasses.dataclass
class Fit:
    """One fit: its network, its bags, its randomness, and how far it has come.

    ``train`` (n_train,), ``valid`` (n_valid,) are positions of bags in the store; ``target``
    (n_bags, ...) and ``weight`` (n_bags,) have one row per bag of the store; with
    ``per_instance``, ``target`` has one per instance.
    """

    network: nn.Module
    task: Task
    train: np.ndarray
    valid: np.ndarray
    target: np.ndarray
    weight: np.ndarray
    order: np.random.Generator
    noise: torch.Generator
    per_instance: bool = False
    history: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    best: float = math.inf
    stale: int = 0
    best_state: dict[str, Tensor] | None = None
    falling: bool = False  # whether the loss of the last gradient stage had not come to rest

    def restart(self) -> None:
        """Forget the best weights of the stage before."""
        self.best, self.stale, self.best_state = math.inf, 0, None


@dataclasses.dataclass
class Place:
    """Where a gradient stage is."""

    epoch: int = 0
    step: int = 0  # the next one of the epoch
    order: np.ndarray | None = None  # of this epoch: (n,) bags, or (n_units, k) of a sampler
    loss: Tensor | None = None  # a scalar, float64, summed over the bags of this epoch
    stopped: bool = False  # by a callback


@dataclasses.dataclass(frozen=True)
class FittedState:
    """What a fitted method holds beside its network, as a model file can hold it.

    Attributes
    ----------
    note
        What JSON can hold.
    arrays
        The rest, by name; (n,) or (n, d) or any shape.
    """

    note: dict[str, Any] = dataclasses.field(default_factory=dict)
    arrays: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)


@contextmanager
def fresh(model: Any) -> Iterator[None]:
    """Fit a model with nothing left of an earlier fit; if that fails, it is as it was before.

    A fit sets what it learns as it goes. Cut short, it would leave the steps and the genes of the
    new data beside the network of the old ones.
    """
    before = dict(vars(model))
    for name in before:
        if name.endswith("_"):
            delattr(model, name)
    try:
        yield
    except BaseException:
        vars(model).clear()
        vars(model).update(before)
        raise
