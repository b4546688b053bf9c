"""Several AnnData files as one table of cells whose matrices stay in them, one after another.

Features, columns and notes are those of :func:`smalti.io.stacked.stack`, which is given the files
without their cells: so several files on disk are what they are in memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from smalti.errors import InputError
from smalti.io.cell_files import STORES, run_names, runs_at
from smalti.io.disk_table import LeanTable, lean_table
from smalti.io.stacked import RUN, by_id, stack
from smalti.io.tables import Table
from smalti.views import leaf, pick, stored_bytes


class Stacked:
    """Backed views one after another; see :class:`smalti.views.Backed`.

    Parameters
    ----------
    views
        Of one width. Sparse where one is; of the least type that holds them all.
    """

    def __init__(self, views: Sequence[Any]) -> None:
        self.views = list(views)
        self.starts = np.concatenate([[0], np.cumsum([v.shape[0] for v in views])])
        self.shape = (int(self.starts[-1]), int(views[0].shape[1]))
        self.dtype = np.result_type(*(view.dtype for view in views))
        self.sparse = any(getattr(view, "sparse", False) for view in views)
        self.stored_bytes = sum(map(stored_bytes, views))
        # rows that are read, and unpacked, as one
        self.run = min(int(view.run) for view in views)
        self.chunk = max(int(getattr(leaf(view), "chunk", 1)) for view in views)

    def read(self, start: int, stop: int) -> Any:
        """Rows ``start:stop``, (stop - start, n_columns): an array, or CSR."""
        parts = []
        for view, first, last in zip(self.views, self.starts[:-1], self.starts[1:], strict=True):
            low, high = max(start, int(first)), min(stop, int(last))
            if low < high:
                parts.append(self._alike(view.read(low - int(first), high - int(first))))
        return self._joined(parts or [self._alike(self.views[0].read(0, 0))])

    def pick(self, rows: np.ndarray) -> Any:
        """Rows (k,) in any order, (k, n_columns)."""
        of = np.searchsorted(self.starts, rows, side="right") - 1
        order = np.argsort(of, kind="stable")
        parts = [self._alike(pick(self.views[i], rows[of == i] - self.starts[i]))
                 for i in np.unique(of)]  # fmt: skip
        whole = self._joined(parts or [self.read(0, 0)])
        back = np.empty(len(rows), dtype=np.int64)
        back[order] = np.arange(len(rows))
        return whole if (np.diff(order) == 1).all() else whole[back]

    def of_columns(self, columns: np.ndarray) -> Stacked:
        """The same rows of some columns, (k,) positions."""
        return Stacked([view.of_columns(columns) for view in self.views])

    def digest(self) -> str:
        """Of those of all."""
        return hashlib.sha256(" ".join(v.digest() for v in self.views).encode()).hexdigest()

    def _alike(self, part: Any) -> Any:
        part = sp.csr_matrix(part) if self.sparse else part
        return part.astype(self.dtype, copy=False)

    def _joined(self, parts: list[Any]) -> Any:
        if len(parts) == 1:
            return parts[0]
        return sp.vstack(parts, format="csr") if self.sparse else np.concatenate(parts)


class RunsTable(LeanTable):
    """Several AnnData files, one after another: cells by their position.

    Parameters
    ----------
    tables
        Of each file.
    runs
        What they are called; the column "run" says of which a cell is.

    Raises
    ------
    InputError
        As of :func:`smalti.io.stacked.stack`.
    """

    def __init__(self, tables: Sequence[LeanTable], runs: Sequence[str]) -> None:
        self.tables, self.runs = list(tables), list(runs)
        shells = [_shell(table) for table in tables]
        own = [shell.var["gene_ids"].astype(str) if by_id(shells) else shell.var_names
               for shell in shells]  # fmt: skip
        whole, notes = stack(shells, runs)
        super().__init__(f"the {len(tables)} runs ({', '.join(runs)})", whole)
        self.notes = notes
        common = whole.var["gene_ids"].astype(str) if by_id(shells) else whole.var_names
        self.places = [pd.Index(names).get_indexer(common) for names in own]  # (n_features,) each

    @cached_property
    def names(self) -> pd.Index:
        """Positions of the cells."""
        return pd.RangeIndex(sum(len(table.names) for table in self.tables))

    @property
    def index(self) -> pd.Index:
        """Names of the cells, RUN_BARCODE: all of them, read anew."""
        return pd.Index([f"{run}_{name}" for table, run in zip(self.tables, self.runs, strict=True)
                         for name in table.index])  # fmt: skip

    @cached_property
    def _encodings(self) -> dict[str, str] | None:
        return dict.fromkeys([*(c for table in self.tables for c in table._columns), RUN], "")

    def _column(self, column: str) -> Any:
        """A column of all files; cells of files that lack it have none."""
        self.find(column)
        counts = [len(table.names) for table in self.tables]
        if column == RUN:
            return pd.Categorical.from_codes(np.repeat(np.arange(len(counts)), counts), self.runs)
        parts = [pd.Series(table._column(column)) if table.has(column) else None
                 for table in self.tables]  # fmt: skip
        there = [part for part in parts if part is not None]
        if not all(isinstance(part.dtype, pd.CategoricalDtype) for part in there):
            filled = [pd.Series([np.nan] * n) if part is None else part
                      for part, n in zip(parts, counts, strict=True)]  # fmt: skip
            return pd.concat(filled, ignore_index=True).array
        kinds: Any = there[0].dtype
        if any(part.dtype != kinds for part in there):  # an order of some is none of all
            known = dict.fromkeys(c for part in there for c in part.cat.categories)
            kinds = pd.CategoricalDtype(list(known))
        return pd.concat([
            pd.Series(pd.Categorical([None] * n, dtype=kinds)) if part is None
            else part.astype(kinds) for part, n in zip(parts, counts, strict=True)
        ], ignore_index=True).array  # fmt: skip

    def _values(self, where: str, name: str) -> Any:
        parts = [table._values(where, name) for table in self.tables]
        if any(part is None for part in parts):
            return None
        if isinstance(parts[0], pd.DataFrame):
            return pd.concat(parts, join="inner", ignore_index=True)
        if where != "obsm":
            parts = [part if _all_in_order(at, part.shape[1]) else part.of_columns(at)
                     for part, at in zip(parts, self.places, strict=True)]  # fmt: skip
        return Stacked(parts)


def _all_in_order(at: np.ndarray, n: int) -> bool:
    return len(at) == n and bool((at == np.arange(n)).all())


def _shell(table: LeanTable) -> Any:
    """An AnnData as that of a file, but without cells."""
    from anndata import AnnData

    var = table.var.copy()
    obs = pd.DataFrame({c: [] for c in table._columns}, index=pd.Index([], dtype=str))
    shell = AnnData(sp.csr_matrix((0, len(var)), dtype=np.float32), obs=obs, var=var)
    for name in table.keys("layers"):
        shell.layers[name] = shell.X.copy()
    for name in table.keys("obsm"):
        values = table._values("obsm", name)
        on_disk = hasattr(values, "read")
        shell.obsm[name] = np.empty((0, *values.shape[1:])) if on_disk else values[:0]
    return shell


def runs_on_disk(data: Sequence[Any], runs: Sequence[str] | None) -> LeanTable:
    """The table of several files; of one, its own.

    Parameters
    ----------
    data
        Paths of .h5ad or .zarr of AnnData.
    runs
        Their names; when left out what tells their paths apart.

    Raises
    ------
    InputError
        If one is of another kind, or they do not fit together.
    """
    if not data:
        raise InputError("no data: name a file, or several runs.")
    for item in data:
        if not is_store(item):
            raise InputError(
                f"backed=True leaves .h5ad and .zarr of AnnData on disk, and {item!s:.80} is none: "
                "write it as one first, sm.gather(...).write_h5ad(...); or leave backed= out."
            )
    found = [run for item in data for run in runs_at(item)]
    if runs is not None and (len(runs) != len(found) or len(set(runs)) < len(runs)):
        raise InputError(f"runs={list(runs)} must be {len(found)} names, one for each run.")
    names = list(runs) if runs is not None else \
        run_names([file for _, file in found], [name for name, _ in found])  # fmt: skip
    for _, file in found:
        if file.suffix == ".h5mu" or Table(str(file), file).encoding() == "MuData":
            raise InputError(f"{file} is MuData: of several files on disk each is AnnData, one "
                             "modality a file.")  # fmt: skip
    tables = [lean_table(file) for _, file in found]
    return RunsTable(tables, names) if len(tables) > 1 else tables[0]


def is_store(item: Any) -> bool:
    """Whether something is a path of AnnData or MuData."""
    return isinstance(item, (str, Path)) and Path(item).suffix in STORES
