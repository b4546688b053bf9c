"""What :func:`smalti.genes.explore` found, in four pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from smalti.plot.style import COLOURS, GREY, new, styled

if TYPE_CHECKING:
    from smalti.genes.exploring import GeneExploration

_SHOWN = 800  # rows of the correlations; more cannot be seen


@styled
def plot_genes(found: GeneExploration) -> Figure:
    """Scale of the genes, how many groups there are, genes as points, and their correlations.

    Parameters
    ----------
    found
        What :func:`smalti.genes.explore` returned.

    Returns
    -------
    Figure
        Four panels.
    """
    figure, ((scale, choice), (points, matrix)) = new(9.6, 7.4, nrows=2, ncols=2)
    table = found.genes
    colour = np.array(COLOURS, object)[table["group"].to_numpy() % len(COLOURS)]
    scale.scatter(table["mean"], table["sd"], s=7, c=table["detected"], cmap="viridis", vmin=0,
                  vmax=1, linewidths=0)  # fmt: skip
    scale.set(xlabel="mean", ylabel="s.d. over tiles", title=f"{len(table):,} genes")
    figure.colorbar(scale.collections[0], ax=scale, label="share of tiles that show it")
    for column, said, dash in (("silhouette", "silhouette", "-"), ("seeds", "seeds agree", "--"),
                               ("halves", "halves agree", ":")):  # fmt: skip
        choice.plot(found.choice["k"], found.choice[column], dash, marker="o", ms=3, label=said)
    choice.axvline(found.k, color=GREY, lw=0.8)
    choice.set(
        xlabel="groups", title=f"{found.k} groups", ylim=(min(0, found.choice.min().min()), 1.02)
    )
    choice.legend()
    points.scatter(table["x"], table["y"], s=9, c=list(colour), linewidths=0)
    for _, own in table.groupby("group"):
        top = own.nlargest(1, "sd").iloc[0]
        points.annotate(str(top["gene"]), (top["x"], top["y"]), fontsize=7)
    points.set(xticks=[], yticks=[], title="Genes, near where they go together")
    order = np.lexsort([table["sd"], table["group"]])
    order = order[:: max(1, -(-len(order) // _SHOWN))]
    shown = matrix.imshow(found.correlations[np.ix_(order, order)], cmap="RdBu_r", vmin=-1, vmax=1)
    matrix.set(xticks=[], yticks=[], title="Correlations, by group")
    figure.colorbar(shown, ax=matrix, label="Pearson over tiles")
    return figure
