"""Standardisation with the mean and standard deviation of the training instances."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from smalti.bags import Bags
from smalti.core.stage import Sweep, Training
from smalti.solve.moments import center_and_spread


class Standardize(nn.Module):
    """(x - mean) / sd per feature, or per channel of an image; constant features become 0.

    The statistics are buffers, so that they are saved with the weights and a prediction never
    depends on the bags it is made with.
    """

    mean: Tensor  # (n_features,), or (channels, 1, 1)
    sd: Tensor  # (n_features,), or (channels, 1, 1)

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        size = (shape[0], *[1] * (len(shape) - 1))
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("sd", torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        """(n, ...) to the same shape."""
        return (x - self.mean).div_(self.sd)  # of the difference, which nobody else has: no copy

    def fit(self, bags: Bags) -> None:
        """Take mean and standard deviation from all instances of the first view of ``bags``."""
        mean, sd = center_and_spread(bags.view()[1])
        self.mean.copy_(torch.as_tensor(mean).reshape(self.mean.shape))
        self.sd.copy_(torch.as_tensor(sd).reshape(self.sd.shape))


def standardize_sweep() -> Sweep:
    """A stage that fits ``network.scale`` on the training bags."""

    def step(network: nn.Module, training: Training) -> None:
        if isinstance(network.scale, Standardize):
            network.scale.fit(training.bags)

    return Sweep(step=step, name="standardize")
