"""Scores of predicted expression, each by a name that says over what it is taken.

"Pearson" alone names three different numbers, far apart on the same predictions:

- ``pcc_slide``: of each gene over the tiles of one slide; mean over slides, then over genes.
- ``pcc_fold``: of each gene over all test tiles at once; mean over genes. Differences between
  slides, of staining or of depth, count as skill.
- ``pcc_tile``: of each tile over the genes; mean over tiles. A constant profile scores high.

NaN policy: a gene that is constant, measured or predicted, has no correlation. "drop" leaves it
out (and ``n_constant`` counts it), "zero" counts it 0, "minus_one" counts it -1, as the code of
EGN and SGN does. Constant means: varies by no more than the rounding of the array's type.

Sums are in double precision whatever the type of ``pred`` and ``true``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from smalti.errors import InputError
from smalti.scores.expression_limits import morans_i, reliability_ceiling, spatial_graph
from smalti.scores.gene_correlations import (
    BLOCK,
    blocks,
    checked_pair,
    nanmean,
    pearson_genes,
    pearson_slides,
    pearson_tiles,
    rounding,
    slide_codes,
)

__all__ = [
    "Nan", "expression_scores", "gene_correlation_error", "morans_i", "pcc_beyond", "pcc_fold",
    "pcc_h_optimistic", "pcc_slide", "pcc_tile", "pearson_genes", "pearson_slides",
    "pearson_tiles", "r2_genes", "reliability_ceiling", "spatial_graph",
]  # fmt: skip

Nan = Literal["drop", "zero", "minus_one"]
_FILL = {"drop": np.nan, "zero": 0.0, "minus_one": -1.0}


def pcc_slide(pred: Any, true: Any, slide: Any, *, nan: Nan = "drop", rank: bool = False) -> float:
    """Mean over genes of their mean correlation within slides; slides of one tile do not count."""
    return _mean(_over_slides(pearson_slides(pred, true, slide, rank=rank), slide, nan))


def pcc_fold(pred: Any, true: Any, *, nan: Nan = "drop", rank: bool = False) -> float:
    """Mean over genes of their correlation over all tiles at once."""
    return _mean(_fill(pearson_genes(pred, true, rank=rank), nan))


def pcc_tile(pred: Any, true: Any, *, nan: Nan = "drop", rank: bool = False) -> float:
    """Mean over tiles of their correlation over the genes."""
    return _mean(_fill(pearson_tiles(pred, true, rank=rank), nan))


def pcc_beyond(pred: Any, true: Any, slide: Any, known: Any, *, nan: Nan = "drop") -> float:
    """:func:`pcc_slide` of what a known number of each tile leaves: partial correlation.

    In each slide ``known``, say the log of a spot's total count, is regressed out of both sides, so
    that a prediction which says no more than it has nothing left.

    Parameters
    ----------
    pred, true
        (n_tiles, n_genes), dense.
    slide
        (n_tiles,) label of each tile's slide.
    known
        (n_tiles,).
    nan
        What a gene counts of which nothing is left.
    """
    pred, true = (np.asarray(x, dtype=np.float64) for x in checked_pair(pred, true))
    known, codes = np.asarray(known, dtype=np.float64), slide_codes(slide, len(pred))
    left = []
    for x in (pred, true):
        out = np.zeros_like(x)
        for code in range(codes.max() + 1):
            tiles = np.flatnonzero(codes == code)
            about = x[tiles] - x[tiles].mean(0)
            k = known[tiles] - known[tiles].mean()
            rest = about - np.outer(k, k @ about) / max(float(k @ k), 1e-300)
            # less than this is rounding of float32
            least = 1e-5 * np.linalg.norm(about, axis=0) + 1e-6 * np.linalg.norm(x[tiles], axis=0)
            live = np.linalg.norm(rest, axis=0) > least
            out[tiles] = rest * live
        left.append(out)
    return _mean(_over_slides(pearson_slides(left[0], left[1], slide), slide, nan))


def pcc_h_optimistic(each: np.ndarray, top: int = 50) -> float:
    """Mean of the ``top`` best of (n_genes,) correlations: the best by the very test fold.

    The published form of PCC@H (TRIPLEX, CVPR 2024, for one fold): it is above what any new
    slide would show, for noise alone has a best fifty. Choose genes on training data instead, and
    name them to :func:`expression_scores` as ``chosen``.
    """
    known = np.sort(each[np.isfinite(each)])
    return _mean(known[-top:])


def r2_genes(pred: Any, true: Any) -> np.ndarray:
    """1 - sum of squared errors / sum of squares about the gene's own mean over all tiles.

    (n_genes,); NaN for genes whose ``true`` is constant.
    """
    pred, true = checked_pair(pred, true)
    return _errors(pred, true).r2


def gene_correlation_error(pred: Any, true: Any) -> float:
    """Mean absolute difference of the gene-gene correlations, over all pairs of distinct genes.

    Over all tiles at once, without genes constant on either side; block by block, so that the
    matrices, of 1.8 GB each at 15,000 genes, are never held. Correlations are exact to 1e-6:
    products are taken in single precision. NaN with fewer than two such genes.

    Parameters
    ----------
    pred, true
        (n_tiles, n_genes), dense or sparse.
    """
    pred, true = checked_pair(pred, true)
    n, width = pred.shape
    units, live = [], np.ones(width, bool)
    for x in (pred, true):
        unit = np.empty((n, width), np.float32)
        for genes, block in blocks(x):
            c = block - block.mean(0)
            length = np.sqrt(np.einsum("ij,ij->j", c, c))
            live[genes] &= length > rounding(block, x.dtype)
            unit[:, genes] = np.divide(c, length, out=np.zeros_like(c), where=length > 0)
        units.append(unit)
    p, y = (u[:, live] for u in units)
    g = p.shape[1]
    if g < 2:
        return float("nan")
    total, step = 0.0, max(1, BLOCK // g)
    for start in range(0, g, step):
        rows = slice(start, min(start + step, g))  # from the diagonal on: the rest is symmetric
        gap = np.abs(p[:, rows].T @ p[:, start:] - y[:, rows].T @ y[:, start:])
        square = gap[:, : rows.stop - start]
        total += 2 * gap.sum(dtype=np.float64) - square.sum(dtype=np.float64)
    return float(total / (g * (g - 1)))


def expression_scores(
    pred: Any,
    true: Any,
    slide: Any,
    *,
    chosen: Sequence[int] | np.ndarray | None = None,
    top: int = 50,
    nan: Nan = "drop",
) -> dict[str, float]:
    """All scores of one set of test tiles.

    Parameters
    ----------
    pred, true
        (n_tiles, n_genes), dense or sparse, in the same unit.
    slide
        (n_tiles,) label of each tile's slide.
    chosen
        Positions of genes that were chosen **on training data**, for ``*_chosen``.
    top
        How many genes ``*_h_optimistic`` takes.
    nan
        What a constant gene (or tile) counts: "drop", "zero" or "minus_one".

    Returns
    -------
    dict
        ``mse``, ``mae``: over all entries. ``r2``: mean of :func:`r2_genes`, constant genes left
        out whatever ``nan``. ``pcc_slide``, ``pcc_fold`` (PCC@M), ``pcc_tile``; ``spearman_*``.
        Over the genes of the slide and fold forms: ``*_quartile`` (first quartile, PCC@F),
        ``*_median`` (PCC@S), ``*_h_optimistic`` (:func:`pcc_h_optimistic`), and with ``chosen``
        ``*_chosen`` (an honest PCC@H). ``gene_correlation_error``. ``n_constant``: genes without
        a correlation over all tiles.

    Raises
    ------
    InputError
        If the shapes differ, a value is not finite, or ``chosen`` or ``nan`` is out of range.
    """
    pred, true = checked_pair(pred, true)
    errors = _errors(pred, true)
    out = {"mse": _mean(errors.mse), "mae": _mean(errors.mae), "r2": _mean(errors.r2)}
    fold = pearson_genes(pred, true)
    forms = {
        "pcc_slide": _over_slides(pearson_slides(pred, true, slide), slide, nan),
        "pcc_fold": _fill(fold, nan),
    }
    for name, each in forms.items():
        out[name] = _mean(each)
        known = each[np.isfinite(each)]
        for q, label in ((0.25, "quartile"), (0.5, "median")):
            out[f"{name}_{label}"] = float(np.quantile(known, q)) if known.size else float("nan")
        out[f"{name}_h_optimistic"] = pcc_h_optimistic(each, top)
        if chosen is not None:
            out[f"{name}_chosen"] = _mean(each[_positions(chosen, len(each))])
    out["pcc_tile"] = pcc_tile(pred, true, nan=nan)
    out["spearman_slide"] = pcc_slide(pred, true, slide, nan=nan, rank=True)
    out["spearman_fold"] = pcc_fold(pred, true, nan=nan, rank=True)
    out["spearman_tile"] = pcc_tile(pred, true, nan=nan, rank=True)
    out["gene_correlation_error"] = gene_correlation_error(pred, true)
    out["n_constant"] = float(np.isnan(fold).sum())
    return out


class _Errors(NamedTuple):
    mse: np.ndarray
    mae: np.ndarray
    r2: np.ndarray


def _errors(pred: Any, true: Any) -> _Errors:
    """Of each gene."""
    out = _Errors(*np.full((3, pred.shape[1]), np.nan))
    for (genes, p), (_, y) in zip(blocks(pred), blocks(true), strict=True):
        gap = p - y
        out.mse[genes], out.mae[genes] = np.square(gap).mean(0), np.abs(gap).mean(0)
        around = np.square(y - y.mean(0)).sum(0)
        live = around > rounding(y, true.dtype) ** 2
        np.divide(np.square(gap).sum(0), around, out=out.r2[genes], where=live)
        out.r2[genes] = 1 - out.r2[genes]
    return out


def _over_slides(each: np.ndarray, slide: Any, nan: Nan) -> np.ndarray:
    """(n_genes,) mean over the slides that have two tiles."""
    several = np.unique(np.asarray(slide), return_counts=True)[1] > 1
    return nanmean(_fill(each[several], nan))


def _mean(x: np.ndarray) -> float:
    return float(nanmean(x))


def check_nan(nan: str) -> None:
    """Refuse a word for genes without a correlation that there is not.

    Raises
    ------
    InputError
        If it is none of "drop", "zero" and "minus_one".
    """
    if nan not in _FILL:
        raise InputError(f"nan={nan!r} is not one of {', '.join(_FILL)}.")


def _fill(each: np.ndarray, nan: Nan) -> np.ndarray:
    check_nan(nan)
    return np.where(np.isnan(each), _FILL[nan], each)


def _positions(chosen: Any, n_genes: int) -> np.ndarray:
    where = np.asarray(chosen)
    if where.dtype.kind not in "iu" or where.size == 0 or where.min() < 0 or where.max() >= n_genes:
        raise InputError(f"chosen: give positions of genes, 0 to {n_genes - 1}, at least one.")
    return where
