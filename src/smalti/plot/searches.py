"""Scores inside against scores outside: how hopeful a choice of settings was."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from smalti.errors import InputError
from smalti.plot.style import BROKEN, COLOURS, GREY, PALE, legend_beside, one_panel, short, styled
from smalti.scores.metrics import named

_MARKS = "osD^v<"


@styled
def plot_searches(searches: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Outer over inner score, a dot for each fit that chose its settings.

    Parameters
    ----------
    searches
        ``table.searches()``: of one metric, or of the first one there.
    ax
        Where to draw; a new picture when left out.

    Returns
    -------
    Axes
        On the line both are equal. Large dots are means; those of more than six methods are not
        drawn.

    Raises
    ------
    InputError
        If no fit has an outer score.
    """
    there = searches.dropna(subset=["inner", "outer"])
    if there.empty:
        raise InputError("no fit that chose its settings has an inner and an outer score.")
    metric = there["metric"].iloc[0]
    there = there[there["metric"] == metric]
    axes = one_panel(ax, 5.6, 3.6)
    values = there[["inner", "outer"]]
    low, high = values.min().min(), values.max().max()
    pad = 0.06 * (high - low) or 0.05
    axes.plot([low - pad, high + pad], [low - pad, high + pad], color=GREY, lw=0.8, ls=BROKEN)
    methods = there["method"].drop_duplicates()[: len(_MARKS)]
    for method, mark, colour in zip(methods, _MARKS, COLOURS, strict=False):
        part = there[there["method"] == method]
        axes.scatter(
            part["inner"], part["outer"], s=18, marker=mark, color=colour, alpha=0.55, lw=0
        )
        axes.scatter(part["inner"].mean(), part["outer"].mean(), s=70, marker=mark, color=colour,
                   ec="white", lw=0.9, label=short(method, 26), zorder=3)  # fmt: skip
    axes.set(xlim=(low - pad, high + pad), ylim=(low - pad, high + pad), aspect="equal",
           xlabel=f"{named(metric)}, inner folds",
           ylabel=f"{named(metric)}, donors left out")  # fmt: skip
    axes.grid(color=PALE, lw=0.7)
    axes.set_axisbelow(True)
    legend_beside(axes, fontsize=8.5)
    return axes
