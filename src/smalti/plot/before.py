"""What is known before a fit: which encoder predicts best, and which genes can be predicted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from smalti.errors import InputError
from smalti.plot.style import (
    BROKEN,
    COLOURS,
    GREY,
    PALE,
    Sheet,
    explained,
    one_panel,
    sheet_of,
    short,
    styled,
)

if TYPE_CHECKING:
    from smalti.features.screen import Screen


@styled
def plot_screen(found: Screen, *, ax: Axes | None = None) -> Axes:
    """One row per encoder: a dot per part that was left out, and their mean.

    Parameters
    ----------
    found
        What :func:`smalti.features.screen_backbones` returned.
    ax
        Where to draw; a new picture when left out.

    Returns
    -------
    Axes
        Encoders by falling mean; dots of one part are joined.
    """
    order = found.summary()["view"].tolist()
    each = found.folds.pivot_table("pcc_slide", "left_out", "view", sort=False)[order]
    axes = one_panel(ax, 5.6, 0.5 * len(order) + 1.2)
    rows = np.arange(len(order))
    for values in each.to_numpy():
        axes.plot(values, rows, color=GREY, lw=0.6, alpha=0.5, marker="o", ms=3.5, zorder=2)
    mean = each.mean().to_numpy()
    axes.scatter(mean, rows, s=46, color=COLOURS[0], ec="white", lw=1, zorder=4)
    for y, value in zip(rows, mean, strict=True):
        axes.text(1.02, float(y), f"{value:.3f}", transform=axes.get_yaxis_transform(), va="center",
                  fontsize=8.5, color=COLOURS[0])  # fmt: skip
    axes.set_yticks(rows, [short(name) for name in order])
    axes.set_ylim(len(order) - 0.5, -0.5)
    axes.axvline(0, color=GREY, lw=0.8, ls=BROKEN, zorder=1)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color=PALE, lw=0.7)
    axes.set_axisbelow(True)
    explained(axes, "Pearson of a gene within a slide\n"
                    f"small dots, joined: each {found.left_out} left out")  # fmt: skip
    return axes


@styled
def plot_predictable(table: pd.DataFrame, *, n: int = 20, fig: Sheet | None = None) -> Figure:
    """How well features tell each gene, beside what turned maps give.

    Parameters
    ----------
    table
        What :func:`smalti.expression.predictable` returned.
    n
        Genes named, those of the highest score of any view.
    fig
        Figure or subfigure to draw on; a new figure when left out.

    Returns
    -------
    Figure
        Above the share of genes above each score, for each view, and dashed that of the null's
        means; below the best genes, with the null of the first view in grey (mean ± 2 s.d.).

    Raises
    ------
    InputError
        If no gene has a score.
    """
    known = table.dropna(subset=["score"])
    if known.empty:
        raise InputError("no gene has a score to draw: each was seen in too few tiles.")
    views = known["view"].drop_duplicates().tolist()
    top = known.groupby("gene", sort=False)["score"].max().nlargest(n).index.tolist()
    tall = 0.21 * len(top) + 0.9
    sheet, (all_, best) = sheet_of(fig, 5.6, 3.6 + tall, nrows=2, height_ratios=(3.6, tall))
    for i, view in enumerate(views):
        own, colour = known[known["view"] == view], COLOURS[i % len(COLOURS)]
        for column, dash in (("score", "-"), ("null_mean", ":")):
            values = np.sort(own[column].to_numpy())
            values = np.r_[values, values[-1]]
            label = short(view) if column == "score" else None
            all_.plot(values, np.linspace(1, 0, len(values)), dash, color=colour, label=label,
                      drawstyle="steps-post")  # fmt: skip
        own = own.drop_duplicates("gene").set_index("gene").reindex(top)
        rows = np.arange(len(top))
        if i == 0:
            low, high = (own["null_mean"] + side * own["null_sd"] for side in (-2, 2))
            best.hlines(rows, low, high, color=GREY, lw=4, alpha=0.35)
        best.plot(own["score"], rows, "o", color=colour, ms=5)
    all_.set(xlabel="score (rank correlation; dotted: maps turned)", ylim=(0, 1.02),
             ylabel="share of genes above it",
             title=f"{known['gene'].nunique():,} genes")  # fmt: skip
    all_.axvline(0, color=GREY, lw=0.8)
    all_.legend(loc="upper center", bbox_to_anchor=(0.5, -0.18), fontsize=8)
    best.set_yticks(range(len(top)), [short(gene, 22) for gene in top], fontsize=7.5)
    best.set(ylim=(len(top) - 0.5, -0.5), xlabel="score; grey: of turned maps",
             title=f"The highest {len(top)}")  # fmt: skip
    best.grid(axis="x", color=PALE, lw=0.7)
    best.set_axisbelow(True)
    return sheet.figure
