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
    x = bags.table(view)
    folds = tuning_folds(bags)[0]
    error = tune(x, target, folds)
    known = np.isfinite(error).all(0)
    alpha = ALPHAS[int(error[:, known].mean(1).argmin())] if known.any() else ALPHAS[-1]
    guess = np.empty(target.shape)
    for rows, path in left_out(x, target, folds):
        guess[rows] = next(path.predictions(x[rows].astype(np.float64), (alpha,)))
    each = pearson_slides(guess, target, bags.index)
    seen = np.isfinite(each)
    mean = np.where(seen, each, 0).sum(0) / np.maximum(seen.sum(0), 1)
    return np.argsort(-np.where(seen.any(0), mean, -2), kind="stable")[:top]
