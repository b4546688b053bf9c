"""Numbers of tiles over the slide that they lie on, and the tiles that stand out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from smalti.bags import Bags
from smalti.errors import InputError
from smalti.plot.slides import scale_bar, tile_rows
from smalti.plot.style import GREY, INK, Sheet, bare, sheet_of, styled
from smalti.tiles.heatmap import Heatmap, picture_of, place_values

SIGNED, UNSIGNED = "RdBu_r", "inferno"
"""Colours of columns about 0, and of those from 0."""

_THUMBNAIL = 1200  # pixels of the picture
_FINE = 4  # pixels of a tile in the map, at least
_MOST = 4000  # pixels of the map's longer edge
_ACROSS = 3  # panels side by side


@styled
def plot_heatmap(
    heatmap: Heatmap,
    columns: Sequence[str] | None = None,
    *,
    scale: str = "absolute",
    title: str | None = None,
    fig: Sheet | None = None,
) -> Figure:
    """Draw what the tiles of a slide had to do with its prediction.

    Parameters
    ----------
    heatmap
        What ``model.heatmap(...)`` returned.
    columns
        Which of its columns; all when left out.
    scale
        "absolute": colours are shares of the largest number; "percentile": ranks among the tiles.
    title
        Of the picture; the slide's name when left out.
    fig
        Figure or subfigure to draw on; a new figure when left out.

    Returns
    -------
    Figure
        The slide, and a panel for each column: the slide under its colours, with what their ends
        mean. Tiles that overlap are averaged.

    Raises
    ------
    InputError
        If there is no such column or scale.
    """
    columns = heatmap.columns if columns is None else list(columns)
    panels = 1 + len(columns)
    across = min(panels, _ACROSS)
    down = -(-panels // across)
    frame = _frame(heatmap)
    tall = float(np.clip((frame[2] - frame[3]) / (frame[1] - frame[0]), 0.3, 1.6))
    sheet, grid = sheet_of(
        fig,
        0.4 + 4.4 * across,
        0.7 + (4.1 * tall + 0.35) * down,
        nrows=down,
        ncols=across,
        squeeze=False,
    )
    axes = grid.ravel()
    small = None if heatmap.picture is None else heatmap.picture.thumbnail(_THUMBNAIL)[0]
    _under(axes[0], heatmap, small, 1.0, frame)
    axes[0].set_title(heatmap.name, fontsize=9.5)
    if heatmap.um_per_px is not None:
        scale_bar(axes[0], np.array([[frame[0], frame[3]], [frame[1], frame[2]]]),
                  heatmap.um_per_px)  # fmt: skip
    for panel, column in zip(axes[1:], columns, strict=False):
        _under(panel, heatmap, small, 0.5, frame)
        _over(panel, heatmap, column, scale)
        panel.set_title(column.replace("_", " "), fontsize=9.5)
    for panel in axes[panels:]:
        panel.set_visible(False)
    sheet.suptitle(title or f"Slide {heatmap.name}", x=0.01, ha="left", fontweight="bold",
                    fontsize=10.5)  # fmt: skip
    if heatmap.notes:
        sheet.supxlabel("\n".join(heatmap.notes), x=0.01, ha="left", fontsize=8, color=GREY)
    return sheet.figure


@styled
def plot_extreme_tiles(
    heatmap: Heatmap,
    column: str | None = None,
    *,
    n: int = 8,
    title: str | None = None,
    fig: Sheet | None = None,
) -> Figure:
    """Draw the tiles of the largest and the smallest numbers of a column.

    Parameters
    ----------
    heatmap
        What ``model.heatmap(...)`` returned, with its picture.
    column
        Which column; the first when left out.
    n
        Tiles of each kind, at most.
    title
        Of the picture.
    fig
        Figure or subfigure to draw on; a new figure when left out.

    Returns
    -------
    Figure
        Two rows: the largest numbers, from the left, and the smallest (of a signed column only
        those above 0, and below it); below each tile its number, from 0, and its value.

    Raises
    ------
    InputError
        If there is no such column, or the picture is not at hand.
    """
    column = heatmap.columns[0] if column is None else column
    values = heatmap.column(column)
    rows = heatmap.extremes(column, n)
    shown = max(1, *map(len, rows))
    tall = [1.65 if len(tiles) else 0.2 for tiles in rows]  # one without a tile is its words
    sheet, grid = sheet_of(
        fig,
        1.25 * shown + 0.3,
        sum(tall) + 0.4,
        nrows=2,
        ncols=shown,
        squeeze=False,
        gridspec_kw={"height_ratios": tall},
    )
    low, high = heatmap.said(column)
    for axes, tiles, said in zip(grid, rows, (high, low), strict=True):
        for panel in axes:
            bare(panel)
            panel.patch.set_visible(False)  # an empty panel is taller than a tile: over the words
        for panel, i in zip(axes, tiles, strict=False):
            panel.imshow(heatmap.tile(int(i), 160))
            panel.set_xlabel(f"{i}: {values[i]:.3g}", fontsize=7.5, color=INK)
        axes[0].set_title(said if len(tiles) else f"{said}: no tile", fontsize=9.5)
    text = title or f"{heatmap.name}: {column.replace('_', ' ')}"
    sheet.suptitle(text, x=0.01, ha="left", fontweight="bold", fontsize=10.5)
    return sheet.figure


@styled
def plot_tile_scores(
    bags: Bags,
    values: np.ndarray,
    *,
    bag: Any = None,
    mask: np.ndarray | None = None,
    label: str = "attention",
    title: str | None = None,
    fig: Sheet | None = None,
) -> Figure:
    """Draw one number per tile over the picture that the tiles were cut from.

    Parameters
    ----------
    bags
        Bags of tiles with a view "tile" cut from pictures.
    values
        (n_tiles,) attention, contribution, ...; signed values get a scale about 0.
    bag
        Name of the bag; the first when left out.
    mask
        (height, width) of the picture: regions of known meaning, drawn as outlines.
    label
        What the numbers are.
    title
        Of the picture.
    fig
        Figure or subfigure to draw on; a new figure when left out.

    Returns
    -------
    Figure
        The picture, and the picture under the numbers; overlapping tiles are averaged.

    Raises
    ------
    InputError
        If the bag is not there, or its tiles come from no picture.
    """
    rows, name = tile_rows(bags, bag)
    values = np.asarray(values, dtype=float).reshape(-1)
    if len(values) != bags.n_instances:
        raise InputError(f"values has {len(values)} numbers for {bags.n_instances} tiles.")
    picture, _ = picture_of(bags, rows)
    if picture is None:
        raise InputError(
            "these tiles were not cut from a picture: read them with read_slides, or features with "
            "read_features(slides=...)."
        )
    heat = place_values(bags, rows, pd.DataFrame({label: values[rows]}), str(name))
    frame = _frame(heat)
    tall = float(np.clip((frame[2] - frame[3]) / (frame[1] - frame[0]), 0.3, 1.6))
    sheet, grid = sheet_of(fig, 9.2, 0.3 + 4.5 * tall, ncols=2)
    small = picture.thumbnail(_THUMBNAIL)[0]
    for axes, colour, said in zip(grid, (1.0, 0.5), (str(name), label), strict=True):
        _under(axes, heat, small, colour, frame)
        axes.set_title(said, fontsize=9.5)
    signed = values.min() < 0  # of all slides, so that their pictures have one kind of scale
    _over(grid[1], heat, label, "absolute", signed=signed)
    if mask is not None:
        for axes in grid:
            _outline(axes, np.asarray(mask), heat.extent)
    if title:
        sheet.suptitle(title, x=0.01, ha="left", fontweight="bold", fontsize=10.5)
    return sheet.figure


# ---------------------------------------------------------------- parts


def _frame(heat: Heatmap) -> tuple[float, float, float, float]:
    """Left, right, bottom and top of what the tiles cover, with a margin of half a tile."""
    corner = np.array(heat.extent)
    (left, top), (right, bottom) = (
        np.clip(edge, 0, corner) for edge in
        (heat.xy.min(0) - heat.side, heat.xy.max(0) + heat.side)
    )  # fmt: skip
    return float(left), float(right), float(bottom), float(top)


def _under(
    axes: Axes, heat: Heatmap, small: np.ndarray | None, colour: float,
    frame: tuple[float, float, float, float],
) -> None:  # fmt: skip
    """The slide, with a share of its own colour."""
    wide, high = heat.extent
    if small is not None:
        faded = (255 - colour * (255 - small.astype(np.float32))).astype(np.uint8)
        axes.imshow(faded, extent=(0, wide, high, 0))
    axes.set(xlim=frame[:2], ylim=frame[2:], aspect="equal")
    bare(axes)


def _over(axes: Axes, heat: Heatmap, column: str, scale: str, signed: bool | None = None) -> None:
    """The colours of a column, and their bar."""
    signed = heat.signed(column) if signed is None else signed
    values = heat.column(column) if scale == "absolute" else heat.scaled(column, scale)
    step = max(heat.side / _FINE, max(heat.extent) / _MOST)
    map_ = heat.raster(values, step)
    most = 1.0 if scale == "percentile" else float(np.nanmax(np.abs(map_))) or 1.0
    wide, high = map_.shape[1] * step, map_.shape[0] * step
    drawn = axes.imshow(map_, extent=(0, wide, high, 0), alpha=0.6, interpolation="nearest",
                        cmap=SIGNED if signed else UNSIGNED, vmin=-most if signed else 0,
                        vmax=most)  # fmt: skip
    bar = axes.figure.colorbar(drawn, ax=axes, shrink=0.8, pad=0.02, aspect=28)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=7, length=2)
    if column in heat.words or scale == "percentile":
        low, high_word = heat.said(column)
        bar.ax.set_title(high_word, fontsize=7.5, loc="right", fontweight="normal", pad=4)
        bar.ax.set_xlabel(low, fontsize=7.5, loc="right")
    if scale == "percentile":
        bar.set_label("rank among the tiles", fontsize=7.5)


def _outline(axes: Axes, mask: np.ndarray, extent: tuple[int, int]) -> None:
    axes.contour(np.linspace(0, extent[0], mask.shape[1]), np.linspace(0, extent[1], mask.shape[0]),
                 mask > 0, levels=[0.5], colors=["#00E5A8"], linewidths=1.1)  # fmt: skip
