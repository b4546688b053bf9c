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
from smalti.io.cells import add_places, instance_table
from smalti.io.open import open_table
from smalti.io.tables import Table
from smalti.io.write import refuse_others, refuse_taken, strange_rows, write
from smalti.io.writeback import State, changed_copy, until_it_stays
from smalti.system.files import atomic_folder

TABLE = "predicted"  # name of the table in SpatialData


def slides_anndata(
    bags: Bags, genes: Sequence[str], layers: Mapping[str, np.ndarray], uns: Mapping[str, Any],
    var: pd.DataFrame | None = None, *, pictures: bool = True,
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
    pictures
        Put small pictures of the slides into ``uns["spatial"]``.

    Returns
    -------
    AnnData
        Rows in the order of the tiles; ``obs["slide"]`` (categorical), the columns of tiles and
        slides, ``obsm["spatial"]``, pixels, and ``uns["spatial"]`` as scanpy and squidpy read it.
    """
    from anndata import AnnData

    obs = instance_table(bags)
    first = next(iter(layers.values()))
    about = pd.DataFrame(index=pd.Index(genes, dtype=object))
    if var is not None:
        about = var.set_index(about.index)
    table = AnnData(first, obs=obs, var=about,
                    layers=dict(layers), uns=dict(uns))  # fmt: skip
    add_places(table, bags, pictures)
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

    Of AnnData they become data frames of ``obsm``, of SpatialData a table of their own.

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
        Replace what another model has written under these names, and a file ``out`` that is there.

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
    if path is not None and not path.exists():
        raise InputError(f"no file or folder {path}: check the path.")
    of_regions = hasattr(data, "tables") if path is None else (
        path.suffix == ".zarr" and not (path / "obs").exists())  # fmt: skip
    if of_regions and target is not None and target.suffix != ".zarr":
        raise InputError(f"{target} cannot hold SpatialData: name it .zarr.")
    if not of_regions:
        _into_anndata(data, predicted, bags, out, overwrite)
    elif path is None or target is None:
        name, old = name or TABLE, dict(data.tables)
        _into_spatialdata(data, predicted, bags, name, overwrite)
        if target is None:
            return
        try:
            with atomic_folder(target, overwrite=overwrite) as temporary:
                shutil.rmtree(temporary)  # zarr makes its own folder
                data.write(temporary)
        finally:  # the result goes into the file only
            del data.tables[name]
            if name in old:
                data.tables[name] = old[name]
    else:
        _into_store(path, target, predicted, bags, name or TABLE, overwrite)


def _into_anndata(
    data: Any, predicted: Any, bags: Bags, out: str | Path | None, overwrite: bool
) -> None:
    table = open_table(data)
    if not isinstance(table, Table):
        raise InputError(
            f"{table.name} is MuData: give the AnnData that the slides were read from."
        )
    refuse_others(table.names, bags)
    obsm = {}
    for name, values in predicted.layers.items():  # of the genes predicted: a layer is of all
        frame = np.full((len(table.names), predicted.n_vars), np.nan, dtype=np.float32)
        frame[bags.rows] = values
        obsm[name] = pd.DataFrame(frame, index=table.names, columns=predicted.var_names)
    write(data, obs={}, obsm=obsm, uns=predicted.uns, out=out, overwrite=overwrite, bags=bags)


def _into_store(
    path: Path, target: Path, predicted: Any, bags: Bags, name: str, overwrite: bool
) -> None:
    """Add a table to SpatialData on disk; its pictures are not touched."""
    from anndata.io import write_elem

    from smalti.io.spatial import open_spatialdata

    def attempt(before: State) -> None:
        data = open_spatialdata(path)
        beside = _into_spatialdata(data, predicted, bags, name, overwrite)
        with changed_copy(path, target, before, overwrite=overwrite) as root:
            tables, new = root["tables"], data.tables[name]
            write_elem(tables, name, new)
            # what SpatialData says of a table, in the version that the file is of
            said = {k: tables[beside].attrs[k] for k in ("spatialdata-encoding-type", "version")}
            tables[name].attrs.update(said | new.uns["spatialdata_attrs"])

    until_it_stays(path, attempt)


def _into_spatialdata(data: Any, predicted: Any, bags: Bags, name: str, overwrite: bool) -> str:
    """Put a table into SpatialData in memory; returns the one whose regions it annotates."""
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
        strange = strange_rows(table.obs_names, bags)
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
        return str(key)
    raise InputError(
        f"no table of this SpatialData has the rows of the slides ({wrong}): give the data that "
        "the slides were read from."
    )
