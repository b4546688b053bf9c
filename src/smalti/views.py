"""Tables of instances: in memory, sparse, or on disk; and the rows of some bags in them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import pandas as pd
import scipy.sparse as sp

from smalti.errors import InputError


@runtime_checkable
class Backed(Protocol):
    """A view whose rows stay on disk until they are needed."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def read(self, start: int, stop: int) -> Any:
        """Rows ``start:stop`` as an array (stop - start, ...), or as CSR where they are sparse."""
        ...

    def digest(self) -> str:
        """A digest of what the rows are, cheap to compute."""
        ...


PIECE = 2**24  # numbers of a dense piece of a table
_SHARED = 2**26  # bytes from which a mapped array is not copied for a part of its rows
_NEAR = 2**18  # numbers between two runs of rows that are read as one
View: TypeAlias = Any  # np.ndarray, scipy.sparse.csr_matrix or Backed


def slice_rows(offsets: np.ndarray, bags: np.ndarray) -> np.ndarray:
    """Rows of some bags, one after another, without a loop: (n,) int64.

    ``offsets`` is (n_bags + 1,), ``bags`` (k,) positions, in any order and with repeats.
    """
    starts = offsets[bags]
    lengths = offsets[bags + 1] - starts
    ends = lengths.cumsum()
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - ends + lengths, lengths)


def read_rows(view: View, start: int, stop: int) -> Any:
    """Contiguous rows of any view."""
    return view[start:stop] if hasattr(view, "__getitem__") else view.read(start, stop)


def len_(view: View) -> int:
    """Number of rows of any view."""
    return int(view.shape[0])


class _Rows:
    """Some rows of a backed view, still on disk; zeros where ``rows`` is -1."""

    def __init__(self, base: Backed, rows: np.ndarray) -> None:
        self.base, self.rows = base, rows
        self.shape = (len(rows), *base.shape[1:])
        self.dtype = base.dtype

    def read(self, start: int, stop: int) -> Any:
        return pick(self.base, self.rows[start:stop])

    def digest(self) -> str:
        return self.base.digest() + hashlib.sha256(self.rows.tobytes()).hexdigest()


def pick(base: View, rows: np.ndarray) -> Any:
    """Rows of a backed view in any order, (k, ...), read in as few runs as lie near each other."""
    if isinstance(base, _Rows):
        return pick(base.base, _of(base.rows, rows))
    if len(rows) and rows[0] >= 0 and _rising(rows):
        return base.read(int(rows[0]), int(rows[-1]) + 1)
    if isinstance(base, _Map) and len(rows) and rows.min() >= 0:
        return base.table[rows]
    at, back = np.unique(rows, return_inverse=True)
    gaps, at = len(at) > 0 and at[0] < 0, at[at >= 0]
    parts = []
    for run in _runs(base, at):
        part = base.read(int(run[0]), int(run[-1]) + 1)
        parts.append(part if part.shape[0] == len(run) else part[run - run[0]])
    if gaps or not parts:
        part = base.read(0, 0)[:0]
        shape = (int(gaps), *base.shape[1:])
        empty = sp.csr_matrix(shape, dtype=part.dtype) if sp.issparse(part) else \
            np.zeros(shape, part.dtype)  # fmt: skip
        parts.insert(0, empty)
    whole = parts[0] if len(parts) == 1 else _joined(parts)
    return whole if len(back) == whole.shape[0] and _rising(back) else whole[back]


def dense_rows(view: View, rows: np.ndarray) -> np.ndarray:
    """Rows (k,) of any view in memory, dense: (k, ...)."""
    return dense(view[rows] if hasattr(view, "__getitem__") else pick(view, rows))


