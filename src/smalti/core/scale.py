"""How long tiles and their pixels are: what a model was fitted on, and slides cut to match it."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from smalti.bags import Bags
from smalti.errors import InputError
from smalti.tiles.view import TileView

_SAME = 1.2  # lengths that differ by a fifth at most are the same
_CUT = "cut_as"  # column of slides whose tiles were cut to match a model's
_NAMES = ("tile_um", "tile_um_per_px", "um_per_px")


@dataclasses.dataclass(frozen=True)
class TileScale:
    """Lengths in µm, each the least and the most of all slides.

    Attributes
    ----------
    tile_um
        The width of a tile.
    tile_um_per_px
        A pixel of the tile as it is read.
    um_per_px
        A pixel of the picture that the tile is cut from: where it is the longer one, the tile was
        enlarged and shows no finer detail.
    """

    tile_um: tuple[float, float]
    tile_um_per_px: tuple[float, float]
    um_per_px: tuple[float, float]

    @classmethod
    def of(cls, bags: Bags) -> Self | None:
        """By the columns of the bags; None where one is missing, or a slide has no number there."""
        if not set(_NAMES) <= set(bags.bag.columns):
            return None
        table = bags.bag[list(_NAMES)].to_numpy(np.float64)
        if not (np.isfinite(table) & (table > 0)).all():
            return None
        return cls(*((float(low), float(high)) for low, high in zip(
            table.min(0), table.max(0), strict=True)))  # fmt: skip

    @classmethod
    def of_note(cls, note: Mapping[str, Any] | None) -> Self | None:
        """As a model file holds it; older files do not."""
        return None if note is None else cls(**{k: (v[0], v[1]) for k, v in note.items()})

    @property
    def detail(self) -> tuple[float, float]:
        """The finest that a tile can show, µm."""
        low, high = (max(pair) for pair in zip(self.tile_um_per_px, self.um_per_px, strict=True))
        return low, high

    @property
    def size(self) -> int:
        """Pixels of a tile's edge as it is read."""
        return round(self.tile_um[0] / self.tile_um_per_px[0])

    def holds(self, other: TileScale) -> bool:
        """Whether another's tiles are of these lengths."""
        pairs = ((getattr(self, k), getattr(other, k)) for k in (*_NAMES[:2], "detail"))
        return all(own[0] <= _SAME * new[0] and new[1] <= _SAME * own[1] for own, new in pairs)

    def __str__(self) -> str:
        return (
            f"tiles of {_span(self.tile_um)} µm at {_span(self.tile_um_per_px)} µm per pixel, from "
            f"pictures of {_span(self.um_per_px)} µm per pixel"
        )


def at_scale(
    bags: Bags, known: TileScale | None, who: str, read: Mapping[str, Any] | None = None
) -> Bags:
    """Slides whose tiles are as long as those that a model was fitted on, in each pixel too.

    Parameters
    ----------
    bags
        Slides.
    known
        What the model was fitted on; None: that is not known.
    who
        What notes call the model.
    read
        The views that the model reads; None: those of tiles are what matters.

    Returns
    -------
    Bags
        The same where lengths agree or are not known; else with tiles that are cut anew.

    Raises
    ------
    InputError
        If lengths differ and the tiles cannot be cut anew: they are files, or features of tiles.

    Warns
    -----
    UserWarning
        Tiles that are cut anew; lengths that are known on one side only.
    """
    found = TileScale.of(bags)
    if known is None or found is None:
        _one_sided(known, found, who)
        return bags
    names = list(bags.x) if read is None or len(bags.x) == 1 else [n for n in read if n in bags.x]
    tiles = [n for n in names if len(bags.x[n].shape) == 4]
    # beside tiles that are cut anew, features of the old ones may not stay
    features = [n for n in names if n not in tiles and (read is not None or n.startswith("X_"))]
    if _CUT in bags.bag and (bags.bag[_CUT] == str(known)).all():
        return bags
    if known.holds(found) and all(bags.x[n].shape[-1] == known.size for n in tiles):
        return bags
    cut = {n: _cut(bags, bags.x[n], known) for n in tiles if not features}
    views = {n: view for n, view in cut.items() if view is not None}
    if not cut or len(views) < len(cut):
        mend = (
            "Cut their tiles as those were before features are extracted: bags = model.recut(bags)."
            if features or not tiles else
            "Cut them anew from their pictures, which sm.read_slides does."
        )  # fmt: skip
        raise InputError(f"{who} was fitted on {known}; these are {found}. {mend}")
    return _replaced(bags, views, known, who, found)


def _one_sided(known: TileScale | None, found: TileScale | None, who: str) -> None:
    if known is not None:
        _warn(f"{who} was fitted on {known}; how long these tiles are is not known (um_per_px=...):"
              " at another scale its predictions mean nothing.")  # fmt: skip
    elif found is not None:
        _warn(f"these are {found}; on which {who} was fitted is not known: at another scale its "
              "predictions mean nothing.")  # fmt: skip


def _cut(bags: Bags, view: Any, known: TileScale) -> TileView | None:
    """The same places, cut as wide as the model's tiles; None where there is no picture."""
    rows = np.arange(bags.n_instances)
    if hasattr(view, "rows") and hasattr(view, "base"):  # some rows of a view
        view, rows = view.base, view.rows
    if not isinstance(view, TileView):
        return None
    of, wide = view.of[rows], _middle(known.tile_um)
    um = np.full(len(view.images), np.nan)
    um[of] = bags.bag["um_per_px"].to_numpy(np.float64)[bags.index]
    side = np.where(np.isnan(um), view.side, np.maximum(np.rint(wide / um), 1))
    through = round(wide / _middle(known.detail))
    return TileView(
        view.images, of, view.centers[rows], side, known.size, pad=True,
        through=through if through < known.size else None, recolour=view.recolour,
    )  # fmt: skip


def _replaced(
    bags: Bags, views: Mapping[str, TileView], known: TileScale, who: str, found: TileScale
) -> Bags:
    """The bags with these tiles, and what the user must know of them."""
    um = bags.bag["um_per_px"].to_numpy(np.float64)
    wide = um * np.maximum(np.rint(_middle(known.tile_um) / um), 1)
    note = f"{who} was fitted on {known}; these are {found}, and are cut anew to match."
    if found.um_per_px[1] > _SAME * known.detail[1]:
        note += " Their pictures are coarser: detail that the model may read is not there."
    off = sum(int(view.outside().sum()) for view in views.values())
    if off:
        note += f" {off:,} tiles leave their picture now and are white there."
    _warn(note)
    return dataclasses.replace(
        bags, x={**bags.x, **views}, notes=(*bags.notes, note),
        bag=bags.bag.assign(tile_um=wide, tile_um_per_px=wide / known.size, **{_CUT: str(known)}),
    )  # fmt: skip


def _middle(span: tuple[float, float]) -> float:
    return math.sqrt(span[0] * span[1])


def _span(span: tuple[float, float]) -> str:
    low, high = (f"{value:.3g}" for value in span)
    return low if low == high else f"{low} to {high}"


def _warn(note: str) -> None:
    warnings.warn(note, UserWarning, stacklevel=4)
