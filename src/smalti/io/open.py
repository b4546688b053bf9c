"""Which class reads a table of cells: AnnData or MuData, in memory or on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

from smalti.errors import InputError
from smalti.io.mudata import MuTable
from smalti.io.tables import Table

AnyTable: TypeAlias = Table | MuTable


def open_table(data: Any) -> AnyTable:
    """The parts of an AnnData or MuData, in memory or on disk.

    Raises
    ------
    InputError
        If it is of no such kind.
    """
    if not isinstance(data, (str, Path)):
        if hasattr(data, "mod"):
            return MuTable(Table("the MuData", data))
        if not hasattr(data, "obsm"):
            raise InputError(f"expected AnnData, MuData or a path, got {type(data).__name__}.")
        return Table("the AnnData", data)
    path = Path(data)
    if holds_mudata(path):
        return MuTable(Table(str(path), path, kind="a MuData"))
    return Table(str(path), path)


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
    kind = Table(str(path), path).ask("attributes", lambda g: g.attrs.get("encoding-type"))
    return kind == "MuData"
