"""Writing results back into the user's AnnData."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from smalti.errors import InputError
from smalti.io.files import atomic_folder, atomic_write


def write(
    data: Any,
    *,
    obs: Mapping[str, np.ndarray | pd.Series],
    obsm: Mapping[str, np.ndarray | pd.DataFrame],
    uns: Mapping[str, Any],
    out: str | Path | None = None,
) -> None:
    """Add columns, matrices and notes.

    Parameters
    ----------
    data
        AnnData, changed in place; or the path of an ``.h5ad`` or ``.zarr``.
    obs, obsm
        Name -> one row per cell in the user's own order; NaN for cells in no bag.
    uns
        Name -> nested settings.
    out
        Where to write; the same path when left out.

    Raises
    ------
    InputError
        If the file is missing or damaged, lengths disagree, or the folder cannot be written to;
        no file is then changed.
    """
    path = Path(data) if isinstance(data, (str, Path)) else None
    target = Path(out) if out is not None else path
    if target is not None and target.suffix not in (".h5ad", ".zarr"):
        raise InputError(f"{target} is neither .h5ad nor .zarr.")
    table = data if path is None else _whole(path)
    for name, values in [*obs.items(), *obsm.items()]:
        if len(values) != table.n_obs:
            raise InputError(f"{name!r} has {len(values)} rows, the table {table.n_obs} cells.")
    for name, values in obs.items():
        # by position: the index of a Series would be matched with the names of the cells
        table.obs[name] = values.array if isinstance(values, pd.Series) else values
    for name, values in obsm.items():
        if isinstance(values, pd.DataFrame):
            values = values.set_axis(table.obs_names)
        table.obsm[name] = values
    for name, note in uns.items():
        table.uns[name] = note
    if target is None:
        return
    if target.suffix == ".zarr":
        with atomic_folder(target) as temporary:
            shutil.rmtree(temporary)  # zarr makes its own folder
            table.write_zarr(temporary)
    else:
        with atomic_write(target) as temporary:
            table.write_h5ad(temporary)


def samples(
    x: np.ndarray, obs: pd.DataFrame, obsm: Mapping[str, Any], uns: Mapping[str, Any]
) -> Any:
    """AnnData with one row per bag."""
    from anndata import AnnData

    obs = obs.set_axis(obs.index.astype(str))
    return AnnData(np.asarray(x), obs=obs, obsm=dict(obsm), uns=dict(uns))


def _whole(path: Path) -> Any:
    """A whole AnnData."""
    from anndata import io

    if not path.exists():
        raise InputError(f"no file {path}.")
    if path.suffix not in (".h5ad", ".zarr"):
        raise InputError(f"{path} is neither .h5ad nor .zarr.")
    try:
        return io.read_h5ad(path) if path.suffix == ".h5ad" else io.read_zarr(path)
    except (OSError, KeyError, RuntimeError, ValueError, TypeError) as error:
        raise InputError(
            f"{path} is damaged or not an AnnData file ({type(error).__name__}): download or "
            "write it again."
        ) from error
