"""What HDF5 and zarr files declare, checked before any of it is read.

Nothing is read from another file than the one that was named, and nothing is made that the file
cannot hold. HDF5 keeps no chunk back, so a missing one was lost. Zarr leaves chunks out that hold
its fill value throughout, zeros mostly, and does not say so: :func:`lost_chunks` says what can be
known there.
"""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from smalti.errors import InputError
from smalti.io.heaps import check_heaps
from smalti.system.reading import checked_size, n_bytes, plain_file, reading

_DEFLATE = 1032  # bytes that one byte of gzip stands for, at most
_PACKED = 2**14  # of other codecs, where they are sane
_LINKS = 16  # that may lead one to another
_AGAIN = "copy or write it again"


@contextmanager
def open_h5(path: str | Path, *, heaps: bool = True) -> Iterator[Any]:
    """An HDF5 file; any damage found while it is open is one error.

    Parameters
    ----------
    path
        The file.
    heaps
        Look for damaged heaps first; otherwise it is to be done before a text is read.

    Raises
    ------
    InputError
        If it is no plain file, or is damaged.
    """
    import h5py

    path = plain_file(path)
    if heaps:
        check_heaps(path)
    with reading(path), h5py.File(path, "r") as file:
        yield file


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """The root of an HDF5 file or a zarr store.

    Raises
    ------
    InputError
        As of :func:`open_h5`.
    """
    if path.suffix != ".zarr":
        with open_h5(path) as file:
            yield file
        return
    import zarr

    yield zarr.open_group(str(path), mode="r")


@contextmanager
def fast_codecs() -> Iterator[None]:
    """Arrays of zarr that are opened meanwhile are unpacked by zarrs, where it is installed."""
    if find_spec("zarrs") is None:
        yield
        return
    import zarr

    with zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}):
        yield


def state_of_element(path: Path, key: str) -> str:
    """What tells an element from what it was before: sizes and times of its files.

    Of HDF5 that is the whole file, whatever was changed in it.
    """
    if path.suffix != ".zarr":
        there = path.stat()
        return f"{path.name} {there.st_size} {there.st_mtime_ns}"
    files = [file.stat() for file in sorted((path / key).rglob("*")) if file.is_file()]
    return f"{key} {len(files)} {sum(f.st_size for f in files)} " \
           f"{max((f.st_mtime_ns for f in files), default=0)}"  # fmt: skip


def element(root: Any, key: str, path: Path) -> Any:
    """What lies under a key of an open file, all of it fit to be read; None where nothing is there.

    Parameters
    ----------
    root
        The open file or store.
    key
        Names with slashes, from the root.
    path
        The file, for errors.

    Raises
    ------
    InputError
        If it leads to another file, says to be larger than the file can hold, or was never
        written; with the place.
    """
    found = within(root, key, path)
    if found is not None:
        (_check_h5 if _is_h5(root) else _check_zarr)(found, path)
    return found


def within(root: Any, key: str, path: Path) -> Any:
    """The same, of which only the way there is checked.

    Raises
    ------
    InputError
        If it leads to another file.
    """
    with reading(path, repr(key), _AGAIN):
        if not _is_h5(root):
            return root.get(key)
        return _follow(root, key, path, _LINKS)


def members(root: Any, key: str, path: Path) -> list[str]:
    """Names in a group, none where there is no such group.

    Raises
    ------
    InputError
        If it leads to another file, or is no group.
    """
    group = within(root, key, path)
    if group is None:
        return []
    if hasattr(group, "shape"):
        raise InputError(f"{path}: {key!r} is an array, expected a group of them: {_AGAIN}.")
    return list(group)


def check_store(path: str | Path) -> None:
    """Check all that a file or store holds, where a library reads it as a whole.

    Raises
    ------
    InputError
        As of :func:`element`.
    """
    path = Path(path)
    if path.suffix != ".zarr":
        with open_h5(path) as file:
            _check_h5(file, path)
        return
    import zarr

    _scan(path, path)
    with reading(path, mend=_AGAIN):
        _check_zarr(zarr.open_group(str(path), mode="r"), path)


def _is_h5(group: Any) -> bool:
    return type(group).__module__.partition(".")[0] == "h5py"


# ---------------------------------------------------------------- HDF5


def _follow(group: Any, key: str, path: Path, links: int) -> Any:
    """The object under a key; only links that stay in the file are followed."""
    import h5py

    for name in filter(None, key.split("/")):
        if not isinstance(group, h5py.Group):
            return None
        link = group.get(name, getlink=True)
        if link is None:
            return None
        if isinstance(link, h5py.ExternalLink):
            raise InputError(
                f"{path}: {group.name}/{name} is a link to another file ({link.filename}), which "
                "is never followed: copy what is there into this file."
            )
        if isinstance(link, h5py.SoftLink):
            if not links:
                raise InputError(f"{path}: the link {group.name}/{name} leads in a circle: write "
                                 "the file again.")  # fmt: skip
            start = group.file if link.path.startswith("/") else group
            group = _follow(start, link.path, path, links - 1)
        else:
            group = group[name]
    return group


def _check_h5(top: Any, path: Path) -> None:
    """Check every data set below an object, each once."""
    import h5py

    seen, left, size = set(), [top], path.stat().st_size
    while left:
        here = left.pop()
        with reading(path, repr(here.name), _AGAIN):
            address = h5py.h5o.get_info(here.id).addr
            if address in seen:
                continue
            seen.add(address)
            _check_attributes(here, path)
            if isinstance(here, h5py.Dataset):
                _check_dataset(here, f"{path}: {here.name}", size)
            elif isinstance(here, h5py.Group):
                parts = [_follow(here, name, path, _LINKS) for name in here]
                left += [part for part in parts if part is not None]


