"""Where tiles lie that no spot places: regular grids, and crops around nuclei."""

from __future__ import annotations

import numpy as np

from smalti.errors import InputError
from smalti.tiles.image import SlideImage

_BLOCK, _MARGIN = 2048, 64


def grid_centers(width: int, height: int, side: int, *, overlap: float = 0.0) -> np.ndarray:
    """Centres of a regular grid of tiles that lie inside a picture.

    Parameters
    ----------
    width, height
        Of the picture, in pixels.
    side
        Edge of a tile in pixels.
    overlap
        Share of its edge that a tile has in common with the next, 0 up to 1 (not included).

    Returns
    -------
    np.ndarray
        (n, 2) x, y, row by row; the grid lies in the middle of the picture.

    Raises
    ------
    InputError
        If no tile fits, or the overlap is not in 0..1.
    """
    if not 0 <= overlap < 1:
        raise InputError(f"overlap={overlap} must be at least 0 and less than 1.")
    if side > min(width, height):
        raise InputError(
            f"a tile of {side} px does not fit a picture of {width} x {height} px: ask for smaller "
            "tiles."
        )
    step = max(1, round(side * (1 - overlap)))

    def along(extent: int) -> np.ndarray:
        n = (extent - side) // step + 1
        first = (extent - side - (n - 1) * step) // 2
        return first + side / 2 + step * np.arange(n)

    y, x = np.meshgrid(along(height), along(width), indexing="ij")
    return np.column_stack([x.ravel(), y.ravel()])


def nucleus_centers(image: SlideImage, *, um_per_px: float | None = None) -> np.ndarray:
    """Centres of the nuclei of a slide, found block by block.

    Parameters
    ----------
    image
        The slide.
    um_per_px
        Its µm per pixel, where known.

    Returns
    -------
    np.ndarray
        (n, 2) x, y in pixels of the slide.
    """
    from smalti.tiles.nuclei import find_nuclei

    found = [np.empty((0, 2))]
    for top in range(0, image.height, _BLOCK):
        for left in range(0, image.width, _BLOCK):
            x0, y0 = max(left - _MARGIN, 0), max(top - _MARGIN, 0)
            x1 = min(left + _BLOCK + _MARGIN, image.width)
            y1 = min(top + _BLOCK + _MARGIN, image.height)
            nuclei = find_nuclei(image.region(x0, y0, x1 - x0, y1 - y0), um_per_px=um_per_px)
            xy = np.asarray(nuclei.centroids).reshape(-1, 2)[:, ::-1] + [x0, y0]
            # a nucleus belongs to the block that holds its centre, so none is found twice
            block = np.floor(xy / _BLOCK).astype(int)
            mine = (block == [left // _BLOCK, top // _BLOCK]).all(1)
            found.append(xy[mine])
    return np.concatenate(found)