def _runs(base: View, at: np.ndarray) -> list[np.ndarray]:
    """Different rows (k,) in order, cut where it is not worth to read what lies between."""
    near = max(1, _NEAR // max(1, int(np.prod(base.shape[1:]))))
    return np.split(at, np.flatnonzero(np.diff(at) > near) + 1) if len(at) else []


def rows_read(view: View, rows: np.ndarray) -> int:
    """How many rows of a backed view are read for some of them, those between them included."""
    base, at = (view.base, _of(view.rows, rows)) if isinstance(view, _Rows) else (view, rows)
    return sum(int(run[-1] - run[0]) + 1 for run in _runs(base, np.unique(at[at >= 0])))


def _joined(parts: list[Any]) -> Any:
    if sp.issparse(parts[0]):
        return sp.vstack(parts, format="csr")
    return np.concatenate(parts)


def _rising(rows: np.ndarray) -> bool:
    """Whether each row follows the one before it."""
    return len(rows) == 0 or (
        int(rows[-1]) - int(rows[0]) + 1 == len(rows) and bool((np.diff(rows) == 1).all())
    )


class _Map:
    """A large array, or the parts of a CSR matrix, that lie in a file which processes share."""

    def __init__(self, table: Any) -> None:
        self.table, self.shape, self.dtype = table, table.shape, table.dtype

    def read(self, start: int, stop: int) -> Any:
        return self.table[start:stop]

    def digest(self) -> str:
        raise NotImplementedError  # it is known by its values: see add_values


def is_map(view: View) -> bool:
    """Whether a view is large and lies in a file that is mapped: its rows are taken when needed.

    So workers see a cohort, which is then in memory once, and no fold is a copy of its own.
    """
    values = view.data if sp.issparse(view) else view
    return isinstance(values, np.memmap) and values.nbytes >= _SHARED


def add_values(sha: Any, view: View) -> None:
    """Add the values of a view to a digest; of what is on disk its own digest."""
    if isinstance(view, _Rows) and isinstance(view.base, _Map):
        # as of the rows in memory, which are never there as a whole
        if not sp.issparse(view.base.table):
            for _, part in placed(view):
                sha.update(np.ascontiguousarray(part))
            return
        for name in ("data", "indices"):
            for _, part in placed(view):
                sha.update(np.ascontiguousarray(getattr(part, name)))
        lengths = np.diff(view.base.table.indptr)[view.rows]
        begin = np.concatenate([[0], lengths.cumsum()])
        sha.update(begin.astype(view.base.table.indptr.dtype).tobytes())
    elif sp.issparse(view):
        for values in (view.data, view.indices, view.indptr):
            sha.update(np.ascontiguousarray(values))
    elif isinstance(view, np.ndarray):
        sha.update(np.ascontiguousarray(view))
    else:
        sha.update(view.digest().encode())


def take(view: View, rows: np.ndarray) -> View:
    """Some rows, (k,) int64, of any view: (k, ...); of a backed one they stay on disk.

    Rows that follow one another are no copy of an array; -1 is a row of zeros of a backed view.
    """
    whole = _rising(rows) and len(rows) > 0 and rows[0] >= 0
    if whole and len(rows) == len_(view):
        return view
    if is_map(view):
        return _Rows(_Map(view), np.asarray(rows))
    if hasattr(view, "__getitem__"):
        return view[int(rows[0]) : int(rows[-1]) + 1] if whole else view[rows]
    if isinstance(view, _Rows):
        return _Rows(view.base, _of(view.rows, rows))
    return _Rows(view, np.asarray(rows))


def _of(rows: np.ndarray, at: np.ndarray) -> np.ndarray:
    """(k,) those of some rows, -1 where ``at`` says -1."""
    return np.where(at < 0, -1, rows[at]) if len(at) and at.min() < 0 else rows[at]


class Through:
    """A backed view whose rows a function changes as they are read, each by itself.

    Parameters
    ----------
    base
        What is read.
    change
        From rows to as many rows.
    """

    def __init__(self, base: Backed, change: Callable[[Any], Any]) -> None:
        self.base, self.change = base, change
        trial = change(base.read(0, min(1, base.shape[0])))
        self.shape = (int(base.shape[0]), *trial.shape[1:])
        self.dtype, self.sparse = trial.dtype, sp.issparse(trial)

    def read(self, start: int, stop: int) -> Any:
        """Rows ``start:stop``, changed: (stop - start, ...)."""
        return self.change(self.base.read(start, stop))

    def digest(self) -> str:
        """That of what is read; what changes it is known by its name."""
        return self.base.digest()


class Beside:
    """Several views side by side, of which some are on disk: (n, width of all)."""

    def __init__(self, views: Sequence[View]) -> None:
        self.views = list(views)
        trial = self.read(0, min(1, len_(views[0])))
        self.shape = (len_(views[0]), int(trial.shape[1]))
        self.dtype, self.sparse = trial.dtype, sp.issparse(trial)

    def read(self, start: int, stop: int) -> Any:
        """Rows ``start:stop``, (stop - start, width of all)."""
        return side_by_side([read_rows(view, start, stop) for view in self.views])

    def digest(self) -> str:
        """Those of all that are on disk."""
        return "".join(view.digest() for view in self.views if hasattr(view, "digest"))


def side_by_side(parts: Sequence[Any]) -> Any:
    """(n, width of all) sparse where all are; dense as float32 else."""
    if all(map(sp.issparse, parts)):
        return sp.csr_matrix(sp.hstack(parts))
    return np.hstack([np.asarray(p.toarray() if sp.issparse(p) else p, np.float32) for p in parts])


def is_made(view: View) -> bool:
    """Whether a view on disk is unpacked or changed whenever it is read, and not just copied."""
    base = view.base if isinstance(view, _Rows) else view
    return hasattr(base, "run") or isinstance(base, (Through, Beside))


def stored_bytes(view: View) -> int:
    """Bytes that a view takes in memory, at most."""
    if isinstance(view, Through):
        # what changes single rows makes no value of a sparse table where there was none
        return stored_bytes(view.base) if view.sparse else _dense_bytes(view)
    if isinstance(view, Beside):
        return sum(map(stored_bytes, view.views)) if view.sparse else _dense_bytes(view)
    if isinstance(view, _Rows):
        return int(stored_bytes(view.base) * len(view.rows) / max(1, view.base.shape[0]))
    if sp.issparse(view):
        return int(view.data.nbytes + view.indices.nbytes + view.indptr.nbytes)
    return int(getattr(view, "stored_bytes", _dense_bytes(view)))


def _dense_bytes(view: View) -> int:
    return int(np.prod(view.shape, dtype=np.int64)) * view.dtype.itemsize


def as_views(x: Any) -> tuple[dict[str, View], dict[str, tuple[str, ...]]]:
    """Read what a user gives as features: views by name, and the feature names they bring.

    Raises
    ------
    InputError
        If a view has fewer than two dimensions or holds no numbers, or views differ in rows.
    """
    views: dict[str, View] = {}
    names: dict[str, tuple[str, ...]] = {}
    for name, value in x.items() if isinstance(x, Mapping) else [("x", x)]:
        if isinstance(value, pd.DataFrame):
            names[name] = tuple(map(str, value.columns))
            value = value.to_numpy()
        if sp.issparse(value):
            value = sp.csr_matrix(value)
        elif not (hasattr(value, "read") and hasattr(value, "shape")):
            value = np.asarray(value)
            if value.ndim < 2:
                raise InputError(
                    f"view {name!r} has shape {value.shape}: expected (instances, features)."
                )
        if value.dtype.kind not in "fiub":
            raise InputError(f"view {name!r} holds {value.dtype}, not numbers.")
        views[name] = value
    if len({len_(v) for v in views.values()}) != 1:
        raise InputError(f"views differ in rows: { {k: len_(v) for k, v in views.items()} }.")
    return views, names


def placed(view: View, step: int | None = None) -> Iterator[tuple[int, Any]]:
    """Pieces of a table, each with the position of its first row.

    What is on disk is read in runs as long as its file likes (``run``: rows), the next of them
    while the present one is worked on.
    """
    n, width = int(view.shape[0]), max(1, int(np.prod(view.shape[1:])))
    step = max(1, PIECE // width) if step is None else step
    if isinstance(view, Through):
        inner = min(step, max(1, PIECE // max(1, int(np.prod(view.base.shape[1:])))))
        for start, part in placed(view.base, inner):
            yield start, view.change(part)
        return
    if hasattr(view, "__getitem__"):
        for start in range(0, n, step):
            yield start, view[start : min(start + step, n)]
        return
    base = view.base if isinstance(view, _Rows) else view
    run = max(1, int(getattr(base, "run", step)) // step) * step
    with ThreadPoolExecutor(1) as pool:
        ahead: Future[Any] | None = pool.submit(view.read, 0, min(run, n)) if n else None
        for start in range(0, n, run):
            assert ahead is not None
            part, after = ahead.result(), start + run
            ahead = pool.submit(view.read, after, min(after + run, n)) if after < n else None
            for at in range(0, part.shape[0], step):
                # one piece that is all of it is no copy
                yield start + at, part if step >= part.shape[0] else part[at : at + step]


def pieces(view: View) -> Iterator[Any]:
    """Pieces of a table that may be dense."""
    return (part for _, part in placed(view))


def whole(view: View) -> Any:
    """All rows in memory: (n, ...). What is on disk and mostly 0 comes as CSR, piece by piece."""
    if hasattr(view, "__getitem__"):
        return view
    if len(view.shape) != 2:
        return view.read(0, len_(view))
    out, parts = None, []
    for start, part in placed(view):
        part = _lean(part) if out is None and not isinstance(view, Through) else part
        if sp.issparse(part):
            parts.append(part)
            continue
        if out is None:  # filled piece by piece: joined parts would be there twice
            out = np.empty(view.shape, dtype=part.dtype)
            for before, early in zip(np.cumsum([0, *(p.shape[0] for p in parts)]), parts,
                                     strict=False):  # fmt: skip
                out[before : before + early.shape[0]] = early.toarray()
            parts = []
        out[start : start + part.shape[0]] = part
    if out is not None:
        return out
    return sp.vstack(parts, format="csr") if parts else view.read(0, 0)


def _lean(part: Any) -> Any:
    """A piece as CSR where less than a quarter of it is not 0."""
    if sp.issparse(part):
        return part
    return sp.csr_matrix(part) if 4 * np.count_nonzero(part) < part.size else part


def dense(part: Any) -> np.ndarray:
    """A piece as a dense array of the same shape."""
    return part.toarray() if sp.issparse(part) else np.asarray(part)
