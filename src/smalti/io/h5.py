"""Many h5 files of tile features as one table that stays on disk."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from smalti.errors import InputError
from smalti.io.feature_files import Made, made_of, names_of
from smalti.io.stored import element, open_h5
from smalti.io.tile_places import Places, places

FEATURES = ("features", "feats", "patch_embeddings")  # CLAM and TRIDENT; STAMP; STAMP 2


class H5View:
    """Rows of many h5 files as one table that stays on disk.

    Attributes
    ----------
    shape, dtype
        Of the whole table.
    """

    def __init__(self, parts: list[tuple[Path, str, int]], width: int, dtype: Any) -> None:
        self.parts = parts  # file, data set, rows
        self.offsets = np.concatenate([[0], np.cumsum([n for *_, n in parts])]).astype(np.int64)
        self.shape = (int(self.offsets[-1]), width)
        self.dtype = np.dtype(dtype)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Rows ``start:stop``, (stop - start, width).

        Raises
        ------
        InputError
            If a file changed since it was first read, or is damaged.
        """
        out = np.empty((stop - start, self.shape[1]), self.dtype)
        first = int(np.searchsorted(self.offsets, start, side="right")) - 1
        for i in range(first, len(self.parts)):
            low, high = max(start, self.offsets[i]), min(stop, self.offsets[i + 1])
            if low >= stop:
                break
            path, key, n = self.parts[i]
            with open_h5(path) as file:
                data = element(file, key, path)
                if data is None or data.shape[-2:] != (n, self.shape[1]):
                    raise InputError(f"{path} changed since it was first read: read it again.")
                rows = slice(int(low - self.offsets[i]), int(high - self.offsets[i]))
                out[low - start : high - start] = data[0, rows] if data.ndim == 3 else data[rows]
        return out

    def digest(self) -> str:
        """Of names, sizes and times of the files; the rows are not read."""
        sha = hashlib.sha256()
        for path, key, n in self.parts:
            stat = path.stat()
            sha.update(f"{path.name} {key} {n} {stat.st_size} {stat.st_mtime_ns}".encode())
        return sha.hexdigest()


@dataclasses.dataclass(frozen=True)
class Slide:
    """What one file holds; ``made`` is None of one that another program wrote."""

    path: Path
    key: str
    width: int
    dtype: np.dtype[Any]
    places: Places
    made: Made | None = None
    names: tuple[str, ...] = ()


def inspect(path: Path, key: str | None) -> Slide:
    """Look into a file without reading its features.

    Raises
    ------
    InputError
        If it has no features, or features and coordinates do not fit each other.
    """
    import h5py

    keys = FEATURES if key is None else (key,)
    with open_h5(path) as file:
        parts = {k: element(file, k, path) for k in keys}
        found = next((k for k, part in parts.items() if isinstance(part, h5py.Dataset)), None)
        if found is None:
            raise InputError(f"{path} has none of {keys}; it has {list(file)}: name one with key=.")
        data = parts[found]
        if data.ndim == 1:
            raise InputError(
                f"{path}: {found} is one row of {data.shape[0]} numbers, features of the whole "
                "slide: give a folder with features of its tiles."
            )
        shape = data.shape[1:] if data.ndim == 3 and data.shape[0] == 1 else data.shape
        if len(shape) != 2 or not shape[0] or data.dtype.kind not in "fiu":
            raise InputError(
                f"{path}: {found} has shape {data.shape} of {data.dtype}: expected (tiles, "
                "features), numbers, at least one tile."
            )
        made = made_of(file, path) if found == FEATURES[0] else None
        names = () if made is None else names_of(file, path, shape[1])
        return Slide(path, found, shape[1], data.dtype, places(file, path, shape[0]), made, names)
