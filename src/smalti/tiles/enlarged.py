"""A small picture that stands for a slide: places are those of the full one."""

from __future__ import annotations

import math

import numpy as np

from smalti.tiles.image import SlideImage, resize


class Enlarged(SlideImage):
    """A picture of the extent of the full slide, read from a smaller copy of it.

    Parameters
    ----------
    small
        The copy.
    extent
        Width and height of the full slide in pixels.
    """

    def __init__(self, small: SlideImage, extent: tuple[int, int]) -> None:
        self.small, self.step = small, extent[0] / small.width  # pixels of the slide in one
        um = None if small.um_per_px is None else small.um_per_px / self.step
        super().__init__(small.path, *extent, um)

    def _read(self, x: int, y: int, width: int, height: int) -> np.ndarray:
        step = self.step
        left, top = math.floor(x / step), math.floor(y / step)
        right = min(max(math.ceil((x + width) / step), left + 1), self.small.width)
        bottom = min(max(math.ceil((y + height) / step), top + 1), self.small.height)
        left, top = min(left, right - 1), min(top, bottom - 1)
        return resize(self.small.region(left, top, right - left, bottom - top), (width, height))

    def _small(self, size: tuple[int, int]) -> np.ndarray:
        return self.small.thumbnail(max(size))[0]

    def digest(self) -> str:
        """Of the copy and the extent."""
        return f"{self.small.digest()} {self.width} {self.height}"
