"""A small convolutional network for tiles, which needs no weights from anywhere."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn


class TileNet(nn.Module):
    """Four stages that halve the tile, two 3 x 3 convolutions each, the second as a residual.

    Channels are normalised over the batch in training, and by what was seen there afterwards. With
    a norm over each tile alone it learned nothing on real sections within ten epochs.

    Parameters
    ----------
    width
        Channels of the last stage, and of what it returns; the others have 1/8, 1/4 and 1/2.
    """

    def __init__(self, width: int = 160) -> None:
        super().__init__()
        channels = [3, width // 8, width // 4, width // 2, width]
        self.width = width
        self.stages = nn.ModuleList(_Stage(a, b) for a, b in pairwise(channels))

    def maps(self, x: Tensor) -> Tensor:
        """(n, 3, H, W) to feature maps (n, width, H / 16, W / 16)."""
        for stage in self.stages:
            x = stage(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3, H, W) to the mean of the maps, (n, width)."""
        return self.maps(x).mean((2, 3))


class _Stage(nn.Module):
    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(before, after, 3, stride=2, padding=1)
        self.more = nn.Conv2d(after, after, 3, padding=1)
        self.norms = nn.ModuleList([nn.BatchNorm2d(after), nn.BatchNorm2d(after)])

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.norms[0](self.down(x)))
        return x + torch.relu(self.norms[1](self.more(x)))
