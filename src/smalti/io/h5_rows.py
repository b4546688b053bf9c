"""Where the rows of an HDF5 data set lie in its file, and reading them without the library.

libhdf5 has one lock for all files of a process, so threads that read through it wait for one
another, and it looks each piece up anew: CLAM and TRIDENT keep every row as a piece of its own.
What is stored as it is in memory, in whole rows, is read straight from the file instead.
"""

from __future__ import annotations

import dataclasses
import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from smalti.errors import InputError
from smalti.io.stored import element
from smalti.system.reading import plain_file, reading


@dataclasses.dataclass(frozen=True)
class Lying:
    """Where the rows of one data set are, as long as its file stays as it is.

    Attributes
    ----------
    stamp
        Size of the file and when it was last changed.
    dtype
        Of the numbers, as stored.
    first, offset
        (k,) row that a run of rows which lie together begins with, and its byte in the file; None
        where only the library can unpack them.
    """

    stamp: tuple[int, int]
    dtype: np.dtype[Any]
    first: np.ndarray | None = None
    offset: np.ndarray | None = None

    @classmethod
    def of(cls, data: Any, pieces: np.ndarray, stamp: tuple[int, int]) -> Lying:
        """Of an open data set, (n, width) or (1, n, width), and its :func:`pieces_of`."""
        n, width = data.shape[-2:]
        wide, deep = width * data.dtype.itemsize, n if data.chunks is None else data.chunks[-2]
        plain = data.dtype.isnative and data.id.get_create_plist().get_nfilters() == 0
        whole = data.chunks is None or data.chunks[-1] == width
        if not plain or not whole or not np.array_equal(pieces[:, 0], np.arange(0, n, deep)):
            return cls(stamp, data.dtype)
        joined = np.diff(pieces[:, 1]) == np.diff(pieces[:, 0]) * wide
        first, offset = pieces[np.concatenate([[True], ~joined]), :2].T
        ends = offset + np.diff(first, append=n) * wide
        if int(ends.max()) > stamp[0]:
            return cls(stamp, data.dtype)  # the library says what is wrong with it
        return cls(stamp, data.dtype, first.copy(), offset.copy())


def stamp_of(path: Path) -> tuple[int, int]:
    """Size of a file and when it was last changed."""
    there = path.stat()
    return there.st_size, there.st_mtime_ns


def pieces_of(data: Any) -> np.ndarray:
    """(k, 3) pieces of an open data set of rows: first row, byte in the file, bytes; by rows.

    (0, 3) where they cannot be known: HDF5 may keep small ones elsewhere.
    """
    none = np.empty((0, 3), np.int64)
    if data.file.userblock_size:
        return none
    if data.chunks is None:
        start = data.id.get_offset()
        return none if start is None else np.array([[0, start, data.id.get_storage_size()]])
    there: list[tuple[int, int, int]] = []
    data.id.chunk_iter(lambda c: there.append((c.chunk_offset[-2], c.byte_offset, c.size)))
    return np.array(sorted(there), dtype=np.int64).reshape(-1, 3)


def spans_of(pieces: np.ndarray) -> tuple[tuple[int, int], ...]:
    """Bytes that (k, 3) pieces take, from and to, in the order of the file; neighbours are one."""
    if not len(pieces):
        return ()
    starts, sizes = pieces[pieces[:, 1].argsort(), 1:].T
    ends = starts + sizes
    heads = np.concatenate([[True], starts[1:] > ends[:-1]])
    lasts = np.concatenate([heads[1:], [True]])
    return tuple(zip(starts[heads].tolist(), ends[lasts].tolist(), strict=True))


def all_rows(data: Any, path: Path) -> np.ndarray:
    """All numbers of an open data set, (..., n, width); straight where they lie there in rows."""
    if data.ndim < 2 or math.prod(data.shape[:-2]) != 1 or not data.size:
        return np.asarray(data)
    known = Lying.of(data, pieces_of(data), stamp_of(path))
    if known.first is None:
        return np.asarray(data)
    out = np.empty(data.shape, data.dtype)
    with path.open("rb", buffering=0) as file:
        _straight(file.fileno(), path, known, 0, out.reshape(data.shape[-2:]), data.shape[-2])
    return out


def read_rows_into(path: Path, key: str, shape: tuple[int, int], start: int, out: np.ndarray,
                   known: Lying | None) -> Lying:  # fmt: skip
    """Rows of a data set from ``start`` on into ``out``, (k, width).

    Parameters
    ----------
    path, key, shape
        The file, its data set, and (n, width) that it had.
    start
        First row.
    out
        Where to; of the type of the data set, or of one that holds all its numbers.
    known
        Where rows were, when it was last read.

    Returns
    -------
    Lying
        Where rows are: ``known``, if the file has not changed since.

    Raises
    ------
    InputError
        If it is damaged, or the data set has another shape by now.
    """
    path = plain_file(path)
    with reading(path):
        if known is None or known.stamp != stamp_of(path):
            known = _looked_up(path, key, shape)
        if known.first is None or known.dtype != out.dtype:
            _by_library(path, key, start, out)
        else:
            with path.open("rb", buffering=0) as file:
                _straight(file.fileno(), path, known, start, out, shape[0])
    return known


def _looked_up(path: Path, key: str, shape: tuple[int, int]) -> Lying:
    """Where rows are; no heap of texts is looked for, as nothing is read through one."""
    import h5py

    stamp = stamp_of(path)
    with h5py.File(path, "r") as file:
        data = element(file, key, path)
        if data is None or data.shape[-2:] != shape or math.prod(data.shape[:-2]) != 1:
            raise InputError(f"{path} changed since it was first read: read it again.")
        return Lying.of(data, pieces_of(data), stamp)


def _straight(file: int, path: Path, known: Lying, start: int, out: np.ndarray, n: int) -> None:
    """Rows of an open file of ``n`` rows into ``out``, (k, width), run by run."""
    assert known.first is not None
    assert known.offset is not None
    wide, stop = out.strides[0], start + len(out)
    begin = int(np.searchsorted(known.first, start, side="right")) - 1
    ends = np.append(known.first[begin + 1 :], n).tolist()
    heads = zip(known.first[begin:].tolist(), ends, known.offset[begin:].tolist(), strict=True)
    for first, end, offset in heads:
        low, high = max(start, first), min(stop, end)
        if low >= stop:
            break
        part = memoryview(out[low - start : high - start].data).cast("B")
        _fill(file, part, offset + (low - first) * wide, path)


def _fill(file: int, part: memoryview, offset: int, path: Path) -> None:
    """Bytes of an open file; one call gives 2 GiB at most."""
    while len(part):
        got = os.preadv(file, [part], offset)
        if not got:
            raise InputError(f"{path} was cut short since it was first read: copy it again.")
        part, offset = part[got:], offset + got


def _by_library(path: Path, key: str, start: int, out: np.ndarray) -> None:
    import h5py

    with h5py.File(path, "r") as file:
        data, rows = file[key], np.s_[start : start + len(out)]
        data.read_direct(out, (0, rows) if data.ndim == 3 else rows)
