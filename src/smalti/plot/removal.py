"""Predictions as instances are taken away: whether scores point at what they hang on."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import wrap
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from smalti.errors import InputError
from smalti.plot.style import COLOURS, GREY, INK, PALE, Sheet, sheet_of, short, styled

_COLUMNS = 2  # more cannot be read on a phone
# (order, gone first) -> label, and how it is drawn
_LINES: dict[tuple[str, str], tuple[str, dict[str, Any]]] = {
    ("scores", "highest"): ("highest scores first", {"color": COLOURS[1], "lw": 2.2, "zorder": 5}),
    ("scores", "lowest"): ("lowest scores first", {"color": COLOURS[0], "lw": 2.2, "zorder": 4}),
    ("random", "any"): ("any, at random", {"color": GREY, "lw": 1.4, "zorder": 3}),
    ("norm", "highest"): ("largest features first", {"color": INK, "lw": 1.0, "ls": (0, (4, 2)),
                                                     "zorder": 3.5}),
}  # fmt: skip


@styled
def plot_removal(
    curves: pd.DataFrame,
    *,
    verdicts: Mapping[tuple[str, str], str] | None = None,
    followed: Mapping[str, str] | None = None,
    unit: str = "instances",
    most: int = 8,
    fig: Sheet | None = None,
) -> Figure:
    """Draw what predictions become when instances are taken away, a panel for each kind of scores.

    Parameters
    ----------
    curves
        ``curves`` of :class:`smalti.explain.Explanations`.
    verdicts
        (method, scores) -> words below the name of a panel.
    followed
        Kind of scores -> what the height is.
    unit
        What instances are: cells, tiles.
    most
        Panels, the first ones.
    fig
        Figure or subfigure to draw on; a new figure when left out.

    Returns
    -------
    Figure
        Of each panel: the highest scores gone first, the lowest first, any (the band is the least
        and the most of several random orders), and the largest features first.

    Raises
    ------
    InputError
        If there is no curve.
    """
    if curves.empty:
        raise InputError("no curve to draw: these methods say nothing of single instances.")
    panels = list(curves.groupby(["method", "scores"], sort=False))[:most]
    columns = min(_COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    sheet, grid = sheet_of(
        fig,
        3.3 * columns + 0.3,
        2.4 * rows + 0.6,
        nrows=rows,
        ncols=columns,
        sharex=True,
        sharey=True,
        squeeze=False,
    )
    for axes, (key, part) in zip(grid.flat, panels, strict=False):
        _panel(axes, key, part, (verdicts or {}).get(key, ""))
        axes.set_ylabel((followed or {}).get(key[1], ""), fontsize=7.5)
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    sheet.legend(handles, labels, loc="outside lower center", ncols=2 if columns == 1 else 4,
                  fontsize=8)  # fmt: skip
    for axes in grid.flat[max(0, len(panels) - columns) : len(panels)]:  # the last of each column
        axes.set_xlabel(f"% of the {unit} taken away", fontsize=8.5)
    return sheet.figure


def _panel(axes: Axes, key: tuple[str, str], part: pd.DataFrame, verdict: str) -> None:
    for (order, first), (label, look) in _LINES.items():
        own = part[(part["order"] == order) & (part["gone_first"] == first)].sort_values("gone")
        axes.plot(100 * own["gone"], own["value"], label=label, **look)
        if order == "random":
            axes.fill_between(100 * own["gone"], own["low"], own["high"], color=PALE, zorder=1)
    lines = [*wrap(verdict, 54), "", ""][:2]  # two always, so that names stand in one line
    axes.set_title(short(f"{key[0]}: {key[1]}", 28), fontsize=9.5, pad=25 if verdict else 6)
    told = axes.text(0, 1.03, "\n".join(lines), transform=axes.transAxes, fontsize=7.5, color=GREY,
                     va="bottom")  # fmt: skip
    told.set_in_layout(False)  # it would make its panel narrower than the others
    axes.set_xlim(0, 100)
    axes.grid(color=PALE, lw=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelbottom=True, labelleft=True)
