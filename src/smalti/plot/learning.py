"""Pictures of learning curves: scores over the number of training donors."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from smalti.errors import InputError
from smalti.plot.style import COLOURS, LINES, PALE, legend_beside, one_panel, short, styled


@styled
def plot_learning(
    means: pd.DataFrame, *, metric: str = "score", most: int = 4, ax: Axes | None = None
) -> Axes:
    """Scores over the number of training donors.

    Parameters
    ----------
    means
        ``comparison.learning_curve()``.
    metric
        What is drawn, for the axis.
    most
        Methods to draw, the first ones.
    ax
        Where to draw; a new picture when left out.

    Returns
    -------
    Axes
        The mean over test folds, and its 95 % interval.

    Raises
    ------
    InputError
        If there is nothing to draw.
    """
    if means.empty:
        raise InputError("no learning curve to draw.")
    axes = one_panel(ax, 6.8, 3.4)
    names = list(means["method"].unique())[:most]
    wide = means["donors"].max() - means["donors"].min()
    for i, name in enumerate(names):
        part = means[means["method"] == name].sort_values("donors")
        at = part["donors"] + 0.012 * wide * (i - (len(names) - 1) / 2)  # bars side by side
        ends = np.stack([part["value"] - part["low"], part["high"] - part["value"]])
        axes.errorbar(at, part["value"], np.nan_to_num(ends), marker="o", ms=5, lw=1.6,
                      elinewidth=1.1, capsize=2.5, color=COLOURS[i % len(COLOURS)],
                      ls=LINES[i % 4], label=short(name, 30))  # fmt: skip
    every = means["donors"].round().astype(int).drop_duplicates().sort_values()
    axes.set_xticks(every if len(every) <= 8 else every.iloc[:: len(every) // 6])
    axes.set(xlabel="training donors of a fold (mean); bars: 95 % of the procedure", ylabel=metric)
    axes.grid(color=PALE, lw=0.7)
    legend_beside(axes)
    return axes
