"""Tables of cells whose matrices stay in their file, and whose texts are never all in memory.

Of ten million cells the names alone are 0.7 GB, and every copy of them as much. So cells are known
by their position here, columns are read when they are named, and one of texts becomes categories
piece by piece. Matrices are :class:`~smalti.io.disk_rows.DiskRows`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from smalti.io.disk_rows import DaskRows, DiskRows
from smalti.io.elements import checked_column, read_element
from smalti.io.stored import element, within
from smalti.io.tables import Table, no_column

_PIECE = 2**18  # texts that are read at once
_TEXTS = ("string-array", "nullable-string-array")


class DiskTable(Table):
    """The parts of an AnnData; matrices of a file or of Dask are read when their rows are."""

    def _values(self, where: str, name: str) -> Any:
        if self.on_disk:
            key = self.root + (where if where == "X" else f"{where}/{name}")
            found = self.ask(key, lambda root: within(root, key, self.source))
            kind = None if found is None else self.ask(key, lambda root: _encoding(root, key, self))
            if found is None or kind == "dataframe":
                return super()._values(where, name)
            return DiskRows(self.source, key)
        values = getattr(self.source, where, None) if where == "X" else \
            getattr(self.source, where)[name]  # fmt: skip
        if hasattr(values, "compute"):
            return DaskRows(values, f"{where} of {self.name}")
        if getattr(self.source, "isbacked", False) and where != "obsm" and \
                not isinstance(values, np.ndarray):  # fmt: skip
            return DiskRows(
                Path(self.source.filename), where if where == "X" else f"{where}/{name}"
            )
        return super()._values(where, name)


class LeanTable(DiskTable):
    """An AnnData file: cells by their position, and of their columns only what is named."""

    @cached_property
    def by_column(self) -> bool:
        """Whether columns of obs can be read one by one; not so before AnnData 0.8."""
        return self._encodings is not None

    @property
    def _columns(self) -> dict[str, str]:
        return self._encodings or {}

    @cached_property
    def _encodings(self) -> dict[str, str] | None:
        """Name -> encoding of each column, in the user's order; None: they are no columns."""
        key = self.root + "obs"

        def look(root: Any) -> dict[str, str] | None:
            group = within(root, key, self.source)
            if group is None or not hasattr(group, "keys") or "__categories" in group:
                return None  # none; or as AnnData wrote it before 0.8
            order = [str(c) for c in group.attrs.get("column-order", ())]
            return {c: str(group[c].attrs.get("encoding-type")) for c in order if c in group}

        found: dict[str, str] | None = self.ask(key, look)
        return found

    @cached_property
    def names(self) -> pd.Index:
        """Positions of the cells."""
        return pd.RangeIndex(self._ask_index(lambda texts, _: int(texts.shape[0])))

    @property
    def index(self) -> pd.Index:
        """Names of the cells as they are written: all of them, read anew."""
        name = self._ask_index(lambda _, key: key)
        return pd.Index(self.ask(name, lambda root: read_element(root, name, self.source)))

    def pieces_of_index(self, step: int) -> Iterator[list[str]]:
        """Names of the cells as they are written, so many at a time."""
        name = self._ask_index(lambda _, key: key)
        for start in range(0, len(self.names), step):
            stop = min(start + step, len(self.names))
            part = partial(_part, key=name, path=self.source, start=start, stop=stop)
            yield [t.decode() if isinstance(t, bytes) else str(t)
                   for t in self.ask(name, part).tolist()]  # fmt: skip

    def kind_of_matrix(self, key: str) -> str | None:
        """How a table of numbers is stored that lies under a key from the root; None: none does."""
        found = self.ask(key, lambda root: within(root, key, self.source))
        if found is None:
            return None
        kind = self.ask(key, lambda root: _encoding(root, key, self))
        return kind if kind in ("csr_matrix", "csc_matrix", "array", "None") else None

    def _ask_index(self, question: Callable[[Any, str], Any]) -> Any:
        """Ask the open file something about the names of its cells."""
        key = self.root + "obs"

        def ask(root: Any) -> Any:
            group = within(root, key, self.source)
            name = str(group.attrs.get("_index", "_index"))
            found = group[name]
            found = found["values"] if hasattr(found, "keys") else found
            return question(found, f"{key}/{name}")

        return self.ask(key, ask)

    def find(self, column: str) -> None:
        """Raise InputError where ``obs`` has no such column."""
        if column not in self._columns:
            raise no_column(self.name, column, self._columns)

    def has(self, column: str) -> bool:
        """Whether ``obs`` has such a column."""
        return column in self._columns

    def columns(
        self, keep: np.ndarray, needed: Sequence[str], more: Sequence[str] | None
    ) -> pd.DataFrame:
        """Columns of some cells, (k,) int64 positions: those needed and ``more``, no others."""
        names = dict.fromkeys([*needed, *(more or ())])
        table = pd.DataFrame({c: self._column(c) for c in names}, index=self.names)
        return table if len(keep) == len(self.names) else table.iloc[keep]

    def place(self, key: str) -> np.ndarray:
        """(n_cells,) row of each cell in a view: all views of AnnData have all cells."""
        return np.arange(len(self.names))

    def _column(self, column: str) -> Any:
        """A column, of which texts are categories."""
        self.find(column)
        key = f"{self.root}obs/{column}"
        if self._columns[column] in _TEXTS:
            return self.ask(key, lambda root: _categories(element(root, key, self.source)))
        return self.ask(key, lambda root: checked_column(root, key, self.source))


