"""The two kinds of training stage: follow a gradient, or sweep.

A method's plan yields stages in order. A stage says what to do, never how: optimisers, devices,
validation and checkpoints belong to :mod:`smalti.core.training`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from torch import Tensor, nn

from smalti.batch import Batch, Output
from smalti.task import Task

if TYPE_CHECKING:
    from smalti.bags import Bags
    from smalti.core.store import Store

Loss: TypeAlias = Callable[[Task, Output, Any], Tensor]
"""(task, output, encoded target) -> loss of each unit, (n_units,)."""


def task_loss(task: Task, output: Output, target: Tensor) -> Tensor:
    """Score ``output.raw`` (n_units, n_outputs) by the task's own loss: (n_units,)."""
    return task.loss(output.raw, target)


ALL = 2**62
"""Units of a step: every one, as many as fit by their instances."""


def units_of_step(task: Task, batch_size: int) -> int:
    """Units of a step: all of them where the loss of a unit depends on the others."""
    return ALL if task.compares else batch_size


class Sampler(Protocol):
    """Makes what a gradient stage trains on: draws of cells, mixtures of two bags.

    A unit is a row of integers, all that its batch is made from, so that an epoch can be left and
    taken up again. Validation and prediction see whole bags, never units. One that has
    ``expect(store, units, done)`` is told of an epoch, (n_units, k), before it goes on from unit
    ``done``, to have the store read ahead.
    """

    def epoch(
        self, train: np.ndarray, target: np.ndarray, store: Store, rng: np.random.Generator
    ) -> np.ndarray:
        """Units of one epoch in random order, (n_units, k) int64.

        ``train`` are positions of bags of the store; ``target`` has one row for each of them all.
        """
        ...

    def weight(self, units: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """(n_units,) weight of each unit in the loss, from the weights of the bags."""
        ...

    def target(self, units: np.ndarray, target: Tensor) -> Any:
        """What the loss gets as target of (n_units, k) units.

        ``target`` is the encoded target of the bags, one row each.
        """
        ...

    def batch(self, store: Store, units: np.ndarray) -> Batch:
        """Units, (n_units, k), as a batch."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Gradient:
    """Minimise a loss over mini-batches of whole bags.

    Attributes
    ----------
    epochs
        Passes over the training bags, at most.
    lr
        Learning rate.
    optimizer
        "adam" (decoupled decay: "adamw") or "sgd" (Nesterov momentum).
    momentum
        Of "sgd".
    weight_decay
        L2 penalty (adam, sgd) or decoupled decay (adamw).
    epsilon
        Of Adam: added to the root of the second moment.
    batch_size
        Bags (or units of the sampler) in a step, at most.
    max_instances
        Instances in a step, at most; a bag with more is a step of its own.
    patience
        Epochs without a better validation loss before stopping; None never stops.
    tolerance
        Stop too when the training loss falls by less than this share of itself from ``patience``
        epochs to the next; 0 never does.
    schedule
        Epoch, with its fraction from step to step, -> factor of the learning rate.
    loss
        Loss of each unit; validation uses it too.
    moves
        Prefixes of the names of the parameters that may move; all when empty.
    sampler
        Makes the units of an epoch out of the bags, where they are not the bags themselves.
    cache
        Computes tensors of the instances that stay the same in this stage, once; they are then
        among the views of each batch.
    begin
        Completes the stage when its turn comes, where a loss or a sampler needs the bags as
        tensors, or tensors on their device: those belong to the stage and end with it.
    accumulate
        Pieces in which the gradient of a step is computed, where memory is short. A loss that
        compares the units of a step sees those of a piece only.
    name
        For the history and the progress bar.
    """

    epochs: int
    lr: float
    optimizer: str = "adam"
    momentum: float = 0.9
    weight_decay: float = 0.0
    epsilon: float = 1e-8
    batch_size: int = 16
    max_instances: int = 200_000
    patience: int | None = None
    tolerance: float = 0.0
    schedule: Callable[[float], float] | None = None
    loss: Loss = task_loss
    moves: tuple[str, ...] = ()
    sampler: Sampler | None = None
    cache: Callable[[nn.Module, Batch], dict[str, Tensor]] | None = None
    begin: Callable[[Gradient, Store], Gradient] | None = None
    accumulate: int = 1
    name: str = "gradient"


def warm_cosine(epochs: int) -> Callable[[float], float]:
    """Factor of the learning rate: up over the first tenth, then down to 0 as a cosine."""
    warm = max(0.1 * epochs, 1e-9)

    def factor(epoch: float) -> float:
        if epoch < warm:
            return max(epoch / warm, 0.02)
        return 0.5 * (1 + math.cos(math.pi * (epoch - warm) / max(epochs - warm, 1e-9)))

    return factor


@dataclasses.dataclass(frozen=True, kw_only=True)
class Training:
    """What a sweep works on: the training bags (without the validation bags) and their target.

    Attributes
    ----------
    bags
        The bags, as the user's arrays.
    target
        Encoded target of each bag (see :meth:`smalti.Task.encode`).
    weight
        (n_bags,) float32 weight of each bag in the loss, mean 1.
    task
        The fitted task.
    rng
        The fit's own source of randomness.
    store, members
        The same bags as tensors: positions in a store.
    """

    bags: Bags
    target: np.ndarray
    weight: np.ndarray
    task: Task
    rng: np.random.Generator
    store: Store
    members: np.ndarray

    def batches(self, network: nn.Module, max_instances: int = 200_000) -> Iterator[Batch]:
        """The bags in order, in batches, in the precision of the network.

        None is held here while the next is made: the memory of one batch is enough.
        """
        from smalti.core.store import pack

        most = self.store.most(max_instances)
        packs = pack(self.members, self.store.lengths, 4096, most)
        return map(_in_precision_of(network), self.store.stream(packs))

    def instances(self, network: nn.Module, step: int = 8192) -> Iterator[Batch]:
        """The instances of the bags in pieces of equal size, in the precision of the network."""
        from smalti.views import slice_rows

        rows = slice_rows(self.store.offsets, self.members)
        step = self.store.most(step)
        packs = (rows[start : start + step] for start in range(0, len(rows), step))
        return map(_in_precision_of(network), map(self.store.instances, packs))


def _in_precision_of(network: nn.Module) -> Callable[[Batch], Batch]:
    """A batch with its features and covariates in the floating type of a network."""
    dtype = next(t.dtype for t in network.state_dict().values() if t.is_floating_point())

    def cast(batch: Batch) -> Batch:
        for part in (batch.views, batch.bag):
            part.update({name: value.to(dtype) for name, value in part.items()})
        return batch

    return cast


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sweep:
    """Repeat a step that sees all training bags: a closed form, an EM round, a library call.

    Attributes
    ----------
    step
        Changes the network in place; returns the objective (lower is better, and a sweep must not
        raise it), or None where there is none.
    rounds
        Times to repeat it, at most.
    tolerance
        Stop when the objective falls by less than this share of itself.
    begin
        Completes the stage when its turn comes, where how often to repeat depends on the bags.
    name
        For the history and the progress bar.
    """

    step: Callable[[nn.Module, Training], float | None]
    rounds: int = 1
    tolerance: float = 0.0
    begin: Callable[[Sweep, Training], Sweep] | None = None
    name: str = "sweep"


Stage: TypeAlias = Gradient | Sweep
