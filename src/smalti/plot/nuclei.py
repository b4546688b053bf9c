"""Pictures of nuclei: outlines over tiles, and maps of where they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from smalti.bags import Bags
from smalti.errors import InputError
from smalti.features.nuclei import CHANNELS, VIEW
from smalti.plot.slides import tile_rows
from smalti.plot.style import Sheet, bare, sheet_of, styled
from smalti.tiles.nuclei import find_nuclei
from smalti.views import take

_EDGE = "#1AFF80"  # told apart from haematoxylin and eosin
_COLOURS = "viridis"
_UNITS = {"count": "nuclei per 1,000 µm²", "cover": "share covered", "area": "area, µm²",
          "eccentricity": "eccentricity", "haematoxylin": "haematoxylin",
          "nearest": "to the nearest, µm"}  # fmt: skip


@styled
def plot_nuclei(
    tiles: Sequence[np.ndarray], nuclei: Sequence[Any], *, fig: Sheet | None = None
) -> Figure:
    """Draw tiles with the outlines of their nuclei, and how many there are.

    Parameters
    ----------
    tiles
        (height, width, 3) uint8 each.
    nuclei
        What :func:`smalti.tiles.nuclei.find_nuclei` returned for each.

    Raises
    ------
    InputError
        If there are no tiles, or not as many nuclei.
    """
    if not len(tiles) or len(tiles) != len(nuclei):
        raise InputError(f"{len(tiles)} tiles and nuclei of {len(nuclei)}: give one for each tile.")
    columns = min(4, len(tiles))
    lines = -(-len(tiles) // columns)
    sheet, grid = sheet_of(
        fig, 2.2 * columns, 2.4 * lines, nrows=lines, ncols=columns, squeeze=False
    )
    for axes in grid.ravel():
        axes.set_visible(False)
    for axes, tile, found in zip(grid.ravel(), tiles, nuclei, strict=False):
        axes.set_visible(True)
        _outlined(axes, tile, found.labels)
        axes.set_title(_counted(len(found.centroids)), fontsize=9, fontweight="normal")
    return sheet.figure


@styled
def plot_nuclei_map(
    bags: Bags,
    slide: Any = None,
    *,
    channel: str = "count",
    tiles: str = "tile",
    view: str = VIEW,
    most: int = 4,
    outlines: bool = True,
    title: str | None = None,
    fig: Sheet | None = None,
) -> Figure:
    """Draw tiles of a slide with their nuclei, and beside each the map of them.

    Parameters
    ----------
    bags
        With maps of nuclei (``sm.features.extract(bags, "nuclei")`` or
        :func:`smalti.features.nuclei_maps`) and the tiles that they are of.
    slide
        Its name; the first when left out.
    channel
        What the cells show: "count", "cover", "area", "eccentricity", "haematoxylin" or "nearest".
    tiles, view
        Names of the views of tiles and of maps.
    most
        Tiles drawn: from the one with the fewest nuclei to that with the most, evenly.
    outlines
        Draw what :func:`smalti.tiles.nuclei.find_nuclei` finds. The number over a tile is that of
        the map, so that a map by other means shows where the two differ.
    title
        Of the picture.
    fig
        Figure or subfigure to draw on; a new figure when left out.

    Returns
    -------
    Figure
        Pairs of tile and map, one scale of colours for all.

    Raises
    ------
    InputError
        If the slide or a view is not there, or the channel is unknown.
    """
    if channel not in CHANNELS:
        raise InputError(f"channel={channel!r} is not one of {', '.join(CHANNELS)}.")
    if most < 1:
        raise InputError(f"most={most} must be 1 or more.")
    for name in (tiles, view):
        if name not in bags.x:
            raise InputError(f"no view {name!r}; there are {', '.join(bags.x)}. Maps of nuclei are "
                             'made by sm.features.extract(bags, "nuclei").')  # fmt: skip
    from smalti.features.sources import tile_pixels  # imports PyTorch

    rows, name = tile_rows(bags, slide)
    table = np.asarray(bags.x[view])[rows]
    n = round((table.shape[1] / len(CHANNELS)) ** 0.5)
    maps = table.reshape(len(rows), n, n, len(CHANNELS))
    pixel = tile_pixels(bags, bags.x[tiles])[rows]
    edge = bags.x[tiles].shape[-1] * np.where(np.isnan(pixel), 0.5, pixel)  # µm
    counts = np.rint(maps[..., 0].sum((1, 2)) * (edge / n) ** 2 / 1000).astype(int)
    order = np.argsort(counts, kind="stable")
    shown = order[
        np.unique(np.linspace(0, len(order) - 1, min(most, len(order))).round().astype(int))
    ]
    chosen = take(bags.x[tiles], rows[shown])
    pixels = np.asarray(chosen if isinstance(chosen, np.ndarray) else chosen.read(0, len(shown)))
    return _pairs(fig, pixels.transpose(0, 2, 3, 1), maps[shown][..., CHANNELS.index(channel)],
                  counts[shown], pixel[shown], outlines, channel,
                  title or f"Nuclei of {name}")  # fmt: skip


def _pairs(
    fig: Sheet | None, pictures: np.ndarray, maps: np.ndarray, counts: np.ndarray,
    pixel: np.ndarray, outlines: bool, channel: str, title: str,
) -> Figure:  # fmt: skip
    columns = min(2, len(pictures))
    lines = -(-len(pictures) // columns)
    sheet, grid = sheet_of(
        fig, 5.2 * columns + 0.6, 2.85 * lines + 0.5, nrows=lines, ncols=2 * columns, squeeze=False
    )
    for axes in grid.ravel():
        axes.set_visible(False)
    scale = Normalize(0, float(maps.max()) or 1.0)
    for k, (picture, cells) in enumerate(zip(pictures, maps, strict=True)):
        left, right = grid[k // columns, 2 * (k % columns) : 2 * (k % columns) + 2]
        um = None if np.isnan(pixel[k]) else float(pixel[k])
        rgb = np.ascontiguousarray(picture)
        labels = find_nuclei(rgb, um).labels if outlines else np.zeros(rgb.shape[:2], int)
        _outlined(left, rgb, labels)
        left.set_title(_counted(int(counts[k])), fontsize=9, fontweight="normal", pad=4)
        for at in np.arange(1, len(cells)) * len(labels) / len(cells) - 0.5:
            left.axhline(at, color="white", lw=0.6, alpha=0.7)
            left.axvline(at, color="white", lw=0.6, alpha=0.7)
        _cells(right, cells, scale)
    bar = sheet.colorbar(ScalarMappable(scale, _COLOURS), ax=grid, shrink=0.7, pad=0.01, aspect=30)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=7, length=2)
    bar.set_label(_UNITS[channel], fontsize=8)
    sheet.suptitle(title, x=0.006, ha="left", fontweight="bold", fontsize=10.5)
    return sheet.figure


def _cells(axes: Axes, values: np.ndarray, scale: Normalize) -> None:
    """The map, and the number in each cell where there is room."""
    axes.set_visible(True)
    axes.imshow(values, cmap=_COLOURS, norm=scale)
    bare(axes)
    if len(values) > 6:
        return
    most = scale.vmax or 1.0
    digits = 0 if most >= 20 else 1 if most >= 2 else 2
    for (row, column), value in np.ndenumerate(values):
        text = f"{value:.{digits}f}"
        ink = "#222222" if scale(value) > 0.6 else "white"
        axes.text(column, row, text if value else "0", ha="center", va="center", fontsize=7.5,
                  color=ink)  # fmt: skip


def _outlined(axes: Axes, tile: np.ndarray, labels: np.ndarray) -> None:
    """A tile, and the borders of its labels as lines: they stay thin and whole at any size."""
    axes.set_visible(True)
    axes.imshow(tile)
    row, column = np.nonzero(labels[:, 1:] != labels[:, :-1])
    upright = np.stack([column + 0.5, row - 0.5, column + 0.5, row + 0.5], axis=1)
    row, column = np.nonzero(labels[1:] != labels[:-1])
    level = np.stack([column - 0.5, row + 0.5, column + 0.5, row + 0.5], axis=1)
    lines: Any = np.concatenate([upright, level]).reshape(-1, 2, 2)
    axes.add_collection(LineCollection(lines, colors=_EDGE, linewidths=0.7), autolim=False)
    bare(axes)


def _counted(n: int) -> str:
    return f"{n} nucleus" if n == 1 else f"{n} nuclei"
