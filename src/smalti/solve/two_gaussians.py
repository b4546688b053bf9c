"""Two Gaussians in each of many rows of numbers, all rows at once."""

from __future__ import annotations

import numpy as np

_STEPS, _CLOSE = 300, 1e-6  # rounds of EM at most; change of the mean log-likelihood that ends it
_SINGULAR = 1e-6  # of the variance of a row: a component on one point


def lower_means(rows: np.ndarray) -> np.ndarray:
    """Mean of the lower of two Gaussians that are fitted to each row.

    By EM, with equal and with unequal variances, of which the better BIC decides, as mclust has
    it; one whose variance shrinks to a point does not count.

    Parameters
    ----------
    rows
        (n, d) values, d at least 2.

    Returns
    -------
    numpy.ndarray
        (n,) means.
    """
    x = np.asarray(rows, dtype=np.float64)
    equal, bic_equal = _fit(x, shared=True)
    unequal, bic_unequal = _fit(x, shared=False)
    return np.where(bic_unequal > bic_equal, unequal, equal)


def _fit(x: np.ndarray, *, shared: bool) -> tuple[np.ndarray, np.ndarray]:
    """(n,) lower means and BIC (the larger the better, -inf of what shrank to a point)."""
    n, d = x.shape
    spread = np.maximum(x.var(1), 1e-12)  # (n,)
    low = x <= np.median(x, axis=1, keepdims=True)
    share = np.stack([low, ~low], axis=1).astype(float)  # (n, 2, d): of each value, whose it is
    share = 0.98 * share + 0.01
    before, alive = np.full(n, -np.inf), np.arange(n)
    mean, likelihood = np.zeros((n, 2)), np.full(n, -np.inf)
    floor, point = _SINGULAR * spread, np.zeros(n, dtype=bool)
    for _ in range(_STEPS):
        own = x[alive][:, None]  # (k, 1, d)
        weight = share[alive].sum(2)  # (k, 2)
        mu = (share[alive] * own).sum(2) / weight
        var = (share[alive] * (own - mu[..., None]) ** 2).sum(2)
        var = np.repeat(var.sum(1, keepdims=True) / d, 2, axis=1) if shared else var / weight
        thin = var < floor[alive, None]
        point[alive] |= thin.any(1)
        var = np.where(thin, floor[alive, None], var)
        log = np.log(weight / d)[..., None] - 0.5 * (
            np.log(2 * np.pi * var)[..., None] + (own - mu[..., None]) ** 2 / var[..., None]
        )
        both = np.logaddexp(log[:, 0], log[:, 1])  # (k, d)
        share[alive] = np.maximum(np.exp(log - both[:, None]), 1e-12)
        mean[alive], likelihood[alive] = mu, both.sum(1)
        moving = np.abs(likelihood[alive] - before[alive]) > _CLOSE * d
        before[alive] = likelihood[alive]
        alive = alive[moving & ~point[alive]]
        if not len(alive):
            break
    bic = 2 * likelihood - (4 if shared else 5) * np.log(d)
    return mean.min(1), np.where(point & (not shared), -np.inf, bic)
