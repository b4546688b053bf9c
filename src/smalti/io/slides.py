"""Slides as bags of tiles, with or without expression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from smalti.bags import Bags
from smalti.io.sections import Cut, assemble
from smalti.io.spots import anndata_sections
from smalti.io.tables import open_table


def read_slides(
    source: Any,
    *,
    images: Any = None,
    slide: str | None = None,
    donor: Any = None,
    label: str | Sequence[str] | None = None,
    kind: str | None = None,
    counts: str | None = "X",
    xy: str | Sequence[str] | None = None,
    um_per_px: float | str | Mapping[str, float] | None = None,
    pitch_um: float | None = None,
    tiles: str | None = None,
    tile_um: float | None = None,
    tile_px: float | None = None,
    size: int | None = None,
    overlap: float = 0.0,
    tissue_min: float | None = None,
    edge: str = "error",
    quality: bool = False,
    progress: bool | None = None,
) -> Bags:
    """Read slides as bags and tiles as instances."""
    cut = Cut(tiles, tile_um, tile_px, size, overlap, tissue_min, edge)
    notes: list[str] = []
    sections = anndata_sections(
        open_table(source), images=images, slide=slide, counts=counts, xy=xy,
        um_per_px=um_per_px, pitch_um=pitch_um, notes=notes,
    )  # fmt: skip
    return assemble(sections, cut, quality=quality, progress=progress, notes=notes,
                    donor=donor, target=label, kind=kind)  # fmt: skip
