"""Many h5 files of tile features as one table that stays on disk."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from smalti.errors import InputError

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
            with opened(path) as file:
                data = file[key]
                if data.shape[-2:] != (n, self.shape[1]):
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


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """An h5 file; any damage found while it is open becomes one error.

    Raises
    ------
    InputError
        If it is damaged, or becomes so while it is open.
    """
    import h5py

    try:
        with h5py.File(path, "r") as file:
            yield file
    except (OSError, KeyError, RuntimeError) as error:
        raise InputError(f"{path} is damaged or not HDF5 ({error}): make it again.") from error


@dataclasses.dataclass(frozen=True)
class Slide:
    """What one file holds; ``place`` is (n_tiles, 2), NaN where unknown."""

    path: Path
    key: str
    width: int
    dtype: np.dtype[Any]
    place: np.ndarray
    patch_size: float | None


def inspect(path: Path, key: str | None) -> Slide:
    """Look into a file without reading its features.

    Raises
    ------
    InputError
        If it has no features, or features and coordinates do not fit each other.
    """
    import h5py

    keys = FEATURES if key is None else (key,)
    with opened(path) as file:
        found = next((k for k in keys if isinstance(file.get(k), h5py.Dataset)), None)
        if found is None:
            raise InputError(f"{path} has none of {keys}; it has {list(file)}: name one with key=.")
        data = file[found]
        shape = data.shape[1:] if data.ndim == 3 and data.shape[0] == 1 else data.shape
        if len(shape) != 2 or not shape[0] or data.dtype.kind not in "fiu":
            raise InputError(
                f"{path}: {found} has shape {data.shape} of {data.dtype}: expected (tiles, "
                "features), numbers, at least one tile."
            )
        place, size = np.full((shape[0], 2), np.nan), None
        if "coords" in file:
            stored = np.asarray(file["coords"])
            stored = stored.reshape(-1, stored.shape[-1] if stored.ndim else 1)
            if len(stored) != len(place) or stored.shape[1] < 2:
                raise InputError(f"{path}: coords of shape {stored.shape} for {shape[0]} tiles.")
            place[:] = stored[:, :2]
            # coordinates are pixels of the full picture, and so is TRIDENT's second attribute
            attrs = file["coords"].attrs
            size = attrs.get("patch_size_level0", attrs.get("patch_size"))
        return Slide(
            path, found, shape[1], data.dtype, place, None if size is None else float(size)
        )
