"""One look for all pictures, and where they are drawn: Okabe and Ito's colours, no pyplot."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import wraps
from textwrap import fill
from typing import Any, ParamSpec, TypeAlias, TypeVar

import matplotlib as mpl
import numpy as np
import pandas as pd
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure, SubFigure

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
R = TypeVar("R")
Sheet: TypeAlias = Figure | SubFigure  # what several panels are drawn on


class Picture(Figure):
    """A figure that pyplot does not know: nothing to close; a notebook shows it all the same."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=100, facecolor="white")
        return buffer.getvalue()


class Panel(Axes):
    """Axes of a picture, which a notebook shows as the picture."""

    def _repr_png_(self) -> bytes | None:
        show = getattr(self.figure, "_repr_png_", None)  # none, once moved into another figure
        return show() if show else None


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Draw with the house style and leave the caller's settings alone."""

    @wraps(draw)
    def inside(*args: P.args, **kwargs: P.kwargs) -> R:
        with mpl.rc_context(_RC):
            return draw(*args, **kwargs)

    return inside


def one_panel(ax: Axes | None, width: float, height: float) -> Axes:
    """The axes that were given; when left out those of a new picture of a size in inches."""
    if ax is not None:
        return ax
    sheet = Picture(figsize=(width, height), layout="constrained")
    return sheet.add_subplot(axes_class=Panel)


def sheet_of(fig: Sheet | None, width: float, height: float, **kwargs: Any) -> tuple[Sheet, Any]:
    """The figure that was given, or a new one of a size in inches; and its axes.

    ``kwargs`` are those of ``Figure.subplots``. Who draws returns ``sheet.figure``: of a subfigure
    the whole.
    """
    sheet = Picture(figsize=(width, height), layout="constrained") if fig is None else fig
    return sheet, sheet.subplots(**kwargs)


def short(name: object, most: int = 24) -> str:
    """A name as one line of at most so many characters."""
    text = " ".join(str(name).split())
    return text if len(text) <= most else text[: most - 1] + "…"


def legend_beside(axes: Axes, **kwargs: Any) -> None:
    """A legend at the right of the axes, from the top on."""
    axes.legend(loc="upper left", bbox_to_anchor=(1.02, 1.0), **{"fontsize": 8} | kwargs)


def headline(axes: Axes, text: str) -> None:
    """A sentence above the axes; a long one reaches over the names at their left."""
    axes.set_title(fill(text, 66), loc="left" if len(text) < 46 else "right",
                   multialignment="left")  # fmt: skip


def explained(axes: Axes, text: str) -> None:
    """What is drawn, below the axes: it may be wider than they are, and ends where they end."""
    axes.set_xlabel(text, loc="right", fontsize=9)


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
