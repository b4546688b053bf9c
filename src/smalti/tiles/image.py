"""One picture of a slide, of which regions are read: JPG, PNG, TIFF and whole-slide formats."""

from __future__ import annotations

import hashlib
import threading
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from smalti.errors import InputError
from smalti.system.extras import need
from smalti.tiles.ranges import Range

WHOLE_SLIDE = (".svs", ".ndpi", ".mrxs", ".scn", ".bif", ".vms", ".vmu", ".svslide")
FLAT = (".jpg", ".jpeg", ".png", ".bmp")
TIFF = (".tif", ".tiff")
SUFFIXES = (*FLAT, *TIFF, *WHOLE_SLIDE)
_SQUARE = 1.02  # scanners differ by less between x and y, and mean square pixels
ORIENTATION = 0x0112  # a tag of TIFF and EXIF; 1 is as stored
_PART = 2**20  # bytes hashed at each of three places of a large file


def ending(path: Path) -> str:
    """What tells the kind of a picture: ".png" of a.PNG and of a.png.gz."""
    return Path(path.name.lower().removesuffix(".gz")).suffix


class SlideImage(ABC):
    """A picture of which regions are read as RGB.

    Attributes
    ----------
    path
        Its file.
    width, height
        Pixels at full resolution.
    um_per_px
        µm per pixel at full resolution; None where neither file nor user says so.
    uneven
        µm per pixel along x and y, where the file says that they differ; then ``um_per_px`` is None
        unless the user gave it.
    turned
        Whether the file says that it is to be shown turned or mirrored (EXIF). Pixels are counted
        as they are stored.

    Raises
    ------
    InputError
        If ``um_per_px`` is given and not positive.
    """

    turned = False

    def __init__(
        self, path: Path, width: int, height: int, um_per_px: float | None,
        said: tuple[float, float] | None = None,
    ) -> None:  # fmt: skip
        self.uneven = said if said and max(said) > _SQUARE * min(said) else None
        if um_per_px is None and said and not self.uneven:
            um_per_px = (said[0] + said[1]) / 2
        if um_per_px is not None and not (np.isfinite(um_per_px) and um_per_px > 0):
            raise InputError(f"um_per_px={um_per_px} of {path} must be a positive number.")
        self.path, self.width, self.height, self.um_per_px = path, width, height, um_per_px

    @cached_property
    def range(self) -> Range:
        """Which stored value is full brightness: that of the file, else by its values."""
        return self._range()

    def _range(self) -> Range:
        return Range()

    @property
    def whole_bytes(self) -> bool:
        """Whether values are 8 bits, all of which are used: nothing is to be found out."""
        return True

    @abstractmethod
    def _read(self, x: int, y: int, width: int, height: int) -> np.ndarray:
        """Region inside the picture, RGB."""

    def region(self, x: int, y: int, width: int, height: int, *, pad: bool = False) -> np.ndarray:
        """Pixels of a rectangle at full resolution.

        Parameters
        ----------
        x, y
            Its upper left corner, whole pixels.
        width, height
            Its extent in pixels.
        pad
            Fill what lies outside the picture with white; otherwise it is an error.

        Returns
        -------
        np.ndarray
            (height, width, 3) uint8 RGB.

        Raises
        ------
        InputError
            If the rectangle leaves the picture and ``pad`` is false, or the file is damaged.
        """
        left, top = max(x, 0), max(y, 0)
        right, bottom = min(x + width, self.width), min(y + height, self.height)
        if (right - left, bottom - top) == (width, height):
            return self._read(x, y, width, height)
        if not pad:
            raise InputError(
                f"the region at ({x}, {y}) px of {width} x {height} px leaves {self.path.name} "
                f"({self.width} x {self.height} px): mend the coordinates, or say pad=True for "
                "white."
            )
        out = np.full((height, width, 3), 255, np.uint8)
        if right > left and bottom > top:
            part = self._read(left, top, right - left, bottom - top)
            out[top - y : bottom - y, left - x : right - x] = part
        return out

    def whole(self) -> np.ndarray:
        """All of it, (height, width, 3) uint8 RGB; for small pictures, nothing is kept."""
        return self._read(0, 0, self.width, self.height)

    def thumbnail(self, most: int = 1024) -> tuple[np.ndarray, float]:
        """A small version of the picture.

        Parameters
        ----------
        most
            Pixels of its longer edge; a smaller picture stays as it is.

        Returns
        -------
        np.ndarray
            (height, width, 3) uint8 RGB, averaged over the pixels that it stands for.
        float
            Its pixels per pixel of the picture, at most 1: ``x_small = x * scale``.
        """
        scale = min(1.0, most / max(self.width, self.height))
        size = (max(1, round(self.width * scale)), max(1, round(self.height * scale)))
        return resize(self._small(size), size), scale

    def _small(self, size: tuple[int, int]) -> np.ndarray:
        """The whole picture at (width, height) ``size`` or somewhat larger."""
        return in_bands(self._read, (self.width, self.height), size)

    def digest(self) -> str:
        """Of the content of the file; of one over 32 MB of its size and three parts of it."""
        sha = hashlib.sha256()
        if not self.range.usual:  # the same file gives other tiles
            sha.update(f"{self.range.full}".encode())
        files = sorted(self.path.rglob("*")) if self.path.is_dir() else [self.path]
        for path in files:
            if not path.is_file():
                continue
            size = path.stat().st_size
            sha.update(str(size).encode())
            with path.open("rb") as file:
                if size <= 32 * _PART:
                    sha.update(file.read())
                    continue
                for at in (0, size // 2, size - _PART):
                    file.seek(at)
                    sha.update(file.read(_PART))
        return sha.hexdigest()

    def __repr__(self) -> str:
        scale = "" if self.um_per_px is None else f", {self.um_per_px:.4g} µm per px"
        return f"{type(self).__name__}({self.path.name}, {self.width} x {self.height} px{scale})"


def in_bands(
    read: Callable[[int, int, int, int], np.ndarray], extent: tuple[int, int], size: tuple[int, int]
) -> np.ndarray:
    """A picture of (width, height) ``extent`` at ``size`` or somewhat larger, averaged.

    ``read`` gives the region at x, y of a width and a height, (height, width, 3) uint8.
    """
    image = need("PIL.Image", extra="slides")
    width, height = extent
    k = max(1, min(width // size[0], height // size[1]))
    rows = max(1, 2**22 // (width * k)) * k
    bands = []
    for y in range(0, height, rows):
        band = read(0, y, width, min(rows, height - y))
        bands.append(np.asarray(image.fromarray(band).reduce(k)))
    return np.concatenate(bands)


def damaged(path: Path, error: Exception) -> InputError:
    """The error of a file that cannot be decoded."""
    return InputError(
        f"{path} is cut short or damaged ({type(error).__name__}: {str(error)[:160]}): copy or "
        "download it again."
    )


def resize(rgb: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(height, width, 3) uint8 at (width, height) ``size``; averaged where that is smaller."""
    if (rgb.shape[1], rgb.shape[0]) == size:
        return rgb
    image = need("PIL.Image", extra="slides")
    # Pillow widens the triangle with the step, so that nothing is skipped: antialiased
    return np.asarray(image.fromarray(rgb).resize(size, image.Resampling.BILINEAR))


class Recent:
    """The things decoded last; old ones go before a new one is made.

    Parameters
    ----------
    most
        How much may be held at once, in the unit of ``cost``.
    """

    def __init__(self, most: int) -> None:
        self.most, self.held = most, 0
        self._things: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._lock = threading.RLock()

    def get(self, key: Hashable, make: Callable[[], Any], cost: int = 1) -> Any:
        """The thing of a key, made now if it is not there; one thread makes at a time."""
        with self._lock:
            if key in self._things:
                self._things.move_to_end(key)
                return self._things[key][0]
            while self._things and self.held + cost > self.most:
                self.held -= self._things.popitem(last=False)[1][1]
            thing = make()
            self._things[key] = (thing, cost)
            self.held += cost
            return thing

    def clear(self) -> None:
        """Let everything go."""
        with self._lock:
            self._things.clear()
            self.held = 0
