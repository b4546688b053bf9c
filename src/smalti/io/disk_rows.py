"""Rows of a matrix of an AnnData that stay in its file: dense or CSR, in HDF5 or zarr.

Only what is asked for is read, and all of it is checked as it is read: SciPy trusts the places of
values with the memory. Rows that follow one another are one read; so files whose cells are sorted
by sample are read as fast as the disk gives them (``smalti arrange`` sorts them).
"""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from smalti.errors import InputError
from smalti.io.sparse import checked_sparse, sparse_matrix
from smalti.io.stored import (
    element,
    fast_codecs,
    lost_chunks,
    opened,
    state_of_element,
)
from smalti.system.reading import reading

_OPENING = threading.Lock()
_RUN = 2**22  # values that are read at once where all rows are gone through


class DiskRows:
    """A view of an element of a file; see :class:`smalti.views.Backed`.

    Parameters
    ----------
    path
        .h5ad, .h5mu or .zarr.
    key
        The element, with slashes from the root: "X", "obsm/X_pca", "mod/rna/X".
    columns
        (k,) positions of the columns to read; all when left out.

    Raises
    ------
    InputError
        If it is no table of numbers, is stored by columns, or is damaged in a way that can be known
        before it is read.
    """

    def __init__(self, path: Path, key: str, columns: np.ndarray | None = None) -> None:
        self.path, self.key, self.columns = path, key, columns
        self.where = f"{path}: {key}"
        self._file: tuple[int, Any] | None = None
        self._state = state_of_element(path, key)
        with opened(path) as root, reading(path, repr(key)):
            found = element(root, key, path)
            if found is None:
                raise InputError(f"{path} has no {key}.")
            self.sparse = hasattr(found, "keys")
            self.indptr = self._begin(found) if self.sparse else None  # (n + 1,)
            shape = found.attrs["shape"] if self.sparse else found.shape
            self.dtype = np.dtype(found["data"].dtype if self.sparse else found.dtype)
            if self.dtype.kind not in "fiub" or len(shape) != 2:
                raise InputError(f"{self.where} holds {self.dtype} of shape {tuple(shape)}, no "
                                 "table of numbers.")  # fmt: skip
            rows, self.width = (int(s) for s in shape)
            self.shape = (rows, self.width if columns is None else len(columns))
            if self.sparse:
                each = self.dtype.itemsize + np.dtype(found["indices"].dtype).itemsize
                stored = int(found["data"].shape[0])
                self.stored_bytes = stored * each
            else:
                stored = rows * self.width
                self.stored_bytes = stored * self.dtype.itemsize
            chunk = int(((found["data"] if self.sparse else found).chunks or (1,))[0])
        # rows that are unpacked as one
        self.chunk = max(1, chunk * max(rows, 1) // max(stored, 1)) if self.sparse else chunk
        step = 1 if self.sparse else chunk
        self.run = max(1, _RUN * max(rows, 1) // max(stored, 1) // step) * step  # rows of one read

    def _begin(self, group: Any) -> np.ndarray:
        """Where the values of each row begin."""
        kind = str(group.attrs.get("encoding-type"))
        if kind == "csc_matrix":
            raise InputError(
                f"{self.where} is stored by columns (csc), and cells are read by rows: smalti "
                f"arrange {self.path} OUT.zarr (or sm.arrange) turns and sorts it once; or read "
                "it into memory, backed=False."
            )
        lost = [name for name in ("data", "indices", "indptr") if name not in group]
        if kind != "csr_matrix" or lost:
            raise InputError(f"{self.where} is no table that can be read by rows "
                             f"({'it lacks ' + lost[0] if lost else kind}).")  # fmt: skip
        if lost_chunks(group["data"]):
            raise InputError(f"{self.where}/data lacks {lost_chunks(group['data'])} pieces, so "
                             "values were lost: copy it again.")  # fmt: skip
        indptr = np.asarray(group["indptr"][()])
        n, stored = int(group.attrs["shape"][0]), int(group["data"].shape[0])
        if (len(indptr) != n + 1 or indptr[0] != 0 or indptr[-1] != stored
                or group["indices"].shape[0] != stored or (np.diff(indptr) < 0).any()):  # fmt: skip
            raise InputError(
                f"{self.where}: indptr does not rise from 0 to the {stored:,} values over its "
                "rows. The file is damaged: copy or write it again."
            )
        return indptr

    def _open(self) -> Any:
        """The array, or the arrays of values and places; a child process opens its own."""
        with _OPENING:  # of two threads that open it one would close the other's
            if self._file is None or self._file[0] != os.getpid():
                stack = opened(self.path)
                root = stack.__enter__()
                with fast_codecs():
                    found = element(root, self.key, self.path)
                    if self.sparse:  # zarr opens an array anew at every look at its group
                        found = {name: found[name] for name in ("data", "indices")}
                self._file = os.getpid(), (stack, found)
            return self._file[1][1]

    def read(self, start: int, stop: int) -> Any:
        """Rows ``start:stop``, (stop - start, n_columns): an array, or CSR.

        Raises
        ------
        InputError
            If what is there is damaged.
        """
        with reading(self.path, repr(self.key)):
            found = self._open()
            if self.indptr is None:
                part = np.asarray(found[start:stop])
                return part if self.columns is None else part[:, self.columns]
            a, b = int(self.indptr[start]), int(self.indptr[stop])
            data, places = np.asarray(found["data"][a:b]), np.asarray(found["indices"][a:b])
            begin = self.indptr[start : stop + 1] - a
            part = sparse_matrix(data, places, begin, (stop - start, self.width), self.where)
        return part if self.columns is None else part[:, self.columns]

    def of_columns(self, columns: np.ndarray) -> DiskRows:
        """The same rows of some columns, (k,) positions."""
        return DiskRows(self.path, self.key,
                        columns if self.columns is None else self.columns[columns])  # fmt: skip

    def digest(self) -> str:
        """Of the sizes and times of its files, and of what is read of them."""
        sha = hashlib.sha256(f"{self._state} {self.key} {self.shape}".encode())
        if self.columns is not None:
            sha.update(self.columns.tobytes())
        return sha.hexdigest()

    def __getstate__(self) -> dict[str, Any]:
        """Without the open file."""
        return self.__dict__ | {"_file": None}


class DaskRows:
    """A view of a Dask array, of which rows are computed when they are asked for.

    Parameters
    ----------
    array
        (n, d), of NumPy or CSR chunks.
    where
        What errors call it.
    columns
        (k,) positions of the columns to read; all when left out.
    """

    def __init__(self, array: Any, where: str, columns: np.ndarray | None = None) -> None:
        self.array = array if columns is None else array[:, columns]
        self.where, self.shape = where, tuple(int(s) for s in self.array.shape)
        self.dtype = np.dtype(array.dtype)
        # one chunk is computed whole
        self.run = self.chunk = int(array.chunks[0][0]) if self.shape[0] else 1

    def read(self, start: int, stop: int) -> Any:
        """Rows ``start:stop``, (stop - start, n_columns): an array, or CSR."""
        part = self.array[start:stop].compute(scheduler="synchronous")
        if sp.issparse(part):
            return checked_sparse(sp.csr_matrix(part), self.where)
        return np.asarray(part)

    def of_columns(self, columns: np.ndarray) -> DaskRows:
        """The same rows of some columns, (k,) positions."""
        return DaskRows(self.array, self.where, columns)

    def digest(self) -> str:
        """Of the name that Dask gave it, which says what it is made of."""
        return hashlib.sha256(f"{self.array.name} {self.shape}".encode()).hexdigest()
