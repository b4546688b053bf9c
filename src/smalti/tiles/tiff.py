"""TIFF and OME-TIFF: of a tiled one only the parts that a region touches are decoded."""

from __future__ import annotations

import re
import struct
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np

from smalti.errors import InputError
from smalti.system.extras import need
from smalti.tiles.formats import array_rgb
from smalti.tiles.image import Recent, SlideImage, damaged

# decoded tiles and strips, shared by all: bytes
_PARTS = Recent(2**28)
_INCH, _CM = 25_400.0, 10_000.0  # µm
_UNITS = {"µm": 1.0, "um": 1.0, "mm": 1e3, "cm": 1e4, "nm": 1e-3, "m": 1e6, "μm": 1.0}
_ERRORS = (OSError, ValueError, KeyError, IndexError, struct.error, RuntimeError, TypeError)


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
        tifffile = need("tifffile", extra="slides")
        try:
            with tifffile.TiffFile(path) as file:
                series = file.series[0]
                axes, shape = series.axes, series.shape
                page = series.pages[0]
                said = _scale(file, page)
        except (*_ERRORS, tifffile.TiffFileError) as error:
            raise damaged(path, error) from error
        keep = {"Y", "X", "S", "C"}
        extra = [(a, n) for a, n in zip(axes, shape, strict=True) if a not in keep and n > 1]
        if extra or not {"Y", "X"} <= set(axes):
            raise InputError(
                f"{path} has axes {axes} of {shape}: expected one picture (height, width, colour)."
            )
        self.planar = "C" in axes and dict(zip(axes, shape, strict=True))["C"] > 1
        super().__init__(path, int(page.imagewidth), int(page.imagelength), um_per_px or said)

    def _read(self, x: int, y: int, width: int, height: int) -> np.ndarray:
        tifffile = need("tifffile", extra="slides")
        try:
            with tifffile.TiffFile(self.path) as file:
                pages = list(file.series[0].pages) if self.planar else [file.series[0].pages[0]]
                planes = [self._page(file, p.aspage(), x, y, width, height)
                          for p in pages if p is not None]  # fmt: skip
        except (*_ERRORS, tifffile.TiffFileError) as error:
            if isinstance(error, InputError):
                raise
            raise damaged(self.path, error) from error
        return array_rgb(np.concatenate(planes, axis=2), self.path)

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
        return _colours(page, out)

    def _segment(self, file: Any, page: Any, index: int) -> np.ndarray:
        """One decoded tile or strip, (height, width, channels)."""
        stat = self.path.stat()
        key = (str(self.path.resolve()), stat.st_size, stat.st_mtime_ns, page.offset, index)

        def decode() -> np.ndarray:
            if not page.databytecounts[index]:  # a tile that was never written
                return np.zeros((high, wide, channels), page.dtype)
            file.filehandle.seek(page.dataoffsets[index])
            data = file.filehandle.read(page.databytecounts[index])
            if len(data) < page.databytecounts[index]:
                raise InputError(f"{self.path} is cut short: copy or download it again.")
            part, _, _ = page.decode(data, index, jpegtables=page.jpegtables)
            return np.asarray(part[0])  # (depth, height, width, channels)

        high = page.tilelength if page.is_tiled else min(page.rowsperstrip, page.imagelength)
        wide = page.tilewidth if page.is_tiled else page.imagewidth
        channels = 1 if page.planarconfig == 2 else page.samplesperpixel
        cost = int(high) * int(wide) * channels * page.dtype.itemsize
        return _PARTS.get(key, decode, cost)


def _colours(page: Any, out: np.ndarray) -> np.ndarray:
    """Samples as grey or RGB: of a palette looked up, of CMYK and white-is-zero turned round."""
    if page.photometric == 3 and page.colormap is not None:
        # Pillow writes 8 bits as v * 256, others as v * 257: the upper byte is right for both
        return (page.colormap >> 8).astype(np.uint8).T[out[..., 0]]
    if page.photometric in (0, 5) and out.dtype.kind == "u":
        most = int(np.iinfo(out.dtype).max)
        out = most - out
        if page.photometric == 5:
            wide = out.astype(np.uint32)
            out = ((wide[..., :3] * wide[..., 3:4] + most // 2) // most).astype(out.dtype)
    return out


def _scale(file: Any, page: Any) -> float | None:
    """µm per pixel by OME metadata, else by the resolution tags; None where neither says."""
    ome = file.ome_metadata
    if ome:
        size = re.search(r'PhysicalSizeX="([0-9.eE+-]+)"', ome)
        unit = re.search(r'PhysicalSizeXUnit="([^"]+)"', ome)
        if size:
            um = _UNITS.get(unescape(unit[1]).strip() if unit else "µm")  # else "pixel" and others
            return float(size[1]) * um or None if um else None
    tags = page.tags
    if "XResolution" not in tags or "ResolutionUnit" not in tags:
        return None
    top, below = tags["XResolution"].value
    length = {2: _INCH, 3: _CM}.get(int(tags["ResolutionUnit"].value))
    if length is None or not top or not below:
        return None
    scale = length * below / top
    return scale if 0.05 <= scale <= 10 else None  # 72 dots an inch is a printer's word
