"""Files as users have them, as one AnnData or MuData: of Cell Ranger, several runs, modalities.

What is one AnnData or MuData already is never gathered: :mod:`smalti.io.open` reads its parts.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from smalti.errors import InputError
from smalti.io.cell_files import STORES, run_names, runs_at
from smalti.io.cell_tables import join_cells
from smalti.io.cells_10x import read_10x
from smalti.io.modalities import join_modalities, only
from smalti.io.stacked import stack
from smalti.io.tables import Table
from smalti.io.whole import whole_file


def is_gathered(data: Any) -> bool:
    """Whether data are files to be gathered: of Cell Ranger, or several."""
    if isinstance(data, (str, Path)):
        return Path(data).suffix not in STORES
    return isinstance(data, (Mapping, list, tuple))


def gather(
    data: Any, *, obs: str | Path | pd.DataFrame | None = None, runs: Sequence[str] | None = None
) -> Any:
    """Files as they come as one AnnData or MuData in memory, to look at or to write.

    :func:`smalti.read` takes the same, and reads bags.

    Parameters
    ----------
    data
        As of :func:`smalti.read`.
    obs
        Table of the cells by barcode; those that it does not name are left out.
    runs
        Names of several runs.

    Returns
    -------
    AnnData or MuData
        MuData where modalities were named; else AnnData, whose ``var["feature_types"]`` tells
        types of features apart. ``obs["run"]`` names the run where there are several.

    Raises
    ------
    InputError
        If a file is missing, damaged or of another kind, or runs or modalities do not fit together.

    Warns
    -----
    UserWarning
        Where features or cells are left out, or names had to be told apart.

    Examples
    --------
    >>> import smalti as sm
    >>> sm.gather("pbmc/outs").write_h5ad("pbmc.h5ad")  # doctest: +SKIP
    >>> sm.gather({"rna": "rna.h5", "atac": "atac/"}).write("both.h5mu")  # doctest: +SKIP
    """
    whole, notes, _ = gathered(data, obs=obs, runs=runs)
    for note in notes:
        warnings.warn(note, UserWarning, stacklevel=2)
    return whole


@dataclasses.dataclass
class _Run:
    """One run: where it lies, what it is called, and its AnnData or MuData."""

    name: str
    path: Path | None
    table: Any


def gathered(
    data: Any, *, obs: str | Path | pd.DataFrame | None = None, runs: Sequence[str] | None = None
) -> tuple[Any, list[str], str]:
    """As :func:`gather`: what it gives, notes, and what errors call it.

    Raises
    ------
    InputError
        As of :func:`gather`.
    """
    several = isinstance(data, (list, tuple))
    if several and not data:
        raise InputError("no data: name a file, or several runs.")
    notes: list[str] = []
    found = [run for item in (data if several else [data])
             for run in _runs(item, notes, droplets=obs is not None)]  # fmt: skip
    if runs is not None and (len(runs) != len(found) or len(set(runs)) < len(runs)):
        raise InputError(f"runs={list(runs)} must be {len(found)} names, one for each run.")
    if len(found) > 1:
        names = list(runs) if runs is not None else \
            run_names([run.path for run in found], [run.name for run in found])  # fmt: skip
        whole, more = stack([run.table for run in found], names)
        notes += more
        name = f"the {len(found)} runs ({', '.join(names)})"
    else:
        whole, name = found[0].table, str(found[0].path or "the data")
    if obs is not None:
        joined = join_cells(whole.obs, obs, name)
        stay = ~joined.gone
        whole = whole[stay].copy() if joined.gone.any() else whole
        whole.obs = joined.obs[stay]
        notes += joined.notes
        if joined.gone.any():
            notes.append(f"{int(joined.gone.sum()):,} of {len(stay):,} {joined.why}")
    return whole, list(dict.fromkeys(notes)), name  # runs have the same to say


def _runs(item: Any, notes: list[str], *, droplets: bool) -> list[_Run]:
    """The runs of one thing that a user named."""
    if isinstance(item, Mapping):
        parts = {}
        for key, value in item.items():
            inside = _runs(value, notes, droplets=droplets)
            if len(inside) > 1:
                raise InputError(
                    f"{key}={value} holds {len(inside)} runs ({', '.join(r.name for r in inside)})"
                    ": name one, and give several runs as a list of such mappings."
                )
            parts[str(key)] = inside[0]
        if not parts:
            raise InputError("a mapping of modalities names none: {'rna': FILE, 'atac': FILE}.")
        table, more = join_modalities({k: only(r.table, k, notes) for k, r in parts.items()})
        notes += more
        first = next(iter(parts.values()))
        return [_Run(first.name, first.path, table)]
    if not isinstance(item, (str, Path)):
        if not hasattr(item, "obsm"):
            raise InputError(f"expected a path, AnnData or MuData, got {type(item).__name__}.")
        return [_Run("data", None, item)]
    found = runs_at(item)
    if len(found) > 1:
        notes.append(f"{item} holds {len(found)} runs: {', '.join(f.name for f in found)}.")
    return [_Run(name, file, _loaded(file, notes, droplets=droplets)) for name, file in found]


def _loaded(file: Path, notes: list[str], *, droplets: bool) -> Any:
    """AnnData or MuData of one file or folder."""
    if file.suffix in STORES:
        many = file.suffix == ".h5mu" or (file.suffix == ".zarr" and _is_mudata(file))
        return whole_file(file, many)
    table, more = read_10x(file, droplets=droplets)
    notes += more
    return table


def _is_mudata(path: Path) -> bool:
    return Table(str(path), path).encoding() == "MuData"
