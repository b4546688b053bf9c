"""Tiles under each augmentation, with distances and verdicts."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from smalti.errors import InputError
from smalti.plot.style import ACCENT, COLOURS, GREY, INK, bare, one_panel, styled

_NAME, _COLUMN, _GAP = 2.5, 0.85, 0.06  # widths in tiles: names, a distance, between tiles
_OK = COLOURS[2]


@styled
def plot_contact_sheet(
    examples: Mapping[str, np.ndarray],
    table: pd.DataFrame,
    *,
    title: str = "Which augmentations leave a tile what it was",
    ax: Axes | None = None,
) -> Axes:
    """Draw a row of tiles per augmentation, the originals first.

    Parameters
    ----------
    examples
        "original" and each candidate -> the same tiles, (k, 3, H, W) uint8.
    table
        A row per candidate and distance, with ``candidate``, ``distance``, ``ratio``,
        ``threshold``, ``decides`` and ``accepted`` (see :class:`smalti.explain.Screening`).
    title
        Title of the picture.
    ax
        Where to draw; a new picture when left out.

    Returns
    -------
    Axes
        Left of each row the verdict, right of it the ratios; orange where over the threshold, grey
        where a distance does not count.

    Raises
    ------
    InputError
        If there are no originals, or rows differ in tiles.
    """
    if "original" not in examples or len({len(t) for t in examples.values()}) != 1:
        raise InputError("examples need 'original' and as many tiles for every candidate.")
    shown = len(examples["original"])
    distances = [d for d in table["distance"].unique() if d != "none"]
    width = _NAME + shown + _COLUMN * len(distances) + 0.1
    axes = one_panel(ax, 0.78 * width, 0.78 * len(examples) + 0.95)
    start = _NAME + shown + 0.1
    for i, (name, tiles) in enumerate(examples.items()):
        rows = table[table["candidate"] == name]
        _caption(axes, i, name, rows)
        for j, tile in enumerate(tiles):
            x, y = _NAME + j, i + _GAP / 2
            axes.imshow(np.moveaxis(tile, 0, -1), extent=(x, x + 1 - _GAP, y + 1 - _GAP, y),
                        interpolation="antialiased")  # fmt: skip
        for j, distance in enumerate(distances):
            at = start + _COLUMN * (j + 0.5)
            if i == 0:
                axes.text(at, 0.5, distance, ha="center", va="center", fontsize=8.5, color=GREY)
            _number(axes, at, i, rows[rows["distance"] == distance])
    axes.set(xlim=(0, width), ylim=(len(examples), 0), aspect="equal")
    bare(axes)
    axes.set_title(title)
    note = "Numbers: distance of a tile from itself, as a share of that between different tiles " \
           "of a slide.\nOrange: over the threshold. Grey: does not count, as pixels move or the " \
           "target changes."  # fmt: skip
    axes.set_xlabel(note, loc="left", fontsize=8, color=GREY)
    return axes


def _caption(axes: Axes, i: int, name: str, rows: pd.DataFrame) -> None:
    word, _, strength = name.partition("=")
    text = word.replace("_", " ") + (f" {strength}" if strength else "")
    at = _NAME - 0.12
    if not len(rows):
        axes.text(at, i + 0.5, text, ha="right", va="center", fontsize=9, fontweight="bold")
        return
    accepted = bool(rows["accepted"].iloc[0])
    verdict = "accepted" if accepted else "rejected"
    if (rows["distance"] == "none").all():
        verdict += ": symmetry"
    elif not accepted and not rows["decides"].any():
        verdict += ": changes target"
    axes.text(at, i + 0.4, text, ha="right", va="center", fontsize=9)
    axes.text(at, i + 0.65, verdict, ha="right", va="center", fontsize=8,
              color=_OK if accepted else ACCENT)  # fmt: skip


def _number(axes: Axes, x: float, i: int, row: pd.DataFrame) -> None:
    if not len(row) or not np.isfinite(row["ratio"].iloc[0]):
        return
    ratio, counts = float(row["ratio"].iloc[0]), bool(row["decides"].iloc[0])
    over = counts and ratio > row["threshold"].iloc[0]
    axes.text(x, i + 0.5, f"{ratio:.2f}", ha="center", va="center", fontsize=9,
              color=ACCENT if over else INK if counts else GREY,
              fontweight="bold" if over else "normal")  # fmt: skip
