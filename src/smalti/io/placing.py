"""Where the tiles of a section lie, which of them are kept, and how large its pixels are."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd

from smalti.errors import InputError
from smalti.io.sections import Cut, Section
from smalti.io.sums import members
from smalti.left import Left
from smalti.tiles.grid import grid_centers, nucleus_centers
from smalti.tiles.tissue import tissue_mask, tissue_share
from smalti.tiles.view import TileView

_THUMBNAIL = 2048
_EMPTY = 0.05  # a tile with less tissue is said to hold none
_LATTICE = 1.3  # distances of neighbours on one differ by less, with some jitter; cells' by more
_HD = (2.0, 8.0, 16.0)  # µm of the bins of Visium HD


@dataclasses.dataclass
class Placed:
    """The tiles of one section that are kept; ``xy`` (n, 2) centres, ``counts`` (n, n_genes)."""

    xy: np.ndarray
    obs: pd.DataFrame
    counts: Any
    rows: np.ndarray | None
    side: int
    um_per_px: float | None
    wide: float | None = None  # µm of a tile, where side and um_per_px do not say it


def place(section: Section, cut: Cut, notes: list[str]) -> Placed:
    """Tiles of one section: where they lie, and how much tissue they hold.

    Raises
    ------
    InputError
        If spots have no position or leave the picture, its pixels are not square, or nothing is
        left.
    """
    kind = cut.tiles or section.tiles
    if kind == "spots" and section.xy is None:
        raise InputError(f"slide {section.slide!r} has no spots: ask for tiles='grid' or 'nuclei'.")
    um_per_px = _scale(section, notes)
    side = cut.side(section, um_per_px)
    image = section.image
    if kind == "spots":
        xy, obs = np.asarray(section.xy, dtype=np.float64), section.obs.copy()
        lost = ~np.isfinite(xy).all(1)
        if lost.any():
            raise InputError(f"{int(lost.sum())} spots of slide {section.slide!r} have no position "
                             f"(first: {obs.index[lost][0]!r}): drop them.")  # fmt: skip
    else:
        xy = (grid_centers(image.width, image.height, side, overlap=cut.overlap) if kind == "grid"
              else nucleus_centers(image, um_per_px=um_per_px))  # fmt: skip
        obs = pd.DataFrame(index=pd.Index([f"{x:.0f}x{y:.0f}" for x, y in xy], dtype=object))
    names = obs.index.astype(str)
    if not names.str.startswith(f"{section.slide}_").all():
        obs.index = f"{section.slide}_" + names
    view = TileView([image], np.zeros(len(xy), int), xy, side, cut.pixels)
    thumbnail, scale = image.thumbnail(_THUMBNAIL)
    _tell(section, kind, notes)
    if section.tissue is not None:
        mask = section.tissue.on(thumbnail.shape[:2], scale)
    else:
        mask = tissue_mask(thumbnail, None if um_per_px is None else um_per_px / scale)
    tissue = tissue_share(mask, scale, view.corners, side)
    obs = obs.assign(x_px=xy[:, 0], y_px=xy[:, 1])
    if um_per_px is not None:
        obs = obs.assign(x_um=xy[:, 0] * um_per_px, y_um=xy[:, 1] * um_per_px)
    obs = obs.assign(tissue=tissue)
    keep = _kept(section, cut, kind, obs, view, notes)
    if kind == "grid" and section.unit != "spots" and section.counts is not None:
        obs, keep, counts = _summed(section, view, obs, keep, notes)
        return Placed(xy[keep], obs[keep], counts, None, side, um_per_px)
    counts = section.counts[keep] if section.counts is not None and kind == "spots" else None
    rows = section.rows[keep] if section.rows is not None and kind == "spots" else None
    return Placed(xy[keep], obs[keep], counts, rows, side, um_per_px)


def _tell(section: Section, kind: str, notes: list[str]) -> None:
    """Notes of what the picture says of itself."""
    image, slide = section.image, section.slide
    if image.range.note:
        notes.append(f"slide {slide!r}: {image.range.note}")
    if image.turned and kind == "spots":
        notes.append(
            f"slide {slide!r}: {image.path.name} says that it is to be shown turned or mirrored "
            "(EXIF): spots are taken for pixels as they are stored; where that is wrong, save it "
            "as it is shown."
        )


def _summed(
    section: Section, view: TileView, obs: pd.DataFrame, keep: np.ndarray, notes: list[str]
) -> tuple[pd.DataFrame, np.ndarray, Any]:
    """Tiles with the summed counts of the bins or cells in them; others were not measured."""
    slide, unit = section.slide, section.unit
    points = np.asarray(section.xy)
    inside = members(view.corners, int(view.side[0]), points)
    n = np.diff(inside.indptr)
    obs = obs.assign(**{f"n_{unit}": n})
    none = keep & (n == 0)
    keep = keep & (n > 0)
    if not keep.any():
        raise InputError(f"no tile of slide {slide!r} holds any of its {len(points):,} {unit}: "
                         "are their pixels those of another resolution?")  # fmt: skip
    if none.any():
        notes.append(Left(
            f"slide {slide!r}: {int(none.sum())} of {int((keep | none).sum())} tiles with tissue "
            f"hold none of the {unit} (first: {obs.index[none][0]}) and are left out.",
            instances=int(none.sum()),
        ))  # fmt: skip
    kept = inside[np.flatnonzero(keep)]
    lost = len(points) - len(np.unique(kept.indices))
    if lost:
        notes.append(Left(f"slide {slide!r}: {lost:,} of {len(points):,} {unit} lie in no tile "
                          "that is kept: their counts are left out."))  # fmt: skip
    return obs, keep, kept @ section.counts


def placed_ready(section: Section, cut: Cut, notes: list[str]) -> Placed:
    """Tiles of a section that are cut already; nothing is known of their tissue.

    Raises
    ------
    InputError
        If they are of another width than what is asked for.
    """
    ready, um = section.ready, section.um_per_px
    if ready is None:
        raise InputError(f"slide {section.slide!r} has no ready tiles.")
    obs = section.obs.copy()
    obs.index = f"{section.slide}_" + obs.index.astype(str)
    xy = np.full((len(obs), 2), np.nan) if section.xy is None else np.asarray(section.xy, float)
    if np.isfinite(xy).all():
        obs = obs.assign(x_px=xy[:, 0], y_px=xy[:, 1])
        if um is not None:
            obs = obs.assign(x_um=xy[:, 0] * um, y_um=xy[:, 1] * um)
    wide = None if um is None or ready.wide is None else um * ready.wide
    if cut.tile_um is not None and wide is not None and abs(wide / cut.tile_um - 1) > 0.02:
        raise InputError(
            f"tile_um={cut.tile_um:g}: the tiles of slide {section.slide!r} in {ready.path.name} "
            f"are {wide:.4g} µm wide. Leave it out, or have them cut anew from the pictures."
        )
    wide = wide or cut.tile_um
    if wide is None:
        notes.append(f"slide {section.slide!r}: {ready.path.name} does not say how wide its tiles "
                     "are: give tile_um=... (112 of HEST).")  # fmt: skip
    return Placed(xy, obs, section.counts, section.rows, round(ready.wide or 0), um, wide)


def _kept(
    section: Section, cut: Cut, kind: str, obs: pd.DataFrame, view: TileView, notes: list[str]
) -> np.ndarray:
    """(n,) bool: tiles that lie on the slide and hold enough tissue."""
    slide = section.slide
    keep = _on_picture(section, cut, kind, obs, view, notes)
    on = int(keep.sum())
    least = (0.1 if kind == "grid" else 0.0) if cut.tissue_min is None else cut.tissue_min
    poor = obs["tissue"].to_numpy() < least
    if (poor & keep).any() and kind != "grid":
        notes.append(Left(f"slide {slide!r}: {int((poor & keep).sum())} of {len(obs)} tiles hold "
                          f"less than {least:.0%} tissue and are left out.",
                          instances=int((poor & keep).sum())))  # fmt: skip
    keep &= ~poor
    bare = keep & (obs["tissue"].to_numpy() < _EMPTY)
    if bare.any():
        notes.append(
            f"slide {slide!r}: {int(bare.sum())} of {len(obs)} tiles hold no tissue (first: "
            f"{obs.index[bare][0]}) and are kept; tissue_min={_EMPTY} leaves them out."
        )
    if not keep.any():
        picture = section.image.path.name
        why = (f"none of {on} holds {least:.0%} tissue; lower tissue_min={least}, or look at "
               f"{picture}." if on else
               f"all leave {picture}; are their pixels those of another resolution?")  # fmt: skip
        raise InputError(f"no tile of slide {slide!r} is left of {len(obs)}: {why}")
    return keep


def _on_picture(
    section: Section, cut: Cut, kind: str, obs: pd.DataFrame, view: TileView, notes: list[str]
) -> np.ndarray:
    """(n,) bool: tiles that lie on the picture, or with padding partly so."""
    slide, image, off = section.slide, section.image, view.outside()
    beyond = ~(obs["x_px"].between(0, image.width) & obs["y_px"].between(0, image.height))
    beyond = beyond.to_numpy()  # the spot itself, not only a part of its tile
    doubt = "are their pixels those of another resolution, or x and y swapped?"
    if off.any() and cut.edge == "error" and kind == "spots":
        first = obs[off].iloc[0]
        hint = ("make tiles smaller, or say edge='drop' or edge='pad' (white)." if not beyond.any()
                else f"{int(beyond.sum())} spots themselves lie outside: {doubt} If the picture "
                "shows a part of them only, say edge='drop'.")  # fmt: skip
        raise InputError(
            f"{int(off.sum())} of {len(obs)} tiles leave slide {slide!r} (first: "
            f"{obs.index[off][0]} at ({first['x_px']:.0f}, {first['y_px']:.0f}) px, tiles of "
            f"{int(view.side[0])} px; {image.path.name} is {image.width} x {image.height} px): "
            f"{hint}"
        )
    gone = view.away() if cut.edge == "pad" else off
    if gone.any():
        spots = int((gone & beyond).sum())
        why = f" {spots} spots themselves lie outside: {doubt}" if spots else ""
        notes.append(Left(
            f"slide {slide!r}: {int(gone.sum())} of {len(obs)} tiles leave the picture and are "
            f"left out.{why}", instances=int(gone.sum()),
        ))  # fmt: skip
    return ~gone


def _scale(section: Section, notes: list[str]) -> float | None:
    """µm per pixel of a section; where spots are known, checked against their distance."""
    image = section.image
    um = section.um_per_px or image.um_per_px
    if um is None and image.uneven:
        raise InputError(
            f"{image.path.name} of slide {section.slide!r} says that a pixel has "
            f"{image.uneven[0]:g} x {image.uneven[1]:g} µm: tiles would not be square. Save "
            "it with square pixels, or give um_per_px=... where the file is wrong."
        )
    no_grid = section.xy is None or section.unit == "cells"
    lattice = section.pitch_um is None  # whoever says a pitch says that there is one
    spacing = None if no_grid else spacing_px(np.asarray(section.xy), lattice)
    if spacing is None:
        return um
    if um is None and section.pitch_um is not None:
        um = section.pitch_um / spacing
        notes.append(f"slide {section.slide!r}: {um:.4g} µm per pixel, from spots "
                     f"{section.pitch_um:g} µm apart.")  # fmt: skip
    if um is None:
        return None
    found, pitch = spacing * um, section.pitch_um
    bins = any(abs(found / width - 1) <= 0.2 for width in _HD)
    wrong = (abs(found / pitch - 1) > 0.2) if pitch else not (20 <= found <= 400 or bins)
    if wrong:
        known = (f"{pitch:g} µm" if pitch else "100 µm on Visium, 2, 8 or 16 µm on Visium HD, 200 "
                 "µm on the first arrays")  # fmt: skip
        notes.append(
            f"slide {section.slide!r}: at {um:.4g} µm per pixel its spots are {found:.4g} µm apart,"
            f" expected {known}: is um_per_px= right, and for this resolution of the picture?"
        )
    return um


def spacing_px(xy: np.ndarray, lattice: bool = True) -> float | None:
    """Median distance of a spot to its nearest neighbour, in the units of ``xy`` (n, 2).

    None for fewer than three spots, and where they should lie on a ``lattice`` and do not, as cells
    do not.
    """
    from scipy.spatial import cKDTree

    if len(xy) < 3:
        return None
    nearest = cKDTree(xy).query(xy, k=2)[0][:, 1]
    few, median, most = np.quantile(nearest, [0.1, 0.5, 0.9])
    if lattice and most > _LATTICE * few:
        return None
    return float(median) or None
