"""Times until an event: curves of groups, calibration at some times, donors one by one."""

from __future__ import annotations

import numpy as np
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
    one_panel,
    sheet_of,
    short,
    styled,
    unit_square,
)
from smalti.scores.sentences import plain
from smalti.scores.survival import kaplan_meier

_MOST = 3  # panels in a row


@styled
def plot_survival(donors: pd.DataFrame, *, unit: str = "", fig: Sheet | None = None) -> Figure:
    """Kaplan-Meier curves of groups, with how many are still watched below.

    Parameters
    ----------
    donors
        One row each: time, event, group (in the order of its categories, where it has one), and
        entry where some were not watched from the beginning; of ``comparison.risks()`` or your own.
    unit
        Of the times, for the axis.
    fig
        Figure or subfigure to draw on; a new figure when left out.

    Returns
    -------
    Figure
        Share without an event over time, bands of 95 % (Greenwood), ticks where somebody was lost
        from sight.

    Raises
    ------
    InputError
        If there is nobody.
    """
    if donors.empty:
        raise InputError("nobody to draw.")
    groups = donors.groupby("group", observed=True)
    sheet, (axes, below) = sheet_of(
        fig,
        6.8,
        3.9 + 0.2 * groups.ngroups,
        nrows=2,
        sharex=True,
        height_ratios=[3.4, 0.35 + 0.25 * groups.ngroups],
    )
    end = float(donors["time"].max())
    for i, (name, own) in enumerate(groups):
        entry = own["entry"] if "entry" in own and own["entry"].any() else None
        curve = kaplan_meier(own["time"], own["event"], entry)
        at = np.concatenate([[0.0], curve["time"], [own["time"].max()]])
        left, low, high = (np.concatenate([[1.0], curve[c], curve[c].tail(1)]) if len(curve) else
                           np.ones(2) for c in ("survival", "low", "high"))  # fmt: skip
        at = at if len(curve) else at[[0, -1]]
        colour = COLOURS[i % len(COLOURS)]
        told = f"{short(name)} ({int(own['event'].sum())} events in {len(own)})"
        axes.step(at, left, where="post", color=colour, ls=LINES[i % 4], label=told)
        axes.fill_between(at, low, high, step="post", color=colour, alpha=0.14, lw=0)
        lost = own.loc[~own["event"].astype(bool), "time"].to_numpy(float)
        axes.plot(lost, left[np.searchsorted(at[:-1], lost, "right") - 1], ls="", marker="|",
                  ms=6, color=colour)  # fmt: skip
    axes.set(ylim=(-0.02, 1.03), xlim=(0, end * 1.02), ylabel="share without an event")
    axes.grid(color=PALE, lw=0.7)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), fontsize=8, ncols=min(3, groups.ngroups))
    shown = [t for t in axes.get_xticks() if 0 <= t <= end]
    for i, (_, own) in enumerate(groups):
        entry = own["entry"].to_numpy(float) if "entry" in own else np.full(len(own), -np.inf)
        for t in shown:
            n = int(((own["time"] >= t) & ((entry < t) | (entry <= 0))).sum())
            below.text(t, i, str(n), ha="center", va="center", fontsize=8,
                       color=COLOURS[i % len(COLOURS)])  # fmt: skip
    below.set_yticks(range(groups.ngroups), [short(n, 12) for n, _ in groups])
    below.set(ylim=(groups.ngroups - 0.5, -0.5), xlabel=f"time ({unit})" if unit else "time")
    below.set_title("still watched", fontsize=8, fontweight="normal", pad=2)
    below.tick_params(axis="y", length=0, pad=14)  # beside the number at time 0
    for side in ("left", "bottom"):
        below.spines[side].set_visible(False)
    return sheet.figure


@styled
def plot_survival_calibration(curve: pd.DataFrame, *, fig: Sheet | None = None) -> Figure:
    """Observed shares with an event over predicted ones, a panel for each time.

    Parameters
    ----------
    curve
        ``comparison.calibration(curve=True)`` of one method; at most three of its times are drawn.
    fig
        Figure or subfigure to draw on; a new figure when left out.

    Returns
    -------
    Figure
        One dot per bin, its 95 % interval (Wilson, n in donors), and the line of probabilities
        that are exactly right.

    Raises
    ------
    InputError
        If there is nothing to draw, or more than one method.
    """
    if len(set(curve["method"])) != 1:
        raise InputError("such a picture is of one method: choose its rows of the table.")
    times = curve["time"].unique()[:_MOST]
    sheet, axes = sheet_of(
        fig, 2.5 * len(times) + 0.7, 3.2, ncols=len(times), sharey=True, squeeze=False
    )
    for t, ax in zip(times, axes[0], strict=True):
        unit_square(ax)
        draw_bins(ax, curve[curve["time"] == t], fmt="o", lw=1.2, color=COLOURS[0])
        ax.set_title(f"by {plain(t)}", fontsize=9)
    axes[0, 0].set_ylabel("share with an event")
    sheet.supxlabel("mean predicted probability of an event; bars: 95 %, n in donors", fontsize=9)
    return sheet.figure


@styled
def plot_risks(patients: pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Ranks of risk over times: events should stand high at the left.

    Parameters
    ----------
    patients
        ``comparison.patients()`` of a survival target.
    ax
        Where to draw; a new picture when left out.

    Returns
    -------
    Axes
        A full dot for each event, a hollow one for each bag that was lost from sight; the three
        that are farthest off are named.

    Raises
    ------
    InputError
        If there is nothing to draw.
    """
    if patients.empty:
        raise InputError("no bag to draw.")
    axes = one_panel(ax, 6.8, 3.8)
    axes.axhline(0.5, color=GREY, lw=0.8, ls=BROKEN)
    for low, high, at in patients[["rank_low", "rank_high", "time"]].to_numpy(float):
        axes.plot([at, at], [low, high], color=COLOURS[0], lw=2, alpha=0.3)
    for seen, what in ((True, "event"), (False, "lost from sight")):
        own = patients[patients["event"] == seen]
        axes.scatter(own["time"], own["rank"], s=26, zorder=3, lw=0.9, ec=COLOURS[0],
                     fc=COLOURS[0] if seen else "white", label=what)  # fmt: skip
    middle = patients["time"].median()
    for row in patients.head(3).to_dict("records"):
        right = row["time"] > middle
        axes.annotate(short(row["bag"]), (row["time"], row["rank"]), fontsize=8, va="center",
                      xytext=(-6 if right else 6, 0), textcoords="offset points", color=INK,
                      ha="right" if right else "left")  # fmt: skip
    axes.grid(color=PALE, lw=0.7)
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), fontsize=8, ncols=2)
    repeats = "; bars: range over repeats" if patients["times"].max() > 1 else ""
    axes.set(ylim=(-0.03, 1.03), xlim=(0, None), xlabel=f"time of event or last sight{repeats}",
             ylabel="rank of risk, donor left out")  # fmt: skip
    return axes
