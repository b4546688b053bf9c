"""Bags with the attention on their instances."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from smalti.bags import Bags
from smalti.errors import InputError
from smalti.names import meant
from smalti.plot.style import ACCENT, COLOURS, GREY, Sheet, bare, sheet_of, styled

_SHADE = 0.82  # how far an instance without attention fades


@styled
def plot_bags(
    bags: Bags,
    attribution: pd.DataFrame,
    *,
    column: str = "attention",
    key: str | None = None,
    captions: Sequence[str] | None = None,
    title: str = "The clearer an instance, the more the network looked at it",
    most: int = 18,
    fig: Sheet | None = None,
) -> Figure:
    """Draw each bag as a row of its image instances; instances without attention fade.

    Parameters
    ----------
    bags
        Bags whose first view holds images, (n_instances, 1 or 3 channels, height, width).
    attribution
        What ``model.attribute(bags)`` returned.
    column
        Column of ``attribution`` to show; scaled by its largest value in each bag.
    key
        A yes-or-no column of ``bags.instance`` (the truth); its instances are underlined.
    captions
        One line per bag, left of its row.
    title
        Title of the picture.
    most
        Instances shown per bag at most, those of the largest values first in line.
    fig
        Figure or subfigure to draw on; a new figure when left out.

    Returns
    -------
    Figure
        One row per bag, instances sorted by falling attention.

    Raises
    ------
    InputError
        If instances are no images, or the column is not there.
    """
    images = bags.table()
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise InputError(
            f"instances of shape {images.shape[1:]} are no images (channels, height, width): "
            "use plot_attention."
        )
    values = _values(attribution, column, bags)
    captions = [str(i) for i in bags.bag.index] if captions is None else list(captions)
    shown = min(most, int(bags.lengths.max()))
    sheet, grid = sheet_of(
        fig, 0.46 * shown + 2.1, 0.6 * len(bags) + 0.75, nrows=len(bags), squeeze=False
    )
    low, high = float(images.min()), float(images.max())
    for i, axes in enumerate(grid[:, 0]):
        rows = slice(bags.offsets[i], bags.offsets[i + 1])
        order = np.argsort(-values[rows], kind="stable")[:most]
        marks = bags.instance[key].to_numpy()[rows][order] if key else np.zeros(len(order), bool)
        tiles = (images[rows][order] - low) / max(high - low, 1e-12)
        _row(axes, tiles, values[rows][order], marks.astype(bool), shown)
        axes.text(-0.35, 0.5, captions[i], ha="right", va="center", fontsize=8)
    note = f"Frame and number: {column} (share of its bag, %). "
    note += "Orange bar: key instance (the truth, not used in training)." if key else ""
    sheet.suptitle(title, x=0.01, ha="left", fontweight="bold", fontsize=10.5)
    sheet.supxlabel(note.strip(), x=0.01, ha="left", fontsize=8, color=GREY)
    return sheet.figure


def _row(axes: Axes, tiles: np.ndarray, values: np.ndarray, marks: np.ndarray, shown: int) -> None:
    light = np.clip(values / max(float(values.max()), 1e-12), 0, 1)
    for j, (tile, value, bright, mark) in enumerate(zip(tiles, values, light, marks, strict=True)):
        picture = np.moveaxis(tile if len(tile) == 3 else np.repeat(tile, 3, 0), 0, -1)
        faded = picture if len(tile) == 3 else 1 - picture  # dark ink on white paper
        faded = 1 - (1 - faded) * (1 - _SHADE * (1 - bright))
        axes.imshow(faded, extent=(j + 0.04, j + 0.96, 0.04, 0.96), interpolation="nearest")
        axes.add_patch(Rectangle(
            (j + 0.04, 0.04), 0.92, 0.92, fill=False, lw=0.4 + 1.8 * bright,
            edgecolor=COLOURS[0], alpha=0.15 + 0.85 * bright,
        ))  # fmt: skip
        if mark:
            axes.add_patch(Rectangle((j + 0.04, -0.12), 0.92, 0.09, color=ACCENT, lw=0))
        if value >= 0.005:
            axes.text(j + 0.5, -0.17, f"{100 * value:.0f}", ha="center", va="top", fontsize=6.5,
                      color=GREY)  # fmt: skip
    axes.set(xlim=(-0.2, shown), ylim=(-0.42, 1), aspect="equal", anchor="W")
    bare(axes)


@styled
def plot_attention(
    bags: Bags,
    attribution: pd.DataFrame,
    *,
    column: str = "attention",
    key: str | None = None,
    captions: Sequence[str] | None = None,
    title: str = "How few instances carry the attention of each bag",
    fig: Sheet | None = None,
) -> Figure:
    """Draw the sorted attention of each bag as a strip, for instances that are no images.

    Parameters
    ----------
    bags
        The bags.
    attribution
        What ``model.attribute(bags)`` returned.
    column
        Column of ``attribution`` to show.
    key
        A yes-or-no column of ``bags.instance``; its instances are drawn in the second colour.
    captions
        One line per bag.
    title
        Title of the picture.
    fig
        Figure or subfigure to draw on; a new figure when left out.

    Returns
    -------
    Figure
        One strip per bag: bars of falling attention (%), one bar per instance.
    """
    values = _values(attribution, column, bags)
    captions = [str(i) for i in bags.bag.index] if captions is None else list(captions)
    sheet, grid = sheet_of(fig, 6.8, 0.5 * len(bags) + 1.0, nrows=len(bags), squeeze=False)
    for i, axes in enumerate(grid[:, 0]):
        rows = slice(bags.offsets[i], bags.offsets[i + 1])
        order = np.argsort(-values[rows], kind="stable")
        marks = (
            bags.instance[key].to_numpy()[rows][order].astype(bool)
            if key
            else (np.zeros(len(order), bool))
        )
        colours = np.where(marks, ACCENT, COLOURS[0])
        axes.bar(np.arange(len(order)), 100 * values[rows][order], width=0.9, color=colours)
        axes.set_xticks([])
        axes.set_ylabel(captions[i], rotation=0, ha="right", va="center", fontsize=8)
        axes.margins(x=0.01)
    sheet.suptitle(title, x=0.01, ha="left", fontweight="bold", fontsize=10.5)
    note = f"instances, sorted; height: {column} (%)" + ("; orange: key instance" if key else "")
    sheet.supxlabel(note, fontsize=8)
    return sheet.figure


def _values(attribution: pd.DataFrame, column: str, bags: Bags) -> np.ndarray:
    if column not in attribution:
        there = [c for c in attribution.columns if c != "bag"]
        raise InputError(f"no column {column!r} in the attribution; there are {there}."
                         f"{meant(column, there)}")  # fmt: skip
    if len(attribution) != bags.n_instances:
        raise InputError(
            f"the attribution has {len(attribution)} rows, the bags {bags.n_instances} instances: "
            "attribute the same bags."
        )
    return attribution[column].to_numpy(float)
