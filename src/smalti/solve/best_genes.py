"""Which genes ridge predicts best, by leaving groups of the training slides out in turn."""

from __future__ import annotations

import numpy as np

from smalti.bags import Bags
from smalti.scores.expression_metrics import pearson_slides
from smalti.solve.leave_out import tuning_folds
from smalti.solve.ridge import ALPHAS, left_out, tune


def best_predicted(bags: Bags, view: str, target: np.ndarray, top: int) -> np.ndarray:
    """Positions of the genes that ridge predicts best when groups of the slides are left out.

    Parameters
    ----------
    bags
        Training slides.
    view
        View of features.
    target
        (n_tiles, n_genes).
    top
        How many.

    Returns
    -------
    ndarray
        (top,) int64, best first, by the Pearson correlation within slides.
    """
    each = left_out_scores(bags, view, target)
    seen = np.isfinite(each)
    mean = np.where(seen, each, 0).sum(0) / np.maximum(seen.sum(0), 1)
    return np.argsort(-np.where(seen.any(0), mean, -2), kind="stable")[:top]


def left_out_scores(
    bags: Bags, view: str, target: np.ndarray, within: np.ndarray | None = None
) -> np.ndarray:
    """Pearson correlation of each gene within each slide, each predicted from the others.

    Parameters
    ----------
    bags
        Training slides.
    view
        View of features.
    target
        (n_tiles, n_genes).
    within
        (n_tiles,) parts that correlations are taken in, where these are not the slides.

    Returns
    -------
    ndarray
        (n_slides, n_genes), slides in their order; of ridge with the penalty that is best in the
        same folds. NaN for genes that are constant in a slide.
    """
    x = bags.table(view)
    folds = tuning_folds(bags)[0]
    alpha = ALPHAS[int(tune(x, target, folds).argmin())]
    guess = np.empty(target.shape)
    for rows, path in left_out(x, target, folds):
        guess[rows] = next(path.predictions(x[rows].astype(np.float64), (alpha,)))
    return pearson_slides(guess, target, bags.index if within is None else within)
