"""Bags as AnnData: one row per cell or tile, with counts, features, place and picture."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from smalti.bags import Bags
from smalti.io.uns_spatial import slide_pictures


def to_anndata(bags: Bags, *, pictures: bool = True) -> Any:
    """One row per instance: what was read and made of slides, as one table.

    Parameters
    ----------
    bags
        Of :func:`smalti.read_slides`, with features (:func:`smalti.features.extract`) or without.
    pictures
        Put small pictures of the slides into ``uns["spatial"]``, where tiles are cut from some.

    Returns
    -------
    AnnData
        ``X`` the view "counts" where there is one; every other table in ``obsm`` under its name,
        with the names of its features where it is dense; ``obs["slide"]``, the columns of instances
        and of bags; ``obsm["spatial"]``, the places in pixels. :func:`smalti.read` reads it with
        ``sample="slide"``, scanpy and squidpy draw it. Tiles themselves are left in the pictures.

    Examples
    --------
    >>> import smalti as sm
    >>> cells = sm.datasets.pictured_cells(4, 20, seed=0)
    >>> table = sm.to_anndata(cells)
    >>> table.shape, sorted(table.obsm)
    ((80, 40), ['spatial'])
    >>> sm.read(table, sample="slide", donor="donor", label="state")
    Bags: 4 bags of 20-20 instances, X 40, 4 donors; state: binary (2 healthy, 2 ill; positive: ill)
    """
    from anndata import AnnData

    obs = instance_table(bags)
    if "tile_px" not in obs and {"tile_um", "um_per_px"} <= set(obs):
        obs["tile_px"] = obs["tile_um"] / obs["um_per_px"]  # so that maps of the table know it
    counts = bags.x.get("counts")
    genes = bags.features.get("counts", ())
    var = pd.DataFrame(index=pd.Index(genes, dtype=object)) if genes else None
    table = AnnData(counts, obs=obs, var=var) if counts is not None else AnnData(obs=obs)
    for name, view in bags.x.items():
        if name == "counts" or len(view.shape) != 2:
            continue
        values, names = view if sp.issparse(view) else bags.table(name), bags.features.get(name)
        dense = bool(names) and not sp.issparse(view)
        table.obsm[name] = pd.DataFrame(values, obs.index, list(names or ())) if dense else values
    add_places(table, bags, pictures)
    return table


def view_table(bags: Bags, name: str) -> Any:
    """One view of cells as AnnData, in their order: its numbers as ``X``, and their columns.

    Cells in which it was not measured are left out.
    """
    from anndata import AnnData

    var = pd.DataFrame(index=pd.Index(bags.features[name], dtype=object))
    table = AnnData(bags.x[name], obs=bags.instance.rename(index=str), var=var)
    return table[bags.present[name]].copy() if name in bags.present else table


def instance_table(bags: Bags) -> pd.DataFrame:
    """``obs`` of all instances, by names of their own: their columns, and those of their bags."""
    obs = bags.instance.copy()
    obs.index = obs.index.astype(str)
    if not obs.index.is_unique:
        obs.index = [f"{bags.bag.index[b]}_{i}" for b, i in zip(bags.index, obs.index, strict=True)]
    obs["slide"] = pd.Categorical.from_codes(bags.index, bags.bag.index.astype(str))
    for name, column in bags.bag.items():
        if name not in obs:
            obs[name] = column.to_numpy()[bags.index]
    obs.columns = obs.columns.astype(str)
    return obs


def add_places(table: Any, bags: Bags, pictures: bool) -> None:
    """Put pixels into ``obsm["spatial"]``, and small pictures of the slides beside."""
    if {"x_px", "y_px"} <= set(table.obs):
        table.obsm["spatial"] = table.obs[["x_px", "y_px"]].to_numpy(np.float64)
        small = slide_pictures(bags) if pictures else {}
        if small:
            table.uns["spatial"] = small
