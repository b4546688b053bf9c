"""The picture of a slide as levels of small JPEG files, in a page or in a folder beside it."""

from __future__ import annotations

import base64
import io
import math
from pathlib import Path
from typing import Any

import numpy as np

from smalti.system.extras import need
from smalti.tiles.image import SlideImage, resize

EDGE = 512  # of a part
_FIRST, _LARGEST = 1024, 8192  # pixels of the longer edge: to see how it packs, and at most
_BASE64, _LEVELS = 4 / 3, 4 / 3  # what these two add
_QUALITY = 80


def embedded(picture: SlideImage, bound: int) -> dict[str, Any]:
    """Levels as data addresses, as fine as ``bound`` bytes hold.

    Returns
    -------
    dict
        ``width``, ``height`` of the finest level, ``edge`` of a part, and ``levels``: coarsest
        first, each a list of rows of addresses.
    """
    whole = max(picture.width, picture.height)
    first = picture.thumbnail(min(_FIRST, whole))[0]
    packed = sum(len(_jpeg(part)) for row in _parts(first) for part in row)
    share = bound / (packed * _BASE64 * _LEVELS)
    longer = min(whole, _LARGEST, int(max(first.shape[:2]) * math.sqrt(share) * 0.95))
    finest = picture.thumbnail(longer)[0]
    levels = []
    for level in _halves(finest):
        levels.append([[_address(part) for part in row] for row in _parts(level)])
    return {"width": finest.shape[1], "height": finest.shape[0], "edge": EDGE,
            "levels": levels[::-1]}  # fmt: skip


def blank(width: int, height: int) -> dict[str, Any]:
    """A white slide, where there is no picture."""
    scale = EDGE / max(width, height)
    size = (max(1, round(height * scale)), max(1, round(width * scale)), 3)
    return {"width": size[1], "height": size[0], "edge": EDGE,
            "levels": [[[_address(np.full(size, 255, np.uint8))]]]}  # fmt: skip


def write_folder(picture: SlideImage, folder: Path) -> int:
    """All of a picture as a DeepZoom folder, LEVEL/COLUMN_ROW.jpg; the number of its levels.

    The finest level is read part by part; each coarser one is made of the four parts above it.
    """
    image = need("PIL.Image", extra="slides")
    n = max(1, math.ceil(math.log2(max(picture.width, picture.height)))) + 1
    for level in range(n - 1, -1, -1):
        place = folder / str(level)
        place.mkdir(parents=True)
        scale = 2 ** (n - 1 - level)
        wide, high = math.ceil(picture.width / scale), math.ceil(picture.height / scale)
        for y in range(0, high, EDGE):
            for x in range(0, wide, EDGE):
                size = (min(EDGE, wide - x), min(EDGE, high - y))
                part = picture.region(x, y, *size) if scale == 1 else \
                    _of_four(folder / str(level + 1), x // EDGE, y // EDGE, size)  # fmt: skip
                image.fromarray(part).save(place / f"{x // EDGE}_{y // EDGE}.jpg",
                                           quality=_QUALITY)  # fmt: skip
    return n


def _of_four(above: Path, column: int, row: int, size: tuple[int, int]) -> np.ndarray:
    """A part of a level by those above it."""
    image = need("PIL.Image", extra="slides")
    sheet = image.new("RGB", (2 * size[0], 2 * size[1]))
    for dy in (1, 0):
        for dx in (1, 0):
            file = above / f"{2 * column + dx}_{2 * row + dy}.jpg"
            if file.exists():
                part = image.open(file)
                at = (dx * EDGE, dy * EDGE)
                # an odd edge counts twice, so that its last pixel keeps its colour
                sheet.paste(part.resize((part.width + part.width % 2, part.height + part.height % 2)
                                        ), at)  # fmt: skip
    return resize(np.asarray(sheet), size)


def _halves(finest: np.ndarray) -> list[np.ndarray]:
    """A picture and its halves, until one is a single part."""
    out, (height, width) = [finest], finest.shape[:2]
    scale = 1
    while max(out[-1].shape[:2]) > EDGE:
        scale *= 2
        out.append(resize(out[-1], (math.ceil(width / scale), math.ceil(height / scale))))
    return out


def _parts(level: np.ndarray) -> list[list[np.ndarray]]:
    height, width = level.shape[:2]
    return [[level[y : y + EDGE, x : x + EDGE] for x in range(0, width, EDGE)]
            for y in range(0, height, EDGE)]  # fmt: skip


def _jpeg(part: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    need("PIL.Image", extra="slides").fromarray(part).save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()


def _address(part: np.ndarray) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(_jpeg(part)).decode()


def address(tile: np.ndarray) -> str:
    """A small picture, (height, width, 3) uint8, as a data address."""
    return _address(tile)
