"""What :func:`smalti.genes.explore` found, in five pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from smalti.errors import InputError
from smalti.plot.style import COLOURS, GREY, PALE, Sheet, sheet_of, short, styled

if TYPE_CHECKING:
    from smalti.genes.exploring import GeneExploration

_SHOWN = 800  # rows of the correlations; more cannot be seen
_NAMED = 12  # groups with a name at their points; more names lie on one another


@styled
def plot_genes(
    found: GeneExploration, panels: Sequence[str] | None = None, *, fig: Sheet | None = None
) -> Figure:
    """Scale and distribution of the genes, how many groups there are, and which go together.

    Parameters
    ----------
    found
        What :func:`smalti.genes.explore` returned.
    panels
        Which pictures: "scale", "distribution", "choice", "points", "correlations"; all when left
        out.
    fig
        Figure or subfigure to draw on; a new figure when left out.

    Returns
    -------
    Figure
        A panel for each. In "points" a group has its number and its gene of most s.d., of the
        twelve largest groups.

    Raises
    ------
    InputError
        If there is no such panel.
    """
    names = list(_PANELS) if panels is None else list(panels)
    unknown = [name for name in names if name not in _PANELS]
    if unknown or not names:
        raise InputError(f"no picture {unknown or names} of genes: choose of {', '.join(_PANELS)}.")
    across = min(3, len(names))
    down = -(-len(names) // across)
    width = 5.0 if across == 1 else 4.3 * across
    sheet, grid = sheet_of(fig, width, 3.9 * down, nrows=down, ncols=across, squeeze=False)
    for axes, name in zip(grid.ravel(), names, strict=False):
        _PANELS[name](axes, found)
    for axes in grid.ravel()[len(names) :]:
        axes.set_visible(False)
    return sheet.figure


def _scale(axes: Axes, found: GeneExploration) -> None:
    table = found.genes
    dots = axes.scatter(table["mean"], table["sd"], s=9, c=table["detected"], cmap="viridis",
                        vmin=0, vmax=1, linewidths=0)  # fmt: skip
    axes.set(xlabel="mean", ylabel="s.d. over tiles", title=f"{len(table):,} genes: scale")
    axes.figure.colorbar(dots, ax=axes, label="share of tiles that show it")


def _distribution(axes: Axes, found: GeneExploration) -> None:
    table = found.genes
    axes.axhline(0, color=GREY, lw=0.8)
    axes.scatter(table["detected"], table["skew"], s=9, color=COLOURS[0], alpha=0.6, linewidths=0)
    axes.set(xlim=(-0.03, 1.03), xlabel="share of tiles that show it", ylabel="skew over tiles",
             title="Distribution: 0 is symmetric")  # fmt: skip


def _choice(axes: Axes, found: GeneExploration) -> None:
    table = found.choice
    for column, said, dash in (("silhouette", "silhouette", "-"), ("seeds", "seeds agree", "--"),
                               ("halves", "halves of the tiles agree", ":")):  # fmt: skip
        axes.plot(table["k"], table[column], dash, marker="o", ms=3, label=said)
    axes.axvline(found.k, color=GREY, lw=0.8)
    low = min(0, table[["silhouette", "seeds", "halves"]].min().min())
    axes.set(xlabel="number of groups", title=f"{found.k} groups", ylim=(low - 0.02, 1.02))
    axes.grid(axis="y", color=PALE, lw=0.7)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), fontsize=8, ncols=2)


def _points(axes: Axes, found: GeneExploration) -> None:
    from matplotlib.patheffects import withStroke

    table = found.genes
    colour = np.array(COLOURS, object)[table["group"].to_numpy() % len(COLOURS)]
    axes.scatter(table["x"], table["y"], s=11, c=list(colour), linewidths=0)
    middle = (table["x"].min() + table["x"].max()) / 2
    for group, own in table.groupby("group"):
        if group >= _NAMED:  # 0 is the largest
            continue
        at = own[["x", "y"]].median()
        top = short(own.nlargest(1, "sd")["gene"].iloc[0], 16)
        text = axes.text(at["x"], at["y"], f"{group}  {top}", fontsize=7.5, va="center",
                         ha="left" if at["x"] < middle else "right",
                         path_effects=[withStroke(linewidth=2.5, foreground="white")])  # fmt: skip
        text.set_in_layout(False)  # a long name must not squeeze the picture
    axes.set(xticks=[], yticks=[], title="Genes, near where they go together")


def _correlations(axes: Axes, found: GeneExploration) -> None:
    table = found.genes
    order = np.lexsort([table["sd"], table["group"]])
    order = order[:: max(1, -(-len(order) // _SHOWN))]
    shown = axes.imshow(found.correlations[np.ix_(order, order)], cmap="RdBu_r", vmin=-1, vmax=1)
    axes.set(xticks=[], yticks=[], title="Correlations, by group")
    axes.figure.colorbar(shown, ax=axes, label="Pearson over tiles", shrink=0.8)


_PANELS: dict[str, Callable[[Axes, GeneExploration], None]] = {
    "scale": _scale, "distribution": _distribution, "choice": _choice, "points": _points,
    "correlations": _correlations,
}  # fmt: skip
