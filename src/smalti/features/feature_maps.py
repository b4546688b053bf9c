"""The last map of a convolutional network, before its mean over the picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from smalti.errors import InputError

if TYPE_CHECKING:
    from smalti.features.encoders import Backbone

_BLOCK = 512  # pixels of a block of the first layers
_PROBE = 128


class FeatureMaps:
    """Pictures of any size to maps of features.

    Parameters
    ----------
    backbone
        A network whose features are a mean over such a map.

    Attributes
    ----------
    cell
        Pixels that a cell of the map stands for, along an edge.

    Raises
    ------
    InputError
        If the network has no such map.
    """

    def __init__(self, backbone: Backbone) -> None:
        self.backbone = backbone
        self.net: Any = backbone.model
        blank = torch.zeros(1, 3, _PROBE, _PROBE, device=backbone.device)
        try:
            with torch.inference_mode():
                found = self.net.forward_features(blank)
                square = found.ndim == 4 and found.shape[2] == found.shape[3]
                fits = square and self.head(found.mean((2, 3))).shape == (1, backbone.width)
        except (RuntimeError, AssertionError, AttributeError, TypeError):
            fits = False  # of one size, or made of other parts
        if not fits:
            raise InputError(
                f"{backbone.name} has no map of features for pictures of any size: dense features "
                "need a convolutional network, such as efficientnet-lite0 or resnet50."
            )
        self.cell = _PROBE // found.shape[-1]
        self.first: Any
        self.first, self.rest = _parts(self.net)

    @torch.inference_mode()
    def map(self, picture: np.ndarray) -> Tensor:
        """(3, H, W) uint8, whole cells along both edges, to (rows, columns, channels) float32."""
        pixels = torch.from_numpy(np.ascontiguousarray(picture))
        with self.backbone.precise():
            if self.first is None:
                found = self.net.forward_features(self._scaled(pixels))
            else:
                found = self.rest(self._in_blocks(pixels))
        return found[0].permute(1, 2, 0).float()

    def head(self, means: Tensor) -> Tensor:
        """Means over a map, (n, channels), to features, (n, width)."""
        return self.net.forward_head(means[:, :, None, None].to(self.backbone.device)).float()

    def _scaled(self, pixels: Tensor) -> Tensor:
        return self.backbone.scaled(pixels[None].to(self.backbone.device).float())

    def _in_blocks(self, pixels: Tensor) -> Tensor:
        """What the first layers make of a picture, block by block: they see near only.

        Their maps are nearly all of the memory that a network takes.
        """
        rim, high, wide = _reach(self.first, self.cell), *pixels.shape[1:]
        out = None
        for top in range(0, high, _BLOCK):
            for left in range(0, wide, _BLOCK):
                bottom, right = min(top + _BLOCK, high), min(left + _BLOCK, wide)
                y, x = max(top - rim, 0), max(left - rim, 0)
                block = pixels[:, y : min(bottom + rim, high), x : min(right + rim, wide)]
                part = self.first(self._scaled(block))
                step = block.shape[1] // part.shape[2]
                inner = part[..., (top - y) // step : (bottom - y) // step,
                             (left - x) // step : (right - x) // step]  # fmt: skip
                if out is None:
                    shape = (1, part.shape[1], high // step, wide // step)
                    out = torch.empty(shape, dtype=part.dtype, device=part.device,
                                      memory_format=torch.channels_last)  # fmt: skip
                out[..., top // step : bottom // step, left // step : right // step] = inner
        assert out is not None
        return out


def _parts(net: Any) -> tuple[nn.Sequential | None, Any]:
    """The layers of an EfficientNet up to a stride of 8, and the rest; None for other networks.

    Squeeze and excitation sees the whole picture, so that nothing can be made in blocks.
    """
    if type(net).__name__ != "EfficientNet" or any(
        "squeeze" in type(m).__name__.lower() for m in net.modules()
    ):
        return None, net
    first = nn.Sequential(net.conv_stem, net.bn1, *net.blocks[:3])
    return first, nn.Sequential(*net.blocks[3:], net.conv_head, net.bn2)


def _reach(layers: Any, cell: int) -> int:
    """Pixels to each side that layers in a row see, in whole cells."""
    step, seen = 1, 0
    for m in layers.modules():
        if isinstance(m, nn.Conv2d):
            seen += (m.kernel_size[0] - 1) * step
            step *= m.stride[0]
    return -(-(seen // 2 + 1) // cell) * cell
