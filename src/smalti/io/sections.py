"""Sections of tissue as readers find them, and what is asked of readers and of tiles."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from smalti.errors import InputError
from smalti.io.patches import Patches
from smalti.left import Left
from smalti.names import some
from smalti.tiles.outline import Marked

PITCH = 100.0  # µm between the centres of neighbouring Visium spots


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
        µm per pixel of the picture, where the source or the user says so.
    pitch_um
        Distance of neighbouring spots in µm, where the technology is known.
    rows
        (n,) positions in the user's table, where there is one table of all slides.
    unit
        What the spots are: "spots" that lie apart; "bins" or "cells" that fill the tissue, so that
        a tile may have the sum of those in it.
    ready
        Tiles that are cut already, in place of a picture.
    about
        Columns of the slide that its files have.
    tissue
        Where the user marked it; found in the picture else.
    """

    slide: str
    image: Any  # SlideImage; None where tiles are ready
    xy: np.ndarray | None = None
    obs: pd.DataFrame = dataclasses.field(default_factory=pd.DataFrame)
    counts: Any = None
    genes: tuple[str, ...] | None = None
    um_per_px: float | None = None
    pitch_um: float | None = None
    rows: np.ndarray | None = None
    unit: str = "spots"
    ready: Patches | None = None
    about: dict[str, Any] = dataclasses.field(default_factory=dict)
    tissue: Marked | None = None

    @property
    def tiles(self) -> str:
        """Where tiles lie if nobody says it: bins are too small for a tile each."""
        return "grid" if self.xy is None or self.unit == "bins" else "spots"


@dataclasses.dataclass(frozen=True)
class Ask:
    """What is asked of a reader of sections; the arguments of ``read_slides`` of the same names.

    ``listed`` are the slides of ``table``, with what errors call it; ``ready`` asks for tiles that
    are cut already.
    """

    images: Any = None
    slide: str | None = None
    counts: str | None = "X"
    xy: str | Sequence[str] | None = None
    um_per_px: float | str | Mapping[str, float] | None = None
    pitch_um: float | None = None
    bins: float | str | None = None
    only: Sequence[str] | None = None
    ready: bool = False
    platform: str | None = None
    tissue: Any = None
    listed: tuple[str, Sequence[str]] | None = None

    def um_of(self, slide: str) -> float | None:
        """µm per pixel of one slide, as the user gave it.

        Raises
        ------
        InputError
            If it is not positive, or names a column.
        """
        said = self.um_per_px
        if isinstance(said, str):
            raise InputError(f"um_per_px={said!r}: these slides have no columns; give a number.")
        return checked_um(said.get(slide) if isinstance(said, Mapping) else said, slide)

    def wanted(self, slides: Sequence[str], notes: list[str]) -> list[str]:
        """Those of the slides that are asked for, in their own order.

        Raises
        ------
        InputError
            If one that is asked for is not there.
        """
        kept, there = list(slides), set(slides)
        if self.only is not None:
            only = [self.only] if isinstance(self.only, str) else list(map(str, self.only))
            absent = [s for s in only if s not in kept]
            if absent or not only:
                raise InputError(
                    f"only={only}: {f'no slide {absent[0]!r}' if absent else 'names no slide'}; "
                    f"there are {some(kept)}."
                )
            kept = [s for s in kept if s in only]
            if len(kept) < len(slides):
                less = len(slides) - len(kept)
                notes.append(Left(f"{less} of {len(slides)} slides are left out by only=.",
                                  instances=None, bags=less, donors=None, asked=True))  # fmt: skip
        if self.listed is not None:
            name, listed = self.listed
            absent = [s for s in listed if s not in there and (self.only is None or s in only)]
            if absent:
                raise InputError(f"{len(absent)} slides of {name} have no image: {some(absent)}; "
                                 f"there are images of {some(sorted(there))}.")  # fmt: skip
            extra = [s for s in kept if s not in listed]
            if extra:
                notes.append(Left(f"{len(extra)} slides are not in {name} and are left out: "
                                  f"{some(extra)}.", instances=None, bags=len(extra),
                                  donors=None))  # fmt: skip
            kept = [s for s in kept if s in listed]
        return kept


def checked_um(value: float | None, slide: str) -> float | None:
    """µm per pixel of one slide.

    Raises
    ------
    InputError
        If it is not positive.
    """
    if value is not None and not (np.isfinite(value) and value > 0):
        raise InputError(f"um_per_px={value} of slide {slide!r} must be a positive number.")
    return None if value is None else float(value)


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
    unlisted: str = "drop"

    def __post_init__(self) -> None:
        if self.tile_um is not None and self.tile_px is not None:
            raise InputError("give tile_um= (µm) or tile_px= (pixels of the slide), not both.")
        if self.tiles not in (None, "spots", "grid", "nuclei", "ready"):
            raise InputError(f"tiles={self.tiles!r} is none of 'spots', 'grid', 'nuclei', 'ready'.")
        for name in ("tile_um", "tile_px", "size"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(f"{name}={value} must be over 0.")
        if self.edge not in ("error", "drop", "pad"):
            raise InputError(f"edge={self.edge!r} is none of 'error', 'drop', 'pad'.")
        if self.unlisted not in ("error", "drop", "zero"):
            raise InputError(f"unlisted={self.unlisted!r} is none of 'error', 'drop', 'zero'.")

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
            # who asks for µm, as a heat map of a fitted model does, has no use for the other way
            other = "" if self.tile_um else ", or the size of tiles in pixels, tile_px=..."
            raise InputError(
                f"µm per pixel of slide {section.slide!r} ({section.image.path.name}) is not "
                f"known: give um_per_px=...{other or '.'}"
            )
        return max(1, round((112.0 if self.tile_um is None else self.tile_um) / um_per_px))

    @property
    def pixels(self) -> int:
        """Edge of a tile as it is read."""
        if self.size is not None:
            return self.size
        return 224 if self.tile_px is None else round(self.tile_px)
