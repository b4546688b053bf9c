"""AUROC of fitted models on one test set: the interval and the paired test of DeLong."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import stats

from smalti.errors import InputError


def delong_interval(truth: Any, p: Any, donors: Any = None) -> dict[str, float]:
    """AUROC of one model on one test set, of this model on new donors (DeLong et al. 1988).

    For external validation and fixed splits: left-out bags of several folds are of several models.

    Parameters
    ----------
    truth
        (n,) whether each bag is of the class; two bags or more of either.
    p
        (n,) its probability or score.
    donors
        (n,) whose it is: one bag a donor, for bags are taken as independent.

    Returns
    -------
    dict
        roc_auc, standard_error, low and high (95 %, on the logit where the AUROC is not 0 or 1; NaN
        where it is).

    Raises
    ------
    InputError
        If a donor has several bags, or a class fewer than two.

    Examples
    --------
    >>> import smalti as sm
    >>> found = sm.scores.delong_interval([0, 0, 1, 1, 0, 1], [0.1, 0.4, 0.35, 0.8, 0.2, 0.6])
    >>> round(found["roc_auc"], 3), round(found["low"], 2), round(found["high"], 2)
    (0.889, 0.26, 0.99)
    """
    area, cover = _areas(truth, [p], donors)
    value, error = float(area[0]), float(np.sqrt(cover[0, 0]))
    low = high = float("nan")
    if error > 0:
        at, half = (
            np.log(value / (1 - value)),
            stats.norm.ppf(0.975) * error / (value * (1 - value)),
        )
        low, high = (float(1 / (1 + np.exp(-end))) for end in (at - half, at + half))
    return {"roc_auc": value, "standard_error": error, "low": low, "high": high}


def delong_test(truth: Any, p: Any, other: Any, donors: Any = None) -> dict[str, float]:
    """Difference of the AUROC of two models on the same test set.

    Parameters
    ----------
    truth, p, donors
        As of :func:`delong_interval`.
    other
        (n,) scores of the other model.

    Returns
    -------
    dict
        difference (the first less the other), standard_error, p (two-sided), low and high (95 %).

    Raises
    ------
    InputError
        As there.
    """
    area, cover = _areas(truth, [p, other], donors)
    gap = float(area[0] - area[1])
    error = float(np.sqrt(max(0.0, cover[0, 0] + cover[1, 1] - 2 * cover[0, 1])))
    nothing = dict.fromkeys(("p", "low", "high"), float("nan"))
    if error > 1e-12:
        half = float(stats.norm.ppf(0.975)) * error
        tail = 2 * float(stats.norm.sf(abs(gap) / error))
        nothing = {"p": tail, "low": gap - half, "high": gap + half}
    return {"difference": gap, "standard_error": error} | nothing


def _areas(truth: Any, scores: list[Any], donors: Any) -> tuple[np.ndarray, np.ndarray]:
    """(k,) areas and their (k, k) covariance, by ranks (Sun & Xu 2014)."""
    y = np.asarray(truth, bool)
    if donors is not None and len(np.unique(np.asarray(donors).astype(str))) < len(y):
        raise InputError("DeLong takes bags as independent: keep one bag of each donor.")
    m, n = int(y.sum()), int((~y).sum())
    if min(m, n) < 2:
        raise InputError("DeLong needs two bags or more of the class, and of the others.")
    upper, lower = [], []
    for values in scores:
        s = np.asarray(values, float)
        whole = stats.rankdata(s)
        upper.append((whole[y] - stats.rankdata(s[y])) / n)  # share of the others below each
        lower.append(1 - (whole[~y] - stats.rankdata(s[~y])) / m)
    one, two = np.atleast_2d(np.cov(upper)), np.atleast_2d(np.cov(lower))
    return np.mean(upper, axis=1), one / m + two / n
