"""Correlations of many genes at once, in double precision, over blocks of columns.

No loop over genes: five sums a gene, over the tiles of each slide. ``pred`` and ``true`` may be
single precision or sparse; only a block of them is made dense and double at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy import sparse
from scipy.stats import rankdata

from smalti.errors import InputError

BLOCK = 2**22  # numbers of one side made double at a time: 32 MiB


def pearson_genes(pred: Any, true: Any, *, rank: bool = False) -> np.ndarray:
    """Correlation of each gene over all tiles.

    Parameters
    ----------
    pred, true
        (n_tiles, n_genes), dense or sparse.
    rank
        Spearman's instead of Pearson's; ties share their mean rank.

    Returns
    -------
    np.ndarray
        (n_genes,) float64, NaN for constant genes.

    Raises
    ------
    InputError
        If the shapes differ or a value is not finite.
    """
    pred, true = checked_pair(pred, true)
    return _by_slide(pred, true, np.zeros(pred.shape[0], int), rank)[0]


def pearson_slides(pred: Any, true: Any, slide: Any, *, rank: bool = False) -> np.ndarray:
    """Correlation of each gene within each slide, as :func:`pearson_genes`.

    Parameters
    ----------
    pred, true
        (n_tiles, n_genes), dense or sparse.
    slide
        (n_tiles,) label of each tile's slide.

    Returns
    -------
    np.ndarray
        (n_slides, n_genes), slides sorted by label; NaN for genes that are constant there, and for
        slides of one tile.
    """
    pred, true = checked_pair(pred, true)
    return _by_slide(pred, true, slide_codes(slide, pred.shape[0]), rank)


def pearson_tiles(pred: Any, true: Any, *, rank: bool = False) -> np.ndarray:
    """Correlation of each tile over the genes, (n_tiles,); else as :func:`pearson_genes`."""
    pred, true = checked_pair(pred, true)
    n, width = pred.shape
    step, out = max(1, BLOCK // max(width, 1)), np.full(n, np.nan)
    one = np.zeros(width, int)
    for start in range(0, n, step):
        rows = slice(start, start + step)
        p, y = (np.ascontiguousarray(_dense(x[rows]).T) for x in (pred, true))
        out[rows] = _by_slide(p, y, one, rank)[0]
    return out


def _by_slide(pred: Any, true: Any, codes: np.ndarray, rank: bool) -> np.ndarray:
    """(n_slides, n_genes) correlations."""
    order, sizes = np.argsort(codes, kind="stable"), np.bincount(codes)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    whole = len(sizes) == 1
    out = np.full((len(sizes), pred.shape[1]), np.nan)
    for (genes, p), (_, y) in zip(blocks(pred), blocks(true), strict=True):
        sides = []
        for b, dtype in ((p, pred.dtype), (y, true.dtype)):
            b = b if whole else b[order]
            size = np.maximum.reduceat(np.abs(b), starts) * np.sqrt(sizes)[:, None]
            c, length = _centred(b, starts, sizes)
            constant = length <= _relative(dtype) * size
            if rank:
                ranks = [rankdata(part, axis=0) for part in np.split(b, starts[1:])]
                c, length = _centred(np.concatenate(ranks), starts, sizes)
            sides.append((c, np.where(constant, np.nan, length)))
        (cp, lp), (cy, ly) = sides
        out[:, genes] = np.add.reduceat(cp * cy, starts) / lp / ly
    return np.clip(out, -1, 1)


def _centred(b: np.ndarray, starts: np.ndarray, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Columns less their mean in each slide, and the lengths of what is left."""
    c = b - np.repeat(np.add.reduceat(b, starts) / sizes[:, None], sizes, axis=0)
    return c, np.sqrt(np.add.reduceat(c * c, starts))


def nanmean(x: np.ndarray) -> np.ndarray:
    """Mean over the first axis of what is finite, (n, ...) to (...,); NaN where nothing is."""
    known = np.isfinite(x)
    count = known.sum(0)
    total = np.where(known, x, 0).sum(0)
    return np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)


def _relative(dtype: np.dtype) -> float:
    """Spread over size up to which values are constant."""
    return 8 * float(np.finfo(dtype if dtype.kind == "f" else np.float64).eps)


def rounding(block: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """(g,) length up to which a centred column of ``block`` (n, g) counts as constant.

    ``dtype`` is that of the values before they were made double.
    """
    return _relative(dtype) * np.abs(block).max(0) * np.sqrt(len(block))


def _dense(x: Any) -> np.ndarray:
    return x.toarray() if sparse.issparse(x) else x


def blocks(x: Any) -> Iterator[tuple[slice, np.ndarray]]:
    """Columns of (n, n_genes) in blocks (n, g), dense and double, with where they stand."""
    x = x.tocsc() if sparse.issparse(x) else x
    step = max(1, BLOCK // max(x.shape[0], 1))
    for start in range(0, x.shape[1], step):
        genes = slice(start, min(start + step, x.shape[1]))
        yield genes, np.asarray(_dense(x[:, genes]), np.float64)


def checked_pair(pred: Any, true: Any) -> tuple[Any, Any]:
    """Both as arrays, or CSR, of the same shape and all finite.

    Raises
    ------
    InputError
        If shapes differ, there is nothing, or values are no finite numbers.
    """
    sides = [x.tocsr() if sparse.issparse(x) else np.asarray(x) for x in (pred, true)]
    if sides[0].ndim != 2 or sides[0].shape != sides[1].shape:
        raise InputError(
            f"pred has shape {sides[0].shape}, true {sides[1].shape}: both must be (tiles, genes), "
            "the same."
        )
    if not all(sides[0].shape):
        raise InputError(f"pred has shape {sides[0].shape}: there is nothing to score.")
    for name, x in zip(("pred", "true"), sides, strict=True):
        if x.dtype.kind not in "biuf":
            raise InputError(f"{name} is of type {x.dtype}: give numbers.")
        total = x.sum(axis=0, dtype=np.float64)  # not finite if any value is not
        if not np.isfinite(total).all():
            column = int(np.flatnonzero(~np.isfinite(np.asarray(total).reshape(-1)))[0])
            raise InputError(f"{name} is not finite in column {column}: mend or drop that gene.")
    return sides[0], sides[1]


def slide_codes(slide: Any, n: int) -> np.ndarray:
    """(n,) number of each tile's slide, slides sorted by label.

    Raises
    ------
    InputError
        If there is not one label for each tile.
    """
    slide = np.asarray(slide)
    if slide.shape != (n,):
        raise InputError(f"slide has shape {slide.shape}: give one label for each of {n} tiles.")
    return np.unique(slide, return_inverse=True)[1]
