"""Local binary patterns of a tile, for all of its pixels at once."""

from __future__ import annotations

from functools import lru_cache

import numpy as np


def uniform_patterns(image: np.ndarray, radius: int) -> np.ndarray:
    """How many pixels have each uniform pattern of their eight neighbours (Ojala et al. 2002).

    Parameters
    ----------
    image
        (height, width) uint8; outside of it is 0.
    radius
        Pixels from a pixel to its neighbours; those between pixels are interpolated.

    Returns
    -------
    numpy.ndarray
        (10,) int64: with 0 to 8 neighbours at least as bright, in one run; the last, all others.
        Equal to counts of ``skimage.feature.local_binary_pattern(image, 8, radius, "uniform")``.
    """
    high, wide = image.shape
    rim = radius + 1
    padded = np.pad(image, rim).astype(np.float64)
    bits = np.zeros(image.shape, dtype=np.uint8)
    angles = 2 * np.pi * np.arange(8) / 8
    rows, columns = (np.round(radius * v, 5) for v in (-np.sin(angles), np.cos(angles)))
    for k, (dy, dx) in enumerate(zip(rows, columns, strict=True)):
        # as scikit-image rounds them, place by place: a tie is a tie there too
        y, x = np.arange(high) + dy, np.arange(wide) + dx
        fy, fx = (y - np.floor(y))[:, None], x - np.floor(x)
        top, left = int(np.floor(dy)) + rim, int(np.floor(dx)) + rim

        def shifted(down: int, right: int, top: int = top, left: int = left) -> np.ndarray:
            return padded[top + down : top + down + high, left + right : left + right + wide]

        value = shifted(0, 0)
        if fx.any() or fy.any():
            upper = (1 - fx) * shifted(0, 0) + fx * shifted(0, 1)
            lower = (1 - fx) * shifted(1, 0) + fx * shifted(1, 1)
            value = (1 - fy) * upper + fy * lower
        bits |= (value >= image).astype(np.uint8) << np.uint8(k)
    counts = np.bincount(bits.ravel(), minlength=256)
    return np.bincount(_kinds(), counts, minlength=10).astype(np.int64)


@lru_cache(maxsize=1)
def _kinds() -> np.ndarray:
    """(256,) which uniform pattern each set of neighbours is."""
    bits = (np.arange(256)[:, None] >> np.arange(8)) & 1
    changes = np.abs(np.diff(bits, axis=1)).sum(1)  # along the eight, as scikit-image counts them
    return np.where(changes <= 2, bits.sum(1), 9)
