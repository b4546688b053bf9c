"""Tiles of slides as a view that is cut from the pictures when it is read."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from smalti.errors import InputError
from smalti.tiles.image import SlideImage, resize


class Recolour(Protocol):
    """Pixels to other pixels, for all tiles of one picture.

    Attributes
    ----------
    digest
        Of all that it does, for caches.
    """

    @property
    def digest(self) -> str:
        """Text."""
        ...

    def __call__(self, rgb: np.ndarray) -> np.ndarray:
        """(height, width, 3) uint8 to the same."""
        ...


class TileView:
    """Tiles of slides, cut and resized when they are read.

    Parameters
    ----------
    images
        The pictures.
    of
        (n,) picture of each tile.
    centers
        (n, 2) x, y of the centre of each tile, pixels at full resolution.
    side
        (n_images,) edge of a tile in pixels of each picture; rounded to whole ones.
    size
        Edge of a tile as it is read, in pixels.
    pad
        Fill what lies outside a picture with white; otherwise it is an error.
    through
        Pixels that a tile of more is brought to before it is enlarged to ``size``: then it shows no
        more than one of a coarser picture.
    recolour
        For each picture, what makes other pixels of those of its tiles
        (:func:`smalti.tiles.normalized`).

    Attributes
    ----------
    shape, dtype
        (n, 3, size, size) uint8.

    Raises
    ------
    InputError
        If lengths disagree, or a side or the size is less than one pixel.
    """

    def __init__(
        self,
        images: Sequence[SlideImage],
        of: np.ndarray,
        centers: np.ndarray,
        side: np.ndarray | float,
        size: int,
        *,
        pad: bool = False,
        through: int | None = None,
        recolour: Sequence[Recolour] | None = None,
    ) -> None:
        self.images = tuple(images)
        self.of = np.asarray(of, dtype=np.int64)
        self.centers = np.asarray(centers, dtype=np.float64).reshape(-1, 2)
        sides = np.broadcast_to(np.asarray(side, dtype=np.float64), (len(self.images),))
        self.side = np.rint(sides).astype(np.int64)
        self.size, self.pad, self.through = int(size), pad, through
        self.recolour = None if recolour is None else tuple(recolour)
        if self.recolour is not None and len(self.recolour) != len(self.images):
            raise InputError(f"{len(self.recolour)} recolourings for {len(self.images)} pictures.")
        if len(self.of) != len(self.centers):
            raise InputError(f"{len(self.centers)} centres for {len(self.of)} tiles.")
        if len(self.of) and not 0 <= self.of.min() <= self.of.max() < len(self.images):
            raise InputError(f"tiles name pictures 0 to {self.of.max()} of {len(self.images)}.")
        if min(self.size, through or 1) < 1 or (self.side < 1).any():
            raise InputError(f"tiles of {self.side.tolist()} px read at {self.size} px: too small.")
        self.shape = (len(self.of), 3, self.size, self.size)
        self.dtype: np.dtype[Any] = np.dtype(np.uint8)

    @property
    def corners(self) -> np.ndarray:
        """(n, 2) x, y of the upper left corner of each tile, whole pixels."""
        side = self.side[self.of][:, None]
        return np.floor(self.centers - side / 2 + 0.5).astype(np.int64)

    def outside(self) -> np.ndarray:
        """(n,) bool: tiles that leave their picture."""
        corners, side = self.corners, self.side[self.of][:, None]
        extent = np.array([[i.width, i.height] for i in self.images])[self.of]
        return np.asarray(((corners < 0) | (corners + side > extent)).any(1))

    def away(self) -> np.ndarray:
        """(n,) bool: tiles that lie outside their picture as a whole."""
        corners, side = self.corners, self.side[self.of][:, None]
        extent = np.array([[i.width, i.height] for i in self.images])[self.of]
        return np.asarray(((corners + side <= 0) | (corners >= extent)).any(1))

    def read(self, start: int, stop: int) -> np.ndarray:
        """Tiles ``start:stop``, (stop - start, 3, size, size) uint8 RGB."""
        stop = min(stop, len(self.of))
        out = np.empty((max(stop - start, 0), *self.shape[1:]), np.uint8)
        corners, of = self.corners[start:stop], self.of[start:stop]
        for i in np.unique(of):  # all tiles of a picture while it is decoded
            image, side = self.images[i], int(self.side[i])
            for row in np.flatnonzero(of == i):
                x, y = map(int, corners[row])
                tile = image.region(x, y, side, side, pad=self.pad)
                if self.through is not None and side > self.through:
                    tile = resize(tile, (self.through, self.through))
                tile = resize(tile, (self.size, self.size))
                tile = tile if self.recolour is None else self.recolour[i](tile)
                out[row] = tile.transpose(2, 0, 1)
        return out

    @property
    def how(self) -> str:
        """How tiles are read, for digests."""
        more = "" if self.through is None else f" {self.through}"
        more += "".join(f" {each.digest}" for each in self.recolour or ())
        return f"{self.size} {self.pad}{more}"

    def digest(self) -> str:
        """Of the pictures' files and where the tiles lie in them; no pixel is decoded."""
        sha = hashlib.sha256(self.how.encode())
        for image in self.images:
            sha.update(image.digest().encode())
        for part in (self.of, self.corners, self.side):
            sha.update(np.ascontiguousarray(part).tobytes())
        return sha.hexdigest()

    def __repr__(self) -> str:
        return f"TileView({len(self.of):,} tiles of {len(self.images)} pictures, {self.size} px)"
