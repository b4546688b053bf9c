"""Arrays of NumPy's own files, .npy and .npz: never a pickle, never more than the file holds."""

from __future__ import annotations

import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from smalti.errors import InputError
from smalti.system.reading import checked_size, n_bytes, plain_file, reading

_MEND = "save it again, as numbers and text, not objects"


def read_npy(path: str | Path) -> np.ndarray:
    """The array of an .npy file, of any shape.

    Raises
    ------
    InputError
        If it is damaged, shorter or longer than it says, or holds objects.
    """
    path = plain_file(path)
    with reading(path, mend=_MEND), path.open("rb") as file:
        declared = _header(file)
        stored = path.stat().st_size - file.tell()
        if declared != stored:
            raise ValueError(f"it says to hold {declared} bytes, and holds {stored}")
        file.seek(0)
        return npy.read_array(file, allow_pickle=False)


def read_npz(path: str | Path, keys: Collection[str] = ()) -> dict[str, np.ndarray]:
    """The arrays of an .npz file, of any shape, by name: all, or those of ``keys`` that are there.

    Raises
    ------
    InputError
        If it is damaged, an array is shorter or longer than it says, holds objects, or is packed
        beyond measure; with the name of the array.
    """
    path = plain_file(path)
    out: dict[str, np.ndarray] = {}
    with reading(path, mend=_MEND), zipfile.ZipFile(path) as folder:
        for member in folder.infolist():
            key = member.filename.removesuffix(".npy")
            if keys and key not in keys:
                continue
            with reading(path, f"array {key!r}", _MEND):
                if key in out or key == member.filename or key.startswith("/") or ".." in key:
                    raise ValueError(f"{member.filename!r} is no array, or the second of a name")
                out[key] = _member(folder, member, f"{path}, array {key!r},")
    if not out and not keys:
        raise InputError(f"{path} holds no arrays: {_MEND}.")
    return out


def _member(folder: zipfile.ZipFile, member: zipfile.ZipInfo, where: str) -> np.ndarray:
    checked_size(member.file_size, member.compress_size, where)
    with folder.open(member) as file:
        declared = _header(file)
        if declared != member.file_size - file.tell():
            raise ValueError(f"it says to hold {declared} bytes, and holds "
                             f"{member.file_size - file.tell()}")  # fmt: skip
    with folder.open(member) as file:
        found = npy.read_array(file, allow_pickle=False)
        if file.read(1):  # the checksum is looked at behind the last byte
            raise ValueError("it goes on after its end")
        return found


def _header(file: Any) -> int:
    """Bytes of values that the header of an array announces."""
    major, minor = npy.read_magic(file)
    if (major, minor) not in ((1, 0), (2, 0), (3, 0)):
        raise ValueError(f"version {major}.{minor} of the format is not known")
    head = npy.read_array_header_1_0 if major == 1 else npy.read_array_header_2_0
    shape, _, dtype = head(file)
    if dtype.hasobject:
        raise ValueError("it holds objects, which may run code, and are never read")
    if any(n < 0 for n in shape):
        raise ValueError(f"a shape of {shape}")
    return n_bytes(shape, dtype.itemsize)
