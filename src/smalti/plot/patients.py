"""Donors one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from smalti.errors import InputError
from smalti.plot.style import (
    BROKEN,
    COLOURS,
    GREY,
    INK,
    MARKS,
    PALE,
    explained,
    one_panel,
    short,
    styled,
)


@styled
def plot_patients(
    patients: pd.DataFrame,
    *,
    positive: Any = None,
    most: int = 60,
    classes: Sequence[Any] = (),
    ax: Axes | None = None,
) -> Axes:
    """A dot for each bag: what models that were not fitted on its donor said of it.

    Parameters
    ----------
    patients
        ``comparison.patients()``.
    positive
        The positive class of two, whose probability is drawn; that of the true class otherwise.
    most
        Rows to draw; of more the worst two thirds and the best third of so many.
    classes
        In their order; as they come when left out.
    ax
        Where to draw; a new picture when left out.

    Returns
    -------
    Axes
        One row per bag, class by class, the worst first and those called wrong in bold; the bar is
        the range over repeats. Of numbers: the residual over the true value.

    Raises
    ------
    InputError
        If there is nothing to draw.
    """
    if patients.empty:
        raise InputError("no bag to draw.")
    if "p" not in patients:
        return _residuals(patients, ax)
    names = list(map(str, classes)) or list(dict.fromkeys(patients["true"].astype(str)))
    shown, left = patients, len(patients) - most
    if left > 0:
        shown = pd.concat([patients.head(most - most // 3), patients.tail(most // 3)])
    order = shown["true"].astype(str).map({c: i for i, c in enumerate(names)})
    shown = shown.assign(order=order).sort_values(
        ["order", "off"], ascending=[True, False], kind="stable"
    )
    axes = one_panel(ax, 6.8, 0.17 * len(shown) + 1.5)
    if positive is not None:
        axes.axvline(0.5, color=GREY, lw=0.8, ls=BROKEN)
    for y, row in enumerate(shown.to_dict("records")):
        i = names.index(str(row["true"])) % len(COLOURS)
        wrong = str(row["predicted"]) != str(row["true"])
        axes.plot([row["p_low"], row["p_high"]], [y, y], color=COLOURS[i], lw=2, alpha=0.45,
                  solid_capstyle="round")  # fmt: skip
        axes.scatter(row["p"], y, s=26, marker=MARKS[i], color=COLOURS[i], zorder=3,
                     ec=INK if wrong else "white", lw=1.1 if wrong else 0.6)  # fmt: skip
    axes.set_yticks(range(len(shown)), [short(b, 22) for b in shown["bag"]], fontsize=7.5)
    for label, row in zip(axes.get_yticklabels(), shown.to_dict("records"), strict=True):
        label.set_fontweight("bold" if str(row["predicted"]) != str(row["true"]) else "normal")
    axes.set(xlim=(-0.02, 1.02), ylim=(len(shown) - 0.5, -0.5))
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color=PALE, lw=0.7)
    axes.set_axisbelow(True)
    handles = [
        Line2D([], [], ls="", marker=MARKS[i % len(MARKS)], color=COLOURS[i % len(COLOURS)],
               label=short(f"truly {c}")) for i, c in enumerate(names)
    ]  # fmt: skip
    handles.append(Line2D([], [], ls="", marker="o", mfc="white", mec=INK, label="called wrong"))
    axes.legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1.0), fontsize=8,
                ncols=min(4, len(handles)), columnspacing=1.2, handletextpad=0.2)  # fmt: skip
    what = f"probability of '{short(positive)}'" if positive is not None else \
        "probability of the true class"  # fmt: skip
    repeats = "; bar: range over repeats" if patients["times"].max() > 1 else ""
    cut = f"; {len(shown)} of {len(patients)} drawn: worst and best" if left > 0 else ""
    explained(axes, f"{what}, donor left out{repeats}{cut}")
    return axes


def _residuals(patients: pd.DataFrame, ax: Axes | None) -> Axes:
    """Predicted less true, over the true value."""
    axes = one_panel(ax, 6.8, 3.6)
    axes.axhline(0, color=GREY, lw=0.8, ls=BROKEN)
    x = patients["true"].to_numpy(float)
    for low, high, at in patients[["predicted_low", "predicted_high", "true"]].to_numpy(float):
        axes.plot([at, at], [low - at, high - at], color=COLOURS[0], lw=2, alpha=0.4)
    axes.scatter(x, patients["residual"], s=26, color=COLOURS[0], zorder=3, ec="white", lw=0.6)
    centre = np.median(x)
    for row in patients.head(3).to_dict("records"):
        right = row["true"] > centre
        axes.annotate(short(row["bag"]), (row["true"], row["residual"]), fontsize=8, va="center",
                      xytext=(-6 if right else 6, 0), textcoords="offset points",
                      ha="right" if right else "left")  # fmt: skip
    axes.grid(color=PALE, lw=0.7)
    repeats = "; bars: range over repeats" if patients["times"].max() > 1 else ""
    axes.set(xlabel=f"true value{repeats}", ylabel="predicted less true")
    return axes
