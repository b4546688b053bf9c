"""Tables of instances: in memory, sparse, or on disk; and the rows of some bags in them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
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

    def read(self, start: int, stop: int) -> np.ndarray:
        """Rows ``start:stop`` as an array, (stop - start, ...)."""
        ...

    def digest(self) -> str:
        """A digest of what the rows are, cheap to compute."""
        ...


PIECE = 2**24  # numbers of a dense piece of a table
View: TypeAlias = Any  # np.ndarray, scipy.sparse.csr_matrix or Backed


def slice_rows(offsets: np.ndarray, bags: np.ndarray) -> np.ndarray:
    """Rows of some bags, one after another, without a loop: (n,) int64.

    ``offsets`` is (n_bags + 1,), ``bags`` (k,) positions, in any order and with repeats.
    """
    starts, lengths = offsets[bags], np.diff(offsets)[bags]
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
        self.dtype = base.dtype

    @property
    def rows(self) -> np.ndarray:
        """(n,) positions in the whole view."""
        return self.picked.rows

    def read(self, start: int, stop: int) -> np.ndarray:
        if fills(self):
            out = np.empty((max(0, min(stop, len_(self)) - start), *self.shape[1:]), self.dtype)
            self.fill(start, out)
            return out
        parts = [self.base.read(low, high) for low, high, _ in self.picked.runs(start, stop)]
        return np.concatenate(parts) if parts else np.empty((0, *self.shape[1:]), self.dtype)

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


def take(view: View, rows: np.ndarray | Picked) -> View:
    """Some rows, (k,) int64, of any view: (k, ...); of a backed one they stay on disk."""
    if isinstance(view, np.ndarray) and isinstance(rows, Picked):
        return rows.of_array(view)
    if hasattr(view, "__getitem__"):
        return view[rows.rows if isinstance(rows, Picked) else rows]
    picked = rows if isinstance(rows, Picked) else Picked.of(np.asarray(rows))
    if isinstance(view, _Rows):
        return _Rows(view.base, view.picked.take(picked))
    return _Rows(view, picked)


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


def placed(view: View) -> Iterator[tuple[int, Any]]:
    """Pieces of a table, each with the position of its first row."""
    n, width = int(view.shape[0]), max(1, int(view.shape[1]))
    step = max(1, PIECE // width)
    for start in range(0, n, step):
        yield start, read_rows(view, start, min(start + step, n))


def pieces(view: View) -> Iterator[Any]:
    """Pieces of a table that may be dense."""
    return (part for _, part in placed(view))


def whole(view: View) -> Any:
    """All rows in memory: (n, ...). What is on disk and mostly 0 comes as CSR, piece by piece."""
    if hasattr(view, "__getitem__"):
        return view
    if len(view.shape) != 2:
        return view.read(0, len_(view))
    parts = list(map(_lean, pieces(view)))
    if all(map(sp.issparse, parts)):
        return sp.vstack(parts, format="csr")
    return np.concatenate([dense(part) for part in parts])


def _lean(part: Any) -> Any:
    """A piece as CSR where less than a quarter of it is not 0."""
    return sp.csr_matrix(part) if 4 * np.count_nonzero(part) < part.size else part


def dense(part: Any) -> np.ndarray:
    """A piece as a dense array of the same shape."""
    return part.toarray() if sp.issparse(part) else np.asarray(part)
