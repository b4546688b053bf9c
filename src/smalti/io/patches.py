"""Files of tiles that are cut already, as HEST keeps them: ``img``, ``coords``, ``barcode``."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from smalti.errors import InputError
from smalti.io.stored import element, open_h5
from smalti.system.reading import reading
from smalti.tiles.image import resize

_IMAGES = ("img", "imgs")
_BARCODES = ("barcode", "barcodes")


@dataclasses.dataclass(frozen=True)
class Patches:
    """The tiles of one slide.

    Attributes
    ----------
    path, key
        The file, and its data set of (n, edge, edge, 3) uint8.
    rows
        (n_tiles,) which of them, in the order of the section's spots.
    edge
        Pixels of a tile's edge.
    wide
        Pixels of the slide that a tile is wide, where the file says it.
    """

    path: Path
    key: str
    rows: np.ndarray
    edge: int
    wide: float | None

    def of(self, at: np.ndarray) -> Patches:
        """Some of the tiles, at (k,) positions."""
        return dataclasses.replace(self, rows=self.rows[at])


def is_patches(path: Path) -> bool:
    """Whether a file is .h5 and holds tiles.

    Raises
    ------
    InputError
        If it is damaged.
    """
    if path.suffix != ".h5":
        return False
    with open_h5(path) as file, reading(path, "/"):
        return any(key in file for key in _IMAGES)


def open_patches(path: Path) -> tuple[Patches, list[str] | None, np.ndarray]:
    """The tiles of a file.

    Returns
    -------
    Patches
        All tiles.
    list of str or None
        The barcode of each, where the file has them.
    np.ndarray
        (n, 2) centres in pixels of the slide, upper left corners where the width is not known, NaN
        where the file has neither.

    Raises
    ------
    InputError
        If the file is damaged, its tiles are no square RGB of 8 bits, or lists are not as long as
        there are tiles.
    """
    with open_h5(path) as file:
        key = next((k for k in _IMAGES if k in file), _IMAGES[0])
        images = element(file, key, path)
        shape: tuple[int, ...] = getattr(images, "shape", ())
        if len(shape) != 4 or shape[1] != shape[2] or shape[3] != 3 or images.dtype != np.uint8 \
                or not shape[0]:  # fmt: skip
            raise InputError(f"{path}: {key} has shape {shape}: expected (n, edge, edge, 3) of 8 "
                             "bits, at least one tile.")  # fmt: skip
        coords = element(file, "coords", path)
        wide = _wide([part for part in (images, coords) if part is not None], path)
        centers = np.full((shape[0], 2), np.nan)
        if coords is not None:
            values = _list(coords, shape[0], path)
            if values.shape != centers.shape or values.dtype.kind not in "iuf":
                raise InputError(f"{path}: coords of {values.dtype} and shape {values.shape} for "
                                 f"{shape[0]} tiles.")  # fmt: skip
            centers[:] = values + (wide or 0.0) / 2
        named = next((k for k in _BARCODES if k in file), None)
        barcodes = None
        if named is not None:
            values = _list(element(file, named, path), shape[0], path).reshape(shape[0], -1)[:, 0]
            barcodes = [v.decode() if isinstance(v, bytes) else str(v) for v in values.tolist()]
    return Patches(path, key, np.arange(shape[0]), int(shape[1]), wide), barcodes, centers


def _list(part: Any, n: int, path: Path) -> np.ndarray:
    """The values of a data set with one row for each tile."""
    with reading(path, part.name):
        values = np.asarray(part[()])
    if not values.ndim or len(values) != n or not values.size:
        raise InputError(f"{path}: {part.name} of shape {values.shape} for {n} tiles: copy it "
                         "again.")  # fmt: skip
    return values


def _wide(parts: Sequence[Any], path: Path) -> float | None:
    """Pixels of the slide that a tile is wide."""
    for part in parts:
        with reading(path, f"attributes of {part.name}"):
            value = part.attrs.get("patch_size_src", part.attrs.get("patch_size_level0"))
            if value is None:
                continue
            number = float(value)
        if not 0 < number < np.inf:
            raise InputError(f"{path}: tiles of {number:g} px of the slide: copy it again.")
        return number
    return None


class PatchView:
    """Tiles of several such files as one view that stays on disk.

    Parameters
    ----------
    parts
        The files, and which tiles of each.
    size
        Pixels of a tile's edge as it is read.

    Attributes
    ----------
    shape, dtype
        (n, 3, size, size) uint8.
    """

    def __init__(self, parts: Sequence[Patches], size: int) -> None:
        self.parts, self.size = tuple(parts), size
        self.offsets = np.concatenate([[0], np.cumsum([len(p.rows) for p in parts])])
        self.shape = (int(self.offsets[-1]), 3, size, size)
        self.dtype: np.dtype[Any] = np.dtype(np.uint8)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Tiles ``start:stop``, (stop - start, 3, size, size) uint8 RGB.

        Raises
        ------
        InputError
            If a file is damaged, or changed since it was first read.
        """
        stop = min(stop, self.shape[0])
        out = np.empty((max(stop - start, 0), *self.shape[1:]), np.uint8)
        for part, first in zip(self.parts, self.offsets, strict=False):
            low, high = max(start, first), min(stop, first + len(part.rows))
            if low < high:
                rows = part.rows[low - first : high - first]
                out[low - start : high - start] = self._some(part, rows)
        return out

    def _some(self, part: Patches, rows: np.ndarray) -> np.ndarray:
        with open_h5(part.path) as file:
            images = element(file, part.key, part.path)
            if images is None or images.shape[1:] != (part.edge, part.edge, 3):
                raise InputError(f"{part.path} changed since it was first read: read it again.")
            order = np.unique(rows)  # HDF5 reads in rising order
            with reading(part.path, part.key):
                tiles = images[order][np.searchsorted(order, rows)]
        tiles = np.stack([resize(tile, (self.size, self.size)) for tile in tiles])
        return tiles.transpose(0, 3, 1, 2)

    def digest(self) -> str:
        """Of names, sizes and times of the files, and which tiles of them; no tile is read."""
        sha = hashlib.sha256(str(self.size).encode())
        for part in self.parts:
            stat = part.path.stat()
            sha.update(f"{part.path.name} {stat.st_size} {stat.st_mtime_ns}".encode())
            sha.update(np.ascontiguousarray(part.rows).tobytes())
        return sha.hexdigest()
