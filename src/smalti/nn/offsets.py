"""What a batch of cells adds to layers: the one-hot of the batch joined to their inputs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class BatchOffsets(nn.Module):
    """A vector for each batch and layer, added before the activation, 0 at the start.

    That is what a linear layer makes of the one-hot of a batch joined to its input, as scVI and
    scArches have it (Lopez et al. 2018; Lotfollahi et al. 2022).

    Parameters
    ----------
    n_batches
        Batches; with 0 there is nothing to learn, and nothing is added.
    widths
        Of the layers.
    """

    def __init__(self, n_batches: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.tables = nn.ParameterList(
            nn.Parameter(torch.zeros(n_batches, width)) for width in widths if n_batches
        )

    def forward(self, layer: int, rows: Tensor, batch: Tensor | None) -> Tensor:
        """Rows (n, width) with what the batch (n,) of each adds to them in this layer."""
        return rows if batch is None or not len(self.tables) else rows + self.tables[layer][batch]
