"""Spots with expression in an AnnData with pixel coordinates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from smalti.errors import InputError
from smalti.io.counts import checked_counts, told_apart
from smalti.io.pictures import match_pictures
from smalti.io.sections import PITCH, Ask, Section, checked_um
from smalti.io.tables import Table, no_column, rows_at
from smalti.io.uns_spatial import is_hexagonal, libraries, scale_factor, stored_picture
from smalti.names import some
from smalti.tiles.image import SlideImage

XY = (
    ("x_px", "y_px"), ("image_x", "image_y"), ("pixel_x", "pixel_y"),
    ("pxl_col_in_fullres", "pxl_row_in_fullres"), ("imagecol", "imagerow"),
)  # fmt: skip
_SAME = 1.0  # px: positions that were rounded are the same


def anndata_sections(table: Table, ask: Ask, notes: list[str]) -> list[Section]:
    """Sections of one AnnData that holds the spots of all of them.

    Raises
    ------
    InputError
        If it is not known which slide a spot is on, a slide has no picture, or the counts have no
        names of genes.
    """
    stored = libraries(table) if ask.images is None else []
    names, library = slide_names(table, ask, stored)
    slides = ask.wanted(list(pd.unique(names)), notes)
    pictures = {} if stored else match_pictures(slides, ask.images, notes)
    spots = _Spots(table, ask, notes)
    return [
        spots.section(name, np.flatnonzero(names == name), pictures.get(name), library.get(name))
        for name in slides
    ]


def table_section(
    path: Path, name: str, picture: SlideImage | None, ask: Ask, notes: list[str], *,
    um: float | None = None, pitch: float | None = None, bare: bool = False,
) -> Section:  # fmt: skip
    """The section of an AnnData that holds the spots of one slide.

    Parameters
    ----------
    path
        The .h5ad.
    name
        Of the slide.
    picture
        Its picture; None: the small one that the file holds.
    ask
        What is asked of it.
    notes
        Gets warnings.
    um, pitch
        µm per pixel of the coordinates, and from spot to spot, where the user says neither.
    bare
        Leave the picture out.

    Raises
    ------
    InputError
        If it holds several slides or has no picture, or as of :func:`anndata_sections`.
    """
    table, library = Table(str(path), path), None
    if picture is None and not bare:
        stored = libraries(table)
        if len(stored) != 1:
            raise InputError(
                f"slide {name!r} has no image, and {path} holds {len(stored) or 'no'} pictures in "
                f"uns['spatial']: give images=, a folder with one file per slide ({name}.tif)."
            )
        library = stored[0]
    rows = np.arange(len(table.obs))
    section = _Spots(table, ask, notes).section(name, rows, picture, library, um, pitch)
    section.rows = None  # positions in one of several tables
    return section


class _Spots:
    """All spots of a table: their places and counts, read once."""

    def __init__(self, table: Table, ask: Ask, notes: list[str]) -> None:
        self.table, self.ask, self.notes = table, ask, notes
        self.xy = _positions(table, ask.xy)
        self.counts: Any = None
        self.genes: tuple[str, ...] | None = None
        if ask.counts is None:
            return
        matrix, genes = table.matrix(ask.counts)
        if genes is None:
            raise InputError(
                f"{ask.counts!r} of {table.name} has no names of genes: use X or a layer."
            )
        notes += [*table.called(ask.counts), *told_apart(genes, table.name)]
        self.counts, self.genes = checked_counts(matrix, genes, table.obs.index, table.name)

    def section(
        self, name: str, rows: np.ndarray, picture: SlideImage | None, library: str | None,
        um: float | None = None, pitch: float | None = None,
    ) -> Section:  # fmt: skip
        """Those in ``rows``, with a picture, or that of a library of ``uns["spatial"]``."""
        table, scale, obs = self.table, 1.0, self.table.obs.iloc[rows]
        um = _um_per_px(table, self.ask.um_per_px, name, rows) or um
        pitch = self.ask.pitch_um or pitch
        if library is not None:
            picture, scale = stored_picture(table, library, name, self.notes)
            um = um or scale_factor(table, library, "microns_per_pixel")
            pitch = pitch or scale_factor(table, library, "bin_size_um")
            pitch = PITCH if pitch is None and is_hexagonal(obs) else pitch
        counts = None if self.counts is None else rows_at(self.counts, rows)
        um = None if um is None else um / scale
        return Section(name, picture, self.xy[rows] * scale, obs, counts, self.genes, um, pitch,
                       rows)  # fmt: skip


def slide_names(
    table: Table, ask: Ask, stored: Sequence[str] = ()
) -> tuple[np.ndarray, dict[str, str]]:
    """(n_spots,) the slide of each spot; and of each slide its picture among those ``stored``.

    Raises
    ------
    InputError
        If neither a column nor one picture says it, or some spots have no slide.
    """
    n, images = len(table.obs), ask.images
    if ask.slide is not None:
        names = _column(table, ask.slide)
        if not stored:
            return names, {}
    elif isinstance(images, SlideImage):
        return np.full(n, images.path.name.split(".")[0], dtype=object), {}
    elif isinstance(images, (str, Path)) and Path(images).is_file():
        return np.full(n, Path(images).name.split(".")[0], dtype=object), {}
    elif not stored:
        raise InputError(
            f"which slide is a spot of {table.name} on? Name the column, slide=...; obs has "
            f"{', '.join(map(str, table.obs.columns))}."
        )
    of = _library_of(table, ask.slide, stored)
    if ask.slide is None:
        return of, {name: name for name in stored}
    pairs = pd.DataFrame({"slide": names, "library": of}).drop_duplicates()
    if pairs["slide"].duplicated().any():
        twice = pairs.loc[pairs["slide"].duplicated(), "slide"].iloc[0]
        raise InputError(
            f"slide {twice!r} of {table.name} has spots of several pictures in uns['spatial']: "
            "name the column that tells them apart, slide=..."
        )
    return names, dict(zip(pairs["slide"], pairs["library"], strict=True))


def _column(table: Table, column: str) -> np.ndarray:
    table.find(column)
    absent = table.obs[column].isna()
    if absent.any():
        raise InputError(
            f"{int(absent.sum())} spots of {table.name} have no {column!r} (first: "
            f"{table.obs.index[absent][0]!r}): drop them or fill the column in."
        )
    return table.obs[column].astype(str).to_numpy(dtype=object)


def _library_of(table: Table, slide: str | None, stored: Sequence[str]) -> np.ndarray:
    """(n_spots,) which of the pictures that the file holds a spot is on."""
    if len(stored) == 1:
        return np.full(len(table.obs), stored[0], dtype=object)
    first = [c for c in (slide, "library_id") if c is not None and c in table.obs]
    for column in dict.fromkeys([*first, *table.obs.columns]):
        values = table.obs[column]
        if not pd.api.types.is_numeric_dtype(values) and set(values) <= set(stored):
            return values.astype(str).to_numpy(dtype=object)
    raise InputError(
        f"which of the pictures in uns['spatial'] of {table.name} ({some(stored)}) is a spot on? "
        "No column of obs says it: add one that holds these names, such as library_id."
    )


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
        said = um_per_px.get(slide) if isinstance(um_per_px, Mapping) else um_per_px
        return checked_um(said, slide)
    if um_per_px not in table.obs:
        raise no_column(table.name, um_per_px, table.obs.columns)
    values = table.obs[um_per_px].iloc[rows].dropna().unique()
    if len(values) != 1:
        raise InputError(
            f"slide {slide!r} has {len(values)} values of {um_per_px!r}: a slide has one µm per "
            "pixel."
        )
    return checked_um(float(values[0]), slide)
