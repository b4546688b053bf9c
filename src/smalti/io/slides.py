"""Slides as bags of tiles, with or without expression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from smalti.bags import Bags
from smalti.errors import InputError
from smalti.io.assemble import assemble
from smalti.io.legacy_st import legacy_sections, section_files
from smalti.io.open import open_table
from smalti.io.pictures import opened, picture_files
from smalti.io.ready_tiles import read_tiles
from smalti.io.sections import Cut, Section
from smalti.io.spatial import spatialdata_sections
from smalti.io.spots import anndata_sections, stated
from smalti.io.tables import Table
from smalti.io.tissue import with_tissue
from smalti.io.visium import is_visium, visium_section
from smalti.system.reading import about
from smalti.system.tables import read_text
from smalti.tiles.image import SUFFIXES

__all__ = ["read_slides", "read_tiles"]


def read_slides(
    source: Any,
    *,
    images: Any = None,
    slide: str | None = None,
    donor: Any = None,
    label: str | Sequence[str] | None = None,
    kind: str | None = None,
    positive: Any = None,
    order: Sequence[Any] | None = None,
    table: Any = None,
    counts: str | None = "X",
    xy: str | Sequence[str] | None = None,
    um_per_px: float | str | Mapping[str, float] | None = None,
    pitch_um: float | None = None,
    tiles: str | None = None,
    tile_um: float | None = None,
    tile_px: float | None = None,
    size: int | None = None,
    overlap: float = 0.0,
    tissue: Any = None,
    tissue_min: float | None = None,
    edge: str = "error",
    unlisted: str = "drop",
    quality: bool = False,
    progress: bool | None = None,
) -> Bags:
    """Read slides as bags and tiles as instances.

    Parameters
    ----------
    source
        One of

        - AnnData, or the path of an .h5ad, of the spots of all slides, with ``images``;
        - a folder that Space Ranger wrote, or several in a list;
        - SpatialData, or its .zarr;
        - a folder of the first ST arrays: counts (A1.tsv.gz) and spots (A1_selection.tsv) of each
          section, with ``images``;
        - images without expression: a folder, one file (.jpg, .png, .tif, .svs, ...), a list, or a
          mapping from slide to file.
    images
        Pictures of the slides: a folder of files named as the slides are, a mapping from slide to
        file, or one file. Of SpatialData: name of an image element, or region -> name.
    slide
        Column that says which slide a spot is on, or which image a row of ``table`` is about.
    donor
        Column of donors, in the spots' table or in ``table``; "bag" if each slide is its own.
    label, kind
        Column(s) to predict from a slide, and what kind it is.
    positive, order
        The positive one of two labels, or the labels from the least to the most, as in
        :func:`smalti.read`.
    table
        Columns of the slides, for images: a data frame or .csv with the column ``slide``.
    counts
        Of AnnData: "X" or "layers/NAME"; None reads tiles alone.
    xy
        Of AnnData: key of ``obsm``, or two columns of ``obs``, with pixels at full resolution. Must
        be said where columns and ``obsm["spatial"]`` disagree.
    um_per_px
        µm per pixel: a number, a column, or by slide; where neither image nor table says so.
    pitch_um
        Distance of neighbouring spots in µm; checked against ``um_per_px``, or gives it.
    tiles
        "spots" (around each), "grid" (side by side over the tissue) or "nuclei" (around each
        nucleus). Spots where there are any.
    tile_um, tile_px
        Edge of a tile in µm (112 where neither is given, as in HEST) or in pixels of the slide.
    size
        Edge of a tile as it is read: 224, or ``tile_px``.
    overlap
        Of a grid: share of its edge that a tile has in common with the next.
    tissue
        Where the tissue is, if you marked it yourself; else it is found
        (:func:`smalti.tiles.tissue_mask`). A folder with a file for each slide, named as it is, one
        file, or a mapping from slide to file: GeoJSON (annotations of QuPath; those of class Tissue
        where there are any, else all), or a picture of a mask (.png, of any size, 0 where there is
        none); or (height, width) arrays. Of SpatialData: name of a shapes element.
    tissue_min
        Least share of tissue in a tile: 0.1 of a grid, else 0.
    edge
        What to do with tiles that leave the picture: "error", "drop", or "pad" (white). A tile
        that lies outside as a whole is never padded.
    unlisted
        What to do with a gene that some slide does not list, and so did not measure: "drop" it from
        all, "error", or count it as "zero" there, which is right where tables list the genes that
        were seen and no others, as those of the first ST arrays may.
    quality
        Add columns ``blur`` and ``pen`` (reads every tile).
    progress
        Show a bar; None: on a terminal only.

    Returns
    -------
    Bags
        Views ``tile`` (uint8, (n, 3, size, size), cut when it is read) and ``counts`` (CSR, where
        there is expression). Instance columns x_px, y_px, x_um, y_um, tissue and those of the
        spots; bag columns um_per_px, tile_um (width of a tile), tile_um_per_px (of a pixel of the
        tile as it is read) and those of ``table``.

    Raises
    ------
    InputError
        If files are missing or damaged, names do not match, tiles leave a slide, counts are
        negative, or the size of a pixel is not known or not the same along x and y; each names the
        culprit.

    Warns
    -----
    UserWarning
        Spots without tissue, implausible distances of spots, genes, spots or images that are left
        out, a range of brightness that the values alone say; they stay in ``notes``.

    Examples
    --------
    >>> import smalti as sm
    >>> import numpy as np
    >>> from PIL import Image
    >>> picture = np.full((400, 600, 3), 245, dtype=np.uint8)
    >>> picture[100:300, 100:500] = 170, 100, 160  # a piece of tissue
    >>> Image.fromarray(picture).save("A1.png")
    >>> bags = sm.read_slides("A1.png", um_per_px=0.5, tile_um=50, size=32, progress=False)
    >>> bags.bag.index.tolist(), bags.view()[1].shape[1:]
    (['A1'], (3, 32, 32))
    """
    cut = Cut(tiles, tile_um, tile_px, size, overlap, tissue_min, edge, unlisted)
    notes: list[str] = []
    sections = _sections(source, images, slide, counts, xy, um_per_px, pitch_um, notes, tissue)
    bag = None
    if table is not None:
        sections, bag = _with_table(sections, table, slide, notes)
    if tissue is not None and not all(s.tissue for s in sections):
        sections = with_tissue(sections, tissue, notes)
    with about(source if table is None else table):
        return assemble(
            sections, cut, quality=quality, progress=progress, notes=notes, donor=donor,
            target=label, kind=kind, positive=positive, order=order, bag=bag,
        )  # fmt: skip


def _sections(
    source: Any, images: Any, slide: str | None, counts: str | None, xy: Any, um_per_px: Any,
    pitch_um: float | None, notes: list[str], tissue: Any,
) -> list[Section]:  # fmt: skip
    """The sections of a source of any kind."""
    path = Path(source) if isinstance(source, (str, Path)) else None
    if path is not None and not path.exists():
        raise InputError(f"no file or folder {path}: check the path.")
    zarr = path is not None and path.suffix == ".zarr"
    if hasattr(source, "tables") or (zarr and path and not (path / "obs").exists()):
        return spatialdata_sections(source, images=images, um_per_px=um_per_px, pitch_um=pitch_um,
                                    notes=notes, tissue=tissue)  # fmt: skip
    if hasattr(source, "obs") or (path and path.suffix in (".h5ad", ".zarr")):
        return anndata_sections(
            cast(Table, open_table(source)), images=images, slide=slide, counts=counts, xy=xy,
            um_per_px=um_per_px, pitch_um=pitch_um, notes=notes,
        )  # fmt: skip
    folders = [path] if path else [Path(s) for s in source] if _paths(source) else []
    if folders and path is None and any(f.is_dir() for f in folders):
        wrong = next((f for f in folders if not is_visium(f)), None)
        if wrong is not None:
            raise InputError(
                f"{wrong} is no output of Space Ranger (spatial/ and filtered_feature_bc_matrix), "
                "as a list of folders must be."
            )
    if folders and all(is_visium(f) for f in folders):
        names = [f.name if f.name != "outs" else f.parent.name for f in folders]
        twice = next((n for n in names if names.count(n) > 1), None)
        if twice:
            raise InputError(f"two folders are called {twice!r}: slides need names of their own.")
        return [visium_section(f, name=n, image=images, um_per_px=um_per_px, pitch_um=pitch_um,
                               notes=notes)
                for f, n in zip(folders, names, strict=True)]  # fmt: skip
    if path and path.is_dir():
        files = section_files(path)
        if files:
            return legacy_sections(files, images=images, um_per_px=um_per_px, pitch_um=pitch_um,
                                   notes=notes)  # fmt: skip
        if not any(p.suffix.lower() in SUFFIXES for p in path.iterdir()):
            raise InputError(
                f"{path} holds no slides: expected the output of Space Ranger (spatial/ and "
                "filtered_feature_bc_matrix), tables of the first ST arrays, or images "
                f"({', '.join(SUFFIXES)})."
            )
    if isinstance(um_per_px, str):
        raise InputError(f"um_per_px={um_per_px!r}: images have no columns; give a number.")
    pictures = picture_files(source)
    if not pictures:
        raise InputError("no slides: the list of images is empty.")
    return [Section(name, opened(file), um_per_px=stated(um_per_px, name))
            for name, file in pictures.items()]  # fmt: skip


def _paths(source: Any) -> bool:
    return isinstance(source, Sequence) and all(isinstance(s, (str, Path)) for s in source)


def _with_table(
    sections: list[Section], table: Any, slide: str | None, notes: list[str]
) -> tuple[list[Section], pd.DataFrame]:
    """The slides that a table names, and its rows in their order."""
    name = "table" if isinstance(table, pd.DataFrame) else str(table)
    frame = table if isinstance(table, pd.DataFrame) else read_text(table)
    if slide is None or slide not in frame:
        raise InputError(
            f"which column of {name} names the slide? slide=...; there are "
            f"{', '.join(map(str, frame.columns))}."
        )
    if not len(frame):
        raise InputError(f"{name} has no rows: one is a slide.")
    frame = frame.set_index(frame[slide].astype(str)).drop(columns=[slide])
    if not frame.index.is_unique:
        twice = frame.index[frame.index.duplicated()][0]
        raise InputError(f"{name} has several rows for slide {twice!r}: a slide has one.")
    there = {s.slide for s in sections}
    absent = [i for i in frame.index if i not in there]
    if absent:
        raise InputError(
            f"{len(absent)} slides of {name} have no image: {', '.join(absent[:5])}; there are "
            f"images of {', '.join(sorted(there)[:5])}."
        )
    extra = [s.slide for s in sections if s.slide not in frame.index]
    if extra:
        notes.append(f"{len(extra)} slides are not in {name} and are left out: "
                     f"{', '.join(extra[:5])}.")  # fmt: skip
    kept = [s for s in sections if s.slide in frame.index]
    frame.index.name = "bag"
    return kept, frame.loc[np.array([s.slide for s in kept], dtype=object)]
