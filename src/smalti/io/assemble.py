"""Sections put together as bags of tiles."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from smalti.bags import Bags
from smalti.errors import InputError
from smalti.io.counts import stack_counts
from smalti.io.patches import PatchView
from smalti.io.placing import Placed, place, placed_ready
from smalti.io.sections import Cut, Section
from smalti.left import Left, kind_of, summed
from smalti.system.progress import Progress
from smalti.tiles.tissue import tile_quality
from smalti.tiles.view import TileView

_SHOWN = 3  # slides with the same finding that are named


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

    ``bag_args`` go to :meth:`Bags.from_rows`; so do the columns of a pixel's length.
    """
    by_spot = all(s.ready is not None or (cut.tiles or s.tiles) == "spots" for s in sections)
    notes = [n.of_no_instance() if isinstance(n, Left) and not by_spot else n for n in notes]
    with Progress(progress, "tiles") as bar:
        bar.start("", len(sections))
        placed = []
        for section in sections:
            ready = section.ready is not None
            placed.append((placed_ready if ready else place)(section, cut, notes))
            bar.advance()
    lengths = [len(p.obs) for p in placed]
    of = np.repeat(np.arange(len(placed)), lengths)
    view = _view(sections, placed, of, cut)
    views: dict[str, Any] = {"tile": view}
    features = {}
    if all(p.counts is not None for p in placed):
        tables, genes = [p.counts for p in placed], [s.genes or () for s in sections]
        views["counts"], features["counts"], differ = stack_counts(tables, genes, cut.unlisted)
        notes += [differ] if differ else []
    instance = pd.concat([p.obs for p in placed])
    if quality:
        instance[["blur", "pen"]] = tile_quality(view, progress=progress).to_numpy()
    slides = np.array([s.slide for s in sections], dtype=object)
    table = bag_args.pop("bag", None)
    table = pd.DataFrame(index=pd.Index(slides, name="bag")) if table is None else table.copy()
    table = table.assign(**_said(sections), **_lengths(placed, view.size, notes))
    notes = _fewer(notes)
    for note in notes:
        if not (isinstance(note, Left) and note.asked):
            warnings.warn(note, UserWarning, stacklevel=3)
    bags = Bags.from_rows(
        views, slides[of], instance=instance, bag=table, features=features, notes=notes, **bag_args
    )
    if all(p.rows is not None for p in placed):
        rows = np.concatenate([p.rows for p in placed if p.rows is not None])
        bags = dataclasses.replace(bags, rows=rows)
    return bags


def _view(
    sections: Sequence[Section], placed: Sequence[Placed], of: np.ndarray, cut: Cut
) -> TileView | PatchView:
    """The tiles: cut from pictures, or ready.

    ``of`` (n_tiles,) is the section of each.
    """
    ready = [s.ready for s in sections if s.ready is not None]
    if ready and len(ready) < len(sections):
        other = next(s.slide for s in sections if s.ready is None)
        raise InputError(
            f"slide {other!r} has a picture, others have ready tiles alone: read those together "
            "that have the same, only=[...], or tiles='ready'."
        )
    if ready:
        return PatchView(ready, cut.size or ready[0].edge)
    return TileView(
        [s.image for s in sections], of, np.concatenate([p.xy for p in placed]),
        np.array([p.side for p in placed]), cut.pixels, pad=cut.edge == "pad",
    )  # fmt: skip


def _said(sections: Sequence[Section]) -> dict[str, list[Any]]:
    """Columns of the slides that their files have."""
    names = dict.fromkeys(name for s in sections for name in s.about)
    return {name: [s.about.get(name) for s in sections] for name in names}


def _lengths(placed: Sequence[Placed], size: int, notes: list[str]) -> dict[str, np.ndarray]:
    """Columns of the slides: how long a pixel and a tile are in µm; NaN where that is not known."""
    um = np.array([np.nan if p.um_per_px is None else p.um_per_px for p in placed])
    wide = np.array([u * p.side if p.wide is None else p.wide
                     for u, p in zip(um, placed, strict=True)], dtype=float)  # fmt: skip
    wide[wide == 0] = np.nan  # ready tiles of unknown width
    known = wide[np.isfinite(wide)]
    if len(known) and known.max() > 1.2 * known.min():
        notes.append(
            f"tiles are {known.min():.4g} to {known.max():.4g} µm wide, as slides differ in µm per "
            "pixel: tile_um=... cuts them alike."
        )
    return {"um_per_px": um, "tile_um": wide, "tile_um_per_px": wide / size}


def _fewer(notes: Sequence[str]) -> list[str]:
    """One note for a finding that many slides share, not one each."""
    kinds: dict[str, list[str]] = {}
    for note in notes:
        kinds.setdefault(kind_of(note), []).append(note)
    return [
        note
        for same in kinds.values()
        for note in (same if len(same) <= _SHOWN else [
            summed(same, f"{same[0]} So too on {len(same) - 1} other slides.")])
    ]  # fmt: skip
