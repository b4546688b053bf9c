"""Sections of tissue, each a picture with spots, put together as bags of tiles."""

from __future__ import annotations

import dataclasses
import re
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from smalti.bags import Bags
from smalti.errors import InputError
from smalti.io.counts import stack_counts
from smalti.system.progress import Progress
from smalti.tiles.grid import grid_centers, nucleus_centers
from smalti.tiles.image import SlideImage
from smalti.tiles.tissue import tile_quality, tissue_mask, tissue_share
from smalti.tiles.view import TileView

_THUMBNAIL = 2048
_EMPTY = 0.05  # a tile with less tissue is said to hold none
_SHOWN = 3  # slides with the same finding that are named


@dataclasses.dataclass
class Section:
    """One slide as a reader found it.

    Attributes
    ----------
    slide
        Its name.
    image
        Its picture.
    xy
        (n, 2) centres of the spots in pixels of the picture; None: none are known.
    obs
        (n) columns of the spots, by spot name.
    counts, genes
        (n, n_genes) counts and the names of the genes; None where there is no expression.
    um_per_px
        µm per pixel, where the source or the user says so.
    pitch_um
        Distance of neighbouring spots in µm, where the technology is known.
    rows
        (n,) positions in the user's table, where there is one table of all slides.
    """

    slide: str
    image: SlideImage
    xy: np.ndarray | None = None
    obs: pd.DataFrame = dataclasses.field(default_factory=pd.DataFrame)
    counts: Any = None
    genes: tuple[str, ...] | None = None
    um_per_px: float | None = None
    pitch_um: float | None = None
    rows: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Cut:
    """How tiles are cut; the arguments of ``read_slides`` of the same names."""

    tiles: str | None = None
    tile_um: float | None = None
    tile_px: float | None = None
    size: int | None = None
    overlap: float = 0.0
    tissue_min: float | None = None
    edge: str = "error"

    def __post_init__(self) -> None:
        if self.tile_um is not None and self.tile_px is not None:
            raise InputError("give tile_um (µm) or tile_px (pixels of the slide), not both.")
        if self.tiles not in (None, "spots", "grid", "nuclei"):
            raise InputError(f"tiles={self.tiles!r} is none of 'spots', 'grid', 'nuclei'.")
        for name in ("tile_um", "tile_px", "size"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(f"{name}={value} must be over 0.")
        if self.edge not in ("error", "drop", "pad"):
            raise InputError(f"edge={self.edge!r} is none of 'error', 'drop', 'pad'.")

    def side(self, section: Section, um_per_px: float | None) -> int:
        """Edge of a tile in pixels of the slide.

        Raises
        ------
        InputError
            If the tile is asked for in µm, and the slide does not say how many a pixel has.
        """
        if self.tile_px is not None:
            return round(self.tile_px)
        if um_per_px is None:
            raise InputError(
                f"µm per pixel of slide {section.slide!r} ({section.image.path.name}) is not "
                "known: give um_per_px=..., or the size of tiles in pixels, tile_px=..."
            )
        return max(1, round((112.0 if self.tile_um is None else self.tile_um) / um_per_px))

    @property
    def pixels(self) -> int:
        """Edge of a tile as it is read."""
        if self.size is not None:
            return self.size
        return 224 if self.tile_px is None else round(self.tile_px)


def assemble(
    sections: Sequence[Section],
    cut: Cut,
    *,
    quality: bool,
    progress: bool | None,
    notes: Sequence[str] = (),
    **bag_args: Any,
) -> Bags:
    """Bags of tiles: one bag per section.

    ``bag_args`` go to :meth:`Bags.from_rows`; so does the column "um_per_px".
    """
    notes = list(notes)
    with Progress(progress, "tiles") as bar:
        bar.start("", len(sections))
        placed = []
        for section in sections:
            placed.append(_place(section, cut, notes))
            bar.advance()
    lengths = [len(p.obs) for p in placed]
    of = np.repeat(np.arange(len(placed)), lengths)
    view = TileView(
        [s.image for s in sections], of, np.concatenate([p.xy for p in placed]),
        np.array([p.side for p in placed]), cut.pixels, pad=cut.edge == "pad",
    )  # fmt: skip
    views: dict[str, Any] = {"tile": view}
    features = {}
    if all(p.counts is not None for p in placed):
        tables, genes = [p.counts for p in placed], [s.genes or () for s in sections]
        views["counts"], features["counts"], differ = stack_counts(tables, genes)
        notes += [differ] if differ else []
    instance = pd.concat([p.obs for p in placed])
    if quality:
        instance[["blur", "pen"]] = tile_quality(view, progress=progress).to_numpy()
    slides = np.array([s.slide for s in sections], dtype=object)
    table = bag_args.pop("bag", None)
    table = pd.DataFrame(index=pd.Index(slides, name="bag")) if table is None else table.copy()
    table["um_per_px"] = [np.nan if p.um_per_px is None else p.um_per_px for p in placed]
    notes = _fewer(notes)
    for note in notes:
        warnings.warn(note, UserWarning, stacklevel=3)
    bags = Bags.from_rows(
        views, slides[of], instance=instance, bag=table, features=features, notes=notes, **bag_args
    )
    if all(p.rows is not None for p in placed):
        rows = np.concatenate([p.rows for p in placed if p.rows is not None])
        bags = dataclasses.replace(bags, rows=rows)
    return bags


def _fewer(notes: Sequence[str]) -> list[str]:
    """One note for a finding that many slides share, not one each."""
    kinds: dict[str, list[str]] = {}
    for note in notes:
        kind = re.sub(r"slide '[^']*'|\(first:[^)]*\)|[\d.,]+", "", note)
        kinds.setdefault(kind, []).append(note)
    return [
        note
        for same in kinds.values()
        for note in (same if len(same) <= _SHOWN else [
            f"{same[0]} So too on {len(same) - 1} other slides."])
    ]  # fmt: skip


@dataclasses.dataclass
class _Placed:
    """The tiles of one section that are kept."""

    xy: np.ndarray
    obs: pd.DataFrame
    counts: Any
    rows: np.ndarray | None
    side: int
    um_per_px: float | None


def _place(section: Section, cut: Cut, notes: list[str]) -> _Placed:
    """Tiles of one section: where they lie, and how much tissue they hold."""
    kind = cut.tiles or ("grid" if section.xy is None else "spots")
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
    tissue = tissue_share(tissue_mask(thumbnail), scale, view.corners, side)
    obs = obs.assign(x_px=xy[:, 0], y_px=xy[:, 1])
    if um_per_px is not None:
        obs = obs.assign(x_um=xy[:, 0] * um_per_px, y_um=xy[:, 1] * um_per_px)
    obs = obs.assign(tissue=tissue)
    keep = _kept(section, cut, kind, obs, view, notes)
    counts = section.counts[keep] if section.counts is not None and kind == "spots" else None
    rows = section.rows[keep] if section.rows is not None and kind == "spots" else None
    return _Placed(xy[keep], obs[keep], counts, rows, side, um_per_px)


def _kept(
    section: Section, cut: Cut, kind: str, obs: pd.DataFrame, view: TileView, notes: list[str]
) -> np.ndarray:
    """(n,) bool: tiles that lie on the slide and hold enough tissue."""
    slide, image, side = section.slide, section.image, int(view.side[0])
    keep = np.ones(len(obs), dtype=bool)
    off = view.outside()
    if off.any() and cut.edge == "error" and kind == "spots":
        first = obs[off].iloc[0]
        inside = obs["x_px"].between(0, image.width) & obs["y_px"].between(0, image.height)
        hint = ("make tiles smaller, or say edge='drop' or edge='pad' (white)"
                if inside.mean() > 0.5 else "most spots themselves lie outside: are their pixels "
                "those of another resolution, or x and y swapped?")  # fmt: skip
        raise InputError(
            f"{int(off.sum())} of {len(obs)} tiles leave slide {slide!r} (first: "
            f"{obs.index[off][0]} at x={first['x_px']:.0f}, y={first['y_px']:.0f} px, tiles of "
            f"{side} px; {image.path.name} is {image.width} x {image.height} px): {hint}."
        )
    if off.any() and cut.edge != "pad":
        keep &= ~off
        notes.append(f"slide {slide!r}: {int(off.sum())} of {len(obs)} tiles leave the picture and "
                     "are left out.")  # fmt: skip
    least = (0.1 if kind == "grid" else 0.0) if cut.tissue_min is None else cut.tissue_min
    poor = obs["tissue"].to_numpy() < least
    if (poor & keep).any() and kind != "grid":
        notes.append(f"slide {slide!r}: {int((poor & keep).sum())} of {len(obs)} tiles hold less "
                     f"than {least:.0%} tissue and are left out.")  # fmt: skip
    keep &= ~poor
    bare = keep & (obs["tissue"].to_numpy() < _EMPTY)
    if bare.any():
        notes.append(
            f"slide {slide!r}: {int(bare.sum())} of {len(obs)} tiles hold no tissue (first: "
            f"{obs.index[bare][0]}) and are kept; tissue_min={_EMPTY} leaves them out."
        )
    if not keep.any():
        raise InputError(
            f"no tile of slide {slide!r} is left of {len(obs)}: lower tissue_min={least}, or look "
            f"at {image.path.name}."
        )
    return keep


def _scale(section: Section, notes: list[str]) -> float | None:
    """µm per pixel of a section; where spots are known, checked against their distance."""
    um = section.um_per_px or section.image.um_per_px
    spacing = None if section.xy is None else spacing_px(section.xy)
    if spacing is None:
        return um
    if um is None and section.pitch_um is not None:
        um = section.pitch_um / spacing
        notes.append(f"slide {section.slide!r}: {um:.4g} µm per pixel, from spots "
                     f"{section.pitch_um:g} µm apart.")  # fmt: skip
    if um is None:
        return None
    found, pitch = spacing * um, section.pitch_um
    wrong = (abs(found / pitch - 1) > 0.2) if pitch else not 20 <= found <= 400
    if wrong:
        known = f"{pitch:g} µm" if pitch else "100 µm on Visium, 200 µm on the first arrays"
        notes.append(
            f"slide {section.slide!r}: at {um:.4g} µm per pixel its spots are {found:.4g} µm apart,"
            f" expected {known}: is um_per_px right, and for this resolution of the picture?"
        )
    return um


def spacing_px(xy: np.ndarray) -> float | None:
    """Median distance of a spot to its nearest neighbour, in the units of ``xy`` (n, 2).

    None for fewer than three spots.
    """
    from scipy.spatial import cKDTree

    if len(xy) < 3:
        return None
    return float(np.median(cKDTree(xy).query(xy, k=2)[0][:, 1])) or None
