"""Spots with expression: AnnData with pixel coordinates, and tables of the first ST arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from smalti.errors import InputError
from smalti.io.counts import checked_counts, told_apart
from smalti.io.pictures import match_pictures
from smalti.io.sections import Section
from smalti.io.tables import Table, no_column, rows_at

XY = (
    ("x_px", "y_px"), ("image_x", "image_y"), ("pixel_x", "pixel_y"),
    ("pxl_col_in_fullres", "pxl_row_in_fullres"), ("imagecol", "imagerow"),
)  # fmt: skip
_SAME = 1.0  # px: positions that were rounded are the same


def anndata_sections(
    table: Table,
    *,
    images: Any,
    slide: str | None,
    counts: str | None,
    xy: str | Sequence[str] | None,
    um_per_px: Any,
    pitch_um: float | None,
    notes: list[str],
) -> list[Section]:
    """Sections of one AnnData that holds the spots of all of them.

    Raises
    ------
    InputError
        If the counts have no names of genes.
    """
    obs = table.obs
    names = slide_names(table, slide, images)
    slides = list(pd.unique(names))
    pictures = match_pictures(slides, images, notes)
    where = _positions(table, xy)
    matrix, genes = (None, None) if counts is None else table.matrix(counts)
    if matrix is not None:
        if genes is None:
            raise InputError(f"{counts!r} of {table.name} has no names of genes: use X or a layer.")
        notes += told_apart(genes, table.name)
        matrix, genes = checked_counts(matrix, genes, obs.index, table.name)
    sections = []
    for name in slides:
        rows = np.flatnonzero(names == name)
        sections.append(Section(
            name, pictures[name], where[rows], obs.iloc[rows],
            None if matrix is None else rows_at(matrix, rows), genes,
            _um_per_px(table, um_per_px, name, rows), pitch_um, rows,
        ))  # fmt: skip
    return sections


def slide_names(table: Table, slide: str | None, images: Any) -> np.ndarray:
    """(n_spots,) the slide of each spot.

    Raises
    ------
    InputError
        If neither a column nor one picture says it, or some spots have no slide.
    """
    if slide is None:
        if isinstance(images, (str, Path)) and Path(images).is_file():
            return np.full(len(table.obs), Path(images).name.split(".")[0], dtype=object)
        raise InputError(
            f"which slide is a spot of {table.name} on? Name the column, slide=...; obs has "
            f"{', '.join(map(str, table.obs.columns))}."
        )
    table.find(slide)
    absent = table.obs[slide].isna()
    if absent.any():
        raise InputError(
            f"{int(absent.sum())} spots of {table.name} have no {slide!r} (first: "
            f"{table.obs.index[absent][0]!r}): drop them or fill the column in."
        )
    return table.obs[slide].astype(str).to_numpy(dtype=object)


def _positions(table: Table, xy: str | Sequence[str] | None) -> np.ndarray:
    """(n, 2) x, y of the spots in pixels."""
    if xy is None:
        xy = _found(table)
    where = _place(table, xy)
    lost = ~np.isfinite(where).all(1)
    if lost.any():
        raise InputError(
            f"{int(lost.sum())} spots of {table.name} have no position (first: "
            f"{table.obs.index[lost][0]!r}): drop them."
        )
    return where


def _found(table: Table) -> str | tuple[str, str]:
    """Where the positions are, if nobody says it; of several places all must say the same."""
    places: list[str | tuple[str, str]] = [p for p in XY if set(p) <= set(table.obs.columns)]
    if "spatial" in table.keys("obsm"):
        places.append("spatial")
    if not places:
        return "spatial"
    first = _place(table, places[0])
    for other in places[1:]:
        second = _place(table, other)
        off = ~(np.abs(first - second) <= _SAME).all(1) & np.isfinite(first).all(1)
        if off.any():
            at = int(np.flatnonzero(off)[0])
            raise InputError(
                f"{table.name} has two positions of {int(off.sum())} of {len(off)} spots (first: "
                f"{table.obs.index[at]!r}): {_said(places[0])} says {_point(first[at])}, "
                f"{_said(other)} {_point(second[at])}. Say which holds pixels of the picture: "
                f"xy={places[0]!r} or xy={other!r}."
            )
    return places[0]


def _place(table: Table, xy: str | Sequence[str]) -> np.ndarray:
    """(n, 2) of a key of obsm, or of two columns of obs."""
    if not isinstance(xy, str):
        for column in xy:
            table.find(column)
        return table.obs[list(xy)].to_numpy(dtype=np.float64)
    if xy not in table.keys("obsm"):
        raise InputError(
            f"{table.name} has no pixel positions (obsm[{xy!r}], or columns such as "
            f"{' and '.join(XY[0])}): name them with xy=..."
        )
    return np.asarray(table.matrix(f"obsm/{xy}")[0], dtype=np.float64)[:, :2]


def _said(xy: str | Sequence[str]) -> str:
    return f"obsm[{xy!r}]" if isinstance(xy, str) else f"obs {xy[0]}, {xy[1]}"


def _point(xy: np.ndarray) -> str:
    return f"({xy[0]:.6g}, {xy[1]:.6g})"


def _um_per_px(table: Table, um_per_px: Any, slide: str, rows: np.ndarray) -> float | None:
    """What the user or the table says of one slide."""
    if um_per_px is None and "um_per_px" in table.obs:
        um_per_px = "um_per_px"
    if not isinstance(um_per_px, str):
        return stated(um_per_px, slide)
    if um_per_px not in table.obs:
        raise no_column(table.name, um_per_px, table.obs.columns)
    values = table.obs[um_per_px].iloc[rows].dropna().unique()
    if len(values) != 1:
        raise InputError(
            f"slide {slide!r} has {len(values)} values of {um_per_px!r}: a slide has one µm per "
            "pixel."
        )
    return float(values[0])


def stated(um_per_px: float | Mapping[str, float] | None, slide: str) -> float | None:
    """µm per pixel of one slide, as the user gave it.

    Raises
    ------
    InputError
        If it is not positive.
    """
    value = um_per_px.get(slide) if isinstance(um_per_px, Mapping) else um_per_px
    if value is not None and not (np.isfinite(value) and value > 0):
        raise InputError(f"um_per_px={value} of slide {slide!r} must be a positive number.")
    return None if value is None else float(value)
