"""Samples of a donor beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from smalti.errors import InputError
from smalti.plot.style import ACCENT, COLOURS, PALE, one_panel, short, styled

_NAMED = 12  # donors out of order whose names are written


@styled
def plot_pairs(
    arms: pd.DataFrame, *, classes: Sequence[Any] = (), score: str = "score", ax: Axes | None = None
) -> Axes:
    """A line for each donor, through what left-out models said of its samples.

    Parameters
    ----------
    arms
        ``comparison.arms()``.
    classes
        Labels in their order; those of numbers stand where they are.
    score
        What the score is, for the axis.
    ax
        Where to draw; a new picture when left out.

    Returns
    -------
    Axes
        Donors whose samples are in order in blue, the others in orange, dashed, with their names.

    Raises
    ------
    InputError
        If there is nothing to draw.
    """
    if arms.empty:
        raise InputError("no donor to draw.")
    axes = one_panel(ax, 6.8, 3.6)
    place = {str(c): i for i, c in enumerate(classes)}
    at = arms["true"].astype(str).map(place) if place else arms["true"].astype(float)
    named = 0
    for donor, rows in arms.assign(at=at).sort_values("at").groupby("donor", sort=False):
        right = rows["in_order"].iloc[0] == 1
        colour = COLOURS[0] if right else ACCENT
        axes.plot(rows["at"], rows["score"], color=colour, lw=1.2, alpha=0.75, marker="o", ms=4.5,
                  mec="white", mew=0.6, ls="-" if right else (0, (4, 2)))  # fmt: skip
        if not right and named < _NAMED:
            named += 1
            axes.annotate(short(donor, 14), (rows["at"].iloc[-1], rows["score"].iloc[-1]),
                          xytext=(6, 0), textcoords="offset points", fontsize=8, va="center",
                          color=colour)  # fmt: skip
    if place:
        axes.set_xticks(range(len(place)), [short(c) for c in place])
        axes.set_xlim(-0.35, len(place) - 0.65)
    axes.grid(axis="y", color=PALE, lw=0.7)
    axes.set(ylabel=score)
    n = arms.groupby("donor")["in_order"].first()
    lines = {"in order": (COLOURS[0], "-", int((n == 1).sum())),
             "not in order": (ACCENT, (0, (4, 2)), int((n < 1).sum()))}  # fmt: skip
    handles = [Line2D([], [], color=c, ls=ls, lw=1.4, label=f"{name}: {k} of {len(n)} donors")
               for name, (c, ls, k) in lines.items() if k]  # fmt: skip
    axes.legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2, fontsize=8.5)
    return axes
