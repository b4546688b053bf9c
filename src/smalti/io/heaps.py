"""Heaps of texts in HDF5 files: of some that are damaged the HDF5 library never comes to an end.

Where a heap looks so, another process reads the file first, and has to end. Other files pay for the
look only, which is done in up to 256 MiB: in a larger file a damaged heap may still hang. Tables of
numbers are not looked through where it is known where they lie: that would read all of a cohort.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Iterator
from functools import lru_cache
from mmap import ACCESS_READ, mmap
from pathlib import Path

from smalti.errors import InputError
from smalti.system.reading import reading

_MOST = 2**28  # bytes of a file that is looked through
_HEAP = b"GCOL\x01\0\0\0"
_SPEED = 10**7  # bytes of a file that are read in a second, at least

# whatever is read through a heap: attributes, and texts of any length
_READ = """
import h5py, sys
def read(name, thing):
    for key in thing.attrs:
        try: thing.attrs[key]
        except (TypeError, ValueError): pass  # of a kind that h5py does not know
    if isinstance(thing, h5py.Dataset):
        try: thing.dtype.kind == "O" and thing[()]
        except (TypeError, ValueError): pass
with h5py.File(sys.argv[1], "r") as file:
    read("/", file)  # which is not among the items
    file.visititems(read)
"""


def check_heaps(path: Path, numbers: tuple[tuple[int, int], ...] = ()) -> None:
    """Refuse a file of whose texts HDF5 would not come to an end.

    Parameters
    ----------
    path
        The file.
    numbers
        Bytes of it that hold numbers, from and to, in order.

    Raises
    ------
    InputError
        If it is one.
    """
    there = path.stat()
    looked = there.st_size - sum(end - start for start, end in numbers)
    if looked <= _MOST and not _read_ends(path, there.st_size, there.st_mtime_ns, numbers):
        raise InputError(
            f"{path} is cut short or damaged (a heap of texts): copy or write it again."
        )


@lru_cache(maxsize=4096)  # a file may be opened again and again
def _read_ends(path: Path, size: int, changed: int, numbers: tuple[tuple[int, int], ...]) -> bool:
    starts, ends = (0, *(end for _, end in numbers)), (*(start for start, _ in numbers), size)
    if not _odd_heap(path, zip(starts, ends, strict=True)):
        return True
    # it may be no heap any more, of which other data lie on a part: only reading tells
    command = [sys.executable, "-c", _READ, str(path)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=5 + size / _SPEED, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def _odd_heap(path: Path, parts: Iterable[tuple[int, int]]) -> bool:
    """Whether a heap in some parts of a file holds free space of no size, or more than fits."""
    with reading(path), path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        return any(_odd(data, at) for start, stop in parts for at in _heaps(data, start, stop))


def _heaps(data: mmap, start: int, stop: int) -> Iterator[int]:
    at = data.find(_HEAP, start, stop)
    while at >= 0:
        yield at
        at = data.find(_HEAP, at + 8, stop)


def _odd(data: mmap, at: int) -> bool:
    end, here = at + int.from_bytes(data[at + 8 : at + 16], "little"), at + 16
    if end > len(data):
        return True
    while here + 16 <= end:
        wide = int.from_bytes(data[here + 8 : here + 16], "little")
        is_free = data[here : here + 2] == b"\0\0"
        if is_free and not wide:
            return True
        here += wide if is_free else 16 + -(-wide // 8) * 8
    return here > end
