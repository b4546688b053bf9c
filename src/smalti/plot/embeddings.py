"""Maps of cells: embeddings in two dimensions."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from smalti.errors import InputError
from smalti.plot.style import COLOURS, PALE, Sheet, bare, sheet_of, styled
from smalti.system.extras import need

# more than the six of the house: Okabe & Ito's, then their shades
_MANY = (*COLOURS, "#F0E442", "#7A3B00", "#003F66", "#7F2E5C", "#3D3D3D", "#9AD9C0", "#B8B8B8")

_HELD = 0.2  # share of the cells that a supervised map does not know


@styled
def plot_embeddings(
    embeddings: Mapping[str, np.ndarray],
    labels: np.ndarray,
    *,
    most: int = 3000,
    seed: int = 0,
    supervised: bool = False,
    fig: Sheet | None = None,
) -> Figure:
    """UMAP of each embedding, a dot per cell in the colour of its label.

    Parameters
    ----------
    embeddings
        Name -> (n_cells, width) of the same cells.
    labels
        (n_cells,) what to colour by.
    most
        Cells to show, drawn by ``seed``; maps of more are no clearer.
    seed
        Of the draw and of UMAP.
    supervised
        UMAP is told the labels of four fifths of the cells and places the others, ringed, without
        them. Labels then come apart whatever the embedding says, in noise too: only the ringed
        cells tell whether they do, and such a map is never to be scored against its labels.
    fig
        Figure or subfigure to draw on; a new figure when left out.

    Returns
    -------
    Figure
        One panel per embedding. Distances between groups in such a map mean little.

    Raises
    ------
    InputError
        If umap-learn is not installed, or lengths disagree.
    """
    umap = need("umap")
    labels = np.asarray(labels)
    if not embeddings:
        raise InputError("no embeddings to show.")
    for name, z in embeddings.items():
        if len(z) != len(labels):
            raise InputError(f"{name!r} has {len(z)} cells, labels {len(labels)}: give the same.")
    rng = np.random.default_rng(seed)
    shown = rng.permutation(len(labels))[:most]  # in random order: none is drawn over the others
    names = list(pd.Series(labels).value_counts().index)
    colour = {name: _MANY[i % len(_MANY)] for i, name in enumerate(names)}
    dots = [colour[v] for v in labels[shown]]
    across = min(4, len(embeddings))
    down = -(-len(embeddings) // across)
    rows = -(-len(names) // 4)
    held = rng.random(len(shown)) < _HELD if supervised else np.zeros(len(shown), dtype=bool)
    codes = pd.factorize(labels[shown])[0] if supervised else None
    sheet, grid = sheet_of(
        fig,
        2.1 * across + 0.2,
        2.25 * down + 0.22 * rows + 0.2,
        nrows=down,
        ncols=across,
        squeeze=False,
    )
    for axes, (name, z) in zip(grid.ravel(), embeddings.items(), strict=False):
        at = map_of(umap, z[shown], codes, held, seed)
        axes.scatter(*at.T, s=3, c=dots, lw=0, alpha=0.8, rasterized=True)
        axes.scatter(*at[held].T, s=9, fc="none", ec="black", lw=0.4, rasterized=True)
        axes.set_title(f"{name}, supervised" if supervised else name, fontsize=9)
        bare(axes)
        for spine in axes.spines.values():
            spine.set(visible=True, color=PALE)
    for axes in grid.ravel()[len(embeddings) :]:
        axes.set_visible(False)
    keys = [Line2D([], [], ls="", marker="o", ms=5, color=colour[n], label=str(n)) for n in names]
    sheet.legend(handles=keys, loc="outside lower center", ncols=4, fontsize=8)
    return sheet.figure


def map_of(
    umap: Any, z: np.ndarray, codes: np.ndarray | None, held: np.ndarray, seed: int
) -> np.ndarray:
    """(n, 2) map of (n, width) codes of cells.

    Parameters
    ----------
    umap
        The package.
    z
        (n, width) an embedding.
    codes
        (n,) labels that the map may look at, but of no cell that is held; None: it sees none.
    held
        (n,) cells that are placed on the map of the others.
    seed
        Of UMAP.
    """
    at = np.empty((len(z), 2), dtype=np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a seed means one thread
        fitted = umap.UMAP(random_state=seed).fit(z[~held], None if codes is None else codes[~held])
        at[~held] = fitted.embedding_
        if held.any():
            at[held] = fitted.transform(z[held])
    return at


__all__ = ["plot_embeddings"]
