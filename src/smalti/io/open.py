"""Which class reads a table of cells: AnnData or MuData, in memory, on disk, or gathered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd

from smalti.errors import InputError
from smalti.io.cell_tables import join_cells
from smalti.io.disk_runs import runs_on_disk
from smalti.io.disk_table import DiskTable, LeanTable
from smalti.io.gather import gather, gathered, is_gathered
from smalti.io.modalities import split_types
from smalti.io.mudata import MuTable
from smalti.io.tables import Table

AnyTable: TypeAlias = Table | MuTable


def open_table(
    data: Any,
    *,
    obs: str | Path | pd.DataFrame | None = None,
    runs: Sequence[str] | None = None,
    backed: bool = False,
) -> AnyTable:
    """The parts of an AnnData or MuData, in memory or on disk; of other files what they come to.

    Parameters
    ----------
    data, runs
        As of :func:`smalti.io.gather.gather`.
    obs
        Table of the cells, whose columns then are among theirs; ``gone`` says which it lacks.
    backed
        Leave matrices on disk. Of an AnnData file cells are then known by their position, where no
        names are needed: to join a table of cells, or modalities.

    Raises
    ------
    InputError
        If it is of no such kind, or of a kind that cannot be left on disk.
    """
    if is_gathered(data):
        if backed:
            return _gathered_on_disk(data, obs, runs)
        whole, notes, name = gathered(data, obs=obs, runs=runs)
        top = Table(name, whole)
        top.notes = notes
        return MuTable(top) if hasattr(whole, "mod") else top
    if runs is not None:
        raise InputError("runs= names several runs, and the data are one.")
    many = hasattr(data, "mod")
    if not isinstance(data, (str, Path)):
        if not many and not hasattr(data, "obsm"):
            raise InputError(f"expected AnnData, MuData or a path, got {type(data).__name__}.")
        kind = DiskTable if backed else Table
        top = kind("the MuData" if many else "the AnnData", data)
    else:
        many = holds_mudata(Path(data))
        what, path = "a MuData" if many else "an AnnData", Path(data)
        top = (DiskTable if backed else Table)(str(data), path, kind=what)
        if backed and not many and obs is None:
            lean = LeanTable(str(data), path, kind=what)
            top = lean if lean.by_column else top
    if obs is not None:
        joined = join_cells(top.obs, obs, top.name)
        top.obs, top.notes = joined.obs, joined.notes
        if joined.gone.any():
            top.gone = joined.gone, joined.why
    return MuTable(top) if many else top


def _gathered_on_disk(data: Any, obs: Any, runs: Sequence[str] | None) -> LeanTable:
    """Several AnnData files as one table on disk."""
    if obs is not None:
        raise InputError(
            "a table of cells is joined to one file on disk, and these are several: make one of "
            "them (smalti arrange), or read them into memory, backed=False."
        )
    if isinstance(data, Mapping):
        raise InputError(
            "modalities in files of their own are joined in memory: write them as one .h5mu, "
            "sm.gather(...).write(...); or leave backed= out."
        )
    return runs_on_disk(list(data) if isinstance(data, (list, tuple)) else [data], runs)


def keys_there(data: Any, x: Any) -> Any:
    """Of several keys, a list or name -> key, those that data have; all where they have none."""
    if not isinstance(x, (Mapping, list, tuple)):
        return x
    table = open_table(data)
    if isinstance(x, Mapping):
        return {name: key for name, key in x.items() if table.holds(key)} or x
    return [key for key in x if table.holds(key)] or x


def to_write(
    data: Any,
    out: str | Path | None,
    *,
    obs: Any = None,
    runs: Sequence[str] | None = None,
    origin: Mapping[str, Any] | None = None,
) -> Any:
    """What a result is written into: data as they are, or in memory what several files come to.

    Parameters
    ----------
    data, obs, runs
        As of :func:`open_table`; what ``obs`` does not name is left out.
    out
        The file to write; of an .h5mu types of features become modalities.
    origin
        ``Bags.origin`` of what a model was fitted on.

    Raises
    ------
    InputError
        If data that are no one file have none to be written to, or lack a column that came from
        ``obs`` when the model was fitted.
    """
    if obs is None and not is_gathered(data):
        if runs is not None:
            raise InputError("runs= names several runs, and the data are one.")
        _refuse_unjoined(data, origin or {})
        return data
    if out is None:
        what = "a table of cells is not written into its data" if not is_gathered(data) else \
            "these files are read and never changed"  # fmt: skip
        raise InputError(f"{what}: name one to write, out=FILE.")
    whole = gather(data, obs=obs, runs=runs)
    return split_types(whole) if Path(out).suffix == ".h5mu" else whole


def to_change(data: Any, out: str | Path | None, copy: bool) -> Any:
    """What a result is put into: the data themselves, or a copy of them in memory.

    Raises
    ------
    InputError
        If the copy is asked for beside a file, of a file, or of what cannot be copied.
    """
    if not copy:
        return data
    if out is not None or isinstance(data, (str, Path)):
        raise InputError("copy=True gives back a table in memory: the copy of a file is out=FILE.")
    if getattr(data, "isbacked", False) or not hasattr(data, "obs"):
        raise InputError(
            f"copy=True is for AnnData and MuData in memory, not {type(data).__name__}"
            f"{' on disk' if hasattr(data, 'obs') else ''}: leave it out, or write to out=FILE."
        )
    return data.copy()


def _refuse_unjoined(data: Any, origin: Mapping[str, Any]) -> None:
    """Refuse data without columns that a table of cells gave the data of the training."""
    if origin.get("joined"):
        table = open_table(data)
        wanted = (origin.get("sample"), origin.get("cell_type"), *origin.get("bag_columns", ()))
        lacking = next((c for c in wanted if c is not None and not table.has(c)), None)
        if lacking is not None:
            raise InputError(
                f"{table.name} has no column {lacking!r}, which came from a table of cells when "
                "the model was fitted: give such a table of these cells, obs=TABLE."
            )


def holds_mudata(path: Path) -> bool:
    """Whether a file is MuData rather than AnnData.

    Raises
    ------
    InputError
        If it is missing or neither.
    """
    if not path.exists():
        raise InputError(f"no file {path}.")
    if path.suffix not in (".h5ad", ".h5mu", ".zarr"):
        raise InputError(f"{path} is neither .h5ad nor .zarr nor .h5mu.")
    if path.suffix != ".zarr":
        return path.suffix == ".h5mu"
    return Table(str(path), path).encoding() == "MuData"
