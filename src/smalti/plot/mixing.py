"""Biology against mixing: what a correction of batches gains and what it costs."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes

from smalti.plot.style import COLOURS, GREY, MARKS, one_panel, styled


@styled
def plot_mixing(table: pd.DataFrame, *, x: str, y: str, ax: Axes | None = None) -> Axes:
    """A dot per row: how well batches mix against how well labels are told apart.

    Parameters
    ----------
    table
        Columns ``method``, ``correction``, ``mixing`` and ``labels``, from 0 to 1. Rows of one
        method are joined to its uncorrected one.
    x, y
        What the axes show, in words.
    ax
        Where to draw; a new picture when left out.

    Returns
    -------
    Axes
        A colour for each method, a form for each correction.
    """
    methods = list(dict.fromkeys(table["method"]))
    kinds = list(dict.fromkeys(table["correction"]))
    axes = one_panel(ax, 6.8, 4.2)
    for i, method in enumerate(methods):
        rows = table[table["method"] == method]
        colour = COLOURS[i % len(COLOURS)]
        start = rows[rows["correction"] == "none"]
        for row in rows.itertuples():
            mark = MARKS[kinds.index(row.correction) % len(MARKS)]
            if len(start) and row.correction != "none":
                axes.plot([start["mixing"].iloc[0], row.mixing],
                          [start["labels"].iloc[0], row.labels],
                          color=colour, lw=0.8, alpha=0.4, zorder=1)  # fmt: skip
            axes.scatter(row.mixing, row.labels, marker=mark, color=colour, s=30, zorder=2)
        axes.scatter([], [], color=colour, s=30, label=method)
    for k, kind in enumerate(kinds if len(kinds) > 1 else []):
        axes.scatter([], [], color=GREY, marker=MARKS[k % len(MARKS)], s=30, label=kind)
    axes.set(xlabel=x, ylabel=y)
    axes.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=8)
    return axes
