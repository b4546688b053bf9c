"""Where features of tiles come from: each tile alone, or the map of its whole slide."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from smalti.bags import Bags
from smalti.errors import InputError
from smalti.features.cache import BLOCK
from smalti.features.dense import Pool, maps_of, seen
from smalti.features.encoders import Encoder, turned
from smalti.views import View, read_rows


class Source(Protocol):
    """Features of the tiles of a view.

    Attributes
    ----------
    encoder
        What makes them.
    features
        Their names.
    block
        Tiles that are made and kept at once; 0: all of a slide.
    """

    encoder: Any
    features: tuple[str, ...]
    block: int

    def key(self, start: int, stop: int, flips: str) -> str:
        """What those of tiles ``start:stop`` depend on, beside the tiles."""
        ...

    def read(self, start: int, stop: int, turns: int) -> np.ndarray:
        """(stop - start, turns, width): of the tiles as they are, and turned."""
        ...


class Single:
    """Features of each tile alone."""

    def __init__(self, encoder: Encoder, bags: Bags, view: View, batch_size: int) -> None:
        self.encoder, self.view, self.batch_size = encoder, view, batch_size
        self.pixel, self.features, self.block = (
            tile_pixels(bags, view),
            tuple(encoder.features),
            BLOCK,
        )

    def key(self, start: int, stop: int, flips: str) -> str:
        """What they depend on, beside the tiles."""
        return f"{self.encoder.identity} {flips} {np.unique(self.pixel[start:stop]).tolist()}"

    def read(self, start: int, stop: int, turns: int) -> np.ndarray:
        """(n, turns, width)."""
        parts = []
        for at in range(start, stop, self.batch_size):
            end = min(at + self.batch_size, stop)
            tiles = np.asarray(read_rows(self.view, at, end))
            each = [self.encoder.encode(turned(tiles, k) if k else tiles, self.pixel[at:end])
                    for k in range(turns)]  # fmt: skip
            parts.append(np.stack(each, axis=1))
        return np.concatenate(parts)


class Whole:
    """Features of tiles in their surroundings: a slide at once (see :mod:`smalti.features.dense`).

    Raises
    ------
    InputError
        If the tiles are not cut from pictures, or how long a pixel is must be known and is not.
    """

    block = 0

    def __init__(self, encoder: Any, bags: Bags, view: Any, um_per_px: float | None) -> None:
        self.encoder, self.pool = encoder, Pool(maps_of(encoder))
        self.features = tuple(f"{encoder.name}_dense_{i}" for i in range(encoder.width))
        self.view, self.rows = view, np.arange(bags.n_instances)
        if hasattr(view, "rows") and hasattr(view, "base"):
            self.view, self.rows = view.base, view.rows
        if not hasattr(self.view, "images"):
            raise InputError("dense features are of slides, and these tiles are cut already: read "
                             "the slides with sm.read_slides.")  # fmt: skip
        self.scale = self._scales(bags, um_per_px)  # (n_tiles,) pixels seen per pixel of the slide

    def _scales(self, bags: Bags, um_per_px: float | None) -> np.ndarray:
        if um_per_px is None:  # as long as those of the tiles as they are read
            return self.view.size / self.view.side[self.view.of[self.rows]]
        if not um_per_px > 0:
            raise InputError(f"um_per_px={um_per_px} must be over 0: µm of a pixel.")
        if "um_per_px" not in bags.bag:
            raise InputError("um_per_px: how long the pixels of these slides are is not known: say "
                             "it when they are read, sm.read_slides(um_per_px=...).")  # fmt: skip
        return bags.bag["um_per_px"].to_numpy(float)[bags.index] / um_per_px

    def key(self, start: int, stop: int, flips: str) -> str:
        """What they depend on, beside the tiles."""
        scale = np.unique(self.scale[start:stop]).tolist()
        return f"{self.encoder.identity} {self.pool.identity} {flips} {scale}"

    def read(self, start: int, stop: int, turns: int) -> np.ndarray:
        """(n, turns, width)."""
        rows, scale = self.rows[start:stop], self.scale[start:stop]
        of = self.view.of[rows]
        out = np.empty((stop - start, turns, len(self.features)), dtype=np.float32)
        for image in np.unique(of):
            own = np.flatnonzero(of == image)
            corners = self.view.corners[rows[own]]
            boxes = np.hstack([corners, corners + self.view.side[image]]).astype(float)
            shown = Shown(self.view, image)
            out[own] = self.pool(shown, boxes * shown.scale, float(scale[own[0]]) / shown.scale,
                                 turns)  # fmt: skip
        return out


class Shown:
    """A picture as the tiles of a view show it: as coarse as they are, and in their colours.

    Attributes
    ----------
    scale
        Its pixels for each of the picture.
    width, height
        In its own pixels.
    """

    def __init__(self, view: Any, i: int) -> None:
        self.image, side = view.images[i], int(view.side[i])
        self.scale = min(1.0, (view.through or side) / side)
        self.recolour = None if view.recolour is None else view.recolour[i]
        self.width, self.height = self.image.width * self.scale, self.image.height * self.scale

    def region(self, x: int, y: int, width: int, height: int, *, pad: bool = True) -> np.ndarray:
        """(height, width, 3) uint8; white outside of the picture."""
        pixels = seen(self.image, (x, y, x + width, y + height), self.scale)
        return pixels if self.recolour is None else self.recolour(pixels)


def tile_pixels(bags: Bags, view: View) -> np.ndarray:
    """(n,) µm of a pixel of each tile as it is read; NaN where that is not known."""
    if "um_per_px" not in bags.bag:
        return np.full(bags.n_instances, np.nan)
    slide = bags.bag["um_per_px"].to_numpy(float)[bags.index]
    rows = np.arange(bags.n_instances)
    if hasattr(view, "rows") and hasattr(view, "base"):
        view, rows = view.base, view.rows
    if not hasattr(view, "images"):
        if "tile_um_per_px" in bags.bag:  # of files that may be resized when they are read
            return bags.bag["tile_um_per_px"].to_numpy(float)[bags.index]
        return slide
    return slide * view.side[view.of[rows]] / view.size
