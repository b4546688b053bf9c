"""Elements added to a copy of the user's file or folder, which then takes its place.

No matrix is decoded: of an .h5ad or .h5mu the bytes are copied (by the file system alone where it
can share them),
of a .zarr that is replaced the chunks are hard links. What is added is added to the copy. HDF5 has
no journal: a file that is changed in place is lost where its writer is stopped at a wrong moment.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from smalti.errors import InputError
from smalti.system.files import atomic_folder, atomic_write, is_same

Key: TypeAlias = tuple[str, ...]  # ("obs", NAME), ("mod", "rna", "layers", NAME)
State: TypeAlias = tuple[tuple[Any, ...], ...]

_TRIES = 20
_NO_LINKS = (errno.EPERM, errno.EXDEV, errno.EMLINK, errno.ENOTSUP, errno.ENOSYS)
# what zarr writes anew under the name that is there: never shared with the original
_METADATA = ("zarr.json", ".zarray", ".zattrs", ".zgroup", ".zmetadata")


class Changed(Exception):
    """The file is no longer the one that was read."""


def state_of(path: Path) -> State:
    """What tells a file or folder from what it was before: inode, size and time of each file."""
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    found = []
    for file in files:
        try:
            at = file.stat()
        except FileNotFoundError:  # gone since it was listed: another state
            continue
        found.append((str(file), at.st_ino, at.st_size, at.st_mtime_ns))
    return tuple(found)


def until_it_stays(path: Path, attempt: Callable[[State], None]) -> None:
    """Try until nobody else has changed the file between its reading and its replacement.

    Parameters
    ----------
    path
        What is read.
    attempt
        Reads it, and replaces it by :func:`changed_copy`; gets its state before.

    Raises
    ------
    InputError
        If it changes again and again.
    """
    for _ in range(_TRIES):
        try:
            return attempt(state_of(path))
        except Changed:  # what another program has added is read too, and kept
            continue
    raise InputError(f"{path} is changed by another program all the time: stop it, and try again.")


@contextmanager
def changed_copy(source: Path, target: Path, before: State, *, overwrite: bool) -> Iterator[Any]:
    """Yield an open copy of a file, an h5py or zarr group, that then becomes ``target``.

    Parameters
    ----------
    source
        .h5ad, .h5mu or .zarr.
    target
        May be the same.
    before
        State of the source when it was read.
    overwrite
        Whether another file that is there may go.

    Raises
    ------
    Changed
        If the source is no longer what it was; nothing is changed then.
    InputError
        If the target is there, or cannot be written.
    """
    overwrite = overwrite or is_same(source, target)
    folder = source.is_dir()
    place = atomic_folder if folder else atomic_write
    with place(target, overwrite=overwrite) as trial:  # others that write it wait from here on
        _compare(source, before)
        if folder:
            # a copy that stays beside its original must not change with it
            copy = _link if is_same(source, target) else shutil.copy2
            shutil.copytree(source, trial, copy_function=copy, dirs_exist_ok=True)
            yield from _open_zarr(trial)
        else:
            _copy(source, trial)
            yield from _open_hdf5(trial)
        _compare(source, before)


def _compare(source: Path, before: State) -> None:
    if state_of(source) != before:
        raise Changed


def _open_hdf5(path: Path) -> Iterator[Any]:
    import h5py

    with h5py.File(path, "r+") as file:
        yield file


def _open_zarr(path: Path) -> Iterator[Any]:
    import zarr

    # without what is consolidated: that would hide what is added
    group = zarr.open_group(str(path), mode="r+", use_consolidated=False)
    yield group
    if _is_consolidated(path):
        with of_formats():
            zarr.consolidate_metadata(str(path), zarr_format=group.metadata.zarr_format)


def _is_consolidated(path: Path) -> bool:
    root = path / "zarr.json"
    if not root.exists():
        return (path / ".zmetadata").exists()
    return bool(json.loads(root.read_text(encoding="utf-8")).get("consolidated_metadata"))


def put(root: Any, additions: Mapping[Key, Any]) -> None:
    """Add elements to an open AnnData or MuData file; one of the same name is replaced.

    Parameters
    ----------
    root
        An h5py or zarr group.
    additions
        Columns of ``obs`` as arrays, one value a cell; others as AnnData holds them.
    """
    with of_formats():
        _put(root, additions)


@contextmanager
def of_formats() -> Iterator[None]:
    """Without what zarr and AnnData have to say of formats to come, which is not for users."""
    with warnings.catch_warnings():
        for text in ("Consolidated metadata is currently not", "zarr v3 autosharding",
                     "Writing zarr v2 data"):  # fmt: skip
            warnings.filterwarnings("ignore", message=text)
        yield


def _put(root: Any, additions: Mapping[Key, Any]) -> None:
    from anndata.io import read_elem, write_elem

    for key, value in additions.items():
        where, name = "/".join(key[:-1]), key[-1]
        if where not in root:
            write_elem(root, where, {})
        parent = root[where]
        if where != "obs":
            write_elem(parent, name, value)
        elif "column-order" in parent.attrs:
            write_elem(parent, name, as_column(value))
            order = [str(c) for c in parent.attrs["column-order"]]
            if name not in order:
                parent.attrs["column-order"] = _texts(root, [*order, name])
        else:  # written before AnnData 0.7: one table of records
            write_elem(root, where, read_elem(parent).assign(**{name: value}))


def _texts(root: Any, names: list[str]) -> Any:
    """Names as the attributes of a file hold them."""
    return names if hasattr(root, "store") else np.array(names, dtype=object)


def as_column(values: Any) -> Any:
    """A column as AnnData writes it: texts as categories."""
    column = pd.Series(values)
    if column.dtype == object or isinstance(column.dtype, pd.StringDtype):
        return pd.Categorical(column)
    return column.to_numpy() if isinstance(column.dtype, np.dtype) else column.array


# ---------------------------------------------------------------- copies


def _copy(source: Path, target: Path) -> None:
    """Copy bytes; a file system that can share blocks between files does only that."""
    with source.open("rb") as old, target.open("wb") as new:
        size = os.fstat(old.fileno()).st_size
        try:
            while size > 0:
                done = os.copy_file_range(old.fileno(), new.fileno(), size)
                if not done:
                    break
                size -= done
        except (OSError, AttributeError) as error:  # another system, or two kinds of file system
            if getattr(error, "errno", None) == errno.ENOSPC:
                raise
            old.seek(0)
            new.seek(0)
            new.truncate()
            shutil.copyfileobj(old, new, 2**22)


def _link(source: str, target: str) -> None:
    """The same file under another name, where it is never written again."""
    if os.path.basename(source) in _METADATA:
        shutil.copy2(source, target)
        return
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        shutil.copy2(source, target)
