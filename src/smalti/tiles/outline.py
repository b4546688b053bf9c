"""Outlines to masks and back: polygons with holes, in any scale of the slide."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from scipy import ndimage

from smalti.system.extras import need

Polygon: TypeAlias = Sequence[np.ndarray]
"""Rings of (n, 2) x, y: the outer one, then its holes. 0 is the edge of the first pixel."""


@dataclasses.dataclass(frozen=True)
class Marked:
    """Tissue of one slide: outlines in its pixels, or a mask of any size.

    Attributes
    ----------
    outlines
        Polygons in pixels of the slide.
    mask
        (height, width) bool of the whole slide.
    """

    outlines: Sequence[Polygon] = ()
    mask: np.ndarray | None = None

    def on(self, shape: tuple[int, int], scale: float) -> np.ndarray:
        """(height, width) bool of a thumbnail of that shape, ``scale`` px per px of the slide."""
        if self.mask is None:
            return filled(self.outlines, shape, scale)
        row, column = (((np.arange(n) + 0.5) * m / n).astype(int)
                       for n, m in zip(shape, self.mask.shape, strict=True))  # fmt: skip
        return self.mask[row[:, None], column]


def filled(polygons: Sequence[Polygon], shape: tuple[int, int], scale: float = 1.0) -> np.ndarray:
    """Pixels whose centre lies in one of the polygons.

    Parameters
    ----------
    polygons
        In pixels of the slide.
    shape
        Height and width of the mask.
    scale
        Its pixels per pixel of the slide.

    Returns
    -------
    np.ndarray
        (height, width) bool.
    """
    mask = np.zeros(shape, bool)
    for rings in polygons:
        xy = np.concatenate(rings) * scale
        low = np.clip(np.floor(xy.min(0)).astype(int), 0, shape[::-1])
        high = np.clip(np.ceil(xy.max(0)).astype(int), 0, shape[::-1])
        (x0, y0), (x1, y1) = low, high
        if x1 > x0 and y1 > y0:
            moved = [ring * scale - low for ring in rings]
            mask[y0:y1, x0:x1] |= _even_odd(moved, (y1 - y0, x1 - x0))
    return mask


def _even_odd(rings: Polygon, shape: tuple[int, int]) -> np.ndarray:
    """(height, width) bool: an odd number of edges lies left of the centre of a pixel."""
    start = np.concatenate(rings)
    end = np.concatenate([np.roll(ring, -1, axis=0) for ring in rings])
    top, bottom = (f(start[:, 1], end[:, 1]) for f in (np.minimum, np.maximum))
    # rows whose centre, at a half, an edge passes: the upper end counts, the lower does not
    first = np.clip(np.ceil(top - 0.5), 0, shape[0]).astype(int)
    last = np.clip(np.ceil(bottom - 0.5), 0, shape[0]).astype(int)
    n = last - first
    edge = np.repeat(np.arange(len(n)), n)
    row = np.arange(n.sum()) - np.repeat(n.cumsum() - n, n) + first[edge]
    slope = (end - start)[:, 0] / np.where(n > 0, (end - start)[:, 1], 1)
    x = start[edge, 0] + (row + 0.5 - start[edge, 1]) * slope[edge]
    column = np.clip(np.ceil(x - 0.5), 0, shape[1]).astype(int)
    width = shape[1] + 1
    crossed = np.bincount(row * width + column, minlength=shape[0] * width).reshape(shape[0], width)
    return np.asarray(crossed[:, :-1].cumsum(1) % 2 == 1)


def outlines(mask: np.ndarray, scale: float = 1.0) -> list[list[np.ndarray]]:
    """Polygons of the pieces of a mask; :func:`filled` makes the same mask of them.

    Parameters
    ----------
    mask
        (height, width) bool.
    scale
        Its pixels per pixel of the slide.

    Returns
    -------
    list
        One polygon a piece, in pixels of the slide: rings of (n, 2) x, y, closed (the last point is
        the first), the outer one first.
    """
    find = need("skimage.measure", extra="slides").find_contours
    label, _ = ndimage.label(mask)
    out = []
    for k, where in enumerate(ndimage.find_objects(label), start=1):
        piece = np.pad(label[where] == k, 1)
        corner = np.array([where[1].start, where[0].start]) - 0.5  # the padding, and half a pixel
        rings = [ring[:, ::-1] for ring in find(piece, 0.5, fully_connected="low")]
        rings.sort(key=lambda ring: -abs(_area(ring)))
        out.append([(ring + corner) / scale for ring in rings])
    return out


def _area(ring: np.ndarray) -> float:
    x, y = ring.T
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2
