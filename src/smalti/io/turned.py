"""A matrix that is stored by columns (csc), turned into rows out of core.

Two passes over the file. The first counts the values of each row. The second reads some columns at
a time and appends their values to the runs of rows that they belong to, each of which has its place
in a scratch file; a run is put in order when it is read. So nothing is written in more places at a
time than there are runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from smalti.errors import InputError
from smalti.io.scratch import Scratch
from smalti.io.stored import element, opened
from smalti.system.reading import reading

_AT_ONCE = 2**23  # values that are read at a time
_RUN = 2**22  # values of a run of rows


class Turned:
    """Rows of a csc matrix of a file, as :class:`~smalti.io.disk_rows.DiskRows` gives those of CSR.

    Parameters
    ----------
    path, key
        The file and the element.
    columns
        (k,) positions of the columns to read; all when left out.
    scratch
        A folder, for as much as the matrix takes in memory and half as much again; it is the
        caller's to remove.

    Raises
    ------
    InputError
        When it is read, if the matrix is damaged.
    """

    sparse = True
    columns = None  # as they are read, all that there are

    def __init__(self, path: Path, key: str, columns: np.ndarray | None, scratch: Path) -> None:
        self.path, self.key, self.where, self.scratch = path, key, f"{path}: {key}", scratch
        with opened(path) as root, reading(path, repr(key)):
            group = element(root, key, path)
            self.height, self.width = (int(s) for s in group.attrs["shape"])
            self.dtype = np.dtype(group["data"].dtype)
        self.chosen = np.arange(self.width) if columns is None else columns
        self.shape = (self.height, len(self.chosen))

    @cached_property
    def indptr(self) -> np.ndarray:
        """(n + 1,) where the values of each row begin; the first pass."""
        lengths = np.zeros(self.height, dtype=np.int64)
        for rows, _, _ in self._pieces(values=False):
            lengths += np.bincount(rows, minlength=self.height)
        return np.concatenate([[0], lengths.cumsum()])

    @cached_property
    def run(self) -> int:
        """Rows that are read at a time."""
        return max(1, _RUN * max(self.height, 1) // max(int(self.indptr[-1]), 1))

    @cached_property
    def _parts(self) -> dict[str, Scratch]:
        """Rows, columns and values (k,), run by run; the second pass."""
        kinds = {"rows": np.int32 if self.height < 2**31 else np.int64, "columns": np.int32,
                 "data": self.dtype}  # fmt: skip
        name = f"turned_{id(self)}"
        parts = {k: Scratch(self.scratch / f"{name}_{k}", kind, (int(self.indptr[-1]),))
                 for k, kind in kinds.items()}  # fmt: skip
        filled = self.indptr[: -1 : self.run].copy()  # (n_runs,) where each run goes on
        for found in self._pieces(values=True):
            _append(parts, filled, found[0] // self.run, *found)
        return parts

    def _pieces(self, *, values: bool) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Rows, columns and values (k,), some at a time, column by column."""
        place = np.full(self.width, -1, dtype=np.int32)
        place[self.chosen] = np.arange(len(self.chosen))
        with opened(self.path) as root, reading(self.path, repr(self.key)):
            group = element(root, self.key, self.path)
            begin, stored = np.asarray(group["indptr"][()]), int(group["data"].shape[0])
            fits = len(begin) == self.width + 1 and group["indices"].shape[0] == stored
            if not fits or begin[0] != 0 or begin[-1] != stored or (np.diff(begin) < 0).any():
                raise InputError(f"{self.where}: indptr does not rise from 0 to the {stored:,} "
                                 "values over its columns: copy or write it again.")  # fmt: skip
            for low in range(0, stored, _AT_ONCE):
                high = min(low + _AT_ONCE, stored)
                rows = np.asarray(group["indices"][low:high])
                if rows.min() < 0 or rows.max() >= self.height:
                    raise InputError(f"{self.where}: indices has {int(rows.max())}, and there are "
                                     f"{self.height:,} rows: copy or write it again.")  # fmt: skip
                of = np.searchsorted(begin, np.arange(low, high), side="right") - 1
                columns = place[of]
                stay = columns >= 0
                data = np.asarray(group["data"][low:high])[stay] if values else rows[:0]
                yield rows[stay], columns[stay], data

    def read(self, start: int, stop: int) -> sp.csr_matrix:
        """Rows of whole runs, (stop - start, n_columns)."""
        low, high = (int(self.indptr[at]) for at in (start, stop))
        rows, columns, data = (self._parts[k].read(low, high) for k in ("rows", "columns", "data"))
        order = np.lexsort((columns, rows))
        return sp.csr_matrix(
            (data[order], columns[order], self.indptr[start : stop + 1] - low),
            shape=(stop - start, self.shape[1]),
        )

    def remove(self) -> None:
        """Give the disk back."""
        for part in self.__dict__.pop("_parts", {}).values():
            part.remove()


def _append(
    parts: dict[str, Scratch], filled: np.ndarray, run: np.ndarray, rows: np.ndarray,
    columns: np.ndarray, data: np.ndarray,
) -> None:  # fmt: skip
    """Values (k,) to the runs that they are of."""
    order = np.argsort(run, kind="stable")
    counts = np.bincount(run, minlength=len(filled))
    cuts = np.concatenate([[0], counts.cumsum()])
    for name, values in (("rows", rows), ("columns", columns), ("data", data)):
        moved = values[order]
        for i in np.flatnonzero(counts):
            parts[name].values[filled[i] : filled[i] + counts[i]] = moved[cuts[i] : cuts[i + 1]]
        parts[name].let_go()
    filled += counts
