"""Sections put together as bags of tiles."""

from __future__ import annotations

import dataclasses
import re
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from smalti.bags import Bags
from smalti.io.counts import stack_counts
from smalti.io.placing import Placed, place
from smalti.io.sections import Cut, Section
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
    notes = list(notes)
    with Progress(progress, "tiles") as bar:
        bar.start("", len(sections))
        placed = []
        for section in sections:
            placed.append(place(section, cut, notes))
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
        views["counts"], features["counts"], differ = stack_counts(tables, genes, cut.unlisted)
        notes += [differ] if differ else []
    instance = pd.concat([p.obs for p in placed])
    if quality:
        instance[["blur", "pen"]] = tile_quality(view, progress=progress).to_numpy()
    slides = np.array([s.slide for s in sections], dtype=object)
    table = bag_args.pop("bag", None)
    table = pd.DataFrame(index=pd.Index(slides, name="bag")) if table is None else table.copy()
    table = table.assign(**_lengths(placed, cut.pixels, notes))
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


def _lengths(placed: Sequence[Placed], size: int, notes: list[str]) -> dict[str, np.ndarray]:
    """Columns of the slides: how long a pixel and a tile are in µm; NaN where that is not known."""
    um = np.array([np.nan if p.um_per_px is None else p.um_per_px for p in placed])
    wide = um * [p.side for p in placed]
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
        kind = re.sub(r"slide '[^']*'|\(first:[^)]*\)|[\d.,]+", "", note)
        kinds.setdefault(kind, []).append(note)
    return [
        note
        for same in kinds.values()
        for note in (same if len(same) <= _SHOWN else [
            f"{same[0]} So too on {len(same) - 1} other slides."])
    ]  # fmt: skip
