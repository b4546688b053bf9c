"""``Heatmap``: numbers of tiles over the slide that they lie on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from smalti.bags import Bags
from smalti.errors import InputError
from smalti.names import meant
from smalti.tiles.image import SlideImage, resize
from smalti.tiles.view import TileView

SCALES = ("absolute", "percentile")


@dataclasses.dataclass(frozen=True, eq=False)
class Heatmap:
    """One or more numbers for each tile of a slide, and where the tile lies.

    Attributes
    ----------
    name
        Of the slide.
    values
        A row per tile, a column per number: attention, contribution_CLASS, ...
    xy
        (n_tiles, 2) centres, pixels of the full slide.
    side
        Edge of a tile in those pixels, as it is drawn.
    picture
        The slide; None where it is not at hand.
    um_per_px
        µm per pixel of the full slide; None: not known.
    words
        Of a signed column what a value below 0 means, and one above.
    notes
        What is to be known of it: the prediction.
    cut
        Edge of a tile as it was cut, where it is drawn smaller (see :meth:`spots`).

    Raises
    ------
    InputError
        If there is no tile or no number, or a place or the edge is not known.
    """

    name: str
    values: pd.DataFrame
    xy: np.ndarray
    side: float
    picture: SlideImage | None = None
    um_per_px: float | None = None
    words: Mapping[str, tuple[str, str]] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()
    cut: float | None = None

    def __post_init__(self) -> None:
        if not self.values.size or self.xy.shape != (len(self.values), 2):
            raise InputError(f"slide {self.name!r}: {self.values.shape} numbers for tiles at "
                             f"{self.xy.shape[:1]} places.")  # fmt: skip
        if not np.isfinite(self.xy).all() or not 0 < self.side < np.inf:
            raise InputError(
                f"where the tiles of slide {self.name!r} lie is not known in pixels: read its "
                "features with its picture, sm.read_features(..., slides=...)."
            )

    def __len__(self) -> int:
        return len(self.values)

    @property
    def columns(self) -> list[str]:
        """Names of the numbers."""
        return list(map(str, self.values.columns))

    @property
    def extent(self) -> tuple[int, int]:
        """Width and height of the slide in pixels; without a picture, what the tiles span."""
        if self.picture is not None:
            return self.picture.width, self.picture.height
        right, bottom = np.ceil(self.xy.max(0) + self.side / 2).astype(int)
        return int(right), int(bottom)

    @property
    def reads(self) -> list[Path]:
        """Files that it is drawn from, which no output may replace."""
        return [] if self.picture is None else [self.picture.path]

    def column(self, name: str | None = None) -> np.ndarray:
        """(n_tiles,) numbers of a column; of the first where none is named.

        Raises
        ------
        InputError
            If there is no such column.
        """
        if name is None:
            name = self.columns[0]
        if name not in self.values:
            raise InputError(f"no column {name!r}; there are {', '.join(self.columns)}."
                             f"{meant(name, self.columns)}")  # fmt: skip
        return self.values[name].to_numpy(float)

    def only(self, columns: Sequence[str]) -> Heatmap:
        """The same with some of its columns."""
        for name in columns:
            self.column(name)
        return dataclasses.replace(self, values=self.values[list(columns)])

    def spots(self, um: float) -> Heatmap:
        """The same with smaller squares: tiles around cells overlap, and cells do not.

        Parameters
        ----------
        um
            Edge of a square in µm, such as the width of a cell.

        Raises
        ------
        InputError
            If it is not over 0, or µm per pixel are not known.
        """
        if self.um_per_px is None or not um > 0:
            why = "µm per pixel are not known" if self.um_per_px is None else "expected over 0"
            raise InputError(f"slide {self.name!r}: squares of {um} µm: {why}.")
        cut = self.side if self.cut is None else self.cut
        return dataclasses.replace(self, side=um / self.um_per_px, cut=cut)

    def signed(self, column: str) -> bool:
        """Whether 0 is the middle of its colours."""
        return column in self.words or bool(np.nanmin(self.column(column)) < 0)

    def said(self, column: str) -> tuple[str, str]:
        """What the two ends of its colours mean."""
        if column in self.words:
            return self.words[column]
        return ("below 0", "above 0") if self.signed(column) else ("least", "most")

    def scaled(self, column: str, scale: str = "absolute") -> np.ndarray:
        """(n_tiles,) place of each number on the colours, 0 to 1, or -1 to 1 of a signed column.

        Parameters
        ----------
        column
            Its name.
        scale
            "absolute": as a share of the largest; "percentile": by rank among the tiles, of a
            signed column by the rank of its size, so that 0 stays in the middle.

        Raises
        ------
        InputError
            If there is no such column or scale.
        """
        if scale not in SCALES:
            raise InputError(f"scale={scale!r} is neither 'absolute' nor 'percentile'.")
        values = self.column(column)
        size = np.abs(values) if self.signed(column) else values
        if scale == "percentile":
            share = pd.Series(size).rank(pct=True).to_numpy()
            share = np.where(size == 0, 0.0, share)
        else:
            most = np.nanmax(size)
            share = size / most if most > 0 else np.zeros(len(size))
        return share * np.sign(values) if self.signed(column) else share

    def raster(self, values: np.ndarray, step: float) -> np.ndarray:
        """The numbers as a picture whose pixels are ``step`` pixels of the slide.

        Parameters
        ----------
        values
            (n_tiles,) numbers.
        step
            How many pixels of the slide one is.

        Returns
        -------
        np.ndarray
            (height, width) float64: the mean of the tiles that cover a pixel, NaN where none does.
        """
        wide, high = (max(1, int(np.ceil(length / step - 1e-9))) for length in self.extent)
        total, count = np.zeros((high, wide)), np.zeros((high, wide))
        edges = np.stack([self.xy - self.side / 2, self.xy + self.side / 2]) / step
        (left, top), (right, bottom) = np.rint(np.clip(edges, 0, (wide, high))).astype(int) \
            .transpose(0, 2, 1)  # fmt: skip
        for x0, x1, y0, y1, value in zip(left, right, top, bottom, values, strict=True):
            total[y0:y1, x0:x1] += value
            count[y0:y1, x0:x1] += 1
        return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)

    def extremes(self, column: str, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Positions of the tiles that stand out at either end, the farthest first.

        Parameters
        ----------
        column
            Its name.
        n
            Tiles at each end, at most.

        Returns
        -------
        tuple
            (k,) of the largest numbers and (k,) of the smallest; of a signed column only those
            above 0, and below it, which may be none.
        """
        values = self.column(column)
        order = np.argsort(-values, kind="stable")
        n = min(n, len(order) // 2 or 1)
        top, bottom = order[:n], order[::-1][:n]
        if self.signed(column):
            return top[values[top] > 0], bottom[values[bottom] < 0]
        return top, bottom

    def tile(self, i: int, size: int) -> np.ndarray:
        """A tile of the picture, (size, size, 3) uint8.

        Raises
        ------
        InputError
            If the picture is not at hand.
        """
        if self.picture is None:
            raise InputError(f"the picture of slide {self.name!r} is not at hand: give slides=...")
        side = max(1, round(self.cut or self.side))
        x, y = np.floor(self.xy[i] - side / 2 + 0.5).astype(int)
        return resize(self.picture.region(int(x), int(y), side, side, pad=True), (size, size))


def place_values(
    bags: Bags, rows: np.ndarray, values: pd.DataFrame, name: str, **more: Any
) -> Heatmap:
    """Numbers of some tiles of bags as a heat map.

    Parameters
    ----------
    bags
        Bags of tiles with places: of :func:`smalti.read_slides` or :func:`smalti.read_features`.
    rows
        (n,) their positions, all on one slide.
    values
        (n, k) numbers.
    name
        Of the slide.
    **more
        ``words`` and ``notes``, as in :class:`Heatmap`.

    Raises
    ------
    InputError
        If tiles have no places in pixels, or how long they are is not known.
    """
    own = bags.instance.iloc[rows]
    if not {"x_px", "y_px"} <= set(own):
        raise InputError(
            "tiles have no positions, instance columns x_px and y_px: read slides with "
            "sm.read_slides, or features with sm.read_features and how long tiles and pixels are."
        )
    xy = own[["x_px", "y_px"]].to_numpy(float)
    picture, side = picture_of(bags, rows)
    um = _um_per_px(bags, rows)
    if side is None and "tile_px" in own:
        side = float(own["tile_px"].iloc[0])
    if side is None and um is not None and "tile_um" in bags.bag:
        side = float(bags.bag["tile_um"].iloc[bags.index[rows[0]]]) / um
    if side is None:
        side = np.nan
    return Heatmap(name, values, xy, side, picture, um, **more)


def picture_of(bags: Bags, rows: np.ndarray) -> tuple[SlideImage | None, float | None]:
    """The picture that tiles are cut from, and their edge in its pixels; None where there is none.

    ``rows`` are (n,) positions of tiles of one slide.
    """
    for view in bags.x.values():
        at = rows
        if hasattr(view, "base") and hasattr(view, "rows"):
            view, at = view.base, view.rows[rows]
        if isinstance(view, TileView):
            of = int(view.of[at[0]])
            return view.images[of], float(view.side[of])
    return None, None


def _um_per_px(bags: Bags, rows: np.ndarray) -> float | None:
    """Of a slide: of its own tiles, where slides of a bag may differ; else of the bag."""
    own = bags.instance.iloc[rows]
    um = np.nan
    if {"x_um", "x_px"} <= set(own):
        at = own["x_px"].to_numpy(float).argmax()
        um = float(own["x_um"].iloc[at] / own["x_px"].iloc[at])
    if not np.isfinite(um) and "um_per_px" in bags.bag:
        um = float(bags.bag["um_per_px"].iloc[bags.index[rows[0]]])
    return um if np.isfinite(um) and um > 0 else None
