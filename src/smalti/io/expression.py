"""Predicted expression as AnnData, and back into the user's AnnData or SpatialData."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from smalti.bags import Bags
from smalti.errors import InputError
from smalti.io.counts import unique_names
from smalti.io.write import refuse_taken
from smalti.system.files import atomic_folder, atomic_write

TABLE = "predicted"  # name of the table in SpatialData


def slides_anndata(
    bags: Bags, genes: Sequence[str], layers: Mapping[str, np.ndarray], uns: Mapping[str, Any],
    var: pd.DataFrame | None = None,
) -> Any:  # fmt: skip
    """One row per tile.

    Parameters
    ----------
    bags
        Slides.
    genes
        Names of the columns.
    layers
        Name -> (n_tiles, n_genes) float32; the first becomes ``X`` too.
    uns
        Notes.
    var
        Columns about the genes, in their order.

    Returns
    -------
    AnnData
        Rows in the order of the tiles; ``obs["slide"]``, the columns of tiles and slides, and
        ``obsm["spatial"]``, pixels.
    """
    from anndata import AnnData

    obs = bags.instance.copy()
    obs.index = obs.index.astype(str)
    if not obs.index.is_unique:
        obs.index = [f"{bags.bag.index[b]}_{i}" for b, i in zip(bags.index, obs.index, strict=True)]
    obs["slide"] = np.asarray(bags.bag.index.astype(str))[bags.index]
    for name, column in bags.bag.items():
        if name not in obs:
            obs[name] = column.to_numpy()[bags.index]
    obs.columns = obs.columns.astype(str)
    first = next(iter(layers.values()))
    about = pd.DataFrame(index=pd.Index(genes, dtype=object))
    if var is not None:
        about = var.set_index(about.index)
    table = AnnData(first, obs=obs, var=about,
                    layers=dict(layers), uns=dict(uns))  # fmt: skip
    if {"x_px", "y_px"} <= set(obs):
        table.obsm["spatial"] = obs[["x_px", "y_px"]].to_numpy(float)
    return table


def write_expression(
    data: Any,
    predicted: Any,
    bags: Bags,
    *,
    out: str | Path | None = None,
    name: str | None = None,
    overwrite: bool = False,
) -> None:
    """Put the layers of ``predicted`` into the user's data (see ``ExpressionMethod.write``).

    Parameters
    ----------
    data
        AnnData or SpatialData, or the path of an .h5ad or .zarr.
    predicted
        What :func:`slides_anndata` made.
    bags
        The slides, whose ``rows`` are positions in the user's table.
    out
        Write to this path instead of the data's own.
    name
        Of SpatialData's table.
    overwrite
        Replace what another model has written under these names.

    Raises
    ------
    InputError
        If a path is not of a kind that can be written, the rows are not those of the data, or a
        name is taken.
    """
    path = Path(data) if isinstance(data, (str, Path)) else None
    target = Path(out) if out is not None else path
    if target is not None and target.suffix not in (".h5ad", ".zarr"):
        raise InputError(f"{target} is neither .h5ad nor .zarr.")
    whole = _open(path) if path is not None else data
    if hasattr(whole, "tables"):
        _into_spatialdata(whole, predicted, bags, name or TABLE, overwrite)
    elif hasattr(whole, "obs_names"):
        _into_anndata(whole, predicted, bags, overwrite)
    else:
        raise InputError(f"{type(whole).__name__} is neither AnnData nor SpatialData.")
    if target is None:
        return
    if target.suffix == ".zarr":
        with atomic_folder(target) as temporary:
            shutil.rmtree(temporary)  # zarr makes its own folder
            (whole.write if hasattr(whole, "tables") else whole.write_zarr)(temporary)
    elif hasattr(whole, "tables"):
        raise InputError(f"{target} cannot hold SpatialData: name it .zarr.")
    else:
        with atomic_write(target) as temporary:
            whole.write_h5ad(temporary)


def _open(path: Path) -> Any:
    from smalti.io.write import _whole

    if not path.exists():
        raise InputError(f"no file or folder {path}: check the path.")
    if path.suffix == ".zarr" and not (path / "obs").exists():
        from smalti.io.spatial import open_spatialdata

        return open_spatialdata(path)
    return _whole(path, False)


def _into_anndata(table: Any, predicted: Any, bags: Bags, overwrite: bool) -> None:
    rows = bags.rows
    wrong = _strange_rows(table, bags)
    if wrong:
        raise InputError(f"{wrong}: give the data that the slides were read from.")
    place = {g: i for i, g in enumerate(unique_names(table.var_names))}
    at = np.array([place.get(g, -1) for g in predicted.var_names])
    known = at >= 0
    for key, note in predicted.uns.items() if not overwrite else ():
        where = "layers" if known.all() else "obsm"
        there = [n for n in predicted.layers if n in getattr(table, where)]
        refuse_taken(table.uns, key, note, [f"{where}[{n!r}]" for n in there])
    for name, values in predicted.layers.items():
        if known.all():
            out = np.full(table.shape, np.nan, dtype=np.float32)
            out[np.ix_(rows, at)] = values
            table.layers[name] = out
        else:
            frame = pd.DataFrame(np.nan, index=table.obs_names, columns=predicted.var_names,
                                 dtype=np.float32)  # fmt: skip
            frame.iloc[rows] = values
            table.obsm[name] = frame
    for name, note in predicted.uns.items():
        table.uns[name] = note


def _strange_rows(table: Any, bags: Bags) -> str | None:
    """What shows that the tiles are not rows of a table; None where nothing does."""
    rows, index = bags.rows, bags.instance.index
    if len(rows) and rows.max() >= table.n_obs:
        return f"the slides have a row {int(rows.max())}, the table {table.n_obs} only"
    if pd.api.types.is_integer_dtype(index):  # tiles without names
        return None
    for tile, name in zip(index.astype(str), table.obs_names[rows].astype(str), strict=True):
        if tile != name and not tile.endswith(f"_{name}"):
            return f"tile {tile!r} is not the table's row {name!r}"
    return None


def _into_spatialdata(data: Any, predicted: Any, bags: Bags, name: str, overwrite: bool) -> None:
    from smalti.io.spatial import is_prediction
    from smalti.system.extras import need

    if name in data.tables and not overwrite:
        for key, note in predicted.uns.items():
            refuse_taken(data.tables[name].uns, key, note, [f"table {name!r}"])
    models = need("spatialdata.models", extra="spatialdata")
    wrong = "none annotates regions"
    for key, table in data.tables.items():
        note = table.uns.get("spatialdata_attrs")
        if note is None or is_prediction(table):
            continue
        strange = _strange_rows(table, bags)
        if strange:
            wrong = f"{key!r}: {strange}"
            continue
        new = predicted.copy()
        for column in (note["region_key"], note["instance_key"]):
            new.obs[column] = table.obs[column].to_numpy()[bags.rows]
        new.obs[note["region_key"]] = pd.Categorical(new.obs[note["region_key"]])
        regions = list(new.obs[note["region_key"]].cat.categories)
        data.tables[name] = models.TableModel.parse(
            new, region=regions, region_key=note["region_key"], instance_key=note["instance_key"]
        )
        return
    raise InputError(
        f"no table of this SpatialData has the rows of the slides ({wrong}): give the data that "
        "the slides were read from."
    )
