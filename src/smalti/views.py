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
    """A view whose rows stay on disk until they are needed.

    One that has ``fill(start, out)`` reads into an array that is given, from several threads at a
    time: see :func:`fills`.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def read(self, start: int, stop: int) -> Any:
        """Rows ``start:stop`` as an array (stop - start, ...), or as CSR where they are sparse."""
        ...

    def digest(self) -> str:
        """A digest of what the rows are, cheap to compute."""
        ...


PIECE = 2**24  # numbers of a dense piece of a table
_SHARED = 2**26  # bytes from which an array is not copied for a part of its rows
_NEAR = 2**18  # numbers between two runs of rows that are read as one
View: TypeAlias = Any  # np.ndarray, scipy.sparse.csr_matrix or Backed


def slice_rows(offsets: np.ndarray, bags: np.ndarray) -> np.ndarray:
    """Rows of some bags, one after another, without a loop: (n,) int64.

    ``offsets`` is (n_bags + 1,), ``bags`` (k,) positions, in any order and with repeats.
    """
    starts = offsets[bags]
    if len(bags) == 1:
        return np.arange(starts[0], offsets[bags[0] + 1])
    lengths = offsets[bags + 1] - starts
    ends = lengths.cumsum()
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - ends + lengths, lengths)


def read_rows(view: View, start: int, stop: int) -> Any:
    """Contiguous rows of any view."""
    return view[start:stop] if hasattr(view, "__getitem__") else view.read(start, stop)


def len_(view: View) -> int:
    """Number of rows of any view."""
    return int(view.shape[0])


class Picked:
    """Positions of some rows, in any order and with repeats; of rows of bags their runs alone.

    Attributes
    ----------
    starts, lengths
        (k,) first row of each run of neighbours, and how many they are.
    """

    def __init__(self, starts: np.ndarray, lengths: np.ndarray) -> None:
        apart = starts[1:] != starts[:-1] + lengths[:-1]
        if not apart.all():  # some are neighbours of one another
            heads = np.flatnonzero(np.concatenate([[True], apart]))
            starts, lengths = starts[heads], np.add.reduceat(lengths, heads)
        self.starts, self.lengths = starts, lengths
        self.ends = lengths.cumsum()  # (k,) of the runs, among the rows that are picked

    @classmethod
    def of(cls, rows: np.ndarray) -> Picked:
        """Of (n,) positions."""
        heads = np.flatnonzero(np.concatenate([[True], np.diff(rows) != 1])) if len(rows) else rows
        return cls(np.asarray(rows[heads], dtype=np.int64), np.diff([*heads, len(rows)]))

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    @property
    def rows(self) -> np.ndarray:
        """(n,) positions."""
        return np.arange(len(self)) + np.repeat(
            self.starts - self.ends + self.lengths, self.lengths
        )

    def runs(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, int, int]]:
        """Runs between two places: first row, last + 1, and where it begins after ``start``."""
        stop = len(self) if stop is None else min(stop, len(self))
        for i in range(int(np.searchsorted(self.ends, start, side="right")), len(self.ends)):
            begin = int(self.ends[i] - self.lengths[i])
            low, high = max(start, begin), min(stop, int(self.ends[i]))
            if low >= stop:
                return
            first = int(self.starts[i]) + low - begin
            yield first, first + high - low, low - start

    def take(self, other: Picked) -> Picked:
        """Those of these rows that are at the places which another picks."""
        if 2 * len(other.starts) > len(other):  # scattered
            at = other.rows
            run = np.searchsorted(self.ends, at, side="right")
            return Picked.of(self.starts[run] + at - (self.ends - self.lengths)[run])
        found = [(low, high - low) for start, n in zip(other.starts, other.lengths, strict=True)
                 for low, high, _ in self.runs(int(start), int(start + n))]  # fmt: skip
        return Picked(*np.array(found, dtype=np.int64).reshape(-1, 2).T)

    def of_array(self, values: np.ndarray) -> np.ndarray:
        """The rows of an array, (n, ...)."""
        if 8 * len(self.starts) >= len(self):  # short runs, or none
            return values[self.rows]
        return np.concatenate([values[low:high] for low, high, _ in self.runs()])


def fills(view: View) -> bool:
    """Whether a view on disk reads into an array that is given: ``fill(start, out)``."""
    return hasattr(getattr(view, "base", view), "fill")


class _Rows:
    """Some rows of a backed view, still on disk."""

    def __init__(self, base: Backed, picked: Picked) -> None:
        self.base, self.picked = base, picked
        self.shape = (len(picked), *base.shape[1:])
        self.dtype, self.sparse = base.dtype, getattr(base, "sparse", False)

    @property
    def rows(self) -> np.ndarray:
        """(n,) positions in the whole view."""
        return self.picked.rows

    def read(self, start: int, stop: int) -> Any:
        if fills(self):
            out = np.empty((max(0, min(stop, len_(self)) - start), *self.shape[1:]), self.dtype)
            self.fill(start, out)
            return out
        runs = [np.arange(low, high) for low, high, _ in self.picked.runs(start, stop)]
        return pick(self.base, np.concatenate(runs) if runs else np.arange(0))

    def pick(self, rows: np.ndarray) -> Any:
        """Rows (k,) in any order, (k, ...)."""
        return pick(self.base, self.picked.take(Picked.of(rows)).rows)

    def places(self, rows: np.ndarray) -> np.ndarray:
        """See :func:`places`: (k,)."""
        return places(self.base, self.picked.take(Picked.of(rows)).rows)

    def fill(self, start: int, out: np.ndarray) -> None:
        """Rows from ``start`` on into ``out``, (k, ...)."""
        base: Any = self.base
        for low, high, at in self.picked.runs(start, start + len(out)):
            base.fill(low, out[at : at + high - low])

    def digest(self) -> str:
        sha = hashlib.sha256()
        for low, high, _ in self.picked.runs():
            sha.update(np.arange(low, high).tobytes())
        return self.base.digest() + sha.hexdigest()


def pick(view: View, rows: np.ndarray) -> Any:
    """Rows of a backed view in any order, (k, ...), read in as few runs as lie near each other."""
    if hasattr(view, "pick"):  # rows of another
        return view.pick(rows)
    if _rising(rows):
        return view.read(int(rows[0]), int(rows[-1]) + 1)
    if not len(rows):
        return view.read(0, 0)
    at, back = np.unique(rows, return_inverse=True)
    parts = []
    for run in _near(view, at):
        part = view.read(int(run[0]), int(run[-1]) + 1)
        parts.append(part if part.shape[0] == len(run) else part[run - run[0]])
    whole = parts[0] if len(parts) == 1 else _joined(parts)
    return whole if _rising(back) else whole[back]


def rows_of(view: View, rows: np.ndarray) -> Any:
    """Rows (k,) of any view, in memory: (k, ...)."""
    return view[rows] if hasattr(view, "__getitem__") else pick(view, rows)


def dense_rows(view: View, rows: np.ndarray) -> np.ndarray:
    """Rows (k,) of any view in memory, dense: (k, ...)."""
    return dense(rows_of(view, rows))


def places(view: View, rows: np.ndarray) -> np.ndarray:
    """Where rows (k,) of a backed view lie in their file: (k,), the same or other positions."""
    return view.places(rows) if hasattr(view, "places") else rows


def _near(view: View, at: np.ndarray) -> list[np.ndarray]:
    """Different rows (k,) in order, cut where it is not worth to read what lies between."""
    # of one that is read without unpacking each run is a read of its own
    apart = 1 if fills(view) else max(1, _NEAR // max(1, int(np.prod(view.shape[1:]))))
    return np.split(at, np.flatnonzero(np.diff(at) > apart) + 1) if len(at) else []


def rows_read(view: View, rows: np.ndarray) -> int:
    """How many rows of a backed view are read for (k,) of them, those between them included."""
    if isinstance(view, _Rows):
        return rows_read(view.base, view.picked.take(Picked.of(rows)).rows)
    return sum(int(run[-1] - run[0]) + 1 for run in _near(view, np.unique(rows)))


def _joined(parts: list[Any]) -> Any:
    if sp.issparse(parts[0]):
        return sp.vstack(parts, format="csr")
    return np.concatenate(parts)


def _rising(rows: np.ndarray) -> bool:
    """Whether there are rows, and each follows the one before it."""
    return len(rows) > 0 and (
        int(rows[-1]) - int(rows[0]) + 1 == len(rows) and bool((np.diff(rows) == 1).all())
    )


class _Map:
    """A large table in memory, dense or CSR, of which rows are taken when they are needed.

    Attributes
    ----------
    shared
        Whether it lies in a file that other processes have in memory too.
    """

    def __init__(self, table: Any) -> None:
        self.sparse, self.shape, self.dtype = sp.issparse(table), table.shape, table.dtype
        self.shared = _is_file(table)
        self.table = table if self.sparse else table.view(np.ndarray)

    def read(self, start: int, stop: int) -> Any:
        return self.table[start:stop]

    def pick(self, rows: np.ndarray) -> Any:
        """Rows (k,) in any order, (k, ...)."""
        if self.sparse:
            return self.table[rows]
        if _rising(rows):
            return self.read(int(rows[0]), int(rows[-1]) + 1)
        return Picked.of(rows).of_array(self.table)

    def digest(self) -> str:
        sha = hashlib.sha256()
        add_values(sha, self.table)
        return sha.hexdigest()


def _values(view: View) -> Any:
    return view.data if sp.issparse(view) else view


def _is_large(view: View) -> bool:
    """Whether a view is a large table in memory."""
    return isinstance(_values(view), np.ndarray) and _values(view).nbytes >= _SHARED


def _is_file(view: View) -> bool:
    """Whether a table in memory is mapped from a file: so workers see a cohort."""
    return isinstance(_values(view), np.memmap)


def is_shared(view: View) -> bool:
    """Whether rows are read from a table that several processes have in memory once."""
    return bool(getattr(leaf(view), "shared", False))


def leaf(view: View) -> View:
    """What the rows of a view are read from in the end: of several, the widest on disk."""
    while isinstance(view, (_Rows, Through, _Gapped, Beside)):
        if isinstance(view, Beside):
            view = view.widest()
        else:
            view = view.base if isinstance(view, _Rows) else view.source
    return view


def in_memory(view: View) -> bool:
    """Whether the rows of a view are in memory, its own or what processes share."""
    return isinstance(leaf(view), _Map) or hasattr(view, "__getitem__")


def moved_view(view: View, move: Callable[[np.ndarray], np.ndarray]) -> View:
    """A table, (n, ...), moved where workers see it if it is in memory and large; else as it is."""
    if sp.issparse(view) and view.data.nbytes >= _SHARED:
        parts = move(view.data), move(view.indices), view.indptr
        return sp.csr_matrix(parts, shape=view.shape, copy=False)
    if isinstance(view, np.ndarray) and view.nbytes >= _SHARED:
        return move(view)
    return view


def add_values(sha: Any, view: View) -> None:
    """Add the values of a view to a digest; of what is on disk its own digest."""
    if isinstance(view, _Rows) and isinstance(view.base, _Map):
        # as of the rows in memory, which are never there as a whole
        if not view.sparse:
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


def take(view: View, rows: np.ndarray | Picked) -> View:
    """Some rows, (k,) int64, of any view: (k, ...); of a backed one they stay on disk.

    Rows that follow one another are no copy of an array; -1 is a row of zeros of a backed view.
    """
    if not isinstance(rows, Picked):
        rows = np.asarray(rows)
        if len(rows) and rows.min() < 0 and not hasattr(view, "__getitem__"):
            return _Gapped(view, rows)
        rows = Picked.of(rows)
    one = len(rows.starts) == 1
    if one and len(rows) == len_(view):
        return view
    if _is_large(view) and _is_file(view):
        return _Rows(_Map(view), rows)
    if hasattr(view, "__getitem__"):
        if one:
            return view[int(rows.starts[0]) : int(rows.starts[0]) + len(rows)]
        return rows.of_array(view) if isinstance(view, np.ndarray) else view[rows.rows]
    if isinstance(view, _Rows):
        return _Rows(view.base, view.picked.take(rows))
    return _Rows(view, rows)


def of_bags(view: View, rows: Picked) -> View:
    """Rows of some bags of any view: of a large table no copy, for a fold is most of the cohort."""
    if _is_large(view) and len(rows.starts) > 1:
        return _Rows(_Map(view), rows)
    return take(view, rows)


class _Gapped:
    """Rows of a backed view at their places among others, which are zeros: (n, ...).

    ``place`` is (n,), the row of the view or -1.
    """

    def __init__(self, view: View, place: np.ndarray) -> None:
        self.source, self.place = view, place
        self.shape, self.dtype = (len(place), *view.shape[1:]), view.dtype
        self.sparse = getattr(view, "sparse", False)
        self.run = max(1, PIECE // max(1, int(view.shape[1])))

    def read(self, start: int, stop: int) -> Any:
        return self.pick(np.arange(start, min(stop, len(self.place))))

    def places(self, rows: np.ndarray) -> np.ndarray:
        """See :func:`places`: (k,), -1 where nothing is read."""
        return self.place[rows]

    def pick(self, rows: np.ndarray) -> Any:
        """Rows (k,) in any order, (k, ...)."""
        place = self.place[rows]
        there = np.flatnonzero(place >= 0)
        part = pick(self.source, place[there])
        if not sp.issparse(part):
            out = np.zeros((len(place), *self.shape[1:]), part.dtype)
            out[there] = part
            return out
        lengths = np.zeros(len(place), dtype=part.indptr.dtype)
        lengths[there] = np.diff(part.indptr)
        begin = np.concatenate([[0], lengths.cumsum()])
        return sp.csr_matrix((part.data, part.indices, begin), shape=(len(place), part.shape[1]))

    def digest(self) -> str:
        return str(self.source.digest()) + hashlib.sha256(self.place.tobytes()).hexdigest()


class Through:
    """A backed view whose rows a function changes as they are read, each by itself.

    Parameters
    ----------
    base
        What is read.
    change
        From rows to as many rows.
    told
        What tells the change from others, its fitted numbers too: rows changed otherwise are other
        data.
    """

    def __init__(self, base: Backed, change: Callable[[Any], Any], told: str) -> None:
        self.source, self.change = base, change  # "base" is of rows that are as they were
        self.told = told
        trial = change(base.read(0, min(1, base.shape[0])))
        self.shape = (int(base.shape[0]), *trial.shape[1:])
        self.dtype, self.sparse = trial.dtype, sp.issparse(trial)

    def read(self, start: int, stop: int) -> Any:
        """Rows ``start:stop``, changed: (stop - start, ...)."""
        return self.change(self.source.read(start, stop))

    def pick(self, rows: np.ndarray) -> Any:
        """Rows (k,) in any order, changed: (k, ...)."""
        return self.change(pick(self.source, rows))

    def places(self, rows: np.ndarray) -> np.ndarray:
        """See :func:`places`: (k,)."""
        return places(self.source, rows)

    def digest(self) -> str:
        """Of what is read, and of what is done to it."""
        return hashlib.sha256(f"{self.source.digest()} {self.told}".encode()).hexdigest()


def told_of_arrays(what: str, *arrays: np.ndarray) -> str:
    """A change by its name and the numbers in it, of any shape."""
    sha = hashlib.sha256(what.encode())
    for values in arrays:
        values = np.ascontiguousarray(values)
        sha.update(f"{values.dtype}{values.shape}".encode() + values.tobytes())
    return sha.hexdigest()


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

    def pick(self, rows: np.ndarray) -> Any:
        """Rows (k,) in any order, (k, width of all)."""
        return side_by_side([rows_of(view, rows) for view in self.views])

    def places(self, rows: np.ndarray) -> np.ndarray:
        """See :func:`places`, of the widest on disk: (k,)."""
        return places(self.widest(), rows)

    def widest(self) -> View:
        """The view on disk that takes most."""
        on_disk = [view for view in self.views if not hasattr(view, "__getitem__")]
        return max(on_disk, key=lambda view: (not in_memory(view), stored_bytes(view)))

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
        return stored_bytes(view.source) if view.sparse else _dense_bytes(view)
    if isinstance(view, Beside):
        return sum(map(stored_bytes, view.views)) if view.sparse else _dense_bytes(view)
    if isinstance(view, _Rows):
        return int(stored_bytes(view.base) * len_(view) / max(1, view.base.shape[0]))
    if isinstance(view, _Gapped):
        return stored_bytes(view.source)
    if isinstance(view, _Map):
        return stored_bytes(view.table)
    if sp.issparse(view):
        return int(view.data.nbytes + view.indices.nbytes + view.indptr.nbytes)
    return int(getattr(view, "stored_bytes", _dense_bytes(view)))


def _dense_bytes(view: View) -> int:
    return int(np.prod(view.shape, dtype=np.int64)) * view.dtype.itemsize


def survey(view: View) -> None:
    """Have a view on disk that keeps the moments of its files read those it does not know."""
    base: Any = getattr(view, "base", view)
    if hasattr(base, "moments"):
        base.moments(getattr(view, "picked", None))


def take_rows(table: pd.DataFrame, picked: Picked) -> pd.DataFrame:
    """Some rows of a table; one that is made when it is asked for is not made for that."""
    if hasattr(table, "picked"):
        return table.picked(picked)
    return table.iloc[picked.rows]


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
        inner = min(step, max(1, PIECE // max(1, int(np.prod(view.source.shape[1:])))))
        for start, part in placed(view.source, inner):
            yield start, view.change(part)
        return
    if in_memory(view):
        for start in range(0, n, step):
            yield start, read_rows(view, start, min(start + step, n))
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
