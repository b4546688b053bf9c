"""Maps of nuclei that the user found: a table of nuclei, or label images of the slides."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import numpy as np
from scipy.spatial import cKDTree

from smalti.bags import Bags
from smalti.errors import InputError
from smalti.features.nuclei import VIEW, cell_names, cells, checked, checked_grid
from smalti.features.nuclei_lists import listed, source_of
from smalti.system.reading import about


def nuclei_maps(
    bags: Bags,
    nuclei: Any,
    *,
    grid: int = 4,
    tile: str = "tile",
    side_px: float | None = None,
    slide: str = "slide",
    scale: float = 1.0,
) -> Bags:
    """Maps of the nuclei of each tile, from nuclei that you found yourself.

    Parameters
    ----------
    bags
        Slides of tiles with instance columns x_px, y_px (centres, pixels of the slide) and the bag
        column um_per_px, as :func:`smalti.read_slides` makes them.
    nuclei
        One of

        - a data frame or .csv, one row per nucleus: the slide, x_px and y_px (pixels of the slide;
          0 is the edge of the first), and where known area_um2, eccentricity (0 to 1),
          haematoxylin;
        - a table of measurements that QuPath exported (.tsv, .csv), of detections or cells;
        - a folder with a file for each slide, named as it is, one file, or a mapping from slide to
          file: GeoJSON of QuPath or CellViT, cellvit_seg/ of HEST (.parquet or GeoJSON), .npz or
          .json of StarDist, .json of HoVer-Net or CellViT, outlines (_cp_outlines.txt) or masks
          (_cp_masks.tif, .png) of Cellpose, or any label image (.npy, .png, .tif): (height,
          width) whole numbers, 0 outside; arrays of such too.
          Cellpose's _seg.npy is a pickle and never opened.
    grid
        Cells along the edge of a tile.
    tile
        The view of tiles, which knows the edge of a tile where it is cut from pictures.
    side_px
        That edge in pixels of the slide, where it does not.
    slide
        Column of the table that names the slide; not needed where there is one slide.
    scale
        Of label images and outlines: pixels of the picture they were found in, per pixel of the
        slide, e.g. 0.5 of those made at half size. Those of GeoJSON and .parquet are of the slide
        always.

    Returns
    -------
    Bags
        With view ``X_nuclei`` as the first, (n_tiles, grid * grid * 6) float32 (see
        :class:`smalti.features.nuclei.NucleiMap`). A nucleus belongs to every tile that its centre
        lies in.

    Raises
    ------
    InputError
        If a slide has no nuclei, a column or a file is missing or damaged, positions, the edge of
        a tile or the size of a pixel are not known, or no tile holds any nucleus.

    Warns
    -----
    UserWarning
        What the nuclei do not tell (those channels are 0), and tiles without nuclei; both stay in
        ``notes``.
    """
    checked_grid(grid)
    corners, sides, um = _places(bags, tile, side_px)
    shapes = _pictures(bags, tile)
    found, notes = listed(nuclei, dict(zip(map(str, bags.bag.index), um, strict=True)), slide=slide,
                          scale=scale, shapes=shapes)  # fmt: skip
    parts = []
    for k, name in enumerate(bags.bag.index):
        rows = slice(bags.offsets[k], bags.offsets[k + 1])
        xy, known = found[str(name)]
        of, nucleus, at = _inside(xy, corners[rows], sides[rows])
        extent = np.repeat(sides[rows, None] * um[k], 2, axis=1)
        parts.append(cells(of, at, known[nucleus], extent, grid))
    table = np.concatenate(parts)
    for note in notes:
        warnings.warn(note, UserWarning, stacklevel=2)
    with about(source_of(nuclei)):
        notes += checked(table)
    return dataclasses.replace(
        bags, x={VIEW: table, **{k: v for k, v in bags.x.items() if k != VIEW}},
        features={**bags.features, VIEW: cell_names(grid)}, notes=(*bags.notes, *notes),
    )  # fmt: skip


def _places(
    bags: Bags, tile: str, side_px: float | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(n, 2) x, y of the upper left corners, (n,) edges, in slide pixels; (n_bags,) µm of one."""
    if not {"x_px", "y_px"} <= set(bags.instance):
        raise InputError("tiles have no positions: instance columns x_px and y_px.")
    um = bags.bag["um_per_px"].to_numpy(float) if "um_per_px" in bags.bag else np.zeros(0)
    if not len(um) or not np.isfinite(um).all():
        raise InputError(
            "the size of a pixel is not known: the bag column um_per_px, or "
            "sm.read_slides(..., um_per_px=...)."
        )
    view: Any = bags.x.get(tile)
    rows = np.arange(bags.n_instances)
    if hasattr(view, "rows") and hasattr(view, "base"):
        view, rows = view.base, view.rows
    if side_px is not None:
        if not (np.isfinite(side_px) and side_px >= 1):
            raise InputError(f"side_px={side_px!r} must be 1 or more: pixels of the slide.")
        sides = np.full(bags.n_instances, round(side_px))
    elif hasattr(view, "side"):
        sides = view.side[view.of[rows]]
    else:
        raise InputError(
            f"the edge of a tile is not known: view {tile!r} is not cut from pictures. Give "
            "side_px=..., in pixels of the slide."
        )
    xy = bags.instance[["x_px", "y_px"]].to_numpy(float)
    return np.floor(xy - sides[:, None] / 2 + 0.5), sides, um  # as TileView has it


def _pictures(bags: Bags, tile: str) -> dict[str, tuple[int, int]]:
    """Slide -> height and width of its picture, where the tiles are cut from pictures."""
    view: Any = bags.x.get(tile)
    rows = np.asarray(bags.offsets[:-1])
    if hasattr(view, "rows") and hasattr(view, "base"):
        view, rows = view.base, view.rows[rows]
    if not hasattr(view, "images"):
        return {}
    pictures = [view.images[k] for k in view.of[rows]]
    return {str(n): (p.height, p.width) for n, p in zip(bags.bag.index, pictures, strict=True)}


def _inside(
    xy: np.ndarray, corners: np.ndarray, sides: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(m,) tile, (m,) nucleus, and (m, 2) row and column in it, 0 to 1, of each that lies in one.

    A tree of the nuclei answers for all tiles: nothing is done for each tile and each nucleus.
    """
    near = cKDTree(xy).query_ball_point(corners + sides[:, None] / 2, sides / 2 + 1, p=np.inf)
    tile = np.repeat(np.arange(len(near)), [len(n) for n in near])
    nucleus = np.array([i for n in near for i in n], dtype=np.int64)
    share = (xy[nucleus] - corners[tile]) / sides[tile, None]
    inside = ((share >= 0) & (share < 1)).all(axis=1)
    return tile[inside], nucleus[inside], share[inside, ::-1]
