"""Whether probabilities mean what they say: calibration, and what it would be by chance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy import special, stats

_EDGE = 1e-6  # probabilities nearer to 0 or 1 than this have no logit that means anything
_STEPS = 50
_SIGMA = float(stats.norm.ppf(0.975))


def calibration(
    truth: Any, p: Any, donors: Any = None, *, weight: Any = None, draws: int = 300, seed: int = 0
) -> dict[str, float]:
    """How far the probabilities of one class are from what came true.

    Parameters
    ----------
    truth
        (n,) whether each bag is of the class.
    p
        (n,) its probability.
    donors
        (n,) whose each bag is; rows of one donor, in all repeats, are drawn together. Each row is
        a donor where left out.
    weight
        (n,) of each bag, above 0: against censoring, of an event by a time.
    draws, seed
        Bootstrap samples of donors, and the seed of them.

    Returns
    -------
    dict
        slope: of the truth on the logit of p; below 1 the probabilities are too extreme.
        intercept: in logits, with the slope held at 1; below 0 they are too high. Both with the
        95 % bootstrap interval over donors (_low, _high), NaN where more than one sample of
        twenty has none: classes that a threshold parts have no slope. brier and log_loss (nats)
        with those of the share of the class given to all (_reference). ece: expected calibration
        error in bins of equal size; ece_perfect and ece_perfect_high its mean and 95 % point were
        all p exactly right. n, events.

    Examples
    --------
    >>> import smalti as sm
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> p = rng.uniform(size=2000)
    >>> found = sm.scores.calibration(rng.uniform(size=2000) < p, p)
    >>> round(found["slope"], 1), found["ece"] < found["ece_perfect_high"]
    (1.0, True)
    """
    y, p, whose = _inputs(truth, p, donors)
    w = np.ones(len(y)) if weight is None else np.asarray(weight, float)
    rng = np.random.default_rng([seed, 43])
    n_donors = whose.max() + 1
    drawn = rng.multinomial(n_donors, np.full(n_donors, 1 / n_donors), draws)
    weights = w * np.vstack([np.ones(len(y)), drawn[:, whose]])  # (1 + draws, n): rows, then drawn
    x = special.logit(np.clip(p, _EDGE, 1 - _EDGE))
    out: dict[str, float] = {}
    for name, values in (("slope", _slopes(x, y, weights)), ("intercept", _shifts(x, y, weights))):
        low, high = _interval(values[1:])
        out |= {name: float(values[0]), f"{name}_low": low, f"{name}_high": high}
    base = np.full(len(y), np.average(y, weights=w))
    for name, loss in (("brier", _brier), ("log_loss", _log_loss)):
        out |= {name: loss(y, p, w), f"{name}_reference": loss(y, base, w)}
    bins = _bins(p, n_donors)
    # one number a donor: what is true of a donor is true in all of its rows
    lucky = rng.random((draws, n_donors))[:, whose] < p
    perfect = _gap(lucky.astype(float), p, bins, w)
    return out | {
        "ece": float(_gap(y[None], p, bins, w)[0]), "ece_perfect": float(perfect.mean()),
        "ece_perfect_high": float(np.quantile(perfect, 0.95)), "n": len(y), "events": int(y.sum()),
    }  # fmt: skip


def calibration_curve(
    truth: Any, p: Any, donors: Any = None, *, weight: Any = None
) -> pd.DataFrame:
    """Observed shares beside mean probabilities, in bins of about as many bags each.

    Parameters
    ----------
    truth, p, donors, weight
        As of :func:`calibration`.

    Returns
    -------
    DataFrame
        One row per bin (two to ten of them, of about eight donors at least): predicted (mean
        probability), observed (share of the class), low and high (95 % by Wilson, n counted in
        donors), n (bags), donors.
    """
    y, p, whose = _inputs(truth, p, donors)
    w = np.ones(len(y)) if weight is None else np.asarray(weight, float)
    rows = []
    bins = _bins(p, whose.max() + 1)
    for b in np.unique(bins):
        own = bins == b
        n = len(np.unique(whose[own]))
        said, seen = (float(np.average(v[own], weights=w[own])) for v in (p, y))
        low, high = wilson(seen, n)
        rows.append({"predicted": said, "observed": seen, "low": low,
                     "high": high, "n": int(own.sum()), "donors": n})  # fmt: skip
    return pd.DataFrame(rows)


def wilson(share: float, n: int) -> tuple[float, float]:
    """95 % interval of a share of n by Wilson (1927); NaN of none."""
    if n < 1:
        return np.nan, np.nan
    z = _SIGMA**2 / n
    half = np.sqrt(z * share * (1 - share) + z**2 / 4)
    low, high = (share + z / 2 - half) / (1 + z), (share + z / 2 + half) / (1 + z)
    return max(0.0, float(low)), min(1.0, float(high))


def _inputs(truth: Any, p: Any, donors: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth as 0 and 1, probabilities, and donors as numbers: (n,) each."""
    y, p = np.asarray(truth, float), np.asarray(p, float)
    if donors is None:
        return y, p, np.arange(len(y))
    return y, p, np.unique(np.asarray(donors).astype(str), return_inverse=True)[1]


