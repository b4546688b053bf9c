"""Pictures of labels that were carried over: how many of each, how sure, in which sample."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from smalti.errors import InputError
from smalti.plot.style import (
    COLOURS,
    GREY,
    draw_bins,
    legend_beside,
    one_panel,
    short,
    styled,
    unit_square,
)

_MOST = 12  # labels with a colour of their own


@styled
def plot_reliability(curve: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Share of labels that were right over the confidence they had.

    Parameters
    ----------
    curve
        What :func:`smalti.scores.calibration_curve` gives; several with a column ``part``.
    ax
        Where to draw; a new picture when left out.

    Returns
    -------
    Axes
        One dot per bin with its 95 % interval, a colour per part; the dashed line is perfect.

    Raises
    ------
    InputError
        If there is nothing to draw.
    """
    if curve.empty:
        raise InputError("there is no bin to draw: nothing was left out.")
    axes = one_panel(ax, 4.4, 3.6)
    unit_square(axes)
    parts = curve.assign(part=curve.get("part", ""))
    for i, (name, part) in enumerate(parts.groupby("part", sort=False)):
        draw_bins(axes, part, fmt="o-", lw=1.0, color=COLOURS[i % len(COLOURS)],
                  label=short(str(name), 30))  # fmt: skip
    axes.set(xlabel="confidence", ylabel="share of labels that were right")
    if len(set(parts["part"])) > 1:
        legend_beside(axes)
    return axes


@styled
def plot_composition(shares: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Of what labels the cells of each sample are.

    Parameters
    ----------
    shares
        Samples in rows, labels in columns, shares that sum to 1; "unknown" is grey.
    ax
        Where to draw; a new picture when left out.

    Returns
    -------
    Axes
        A bar for each sample; labels beyond the twelve commonest are one, "others".

    Raises
    ------
    InputError
        If there is no sample.
    """
    if shares.empty:
        raise InputError("there is no sample to draw.")
    order = shares.sum().sort_values(ascending=False, kind="stable").index
    order = [name for name in order if name != "unknown"]
    drawn = shares[order[:_MOST]].copy()
    if order[_MOST:]:
        drawn["others"] = shares[order[_MOST:]].sum(axis=1)
    if "unknown" in shares:
        drawn["unknown"] = shares["unknown"]
    axes = one_panel(ax, 6.8, 0.9 + 0.28 * len(drawn))
    left = np.zeros(len(drawn))
    for i, name in enumerate(drawn):
        colour = GREY if name == "unknown" else COLOURS[i % len(COLOURS)]
        hatch = "//" if i >= len(COLOURS) and name != "unknown" else None
        axes.barh(np.arange(len(drawn)), drawn[name], left=left, color=colour, hatch=hatch,
                  edgecolor="white", lw=0.4, label=short(str(name), 24))  # fmt: skip
        left = left + drawn[name].to_numpy()
    axes.set(xlim=(0, 1), xlabel="share of cells", ylim=(len(drawn) - 0.5, -0.5))
    axes.set_yticks(np.arange(len(drawn)), [short(str(s), 24) for s in drawn.index])
    legend_beside(axes)
    return axes
