"""Heaps of texts in HDF5 files: of some that are damaged the HDF5 library never comes to an end.

Where a heap looks so, another process reads the file first, and has to end. Other files pay for the
look only, which is done in files of up to 256 MiB: in a larger one a damaged heap may still hang.
"""

from __future__ import annotations

import subprocess
import sys
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


def check_heaps(path: Path) -> None:
    """Refuse a file of whose texts HDF5 would not come to an end.

    Raises
    ------
    InputError
        If it is one.
    """
    there = path.stat()
    if there.st_size <= _MOST and not _read_ends(path, there.st_size, there.st_mtime_ns):
        raise InputError(
            f"{path} is cut short or damaged (a heap of texts): copy or write it again."
        )


@lru_cache(maxsize=4096)  # a file is opened for each bag
def _read_ends(path: Path, size: int, changed: int) -> bool:
    if not _odd_heap(path):
        return True
    # it may be no heap any more, of which other data lie on a part: only reading tells
    command = [sys.executable, "-c", _READ, str(path)]
    try:
        done = subprocess.run(command, capture_output=True, timeout=5 + size / _SPEED, check=False)
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def _odd_heap(path: Path) -> bool:
    """Whether a heap holds free space of no size, or more than it has room for."""
    with reading(path), path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        at = data.find(_HEAP)
        while at >= 0:
            end, here = at + int.from_bytes(data[at + 8 : at + 16], "little"), at + 16
            if end > len(data):
                return True
            while here + 16 <= end:
                wide = int.from_bytes(data[here + 8 : here + 16], "little")
                is_free = data[here : here + 2] == b"\0\0"
                if is_free and not wide:
                    return True
                here += wide if is_free else 16 + -(-wide // 8) * 8
            if here > end:
                return True
            at = data.find(_HEAP, at + 8)
    return False
