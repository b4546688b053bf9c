"""``BagLinear``: a linear model on one vector per bag, its penalty chosen among the donors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from smalti.batch import Batch, Output, Shape
from smalti.core.stage import Sweep, Training
from smalti.core.validation import folds_by_donor
from smalti.solve.linear import fit_head

PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)


class BagLinear(nn.Module):
    """Standardised bag features, then the task's head. Subclasses say what the features are."""

    center: Tensor  # (width,)
    scale: Tensor  # (width,)

    def __init__(self, width: int, shape: Shape) -> None:
        super().__init__()
        self.register_buffer("center", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))
        self.head = shape.task.head(width)
        self.task = shape.task

    def features(self, batch: Batch) -> Tensor:
        """(n_bags, width) features of each bag."""
        raise TypeError("a subclass must say what the features of a bag are.")

    def forward(self, batch: Batch) -> Output:
        """Raw predictions, and the bag features as embedding."""
        z = self.features(batch)
        raw = self.head((z - self.center) / self.scale)
        share = None if self.training else self.shares(batch, z)
        instance = {} if share is None else {"contribution": share @ self.slopes()}
        return Output(raw, instance=instance, bag={"embedding": z})

    def shares(self, batch: Batch, z: Tensor) -> Tensor | None:
        """(n, width) share of each instance in the features; None where they are no sum."""
        return None

    def slopes(self) -> Tensor:
        """(width, n_outputs) change of raw with each feature."""
        eye = torch.diag(1 / self.scale)
        return self.head(eye) - self.head(torch.zeros_like(eye[:1]))


def linear_sweep(penalties: Sequence[float] = PENALTIES, folds: int = 5) -> Sweep:
    """A stage that standardises the bag features and fits ``network.head``.

    The penalty is chosen by the task's loss in folds of the training donors.
    """

    def step(network: nn.Module, training: Training) -> float:
        assert isinstance(network, BagLinear)
        z = bag_features(network, training)
        center, scale = z.mean(0), z.std(0)
        scale[scale <= 1e-7 * np.maximum(np.abs(center), 1e-30)] = 1.0
        network.center.copy_(torch.as_tensor(center))
        network.scale.copy_(torch.as_tensor(scale))
        z = (z - center) / scale
        best = choose_penalty(z, training, penalties, folds)
        return fit_head(network.head, z, training.target, training.weight, training.task, best)

    return Sweep(step=step, name="linear")


def bag_features(network: BagLinear, training: Training) -> np.ndarray:
    """(n_bags, width) float64 features of the training bags."""
    return torch.cat(list(map(network.features, training.batches(network)))).double().cpu().numpy()


def choose_penalty(
    z: np.ndarray, training: Training, penalties: Sequence[float], folds: int
) -> float:
    """The penalty with the lowest loss in folds of the training donors; ties go to the larger.

    ``z`` is (n_bags, width), standardised.
    """
    splits = folds_by_donor(training.bags, training.task, folds, training.rng)
    if not splits or len(penalties) == 1:
        return penalties[len(penalties) // 2]
    losses = np.zeros(len(penalties))
    for train, test in splits:
        head = training.task.head(z.shape[1])
        for i in reversed(range(len(penalties))):  # strong to weak: each starts from the last
            fit_head(head, z[train], training.target[train], training.weight[train],
                     training.task, penalties[i])  # fmt: skip
            with torch.no_grad():
                raw = head(torch.as_tensor(z[test]).to(next(head.parameters()).dtype))
                loss = training.task.loss(raw, torch.as_tensor(training.target[test]))
                losses[i] += float((loss * torch.as_tensor(training.weight[test])).sum())
    return penalties[len(penalties) - 1 - int(np.argmin(losses[::-1]))]
