"""What expression can be predicted at all: a ceiling set by noise, and how smooth a gene lies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse
from sklearn.neighbors import kneighbors_graph

from smalti.bags import Bags
from smalti.errors import InputError
from smalti.scores.gene_correlations import blocks, nanmean, pearson_slides, slide_codes


def reliability_ceiling(
    counts: Any, slide: Any, *, seed: int = 0, normalise: bool = True, repeats: int = 5
) -> np.ndarray:
    """The Pearson correlation within slides that a perfect prediction would reach.

    Each count is parted into two halves by a fair coin (binomial thinning: of Poisson counts the
    halves are independent given the rate). Their correlation r, over the tiles of a slide, mean
    over slides and repeats, is the reliability at half depth; 2 r / (1 + r) that at full depth
    (Spearman 1910, Brown 1910), and its root the correlation of the measurement with the rate.

    Parameters
    ----------
    counts
        (n_tiles, n_genes) whole numbers, dense or sparse.
    slide
        (n_tiles,) label of each tile's slide.
    seed
        Of the thinning.
    normalise
        log(1 + counts per 10,000 of the tile) of each half; False: counts as they are.
    repeats
        Thinnings to take the mean of.

    Returns
    -------
    np.ndarray
        (n_genes,) in [0, 1]; 0 where the halves do not correlate, NaN for genes that are constant
        in every slide. A gene constant in one half only, for want of counts, has r = 0 there.

    Raises
    ------
    InputError
        If the counts are negative or no whole numbers, or repeats < 1.
    """
    table = sparse.csr_array(counts)
    data = np.asarray(table.data, np.float64)
    if (data < 0).any() or (data != np.round(data)).any():
        raise InputError("counts: thinning needs whole numbers, not negative; give raw counts.")
    if repeats < 1:
        raise InputError(f"repeats={repeats}: give at least 1.")
    rng = np.random.default_rng(seed)
    whole = _scaled(table, data, normalise)
    varies = np.isfinite(pearson_slides(whole, whole, slide))
    total = np.zeros(varies.shape)
    for _ in range(repeats):
        half = rng.binomial(data.astype(np.int64), 0.5).astype(np.float64)
        one, two = _scaled(table, half, normalise), _scaled(table, data - half, normalise)
        total += np.nan_to_num(pearson_slides(one, two, slide))
    r = nanmean(np.where(varies, total / repeats, np.nan)).clip(0)
    return np.sqrt(2 * r / (1 + r))


def spatial_graph(positions: Any, slide: Any, *, k: int = 6) -> sparse.csr_array:
    """(n_tiles, n_tiles) 1 from each tile to its k nearest of the same slide, else 0.

    Not symmetric. Of tiles equally far, as on a square grid, some are taken; a slide with no more
    than k tiles links all.

    Parameters
    ----------
    positions
        (n_tiles, 2), in any unit.
    slide
        (n_tiles,) label of each tile's slide.
    k
        Neighbours of a tile; 6 is one ring of a hexagonal grid.

    Raises
    ------
    InputError
        If positions are not (n_tiles, 2) and finite, or no slide has two tiles.
    """
    xy = np.asarray(positions, float)
    if xy.ndim != 2 or not np.isfinite(xy).all():
        raise InputError(f"positions has shape {xy.shape}: give finite (n_tiles, 2).")
    codes = slide_codes(slide, len(xy))
    row, column = [], []
    for code in range(codes.max() + 1):
        tiles = np.flatnonzero(codes == code)
        if len(tiles) > 1:
            near = kneighbors_graph(xy[tiles], min(k, len(tiles) - 1)).tocoo()
            row.append(tiles[near.row])
            column.append(tiles[near.col])
    if not row:
        raise InputError("no slide has two tiles, so that there are no neighbours.")
    edges = (np.concatenate(row), np.concatenate(column))
    return sparse.csr_array((np.ones(len(edges[0])), edges), shape=(len(xy), len(xy)))


def morans_i(values: Any, positions: Any, slide: Any, *, k: int = 6) -> np.ndarray:
    """Moran's I of each gene: whether neighbours are alike (1), as by chance (0) or unlike (-1).

    I = (n / W) sum_ij w_ij z_i z_j / sum_i z_i^2 in each slide, z less its mean there, w of
    :func:`spatial_graph` and W their sum (Moran 1950); mean over the slides where the gene varies.

    Parameters
    ----------
    values
        (n_tiles, n_genes), dense or sparse.
    positions, slide, k
        As in :func:`spatial_graph`.

    Returns
    -------
    np.ndarray
        (n_genes,) float64; NaN for genes that are constant in every slide.
    """
    graph = spatial_graph(positions, slide, k=k)
    codes = slide_codes(slide, graph.shape[0])
    varies = np.isfinite(pearson_slides(values, values, slide))
    each = np.full(varies.shape, np.nan)
    table = values.tocsr() if sparse.issparse(values) else np.asarray(values)
    for code in range(len(each)):
        tiles = np.flatnonzero(codes == code)
        w = graph[tiles][:, tiles]
        for genes, x in blocks(table[tiles]):
            z = x - x.mean(0)
            top = len(tiles) * np.einsum("ij,ij->j", z, w @ z)
            below = w.sum() * np.square(z).sum(0)
            np.divide(top, below, out=each[code, genes], where=varies[code, genes])
    return nanmean(each)


def _scaled(table: sparse.csr_array, data: np.ndarray, normalise: bool) -> sparse.csr_array:
    """The counts ``data`` in the places of ``table``, log(1 + counts per 10,000) if asked."""
    out = sparse.csr_array((data, table.indices, table.indptr), shape=table.shape)
    if normalise:
        depth = np.maximum(out.sum(axis=1), 1)
        out.data = np.log1p(data / np.repeat(depth, np.diff(table.indptr)) * 1e4)
    return out


def gene_table(
    names: Sequence[str], chosen: Sequence[str], predicted: np.ndarray, true: np.ndarray, test: Bags
) -> pd.DataFrame:
    """One row per gene: its correlation, whether training chose it, how it lies on the slide.

    Parameters
    ----------
    names
        Of the genes.
    chosen
        Those of PCC@H.
    predicted, true
        (n_tiles, n_genes).
    test
        The tiles, with positions where there are any.

    Returns
    -------
    DataFrame
        gene, pcc_slide, chosen; and morans_i_measured, morans_i_predicted with positions.
    """
    each = pearson_slides(predicted, true, test.index)  # (n_slides, n_genes)
    with np.errstate(invalid="ignore"):
        mean = np.nansum(each, 0) / np.isfinite(each).sum(0)
    table = pd.DataFrame({"gene": names, "pcc_slide": mean, "chosen": np.isin(names, chosen)})
    if {"x_um", "y_um"} <= set(test.instance):
        xy = test.instance[["x_um", "y_um"]].to_numpy(float)
        for name, values in (("measured", true), ("predicted", predicted)):
            table[f"morans_i_{name}"] = morans_i(values, xy, test.index)
    return table
