"""Pictures of labels that were carried over: how many of each, how sure, in which sample."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from smalti.errors import InputError
from smalti.plot.style import COLOURS, GREY, PALE, new, short, styled

_MOST = 12  # labels with a colour of their own


@styled
def plot_reliability(curve: pd.DataFrame) -> Figure:
    """Share of labels that were right over the confidence they had.

    Parameters
    ----------
    curve
        What :func:`smalti.scores.calibration_curve` gives; several with a column ``part``.

    Returns
    -------
    Figure
        One dot per bin with its 95 % interval, a colour per part; the dashed line is perfect.

    Raises
    ------
    InputError
        If there is nothing to draw.
    """
    if curve.empty:
        raise InputError("there is no bin to draw: nothing was left out.")
    figure, axes = new(4.4, 3.6)
    axes.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls=(0, (4, 3)))
    parts = curve.assign(part=curve.get("part", ""))
    for i, (name, part) in enumerate(parts.groupby("part", sort=False)):
        ends = np.abs(part[["low", "high"]].to_numpy().T - part["observed"].to_numpy())
        axes.errorbar(part["predicted"], part["observed"], ends, fmt="o-", ms=4, lw=1.0,
                      color=COLOURS[i % len(COLOURS)], label=short(str(name), 30))  # fmt: skip
    axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), xlabel="confidence", aspect="equal",
             ylabel="share of labels that were right")  # fmt: skip
    axes.grid(color=PALE, lw=0.7)
    if len(set(parts["part"])) > 1:
        axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1.0), fontsize=8)
    return figure


@styled
def plot_composition(shares: pd.DataFrame) -> Figure:
    """Of what labels the cells of each sample are.

    Parameters
    ----------
    shares
        Samples in rows, labels in columns, shares that sum to 1; "unknown" is grey.

    Returns
    -------
    Figure
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
    figure, axes = new(6.8, 0.9 + 0.28 * len(drawn))
    left = np.zeros(len(drawn))
    for i, name in enumerate(drawn):
        colour = GREY if name == "unknown" else COLOURS[i % len(COLOURS)]
        hatch = "//" if i >= len(COLOURS) and name != "unknown" else None
        axes.barh(np.arange(len(drawn)), drawn[name], left=left, color=colour, hatch=hatch,
                  edgecolor="white", lw=0.4, label=short(str(name), 24))  # fmt: skip
        left = left + drawn[name].to_numpy()
    axes.set(xlim=(0, 1), xlabel="share of cells", ylim=(len(drawn) - 0.5, -0.5))
    axes.set_yticks(np.arange(len(drawn)), [short(str(s), 24) for s in drawn.index])
    axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1.0), fontsize=8)
    return figure
