"""Pictures of probabilities: calibration and decision curves."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from smalti.errors import InputError
from smalti.plot.style import (
    BROKEN,
    COLOURS,
    GREY,
    INK,
    LINES,
    PALE,
    Sheet,
    draw_bins,
    legend_beside,
    one_panel,
    sheet_of,
    short,
    styled,
    unit_square,
)

_MOST = 3  # in a row; more are too narrow on paper


@styled
def plot_calibration(
    curve: pd.DataFrame, *, methods: Sequence[str] | None = None, fig: Sheet | None = None
) -> Figure:
    """Observed shares over predicted probabilities, a panel for each method.

    Parameters
    ----------
    curve
        ``comparison.calibration(curve=True)`` of one class.
    methods
        Which, at most three are drawn; the first ones when left out.
    fig
        Figure or subfigure to draw on; a new figure when left out.

    Returns
    -------
    Figure
        One dot per bin, its 95 % interval (Wilson, n in donors), and the line of probabilities
        that are exactly right. A method with a single bin, as one of constant probabilities has
        it, is left out where others have several.

    Raises
    ------
    InputError
        If there is nothing to draw.
    """
    names = _names(curve, methods)
    several = [m for m in names if (curve["method"] == m).sum() > 1]
    names = (several or names)[:_MOST]
    sheet, axes = sheet_of(
        fig, 2.5 * len(names) + 0.7, 3.2, ncols=len(names), sharey=True, squeeze=False
    )
    for i, (name, ax) in enumerate(zip(names, axes[0], strict=True)):
        part = curve[curve["method"] == name]
        unit_square(ax)
        draw_bins(ax, part, fmt="o", lw=1.2, color=COLOURS[i])
        ax.set_title(short(name, 26), fontsize=9)
    c = short(curve["class"].iloc[0])
    axes[0, 0].set_ylabel(f"share that is '{c}'")
    sheet.supxlabel(f"mean probability of '{c}'; bars: 95 %, n in donors", fontsize=9)
    return sheet.figure


@styled
def plot_net_benefit(
    curves: pd.DataFrame, *, methods: Sequence[str] | None = None, ax: Axes | None = None
) -> Axes:
    """Decision curves: what deciding by a model is worth, beside treating all or nobody.

    Parameters
    ----------
    curves
        ``comparison.net_benefit()`` of one class.
    methods
        Which, at most six are drawn; the first ones when left out.
    ax
        Where to draw; a new picture when left out.

    Returns
    -------
    Axes
        Net benefit over the probability from which on one would treat.

    Raises
    ------
    InputError
        If there is nothing to draw.
    """
    names = _names(curves, methods)[:6]
    axes = one_panel(ax, 6.8, 3.4)
    one = curves[curves["method"] == names[0]]
    axes.axhline(0, color=GREY, lw=1, label="treat nobody")
    axes.plot(one["threshold"], one["treat_all"], color=INK, lw=1, ls=BROKEN,
              label="treat everyone")  # fmt: skip
    for i, name in enumerate(names):
        part = curves[curves["method"] == name]
        axes.plot(part["threshold"], part["net_benefit"], color=COLOURS[i], ls=LINES[i % 4],
                  label=short(name, 30))  # fmt: skip
    shown = curves[curves["method"].isin(names)]
    top = max(shown["net_benefit"].max(), shown["treat_all"].max())
    axes.set_ylim(-0.25 * max(top, 0.1), 1.1 * max(top, 0.1))
    c = short(curves["class"].iloc[0])
    axes.set(xlabel=f"probability of '{c}' from which on one would treat",
             ylabel=f"net benefit\n('{c}' found per bag)")  # fmt: skip
    axes.grid(color=PALE, lw=0.7)
    legend_beside(axes)
    return axes


def _names(table: pd.DataFrame, methods: Sequence[str] | None) -> list[str]:
    """Methods of a table of one class, in order."""
    if len(set(table.get("class", ()))) != 1:
        raise InputError("such a picture is of one class: choose its rows of the table.")
    there = [str(m) for m in table["method"].unique()]
    names = there if methods is None else [m for m in methods if m in there]
    if not names:
        raise InputError(f"none of these methods is in the table; there are {', '.join(there)}.")
    return names
