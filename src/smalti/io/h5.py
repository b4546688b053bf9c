"""Many h5 files of tile features as one table that stays on disk."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from smalti.errors import InputError
from smalti.io.feature_files import Made, made_of, names_of
from smalti.io.h5_rows import Lying, pieces_of, read_rows_into, spans_of, stamp_of
from smalti.io.heaps import check_heaps
from smalti.io.stored import element, open_h5
from smalti.io.tile_places import Places, places
from smalti.solve.moments import Moments, moments_of, none_of
from smalti.system.readers import ahead
from smalti.system.reading import plain_file
from smalti.views import Picked

_PIECE = 2**23  # numbers that are read at a time
FEATURES = ("features", "feats", "patch_embeddings")  # CLAM and TRIDENT; STAMP; STAMP 2


class H5View:
    """Rows of many h5 files as one table that stays on disk.

    Attributes
    ----------
    shape, dtype
        Of the whole table.
    """

    def __init__(
        self, parts: list[tuple[Path, str, int]], width: int, dtype: Any,
        lying: Sequence[Lying | None] = (),
    ) -> None:  # fmt: skip
        self.parts = parts  # file, data set, rows
        self.offsets = np.concatenate([[0], np.cumsum([n for *_, n in parts])]).astype(np.int64)
        self.shape = (int(self.offsets[-1]), width)
        self.dtype = np.dtype(dtype)
        self.lying = dict(enumerate(lying))  # where their rows are, as far as it is known
        # (2, n_files, width) means and squared deviations of files that were surveyed
        self.kept = np.zeros((2, 0, width))
        self.surveyed: dict[int, tuple[int, int]] = {}  # what they were like then

    def read(self, start: int, stop: int) -> np.ndarray:
        """Rows ``start:stop``, (stop - start, width).

        Raises
        ------
        InputError
            If a file changed since it was first read, or is damaged.
        """
        out = np.empty((stop - start, self.shape[1]), self.dtype)
        self.fill(start, out)
        return out

    def fill(self, start: int, out: np.ndarray) -> None:
        """Rows from ``start`` on into ``out``, (k, width), which other threads may do as well.

        Raises
        ------
        InputError
            As of :meth:`read`.
        """
        stop = start + len(out)
        first = int(np.searchsorted(self.offsets, start, side="right")) - 1
        for i in range(first, len(self.parts)):
            begin = int(self.offsets[i])
            low, high = max(start, begin), min(stop, int(self.offsets[i + 1]))
            if low >= stop:
                break
            path, key, n = self.parts[i]
            rows = out[low - start : high - start]
            self.lying[i] = read_rows_into(path, key, (n, self.shape[1]), low - begin, rows,
                                           self.lying.get(i))  # fmt: skip

    def moments(self, picked: Picked | None = None) -> Moments:
        """Of some rows, or of all; those of whole files are read once and kept.

        Raises
        ------
        InputError
            As of :meth:`read`.
        """
        found, whole = none_of(self.shape[1]), []
        for low, high, _ in [(0, self.shape[0], 0)] if picked is None else picked.runs():
            first, last = np.searchsorted(self.offsets, [low, high - 1], side="right") - 1
            for i in range(first, last + 1):
                a, b = max(low, self.offsets[i]), min(high, self.offsets[i + 1])
                if b - a == self.parts[i][2]:
                    whole.append(i)
                else:
                    found += moments_of(self.read(a, b))
        self._survey(list(dict.fromkeys(whole)))
        for i in whole:
            found += Moments(self.parts[i][2], *self.kept[:, i])
        return found

    def _survey(self, files: Sequence[int]) -> None:
        """Read the files whose moments are not known as they are now."""
        now = {i: stamp_of(plain_file(self.parts[i][0])) for i in files}
        new = [i for i in files if self.surveyed.get(i) != now[i]]
        if new and not self.kept.shape[1]:
            self.kept = np.zeros((2, len(self.parts), self.shape[1]))
        elif new and not self.kept.flags.writeable:  # shared with other processes
            self.kept = self.kept.copy()
        step = max(1, _PIECE // self.shape[1])
        ends = {i: (int(self.offsets[i]), int(self.offsets[i + 1])) for i in new}
        jobs = [(i, at, min(at + step, end)) for i, (begin, end) in ends.items()
                for at in range(begin, end, step)]  # fmt: skip
        found = none_of(self.shape[1])
        for (i, _, stop), part in zip(jobs, ahead(self.read, [j[1:] for j in jobs]), strict=True):
            found += moments_of(part)
            if stop == self.offsets[i + 1]:
                self.kept[:, i] = found.mean, found.square
                self.surveyed[i], found = now[i], none_of(self.shape[1])

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
    lying: Lying | None = None


def inspect(path: Path, key: str | None) -> Slide:
    """Look into a file without reading its features.

    Raises
    ------
    InputError
        If it has no features, or features and coordinates do not fit each other.
    """
    import h5py

    keys = FEATURES if key is None else (key,)
    with open_h5(path, heaps=False) as file:
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
        pieces = pieces_of(data)
        check_heaps(path, spans_of(pieces))
        made = made_of(file, path) if found == FEATURES[0] else None
        names = () if made is None else names_of(file, path, shape[1])
        return Slide(path, found, shape[1], data.dtype, places(file, path, shape[0]), made, names,
                     Lying.of(data, pieces, stamp_of(path)))  # fmt: skip
