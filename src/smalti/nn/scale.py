"""Standardisation with the mean and standard deviation of the training instances."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor, nn

from smalti.bags import Bags
from smalti.stage import Sweep, Training
from smalti.views import read_rows

_CHUNK = 2**24  # numbers read at a time


class Standardize(nn.Module):
    """(x - mean) / sd per feature, or per channel of an image; constant features become 0.

    The statistics are buffers, so that they are saved with the weights and a prediction never
    depends on the bags it is made with.
    """

    mean: Tensor
    sd: Tensor

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        size = (shape[0], *[1] * (len(shape) - 1))
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("sd", torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        """(n, ...) to the same shape."""
        return (x - self.mean) / self.sd

    def fit(self, bags: Bags) -> None:
        """Take mean and standard deviation from all instances of the first view of ``bags``."""
        mean, var = moments(bags)
        sd = np.sqrt(var)
        sd[sd <= 1e-7 * np.maximum(np.abs(mean), 1e-30)] = 1.0
        sd[sd == 0] = 1.0
        self.mean.copy_(torch.as_tensor(mean).reshape(self.mean.shape))
        self.sd.copy_(torch.as_tensor(sd).reshape(self.sd.shape))


def moments(bags: Bags) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance per feature or channel of the first view, (n_features,) float64 each.

    Read in pieces, by the pairwise update of Chan, Golub & LeVeque (1983).
    """
    _, view = bags.view()
    step = max(1, _CHUNK // int(np.prod(view.shape[1:])))
    count, mean, square = 0, np.zeros(view.shape[1]), np.zeros(view.shape[1])
    for start in range(0, bags.n_instances, step):
        part = read_rows(view, start, min(start + step, bags.n_instances))
        if sp.issparse(part):
            part = part.toarray()
        rows = np.moveaxis(part, 1, -1).reshape(-1, part.shape[1]).astype(np.float64)
        n, m = len(rows), rows.mean(0)
        square += ((rows - m) ** 2).sum(0) + (m - mean) ** 2 * count * n / (count + n)
        mean += (m - mean) * n / (count + n)
        count += n
    return mean, square / count


def standardize_sweep() -> Sweep:
    """A stage that fits ``network.scale`` on the training bags."""

    def step(network: nn.Module, training: Training) -> None:
        if isinstance(network.scale, Standardize):
            network.scale.fit(training.bags)

    return Sweep(step=step, name="standardize")
