"""The last layers of a network that predicts genes: one head per group of genes, over one trunk."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from smalti.core.noise import Dropout
from smalti.core.stage import Sweep, Training


class GeneHead(nn.Module):
    """A block head: each group of genes has hidden units of its own.

    All groups share one product for their hidden units, and each has a small one for its genes, so
    K groups cost about as much as one network, not K (the trunk runs once). Output is mean + sd *
    head(x), mean and s.d. of each gene's training target, so a head that says nothing says the
    mean.

    Parameters
    ----------
    width
        Of what the trunk gives.
    groups
        (n_genes,) code of each gene's group, 0 .. K - 1.
    hidden
        Units of each group; 0: one linear layer.
    dropout
        After the hidden units.
    """

    mean: Tensor
    sd: Tensor
    live: Tensor
    back: Tensor

    def __init__(
        self, width: int, groups: tuple[int, ...], hidden: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        codes = np.asarray(groups)
        order = np.argsort(codes, kind="stable")
        self.sizes = np.bincount(codes).tolist()
        self.hidden = hidden
        self.register_buffer("mean", torch.zeros(len(codes)))
        self.register_buffer("sd", torch.ones(len(codes)))
        self.register_buffer("live", torch.ones(len(codes)))  # 0: constant in training
        self.register_buffer("back", torch.from_numpy(np.argsort(order)), persistent=False)
        self.blocks = nn.Linear(width, hidden * len(self.sizes)) if hidden else None
        self.dropout = Dropout(dropout)
        self.out = nn.Linear(hidden or width, len(codes))  # genes sorted by group

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(n, width) to the prediction (n, n_genes), and the same in s.d. about the mean."""
        if self.blocks is None:
            scaled = self.out(x)
        else:
            blocks = self.dropout(torch.relu(self.blocks(x))).split(self.hidden, dim=1)
            weights, biases = self.out.weight.split(self.sizes), self.out.bias.split(self.sizes)
            parts = [functional.linear(h, w, b)
                     for h, w, b in zip(blocks, weights, biases, strict=True)]  # fmt: skip
            scaled = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
        scaled = scaled.index_select(1, self.back) * self.live
        return self.mean + self.sd * scaled, scaled

    def fit_targets(self, target: np.ndarray, *, scale: bool) -> None:
        """Take mean (and s.d.) of the training target, (n_tiles, n_genes)."""
        mean, sd = target.mean(0, dtype=np.float64), target.std(0, dtype=np.float64)
        self.mean.copy_(torch.as_tensor(mean))
        live = sd > 1e-6  # a constant gene stays at its mean
        self.live.copy_(torch.as_tensor(live))
        sd[~live] = 1.0
        self.sd.copy_(torch.as_tensor(sd if scale else np.ones_like(sd)))


def targets_sweep(scale: bool = True) -> Sweep:
    """A stage that fits ``network.head`` to the scale of the training targets."""

    def step(network: Any, training: Training) -> None:
        network.head.fit_targets(training.target, scale=scale)

    return Sweep(step=step, name="targets")
