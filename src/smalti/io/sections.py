"""Sections of tissue as readers find them, and how tiles are to be cut from them."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd

from smalti.errors import InputError
from smalti.tiles.image import SlideImage
from smalti.tiles.outline import Marked


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
    tissue
        Where the user marked it; found in the picture else.
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
    tissue: Marked | None = None


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
        if self.tiles not in (None, "spots", "grid", "nuclei"):
            raise InputError(f"tiles={self.tiles!r} is none of 'spots', 'grid', 'nuclei'.")
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
