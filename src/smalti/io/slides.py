"""Slides as bags of tiles, with or without expression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from smalti.bags import Bags
from smalti.errors import InputError
from smalti.io.assemble import assemble
from smalti.io.layouts import sections_of
from smalti.io.ready_tiles import read_tiles
from smalti.io.sections import Ask, Cut
from smalti.io.tissue import with_tissue
from smalti.system.reading import about
from smalti.system.tables import read_text

__all__ = ["read_slides", "read_tiles"]


def read_slides(
    source: Any,
    *,
    images: Any = None,
    slide: str | None = None,
    donor: Any = None,
    site: str | None = None,
    label: str | Sequence[str] | None = None,
    kind: str | None = None,
    positive: Any = None,
    order: Sequence[Any] | None = None,
    table: Any = None,
    counts: str | None = "X",
    xy: str | Sequence[str] | None = None,
    um_per_px: float | str | Mapping[str, float] | None = None,
    pitch_um: float | None = None,
    bins: float | str | None = None,
    only: str | Sequence[str] | None = None,
    platform: str | None = None,
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

        - AnnData, or the path of an .h5ad, of the spots of all slides, with ``images`` or the small
          pictures of ``uns["spatial"]``; a list or a folder of .h5ad, one a slide;
        - a folder that Space Ranger wrote, or several in a list: Visium, or Visium HD with
          binned_outputs/ or segmented_outputs/; as GEO has them too, flat with prefixes, packed;
        - a folder that Xenium wrote, with its H&E picture (NAME_he_image.ome.tif) in it or in
          ``images`` and the alignment (NAME_he_imagealignment.csv) beside it: cells are the spots;
          ``images`` may also be a picture of the run itself (morphology_focus.ome.tif), in grey;
        - a folder of such folders, one a slide;
        - the root of HEST: st/, wsis/ or patches/, metadata/; or .h5 files of ready tiles;
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
    site
        Column that says where a slide comes from (hospital, scanner), likewise.
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
    bins
        Of Visium HD: width of the bins in µm, or "cells" that were segmented. 8 where left out.
    only
        Names of the slides to read; all when left out.
    platform
        Reader of spatialdata-io for a folder of another instrument: "merscope", "cosmx", ... What
        it makes is read as SpatialData.
    tiles
        "spots" (around each), "grid" (side by side over the tissue), "nuclei" (around each
        nucleus) or "ready" (as they are cut in patches/ of HEST). Spots where there are any; of
        bins the grid. In a grid a tile has the summed counts of the bins or cells in it.
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
        none); or (height, width) arrays. Of SpatialData: name of a shapes element. Of HEST:
        ROOT/tissue_seg.
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
        Show a bar; None: on a terminal or in a notebook.

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
    listed, bag = None, None
    if table is not None:
        name, bag = _rows_of(table, slide)
        listed = (name, list(bag.index))
    ask = Ask(images, slide, counts, xy, um_per_px, pitch_um, bins, only,
              tiles == "ready", platform, tissue, listed)  # fmt: skip
    sections = sections_of(source, ask, notes)
    if bag is not None:
        bag = bag.loc[np.array([s.slide for s in sections], dtype=object)]
    if tissue is not None and not all(s.tissue for s in sections):
        sections = with_tissue(sections, tissue, notes)
    with about(source if table is None else table):
        return assemble(
            sections, cut, quality=quality, progress=progress, notes=notes, donor=donor,
            site=site, target=label, kind=kind, positive=positive, order=order, bag=bag,
        )  # fmt: skip


def _rows_of(table: Any, slide: str | None) -> tuple[str, pd.DataFrame]:
    """What errors call a table of slides, and its rows by slide."""
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
    frame.index.name = "bag"
    return name, frame
