"""Instances by score: where they lie, and of which types the high ones are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from smalti.errors import InputError
from smalti.plot.style import COLOURS, GREY, INK, MARKS, PALE, bare, one_panel, short, styled

_MOST_TYPES = 20
_DRAWN = 2000  # of more dots a picture of dots is smaller than their outlines
_MAP = "cividis"  # the same to all eyes, and in grey


@styled
def plot_cells(
    places: np.ndarray,
    ranks: np.ndarray,
    *,
    types: Sequence[str] | None = None,
    about: str = "",
    unit: str = "instances",
    ax: Axes | None = None,
) -> Axes:
    """Instances where they lie, coloured by the rank of their score within their bag.

    Parameters
    ----------
    places
        (n, 2) where.
    ranks
        (n,) from 0 to 1; those of NaN are left out.
    types
        (n,) type of each, written at the middle of the largest.
    about
        What the two axes are.
    unit
        What the dots are.
    ax
        Where to draw; a new picture when left out.

    Returns
    -------
    Axes
        One dot each, in an order by chance, so that none lies over the others.

    Raises
    ------
    InputError
        If lengths disagree, or no instance has a score.
    """
    places, ranks = np.asarray(places), np.asarray(ranks, float)
    if len(places) != len(ranks):
        raise InputError(f"{len(places)} places and {len(ranks)} scores: give one for each.")
    there = np.flatnonzero(np.isfinite(ranks))
    if not len(there):
        raise InputError("no instance has a score.")
    order = np.random.default_rng(0).permutation(there)
    axes = one_panel(ax, 6.4, 4.6)
    x, y = places[order].T
    dots = axes.scatter(x, y, c=ranks[order], s=7, lw=0, cmap=_MAP, vmin=0, vmax=1,
                      alpha=0.85, rasterized=True)  # fmt: skip
    bar = axes.figure.colorbar(dots, ax=axes, shrink=0.75, aspect=22, pad=0.02)
    bar.set_ticks([0, 0.5, 1], labels=["lowest", "middle", "highest"])
    bar.set_label("rank of its score in its bag", fontsize=8.5)
    bar.outline.set_visible(False)
    hidden = _look(axes, places[there])
    if types is not None:
        _name_types(axes, places[there], np.asarray(types)[there])
    bare(axes)
    for spine in axes.spines.values():
        spine.set(visible=True, color=PALE)
    cut = f"; {hidden} far ones lie outside" if hidden else ""
    axes.set_xlabel(f"{len(there):,} {unit}; {about}{cut}", fontsize=8.5)
    return axes


def _look(ax: Any, places: np.ndarray) -> int:
    """Limits that a few far dots do not stretch; how many lie outside."""
    low, high = np.quantile(places, [0.01, 0.99], axis=0)
    room = 0.15 * np.maximum(high - low, 1e-9)
    low = np.maximum(low - room, places.min(0) - room / 3)
    high = np.minimum(high + room, places.max(0) + room / 3)
    ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]))
    return int(((places < low) | (places > high)).any(1).sum())


def _name_types(ax: Any, places: np.ndarray, types: np.ndarray) -> None:
    """Names of the eight largest types at their middles, pushed apart where they would touch."""
    names = pd.Series(types).value_counts().index[:8]
    middles = np.array([np.median(places[types == n], axis=0) for n in names])
    span = np.diff([ax.get_xlim(), ax.get_ylim()], axis=1).ravel()
    order = np.argsort(middles[:, 1])
    last: list[np.ndarray] = []
    for i in order:
        at = middles[i].copy()
        for other in last:
            if abs(at[0] - other[0]) < 0.22 * span[0] and at[1] - other[1] < 0.05 * span[1]:
                at[1] = other[1] + 0.05 * span[1]
        last.append(at)
        ax.text(*at, short(names[i], 22), fontsize=7.5, ha="center", va="center", color=INK,
                clip_on=True,
                bbox={"fc": "white", "ec": "none", "alpha": 0.75, "pad": 0.8})  # fmt: skip


@styled
def plot_score_types(
    differences: pd.DataFrame,
    *,
    types: Sequence[str] = (),
    classes: Sequence[str] = (),
    ax: Axes | None = None,
) -> Axes:
    """How much more of each type there is among the high-score instances than among all.

    Parameters
    ----------
    differences
        One row per donor and type: donor, group, type, difference (of shares).
    types
        Which, in order, at most twenty are drawn; as they come when left out.
    classes
        Groups in their order; as they come when left out.
    ax
        Where to draw; a new picture when left out.

    Returns
    -------
    Axes
        One row per type: a dot for each donor in the colour and form of its class, a bar for the
        mean over the donors of a class.

    Raises
    ------
    InputError
        If there is nothing to draw.
    """
    if differences.empty:
        raise InputError("no type to draw.")
    shown = list(dict.fromkeys(types or differences["type"]))[:_MOST_TYPES]
    groups = differences["group"].astype(str)
    names = [str(c) for c in classes] or list(dict.fromkeys(groups))
    axes = one_panel(ax, 6.8, (0.16 + 0.15 * len(names)) * len(shown) + 1.3)
    axes.axvline(0, color=GREY, lw=0.8)
    rng, high = np.random.default_rng(0), 0.8 / len(names)
    for y, kind in enumerate(shown):
        if y % 2:
            axes.axhspan(y - 0.5, y + 0.5, color=PALE, alpha=0.4, lw=0)
        for i, name in enumerate(names):
            own = 100 * differences.loc[(differences["type"] == kind) & (groups == name),
                                        "difference"]  # fmt: skip
            at = y + (i - (len(names) - 1) / 2) * high
            axes.scatter(own, at + high * rng.uniform(-0.3, 0.3, len(own)), s=13, lw=0, alpha=0.6,
                         rasterized=len(differences) > _DRAWN,
                         color=COLOURS[i % len(COLOURS)], marker=MARKS[i % len(MARKS)])  # fmt: skip
            if len(own):
                axes.plot([own.mean()] * 2, [at - 0.45 * high, at + 0.45 * high], color=INK, lw=2,
                          solid_capstyle="butt", zorder=4)  # fmt: skip
    axes.set_yticks(range(len(shown)), [short(t, 28) for t in shown])
    axes.set_ylim(len(shown) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color=PALE, lw=0.7)
    axes.set_axisbelow(True)
    handles = [Line2D([], [], ls="", marker=MARKS[i % len(MARKS)], ms=4.5, label=short(n),
                      color=COLOURS[i % len(COLOURS)]) for i, n in enumerate(names)]  # fmt: skip
    handles.append(
        Line2D([], [], ls="", marker="|", ms=9, mew=2, color=INK, label="mean of a class")
    )
    axes.legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1.0), fontsize=8,
                ncols=min(5, len(handles)), columnspacing=1.2, handletextpad=0.3)  # fmt: skip
    axes.set_xlabel("percentage points more among the highest tenth than among all; a dot: a donor")
    return axes