def _slopes(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(m,) slopes of weighted logistic fits, by Newton's steps; NaN where there is none."""
    if np.ptp(x) < 1e-9:
        return np.full(len(weights), np.nan)
    z = (x - x.mean()) / x.std()
    design = np.stack([np.ones_like(z), z])  # (2, n)
    beta = np.zeros((len(weights), 2))
    step = np.full_like(beta, np.inf)
    with np.errstate(all="ignore"):
        for _ in range(_STEPS):
            mu = special.expit(beta @ design)  # (m, n)
            score = (weights * (y - mu)) @ design.T
            a, b, c = ((weights * mu * (1 - mu)) @ np.stack([design[0], z, z**2]).T).T
            one, two = score.T
            step = np.stack([c * one - b * two, a * two - b * one], 1) / (a * c - b**2)[:, None]
            beta = beta + np.clip(step, -4, 4)
            if np.nanmax(np.abs(step), initial=0) < 1e-10:
                break
        bad = ~(np.abs(step) < 1e-6).all(1) | _parted(x, y, weights)
    return np.where(bad, np.nan, beta[:, 1] / x.std())


def _parted(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(m,) whether a threshold parts the classes, or one of them was not drawn."""
    ends = []
    for rows in (weights * y > 0, weights * (1 - y) > 0):
        ends.append((np.where(rows, x, np.inf).min(1), np.where(rows, x, -np.inf).max(1)))
    (low, high), (floor, top) = ends
    return (low >= top) | (floor >= high)


def _shifts(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(m,) intercepts of fits with the logit as offset; NaN where one class was drawn."""
    shift = np.zeros(len(weights))
    share = (weights @ y) / weights.sum(1)
    for _ in range(_STEPS):
        mu = special.expit(x + shift[:, None])
        slope = (weights * mu * (1 - mu)).sum(1)
        step = np.clip((weights * (y - mu)).sum(1) / np.maximum(slope, 1e-12), -2, 2)
        shift = shift + step
        if np.abs(step[(share > 0) & (share < 1)]).max(initial=0) < 1e-10:
            break
    return np.where((share > 0) & (share < 1), shift, np.nan)


def _interval(values: np.ndarray) -> tuple[float, float]:
    """95 % of bootstrap values; none where more than one of twenty is missing."""
    if np.isnan(values).mean() > 0.05:
        return np.nan, np.nan
    low, high = np.nanquantile(values, [0.025, 0.975])
    return float(low), float(high)


def _brier(y: np.ndarray, p: np.ndarray, weight: np.ndarray) -> float:
    return float(np.average((p - y) ** 2, weights=weight))


def _log_loss(y: np.ndarray, p: np.ndarray, weight: np.ndarray) -> float:
    likely = np.where(y > 0, p, 1 - p)
    return float(np.average(-np.log(np.clip(likely, 1e-15, 1)), weights=weight))


def _bins(p: np.ndarray, n_donors: int) -> np.ndarray:
    """(n,) bins of about as many rows each; equal probabilities are in one bin."""
    n = int(np.clip(n_donors // 8, 2, 10))
    edges = np.unique(np.quantile(p, np.arange(1, n) / n))
    return np.searchsorted(edges, p, side="right")


def _gap(y: np.ndarray, p: np.ndarray, bins: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """(m,) expected calibration errors of (m, n) truths."""
    total = np.zeros(len(y))
    for b in np.unique(bins):
        own = bins == b
        total += np.abs((y[:, own] - p[own]) @ weight[own])
    return total / weight.sum()