def _check_attributes(thing: Any, path: Path) -> None:
    """HDF5 reads wild addresses where an attribute has less than it says, or is lists of lists."""
    import h5py

    for name in thing.attrs:
        found = thing.attrs.get_id(name)
        kind = found.get_type()
        declared = n_bytes(found.shape or (), kind.get_size())
        lists = kind.get_class() == h5py.h5t.VLEN  # no text, which is of another class
        if lists or (declared and found.get_storage_size() < declared):
            raise InputError(
                f"{path}: the attribute {name!r} of {thing.name} is damaged: {_AGAIN}."
            )


def _check_dataset(data: Any, where: str, size: int) -> None:
    if data.external or data.is_virtual:
        raise InputError(
            f"{where} keeps its values in another file, which is never opened: copy them into this "
            "one."
        )
    if data.shape is None or not data.size:
        return
    _check_texts(data, where, size)
    # of texts of any length an address and a length of 4 bytes each, in the file
    each = 12 if data.dtype.kind == "O" else data.dtype.itemsize
    declared, stored = n_bytes(data.shape, each), data.id.get_storage_size()
    whole = f"{where} was not written as a whole"
    if data.chunks is None:
        if declared > stored or stored > size:
            raise InputError(f"{whole}: it takes {declared:,} bytes and has {stored:,}: {_AGAIN}.")
        return
    ratio = 1 if data.id.get_create_plist().get_nfilters() == 0 else \
        _DEFLATE if data.compression == "gzip" else _PACKED  # fmt: skip
    there = data.id.get_num_chunks()
    wanted = math.prod(-(-n // c) for n, c in zip(data.shape, data.chunks, strict=True))
    checked_size(n_bytes(data.chunks, each), stored, where, ratio)
    checked_size(declared, stored, where, ratio)
    if there < wanted:
        raise InputError(
            f"{whole}: {wanted - there:,} of {wanted:,} pieces are missing: {_AGAIN}; where they "
            "are meant to be empty, write the zeros."
        )


def _check_texts(data: Any, where: str, size: int) -> None:
    """HDF5 takes the memory that a text says to need, and looks into the file afterwards.

    Of each text of any length the data set has its number of bytes (4), the address of a heap (8)
    and its number in there (4). Where these are packed, packing's own checksum stands for them.
    """
    import h5py

    if h5py.check_string_dtype(data.dtype) is None or data.dtype.kind != "O":
        return
    if data.chunks is None:
        parts = [(data.id.get_offset(), data.id.get_storage_size())]
    elif data.id.get_create_plist().get_nfilters() == 0:
        chunks = (data.id.get_chunk_info(i) for i in range(data.id.get_num_chunks()))
        parts = [(chunk.byte_offset, chunk.size) for chunk in chunks]
    else:
        return
    with open(data.file.filename, "rb") as file:
        for start, wide in parts:
            if start is None or wide > size:  # in the header, which has a checksum, or checked next
                continue
            file.seek(start)
            texts = np.frombuffer(file.read(wide // 16 * 16), "<u4").reshape(-1, 4)  # (texts, 4)
            if len(texts) and int(texts[:, 0].max()) > size:
                raise InputError(f"{where} holds a text longer than the file: {_AGAIN}.")


# ---------------------------------------------------------------- zarr


def _check_zarr(top: Any, path: Path) -> None:
    """Check every array below a group, or one array."""
    left = [top]
    while left:
        here = left.pop()
        with reading(path, repr(here.name), _AGAIN):
            if hasattr(here, "shape"):
                _check_array(here, path)
            else:
                left += [part for _, part in here.members()] if hasattr(here, "members") else \
                    [here[name] for name in here]  # fmt: skip


def _check_array(data: Any, path: Path) -> None:
    where = f"{path}: {data.name}"
    stored = _scan(path / data.path, path)
    size = getattr(data.dtype, "itemsize", 8)
    checked_size(n_bytes(data.chunks, size), stored, where, _PACKED)
    checked_size(n_bytes(data.shape, size), stored, where, _PACKED)


def _scan(folder: Path, root: Path) -> int:
    """Bytes of the files below a folder, which must be plain and inside ``root``."""
    total, left = 0, [folder]
    inside = root.resolve()
    while left:
        for entry in os.scandir(left.pop()):
            if entry.is_symlink() and not Path(entry.path).resolve().is_relative_to(inside):
                raise InputError(f"{root}: {entry.path} is a link to another place, which is never "
                                 "followed: copy what is there.")  # fmt: skip
            if entry.is_dir(follow_symlinks=False):
                left.append(Path(entry.path))
                continue
            there = entry.stat()
            if not stat.S_ISREG(there.st_mode):
                raise InputError(f"{root}: {entry.path} is no plain file: {_AGAIN}.")
            total += there.st_size
    return total


def lost_chunks(data: Any) -> int:
    """How many chunks of an array are not there; 0 of HDF5, where :func:`element` asks for all.

    Zarr leaves out what is all zeros or all "", so a missing chunk may be right. It is not so among
    the values of a sparse matrix, nor where codes of categories would leave one of them unused.
    That a chunk of zeros of a dense table, or of whole numbers, was lost cannot be known.
    """
    if _is_h5(data):
        return 0
    there = int(data.nchunks_initialized)
    if getattr(data, "shards", None) is None:
        return int(data.nchunks) - there
    # zarr counts a shard that is there as all chunks that it has room for
    room = math.prod(s // c for s, c in zip(data.shards, data.chunks, strict=True))
    shards = math.prod(-(-n // s) for n, s in zip(data.shape, data.shards, strict=True))
    return shards - there // room
