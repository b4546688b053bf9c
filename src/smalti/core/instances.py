"""Methods whose unit is the instance (a cell, a tile) and not the bag: what these share."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import torch

from smalti.batch import Batch, Output
from smalti.core.store import Store
from smalti.task import Task
from smalti.views import slice_rows


class Rows:
    """Units of an epoch: instances, in random order (see :class:`smalti.core.stage.Sampler`).

    What streams from disk, more than is held at a time, comes in block order: see
    :mod:`smalti.core.blocks`. Sorted within a batch, neighbours need no copy.

    Parameters
    ----------
    labelled
        Whether each instance has a target of its own; otherwise the loss gets None.
    """

    def __init__(self, *, labelled: bool = False) -> None:
        self.labelled = labelled

    def epoch(
        self, train: np.ndarray, target: np.ndarray, store: Store, rng: np.random.Generator
    ) -> np.ndarray:
        """(n_instances, 1) positions of the instances of the training bags."""
        rows = slice_rows(store.offsets, train)
        shuffled = rng.permutation if store.blocks is None else \
            functools.partial(store.blocks.order, rng=rng)  # fmt: skip
        return shuffled(rows)[:, None]

    def expect(self, store: Store, units: np.ndarray, done: int) -> None:
        """Have the instances of an epoch, (n_instances, 1), read ahead from one of them on."""
        if store.blocks is not None:
            store.blocks.expect(units[:, 0], done)

    def weight(self, units: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """(n_units,) ones: every instance counts the same."""
        return np.ones(len(units), dtype=np.float32)

    def target(self, units: np.ndarray, target: torch.Tensor) -> torch.Tensor | None:
        """(n, ...) target of these instances, in the order of the batch."""
        if not self.labelled:
            return None
        return target[torch.from_numpy(np.sort(units[:, 0])).to(target.device)]

    def batch(self, store: Store, units: np.ndarray) -> Batch:
        """These instances, (n_units, 1) positions, each a bag of its own."""
        return store.instances(np.sort(units[:, 0]))


def own_loss(task: Task, output: Output, target: Any) -> torch.Tensor:
    """Take the loss of each instance, (n,), that the network computed: ``output.extra["loss"]``."""
    return output.extra["loss"]


def as_array(values: torch.Tensor) -> np.ndarray:
    """A tensor as NumPy has it, same shape: bfloat16, which it lacks, becomes float32."""
    return values.float().cpu().numpy() if values.dtype == torch.bfloat16 else values.cpu().numpy()
