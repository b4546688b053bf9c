"""Dense features: one forward over a large region, of which tiles of any place and size are means.

Design:

- A convolutional network gives a map with a feature vector every 32 pixels or so; the features of a
  tile are the mean over the cells that it covers, each by the share of its area. A cell has seen
  what lies around it (425 px to each side in EfficientNet-Lite0), so that a tile is described in
  its surroundings: other numbers than those of the tile cut out alone.
- A slide is seen region by region, each with a margin. Where the margin is as wide as what a cell
  sees, the regions leave no trace.
- Places are in pixels of the picture; ``scale`` is the pixels that the network sees for each.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from smalti.errors import InputError
from smalti.features.encoders import Backbone, make_encoder, turned
from smalti.features.feature_maps import FeatureMaps
from smalti.system.extras import need
from smalti.tiles.formats import ArrayImage
from smalti.tiles.open import open_image

REGION, MARGIN = 4096, 448  # pixels that the network sees; the margin is for EfficientNet-Lite0
_BOXES = 512  # boxes that are pooled at once


def dense_features(
    picture: Any,
    boxes: Any = None,
    encoder: Any = "efficientnet-lite0",
    *,
    um_per_px: float | None = None,
    weights: str = "pretrained",
    region: int = REGION,
    margin: int = MARGIN,
    precision: str = "32",
    device: str = "auto",
) -> np.ndarray:
    """Features of a whole picture, or of boxes in it, from one forward over it.

    Parameters
    ----------
    picture
        A file, a picture that :func:`smalti.tiles.open_image` opened, or (height, width, 3) uint8.
    boxes
        (n, 4) left, top, right, bottom in pixels of the picture, whole or not; what lies outside
        of it does not count. The whole picture when left out.
    encoder
        A convolutional network by name or preset.
    um_per_px
        µm of a pixel that the network sees, for pictures that say how long theirs are; those of the
        picture when left out.
    weights
        "pretrained", "random", or the path of a .safetensors file.
    region, margin
        Pixels that the network sees at once, along an edge, and around that. What a cell of the map
        sees beyond the margin is lost at the seams: 0 of EfficientNet-Lite0 at 448, 0.5 % of the
        s.d. at 288. EfficientNet-Lite0 takes some 1.5 GB of memory for a region of 4,096; other
        networks take several times that.
    precision
        "32" or "bf16".
    device
        "cpu" or "cuda"; auto takes a GPU where there is one.

    Returns
    -------
    numpy.ndarray
        (n, width) float32; (1, width) of the whole picture.

    Raises
    ------
    InputError
        If the network has no map of features, a box lies outside as a whole, or the picture does
        not say how long its pixels are.

    Examples
    --------
    >>> import smalti as sm
    >>> import numpy as np
    >>> picture = np.random.default_rng(0).integers(0, 255, (96, 160, 3), dtype=np.uint8)
    >>> x = sm.features.dense_features(picture, encoder="test_efficientnet", weights="random")
    >>> x.shape
    (1, 256)
    """
    image: Any = picture
    if isinstance(picture, (str, Path)):
        image = open_image(picture)
    elif not hasattr(picture, "region"):
        image = ArrayImage(np.asarray(picture).transpose(2, 0, 1), "picture")
    scale = 1.0
    if um_per_px is not None:
        if image.um_per_px is None:
            raise InputError(
                f"um_per_px={um_per_px:g}: the picture does not say how long its pixels are; open "
                "it with sm.tiles.open_image(path, um_per_px=...)."
            )
        scale = image.um_per_px / um_per_px
    if boxes is None:
        boxes = [[0, 0, image.width, image.height]]
    found = np.atleast_2d(np.asarray(boxes, dtype=float))
    made = make_encoder(encoder, weights=weights, precision=precision, device=device)
    pool = Pool(maps_of(made), region, margin)
    return pool(image, found, scale)[:, 0]


def maps_of(encoder: Any) -> FeatureMaps:
    """The maps of an encoder.

    Raises
    ------
    InputError
        If it has none.
    """
    if not isinstance(encoder, Backbone):
        raise InputError(
            f"{encoder.name} describes tiles one by one: dense features need a convolutional "
            "network, such as efficientnet-lite0 or resnet50."
        )
    return FeatureMaps(encoder)


class Pool:
    """Means of a network's map over boxes of a picture, region by region.

    Parameters
    ----------
    maps
        Of the network.
    region, margin
        Pixels that it sees at once, along an edge, and around that.

    Raises
    ------
    InputError
        If the region is smaller than a cell, or the margin negative.
    """

    def __init__(self, maps: FeatureMaps, region: int = REGION, margin: int = MARGIN) -> None:
        if region < maps.cell or margin < 0:
            raise InputError(f"a region of {region} px and a margin of {margin} px: {maps.cell} or "
                             "more, and 0 or more.")  # fmt: skip
        self.maps = maps
        self.step, self.rim = region // maps.cell, -(-margin // maps.cell)  # cells

    @property
    def identity(self) -> str:
        """What its results depend on, beside the network."""
        return f"dense 2 {self.maps.cell} {self.step} {self.rim}"

    def __call__(self, image: Any, boxes: np.ndarray, scale: float, turns: int = 1) -> np.ndarray:
        """Features of boxes, (n, 4) left, top, right, bottom in pixels of the picture.

        (n, turns, width) float32: of the picture as it is and turned, as :func:`turned` has it.
        """
        extent = np.array([image.width, image.height]) * scale / self.maps.cell  # cells
        boxes = np.clip(boxes * scale / self.maps.cell, 0, np.tile(extent, 2))
        area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
        if not (area > 0).all():
            raise InputError(f"a box lies outside of {image}, or is empty: there is nothing to "
                             "take a mean of.")  # fmt: skip
        sums: Any = None
        for left, top, right, bottom in self._regions(extent):
            at = np.flatnonzero((boxes[:, 0] < right) & (boxes[:, 2] > left)
                                & (boxes[:, 1] < bottom) & (boxes[:, 3] > top))  # fmt: skip
            if not len(at):
                continue
            for k in range(turns):
                part = self._map(image, (left, top, right, bottom), extent, scale, k)
                if sums is None:
                    sums = torch.zeros(turns, len(boxes), part.shape[2], dtype=torch.float64)
                for i in range(0, len(at), _BOXES):
                    own = at[i : i + _BOXES]
                    sums[k, own] += _pooled(part, boxes[own], left, top)
        means = (sums / torch.as_tensor(area)[:, None]).float()
        with torch.inference_mode():
            return torch.stack([self.maps.head(m).cpu() for m in means], dim=1).numpy()

    def _regions(self, extent: np.ndarray) -> Iterator[tuple[int, int, int, int]]:
        wide, high = np.ceil(extent).astype(int)
        for top in range(0, high, self.step):
            for left in range(0, wide, self.step):
                yield left, top, min(left + self.step, wide), min(top + self.step, high)

    def _map(
        self, image: Any, cells: tuple[int, int, int, int], extent: np.ndarray, scale: float,
        turn: int,
    ) -> torch.Tensor:  # fmt: skip
        """The map of a region, in cells, (rows, columns, channels), seen with its margin."""
        left, top, right, bottom = cells
        wide, high = np.ceil(extent).astype(int)
        x, y = max(left - self.rim, 0), max(top - self.rim, 0)
        window = (x, y, min(right + self.rim, wide), min(bottom + self.rim, high))
        pixels = seen(image, [v * self.maps.cell for v in window], scale)
        found = self.maps.map(turned(pixels.transpose(2, 0, 1)[None], turn)[0])
        found = found.rot90(-(turn % 4), (0, 1))
        found = found.flip(1) if turn > 3 else found
        return found[top - y : bottom - y, left - x : right - x]


def seen(image: Any, window: Any, scale: float) -> np.ndarray:
    """A window of a picture as a network sees it, (height, width, 3) uint8; white outside of it.

    ``window`` left, top, right, bottom in the pixels that it sees. Pixels are the same whatever
    window they are in.
    """
    left, top, right, bottom = window
    if scale == 1:
        return image.region(left, top, right - left, bottom - top, pad=True)
    near = int(np.ceil(2 * max(1, 1 / scale)))  # what a pixel is averaged of, and more
    box = np.array(window) / scale
    x, y = (np.floor(box[:2]).astype(int) - near).tolist()
    far_x, far_y = (np.ceil(box[2:]).astype(int) + near).tolist()
    pixels = image.region(x, y, far_x - x, far_y - y, pad=True)
    pil = need("PIL.Image", "slides")
    small = pil.fromarray(pixels).resize(
        (right - left, bottom - top), pil.Resampling.BILINEAR,
        box=(box[0] - x, box[1] - y, box[2] - x, box[3] - y),
    )  # fmt: skip
    return np.asarray(small)


def _pooled(part: torch.Tensor, boxes: np.ndarray, left: int, top: int) -> torch.Tensor:
    """Sums of a map, (rows, columns, channels), over boxes in cells, (n, 4): (n, channels)."""
    rows, columns, channels = part.shape
    x = _shares(boxes[:, 0], boxes[:, 2], left, columns)
    y = _shares(boxes[:, 1], boxes[:, 3], top, rows)
    shares = torch.as_tensor(y[:, :, None] * x[:, None, :]).reshape(len(boxes), -1)
    return (shares.float() @ part.cpu().reshape(-1, channels)).double()


def _shares(low: np.ndarray, high: np.ndarray, first: int, n: int) -> np.ndarray:
    """(n_boxes, n) length of each cell, the first of which is ``first``, that lies in a box."""
    cells = first + np.arange(n)
    return np.clip(np.minimum(high[:, None], cells + 1) - np.maximum(low[:, None], cells), 0, None)
