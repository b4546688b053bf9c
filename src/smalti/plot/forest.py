"""Differences with their intervals, one below the other."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from smalti.errors import InputError
from smalti.plot.style import COLOURS, GREY, PALE, explained, one_panel, short, styled

_OF = {"better": COLOURS[2], "worse": COLOURS[1], "practically equal": COLOURS[0]}


@styled
def plot_forest(
    differences: pd.DataFrame, *, margin: float | None = None, ax: Axes | None = None
) -> Axes:
    """Paired differences: a dot, its 95 % interval and the answer for each row.

    Parameters
    ----------
    differences
        What :func:`smalti.scores.differences_over_sets` or ``table.against`` returned.
    margin
        Shade the region of practical equivalence.
    ax
        Where to draw; a new picture when left out.

    Returns
    -------
    Axes
        One row per data set, or per method where there is no column set.

    Raises
    ------
    InputError
        If there is nothing to draw.
    """
    if differences.empty:
        raise InputError("no difference to draw.")
    key = "set" if "set" in differences else "method"
    axes = one_panel(ax, 6.8, 0.36 * len(differences) + 1.1)
    if margin is not None:
        axes.axvspan(-margin, margin, color=PALE, zorder=0)
    axes.axvline(0, color=GREY, lw=0.8, zorder=1)
    for y, row in enumerate(differences.itertuples()):
        colour = _OF.get(row.verdict, GREY)
        if row.low == row.low:  # else no interval can be given
            axes.plot([row.low, row.high], [y, y], color=colour, lw=2, solid_capstyle="round")
        axes.scatter([row.difference], [y], s=40, color=colour, zorder=3, ec="white", lw=0.8)
        axes.text(1.02, y, row.verdict, transform=axes.get_yaxis_transform(), va="center",
                  color=colour, fontsize=8.5)  # fmt: skip
    axes.set_yticks(range(len(differences)), [short(name, 30) for name in differences[key]])
    axes.set_ylim(len(differences) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color=PALE, lw=0.7)
    axes.set_axisbelow(True)
    one = differences.iloc[0]
    method = short(one["method"]) if key == "set" else "method"
    what = f"{one['metric']}, {method} less {short(one['reference'])}"
    explained(axes, f"{what}; bars: 95 % of each row alone, answers by Holm")
    return axes
