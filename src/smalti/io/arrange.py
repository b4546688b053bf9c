"""Cells of files sorted by sample, once, into a .zarr from which a sample is one read.

Design:

- Nothing is ever in memory as a whole but one number for each cell. Where each row goes is known
  beforehand, so one pass over the files puts their values into place, in a scratch file beside the
  output, and one pass over that packs them. Rows of a sample stay in their order, so that what is
  written at a time lies in as many places as there are samples, and no more.
- The output is an AnnData of zarr, format 3: chunks of half a megabyte, which are read alone, in
  shards of 64, which are files. AnnData, scanpy, Dask and annbatch read it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from smalti.errors import InputError
from smalti.io.disk_rows import DiskRows
from smalti.io.disk_table import LeanTable, lean_table
from smalti.io.open import holds_mudata
from smalti.io.scratch import Scratch
from smalti.io.stacked import RUN
from smalti.io.turned import Turned
from smalti.io.writeback import as_column, of_formats
from smalti.names import some
from smalti.system.files import atomic_folder
from smalti.system.progress import Progress
from smalti.views import dense

_CHUNK = 2**17  # values of a chunk
_SHARD = 2**23  # values of a shard
_AT_ONCE = 2**24  # values that are packed at a time: two shards
_Rows: TypeAlias = DiskRows | Turned


def arrange(
    data: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    sample: str,
    runs: Sequence[str] | None = None,
    overwrite: bool = False,
    progress: bool | None = None,
) -> None:
    """Sort cells by sample, out of core, into a .zarr that is read fast a sample at a time.

    Parameters
    ----------
    data
        .h5ad or .zarr of AnnData; several become one table on the features that all have, cells
        named RUN_NAME, with a column "run".
    out
        The .zarr to write; besides, for the time of writing, as much disk as the matrices take in
        memory.
    sample
        Column of ``obs``. Samples come in the order of their names, cells of one as they were.
    runs
        Names of several files; when left out their own.
    overwrite
        Replace ``out`` where it is there.
    progress
        Show a bar; None: on a terminal or in a notebook.

    Raises
    ------
    InputError
        If a file is no AnnData, or damaged; if the column is missing in one, or empty for a cell;
        if several files share no feature, or names of theirs are not unique.

    Notes
    -----
    X, layers, ``obsm`` and ``raw`` are sorted with the cells, and ``var``, ``varm``, ``uns`` copied
    as they are; ``obsp`` is not kept (graphs of all cells are made anew in less time than sorting
    takes), nor of several files what they do not share. Texts in ``obs`` become categories. Tables
    that are stored by columns (csc) are turned into rows, which needs 1.5 times as much disk again.

    Examples
    --------
    >>> import smalti as sm
    >>> from pathlib import Path
    >>> table = sm.to_anndata(sm.datasets.pictured_cells(4, 20, seed=0), pictures=False)
    >>> table.write_h5ad("cells.h5ad")
    >>> sm.arrange("cells.h5ad", "cells.zarr", sample="slide")
    >>> sm.read("cells.zarr", sample="slide", donor="donor", label="state", backed=True)
    Bags: 4 bags of 20-20 instances, X 40, 4 donors; state: binary (2 healthy, 2 ill; positive: ill)
    """
    import zarr

    if int(zarr.__version__.split(".")[0]) < 3:
        raise InputError(f"arrange writes zarr of format 3, and zarr {zarr.__version__} does not: "
                         "pip install -U 'zarr>=3.1'.")  # fmt: skip
    out = Path(out)
    if out.suffix != ".zarr":
        raise InputError(f"{out}: end the name in .zarr.")
    paths = [Path(data)] if isinstance(data, (str, Path)) else [Path(path) for path in data]
    if not paths:
        raise InputError("no data: name a file, or several.")
    source = _Source([_table(path) for path in paths], runs)
    place = source.sorted_by(sample)
    with (
        atomic_folder(out, overwrite=overwrite) as trial,
        TemporaryDirectory(prefix=f".{out.name}-", dir=trial.parent) as scratch,
        Progress(progress, "arrange") as bar,
        of_formats(),
    ):
        root = zarr.open_group(str(trial), mode="w", zarr_format=3)
        root.attrs.update({"encoding-type": "anndata", "encoding-version": "0.1.0"})
        matrices = source.matrices(Path(scratch))
        bar.start("", sum(m.shape[0] for _, parts in matrices for m in parts))
        _write_obs(root, source, place)
        _copy(root, source)
        for key, parts in matrices:
            _write(root, key, parts, place, Path(scratch), bar)
        zarr.consolidate_metadata(str(trial), zarr_format=3)


def _table(path: Path) -> LeanTable:
    if holds_mudata(path):
        raise InputError(f"{path} is MuData: arrange takes AnnData, one modality a file.")
    return lean_table(path)


class _Source:
    """One table or several, one after another."""

    def __init__(self, tables: Sequence[LeanTable], runs: Sequence[str] | None) -> None:
        own = [table.source.stem for table in tables]
        self.tables, self.runs = list(tables), list(own if runs is None else runs)
        if len(set(self.runs)) < len(tables) or len(self.runs) != len(tables):
            raise InputError(f"runs={self.runs} must be {len(tables)} names, one for each file.")
        self.n = sum(len(table.names) for table in tables)
        index = [table.var.index.astype(str) for table in tables]
        self.features = index[0]  # those that all have, in the order of the first
        for table, other in zip(tables[1:], index[1:], strict=True):
            for names, which in ((index[0], tables[0]), (other, table)):
                if not names.is_unique:
                    raise InputError(f"{which.name} has several features named "
                                     f"{names[names.duplicated()][0]!r}.")  # fmt: skip
            self.features = self.features[self.features.isin(other)]
        if len(tables) > 1 and not len(self.features):
            raise InputError(f"no feature is in all of {some([t.name for t in tables])}.")

    def sorted_by(self, sample: str) -> np.ndarray:
        """(n,) the row that each cell goes to."""
        for table in self.tables:
            table.find(sample)
        values = self.column(sample)
        codes, labels = pd.factorize(values)
        if (codes < 0).any():
            raise InputError(f"{int((codes < 0).sum()):,} cells have no {sample!r}: fill the "
                             "column in, or leave these cells out.")  # fmt: skip
        rank = np.argsort(np.argsort(np.asarray(labels), kind="stable"))  # by name
        place = np.empty(self.n, dtype=np.int64)
        place[np.argsort(rank[codes], kind="stable")] = np.arange(self.n)
        return place

    def column(self, name: str) -> Any:
        """A column of all cells (n,)."""
        parts = [table.columns(np.arange(len(table.names)), [name], [])[name]
                 for table in self.tables]  # fmt: skip
        if len(parts) == 1:
            return parts[0].array
        if all(isinstance(part.dtype, pd.CategoricalDtype) for part in parts):
            return pd.api.types.union_categoricals([p.array for p in parts], sort_categories=False)
        return pd.concat(parts, ignore_index=True).array

    def columns(self) -> list[str]:
        """Columns that all have."""
        first, *others = (table._columns for table in self.tables)
        return [c for c in first if all(c in other for other in others)]

    def matrices(self, scratch: Path) -> list[tuple[str, list[_Rows]]]:
        """Key -> the tables of all files, on the features of all; of one file ``raw`` too."""
        first, *others = self.tables
        keys = ["X", *(f"layers/{k}" for k in first.keys("layers"))]
        keys += [f"obsm/{k}" for k in first.keys("obsm")]
        keys += [] if others else ["raw/X"]
        found = []
        for key in keys:
            parts = [self._matrix(table, key, scratch) for table in self.tables]
            alike = len({part.shape[1] for part in parts if part is not None}) == 1
            same = len({part.sparse for part in parts if part is not None}) == 1
            if all(part is not None for part in parts) and alike and same:
                found.append((key, [part for part in parts if part is not None]))
        return found

    def _matrix(self, table: LeanTable, key: str, scratch: Path) -> _Rows | None:
        kind, columns = table.kind_of_matrix(key), None
        if kind is None:
            return None
        if len(self.tables) > 1 and not key.startswith("obsm"):
            at = table.var.index.astype(str).get_indexer(self.features)
            same = len(at) == len(table.var) and bool((at == np.arange(len(at))).all())
            columns = None if same else at
        if kind == "csc_matrix":
            return Turned(table.source, key, columns, scratch)
        return DiskRows(table.source, key, columns)


def _write_obs(root: Any, source: _Source, place: np.ndarray) -> None:
    """Columns one by one, and names piece by piece: of millions they are never all there."""
    from anndata.io import write_elem

    obs = root.create_group("obs")
    order = np.argsort(place)
    columns = source.columns()
    for name in columns:
        values = source.column(name)
        write_elem(obs, name, as_column(values[order]))
    if len(source.tables) > 1:
        counts = [len(table.names) for table in source.tables]
        codes = np.repeat(np.arange(len(counts)), counts)[order]
        write_elem(obs, RUN, pd.Categorical.from_codes(codes, source.runs))
        columns = [*(c for c in columns if c != RUN), RUN]
    obs.attrs.update({"encoding-type": "dataframe", "encoding-version": "0.2.0",
                      "_index": "_index", "column-order": columns})  # fmt: skip
    runs = source.runs if len(source.tables) > 1 else [""]
    named = [_bytes(table, run) for table, run in zip(source.tables, runs, strict=True)]
    names = np.concatenate(named)
    chunk = max(1, min(_CHUNK, source.n))
    array = obs.create_array("_index", shape=(source.n,), dtype="str", chunks=(chunk,))
    array.attrs.update({"encoding-type": "string-array", "encoding-version": "0.2.0"})
    for start in range(0, source.n, _CHUNK):
        part = names[order[start : start + _CHUNK]]
        array[start : start + len(part)] = np.char.decode(part, "utf-8").astype(object)


def _bytes(table: LeanTable, run: str) -> np.ndarray:
    """(n,) names of the cells as bytes of one length, which take a fifth of what texts do."""
    parts = []
    for texts in table.pieces_of_index(_CHUNK):
        named = [f"{run}_{text}" for text in texts] if run else list(texts)
        parts.append(np.char.encode(np.asarray(named, dtype=str), "utf-8"))
    return np.concatenate(parts) if parts else np.empty(0, "S1")


def _copy(root: Any, source: _Source) -> None:
    """What is not of the cells, as it is in the first file."""
    from anndata.io import write_elem

    first, several = source.tables[0], len(source.tables) > 1
    var = first.var.loc[source.features] if several else first.var
    write_elem(root, "var", var)
    for name in ("varm", "varp", "uns"):
        found = None if several and name != "uns" else first._element(name)
        write_elem(root, name, {} if found is None else found)
    for name in ("layers", "obsm", "obsp"):
        write_elem(root, name, {})
    if not several and first.kind_of_matrix("raw/X") is not None:
        write_elem(root, "raw", {})
        root["raw"].attrs.update({"encoding-type": "raw", "encoding-version": "0.1.0"})
        for name in ("raw/var", "raw/varm"):
            found = first._element(name)
            if found is not None:
                write_elem(root, name, found)


# ---------------------------------------------------------------- matrices


def _write(
    root: Any, key: str, parts: list[_Rows], place: np.ndarray, scratch: Path, bar: Progress
) -> None:
    """One table of all files: into place in scratch files, and from there into the store."""
    if parts[0].sparse:
        _write_sparse(root, key, parts, place, scratch, bar)
        return
    n, width, dtype = len(place), parts[0].shape[1], parts[0].dtype
    into = Scratch(scratch / "rows", dtype, (n, width))
    start = 0
    for rows, part in _passed(parts, bar, key):
        into.put(place[start : start + rows], dense(part))
        start += rows
    step = max(1, _CHUNK // max(width, 1))  # rows of a chunk
    shard = step * max(1, _SHARD // _CHUNK)
    array = _array(root, key, (n, width), dtype, (step, max(width, 1)), (shard, max(width, 1)))
    array.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
    for low in range(0, n, 2 * shard):
        array[low : low + 2 * shard] = into.read(low, low + 2 * shard)
    into.remove()


def _write_sparse(
    root: Any, key: str, parts: list[_Rows], place: np.ndarray, scratch: Path, bar: Progress
) -> None:
    lengths = np.concatenate([_stored(part) for part in parts])  # (n,) values of each row
    begin = np.zeros(len(place) + 1, dtype=np.int64)  # (n + 1,) of the sorted rows
    moved = np.empty_like(lengths)
    moved[place] = lengths
    np.cumsum(moved, out=begin[1:])
    width = parts[0].shape[1]
    kind = np.dtype(np.int32 if width < 2**31 else np.int64)
    names = {"data": parts[0].dtype, "indices": kind}
    into = {name: Scratch(scratch / name, dtype, (int(begin[-1]),))
            for name, dtype in names.items()}  # fmt: skip
    start = 0
    for rows, part in _passed(parts, bar, key):
        to = begin[place[start : start + rows]]
        start += rows
        # value j of a row goes to where the row begins, plus j
        at = np.repeat(to - part.indptr[:-1], np.diff(part.indptr)) + np.arange(part.nnz)
        into["data"].put(at, part.data)
        into["indices"].put(at, part.indices)
    group = root.create_group(key)
    group.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0",
                        "shape": [len(place), width]})  # fmt: skip
    for name, dtype in names.items():
        array = _array(group, name, (int(begin[-1]),), dtype, (_CHUNK,), (_SHARD,))
        for low in range(0, int(begin[-1]), _AT_ONCE):
            array[low : low + _AT_ONCE] = into[name].read(low, low + _AT_ONCE)
        into[name].remove()
    for part in parts:
        if isinstance(part, Turned):
            part.remove()
    array = _array(group, "indptr", begin.shape, begin.dtype, (_CHUNK,), (_SHARD,))
    array[:] = begin


def _stored(part: _Rows) -> np.ndarray:
    """(n,) values of each row; those of some columns are counted in a pass."""
    assert part.indptr is not None
    if part.columns is None:
        return np.diff(part.indptr)
    return np.concatenate([np.diff(piece.indptr) for piece in _runs(part)] or
                          [np.empty(0, dtype=np.int64)])  # fmt: skip


def _runs(part: _Rows) -> Iterator[Any]:
    for start in range(0, part.shape[0], part.run):
        yield part.read(start, min(start + part.run, part.shape[0]))


def _passed(parts: list[_Rows], bar: Progress, key: str) -> Iterator[tuple[int, Any]]:
    """Pieces of all files in order, with their numbers of rows."""
    for part in parts:
        for piece in _runs(part):
            yield int(piece.shape[0]), piece
            bar.advance(steps=int(piece.shape[0]), note=key)


def _array(
    group: Any, name: str, shape: Any, dtype: Any, chunks: tuple[int, ...], shards: tuple[int, ...]
) -> Any:
    """A sharded array, packed by LZ4 of shuffled bytes: what is unpacked fastest."""
    from zarr.codecs import BloscCodec

    return group.create_array(
        name, shape=shape, dtype=dtype, chunks=chunks, shards=shards,
        compressors=BloscCodec(cname="lz4", clevel=5, shuffle="shuffle"),
    )  # fmt: skip
