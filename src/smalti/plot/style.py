"""One look for all pictures: Okabe and Ito's colours, quiet axes, no pyplot."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.rcsetup import cycler

# Okabe & Ito (2008): told apart by people with any common colour blindness
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKS = ("o", "s", "^", "D", "v", "P")  # forms of dots beside the colours, for those who see none
LINES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))  # and dashes of lines
BROKEN = (0, (4, 3))  # the dashes of what is no data: chance, zero, exactly right
INK, GREY, PALE = "#222222", "#8A8A8A", "#E6E6E6"
ACCENT = COLOURS[1]

_RC = {
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.labelcolor": INK,
    "axes.edgecolor": GREY,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": cycler(color=COLOURS),
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "text.parse_math": False,  # names of genes and slides are no formulas: a$b$c
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "savefig.dpi": 150,
    "savefig.facecolor": "white",
    "svg.fonttype": "path",
    "svg.hashsalt": "smalti",  # the same picture, byte for byte
}

P = ParamSpec("P")


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Draw with the house style and leave the caller's settings alone."""

    @wraps(draw)
    def inside(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with mpl.rc_context(_RC):
            return draw(*args, **kwargs)

    return inside


def new(width: float, height: float, **kwargs: Any) -> tuple[Figure, Any]:
    """Figure of a size in inches, and its axes (see ``Figure.subplots``)."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(**kwargs)


def short(name: object, most: int = 24) -> str:
    """A name as one line of at most so many characters."""
    text = " ".join(str(name).split())
    return text if len(text) <= most else text[: most - 1] + "…"


def legend_beside(axes: Axes, **kwargs: Any) -> None:
    """A legend at the right of the axes, from the top on."""
    axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1.0), **{"fontsize": 8} | kwargs)


def unit_square(axes: Axes) -> None:
    """Shares over shares, and the line on which both are alike."""
    axes.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls=BROKEN)
    axes.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal")
    axes.grid(color=PALE, lw=0.7)


def draw_bins(axes: Axes, bins: pd.DataFrame, **kwargs: Any) -> None:
    """Observed shares over predicted ones, with intervals: predicted, observed, low, high."""
    ends = np.abs(bins[["low", "high"]].to_numpy().T - bins["observed"].to_numpy())
    axes.errorbar(bins["predicted"], bins["observed"], ends, ms=4, **kwargs)


def bare(axes: Axes) -> None:
    """Take ticks and frame away."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)