class OldTable(LeanTable):
    """An AnnData file from before 0.8, whose obs cannot be read column by column: it is read."""

    @cached_property
    def _encodings(self) -> dict[str, str] | None:
        return dict.fromkeys(map(str, self.obs.columns), "")

    @cached_property
    def names(self) -> pd.Index:
        """Positions of the cells."""
        return pd.RangeIndex(len(self.obs))

    @property
    def index(self) -> pd.Index:
        """Names of the cells as they are written."""
        return self.obs.index

    def pieces_of_index(self, step: int) -> Iterator[list[str]]:
        """Names of the cells as they are written, so many at a time."""
        for start in range(0, len(self.names), step):
            yield list(map(str, self.obs.index[start : start + step]))

    def _column(self, column: str) -> Any:
        self.find(column)
        values = self.obs[column]
        return values.array if values.dtype != object else pd.Categorical(values)


def lean_table(path: Path) -> LeanTable:
    """The table of one AnnData file, cells by their position, however old it is."""
    table = LeanTable(str(path), path)
    return table if table.by_column else OldTable(str(path), path)


def _part(root: Any, *, key: str, path: Path, start: int, stop: int) -> np.ndarray:
    """Values ``start:stop`` of an element, (stop - start,)."""
    found = element(root, key, path)
    return np.asarray((found["values"] if hasattr(found, "keys") else found)[start:stop])


def _encoding(root: Any, key: str, table: Table) -> str:
    return str(within(root, key, table.source).attrs.get("encoding-type"))


def _categories(found: Any) -> pd.Categorical:
    """Texts (n,) as categories, read piece by piece."""
    texts, mask = (found["values"], found["mask"]) if hasattr(found, "keys") else (found, None)
    n = int(texts.shape[0])
    codes, known = np.empty(n, dtype=np.int32), dict[str, int]()
    for start in range(0, n, _PIECE):
        part = np.asarray(texts[start : start + _PIECE])
        at, names = pd.factorize(part)
        names = [t.decode() if isinstance(t, bytes) else str(t) for t in names]
        own = np.array([known.setdefault(t, len(known)) for t in names], dtype=np.int32)
        codes[start : start + len(part)] = own[at]
        if mask is not None:
            codes[start : start + len(part)][np.asarray(mask[start : start + _PIECE])] = -1
    return pd.Categorical.from_codes(codes, categories=list(known))
