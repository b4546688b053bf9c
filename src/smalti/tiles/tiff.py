"""TIFF and OME-TIFF: of a tiled one only the parts that a region touches are decoded."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from html import unescape
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from smalti.errors import InputError
from smalti.system.extras import need
from smalti.system.reading import checked_size, n_bytes, plain_file, reading
from smalti.tiles.formats import array_rgb
from smalti.tiles.image import ORIENTATION, Recent, SlideImage, damaged, in_bands
from smalti.tiles.ranges import Range, of_tiff, of_values, usual

# decoded tiles and strips, shared by all: bytes
_PARTS = Recent(2**28)
_PAGES = Recent(256)  # tables of where the parts of a level lie, which a large file has many of
_INCH, _CM = 25_400.0, 10_000.0  # µm
_UNITS = {"µm": 1.0, "um": 1.0, "mm": 1e3, "cm": 1e4, "nm": 1e-3, "m": 1e6, "μm": 1.0}
_BENT = 0.02  # sides of a level are rounded, and another picture has another shape
_PACKED = 1032  # bytes that one of a file can stand for


class TiffImage(SlideImage):
    """The first, full-resolution picture of a TIFF.

    Tiles (or strips) are decoded one by one and kept for a while, 256 MiB of all slides together; a
    picture that is one strip is decoded as a whole.

    Raises
    ------
    InputError
        If the file is damaged, or holds more than one picture.
    """

    def __init__(self, path: Path, um_per_px: float | None = None) -> None:
        with opened_tiff(path) as file:
            series = file.series[0]
            axes, shape = series.axes, series.shape
            page = series.pages[0]
            check_page(page, path)
            said = _scale(file, page)
            self.turned = page.tags.valueof(ORIENTATION, 1) > 1
            self.dtype, self._said = page.dtype, of_tiff(page, file.ome_metadata, path)
        keep = {"Y", "X", "S", "C"}
        extra = [(a, n) for a, n in zip(axes, shape, strict=True) if a not in keep and n > 1]
        if extra or not {"Y", "X"} <= set(axes):
            raise InputError(
                f"{path} has axes {axes} of {shape}: expected one picture (height, width, colour)."
            )
        self.planar = "C" in axes and dict(zip(axes, shape, strict=True))["C"] > 1
        super().__init__(path, int(page.imagewidth), int(page.imagelength), um_per_px, said)

    def _read(self, x: int, y: int, width: int, height: int, level: int = 0) -> np.ndarray:
        full = self.range.full
        planes = []
        with opened_parts(self.path) as file:
            pages = _PAGES.get((*self._stamp(), level), lambda: self._parsed(level))
            for page in pages:
                part = self._page(file, page, x, y, width, height)
                if self._said and not self._said.usual and part.max() > full:
                    raise InputError(
                        f"{self.path} says that its values are at most {full:g}, and holds "
                        f"{part.max():g}: save it with 8 bits per channel."
                    )
                planes.append(_colours(page, part, full))
        return array_rgb(np.concatenate(planes, axis=2), self.path, full)

    def _stamp(self) -> tuple[int, ...]:
        """Of the file as it is now; its size last."""
        stat = self.path.stat()
        return stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size

    def _parsed(self, level: int) -> list[Any]:
        """The pages of a level, with all that decoding their parts needs of the open file."""
        with opened_tiff(self.path) as file:
            pages = self._pages(file, level)
            for page in pages:
                _ = page.dataoffsets, page.databytecounts, page.jpegtables, page.decode
            return pages

    def _small(self, size: tuple[int, int]) -> np.ndarray:
        """From the smallest level of the pyramid that is large enough."""
        with opened_tiff(self.path) as file:
            level, extent = self._level(file, size)
        return in_bands(partial(self._read, level=level), extent, size)

    def _level(self, file: Any, size: tuple[int, int]) -> tuple[int, tuple[int, int]]:
        """Number and (width, height) of a level of the same picture at ``size`` or larger."""
        found = 0, (self.width, self.height)
        for k, level in enumerate(file.series[0].levels[1:], start=1):
            page = level.pages[0].aspage()
            wide, high = int(page.imagewidth), int(page.imagelength)
            bent = abs(self.width / wide - self.height / high) > _BENT * self.width / wide
            alike = page.dtype == self.dtype and level.axes == file.series[0].axes
            if alike and not bent and size[0] <= wide < found[1][0] and size[1] <= high:
                check_page(page, self.path)
                found = k, (wide, high)
        return found

    def _pages(self, file: Any, level: int = 0) -> list[Any]:
        """The pages that hold the picture: one, or one for each colour."""
        held = file.series[0].levels[level].pages
        pages = list(held) if self.planar else [held[0]]
        return [page.aspage() for page in pages if page is not None]

    @property
    def whole_bytes(self) -> bool:
        """Whether values are 8 bits, all of which are used: nothing is to be found out."""
        return self._said == Range() or self.dtype == bool

    def _range(self) -> Range:
        if self._said is not None:
            return self._said
        if self.dtype.kind not in "fu" or self.dtype.itemsize == 1:
            return Range(usual(self.dtype))
        found = []
        with opened_tiff(self.path) as file:
            levels = file.series[0].levels
            if len(levels) > 1:  # of a pyramid the smallest
                small = levels[-1].asarray()
                found = [(small.min(), small.max())]
            step = max(1, 2**22 // self.width)
            for y in range(0, self.height if not found else 0, step):
                for page in self._pages(file):
                    part = self._page(
                        file.filehandle, page, 0, y, self.width, min(step, self.height - y)
                    )
                    found.append((part.min(), part.max()))
        least, most = np.array(found, dtype=np.float64).T
        return of_values(self.dtype, float(least.min()), float(most.max()), self.path)

    def _page(self, file: Any, page: Any, x: int, y: int, width: int, height: int) -> np.ndarray:
        """A region of one page, (height, width, channels), from the segments that it touches."""
        high = page.tilelength if page.is_tiled else page.rowsperstrip
        wide = page.tilewidth if page.is_tiled else page.imagewidth
        high = min(int(high), page.imagelength)
        across, down = -(-page.imagewidth // wide), -(-page.imagelength // high)
        planes = page.samplesperpixel if page.planarconfig == 2 else 1
        channels = 1 if planes > 1 else page.samplesperpixel
        out = np.zeros((height, width, planes * channels), page.dtype)
        for plane in range(planes):
            for row in range(y // high, (y + height - 1) // high + 1):
                for column in range(x // wide, (x + width - 1) // wide + 1):
                    index = plane * across * down + row * across + column
                    part = self._segment(file, page, index)
                    top, left = row * high, column * wide
                    y0, y1 = max(y, top), min(y + height, top + part.shape[0])
                    x0, x1 = max(x, left), min(x + width, left + part.shape[1])
                    out[y0 - y : y1 - y, x0 - x : x1 - x,
                        plane * channels : (plane + 1) * channels] = \
                        part[y0 - top : y1 - top, x0 - left : x1 - left]  # fmt: skip
        return out

    def _segment(self, file: Any, page: Any, index: int) -> np.ndarray:
        """One decoded tile or strip, (height, width, channels)."""
        stamp = self._stamp()
        key, size = (*stamp, page.offset, index), stamp[-1]

        def decode() -> np.ndarray:
            n = page.databytecounts[index]
            checked_size(cost, size, f"{self.path}, part {index},", _PACKED)
            if not n:  # a tile that was never written
                return np.zeros((high, wide, channels), page.dtype)
            file.seek(page.dataoffsets[index])
            data = file.read(min(n, size))
            if len(data) < n:
                raise InputError(f"{self.path} is cut short: copy or download it again.")
            part, _, _ = page.decode(data, index, jpegtables=page.jpegtables)
            return np.asarray(part[0])  # (depth, height, width, channels)

        high = page.tilelength if page.is_tiled else min(page.rowsperstrip, page.imagelength)
        wide = page.tilewidth if page.is_tiled else page.imagewidth
        channels = 1 if page.planarconfig == 2 else page.samplesperpixel
        cost = int(high) * int(wide) * channels * page.dtype.itemsize
        return _PARTS.get(key, decode, cost)


@contextmanager
def opened_parts(path: Path) -> Iterator[BinaryIO]:
    """The bytes of a TIFF whose tables are known; errors as of :func:`opened_tiff`."""
    tifffile = need("tifffile", extra="slides")
    plain_file(path)
    try:
        with reading(path), path.open("rb") as file:
            yield file
    except (tifffile.TiffFileError, tifffile.OmeXmlError) as error:
        raise damaged(path, error) from error


@contextmanager
def opened_tiff(path: Path) -> Iterator[Any]:
    """An open TIFF; whatever decoding it dies of is one error.

    Raises
    ------
    InputError
        If it is no plain file, or damaged.
    """
    tifffile = need("tifffile", extra="slides")
    plain_file(path)
    try:
        with reading(path), tifffile.TiffFile(path) as file:
            yield file
    except (tifffile.TiffFileError, tifffile.OmeXmlError) as error:
        raise damaged(path, error) from error


def check_page(page: Any, path: Path) -> None:
    """Refuse a picture that says to be far larger than its file can be, or to have no pixels.

    Raises
    ------
    InputError
        If it does.
    """
    shape = (page.imagelength, page.imagewidth, page.imagedepth, page.samplesperpixel)
    if min(shape) < 1 or page.dtype is None:
        raise InputError(f"{path} is damaged: a picture of {shape[1]} x {shape[0]} px of "
                         f"{shape[3]} samples of {page.dtype}. Copy it again.")  # fmt: skip
    checked_size(n_bytes(shape, page.dtype.itemsize), path.stat().st_size, str(path), _PACKED)


def _colours(page: Any, out: np.ndarray, full: float) -> np.ndarray:
    """Samples as grey or RGB: of a palette looked up, of CMYK and white-is-zero turned round."""
    if page.photometric == 3 and page.colormap is not None:
        # Pillow writes 8 bits as v * 256, others as v * 257: the upper byte is right for both
        return (page.colormap >> 8).astype(np.uint8).T[out[..., 0]]
    if page.photometric in (0, 5) and out.dtype.kind == "u":
        most = int(full)
        out = most - np.minimum(out, most)
        if page.photometric == 5:
            wide = out.astype(np.uint32)
            out = ((wide[..., :3] * wide[..., 3:4] + most // 2) // most).astype(out.dtype)
    return out


def _scale(file: Any, page: Any) -> tuple[float, float] | None:
    """µm per pixel along x and y by OME metadata, else by the resolution tags; None: not said."""
    ome = file.ome_metadata
    if ome:
        found = [_ome_size(ome, axis) for axis in "XY"]
        if found[0] is not None:
            # a unit that is no length ("pixel") says nothing
            return (found[0], found[1] or found[0]) if found[0] else None
    tags = page.tags
    if "XResolution" not in tags or "ResolutionUnit" not in tags:
        return None
    length = {2: _INCH, 3: _CM}.get(int(tags["ResolutionUnit"].value))
    dots = [tags[f"{axis}Resolution"].value if f"{axis}Resolution" in tags else (0, 0)
            for axis in "XY"]  # fmt: skip
    if length is None or not all(dots[0]):
        return None
    x, y = (length * below / top if top and below else 0.0 for top, below in dots)
    # 72 dots an inch is a printer's word
    return (x, y or x) if 0.05 <= x <= 10 else None


def _ome_size(ome: str, axis: str) -> float | None:
    """µm per pixel along an axis; 0 where the unit is no length, None where nothing is said."""
    size = re.search(rf'PhysicalSize{axis}="([0-9.eE+-]+)"', ome)
    unit = re.search(rf'PhysicalSize{axis}Unit="([^"]+)"', ome)
    if not size:
        return None
    return float(size[1]) * _UNITS.get(unescape(unit[1]).strip() if unit else "µm", 0.0)
