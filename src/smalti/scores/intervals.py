"""Intervals of a score from cross-validation, and of what each is one.

None is exact: fits share training donors, and test donors return in each repeat. How often each
holds the truth is measured by ``benchmarks/intervals.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import special, stats

from smalti.scores.statistics import corrected_test

# donors -> least and largest share of simulated cohorts whose AUROC the interval of a table held:
# five repeats of five folds, no, a middle and a strong effect, one and three samples a donor
MEASURED = {20: (0.85, 0.96), 40: (0.92, 0.97), 100: (0.95, 0.98), 200: (0.96, 0.99)}


def measured_coverage(donors: int) -> str:
    """What was measured of intervals of an AUROC in studies of about so many donors, in words."""
    if donors < min(MEASURED):
        return (f"With fewer than {min(MEASURED)} donors it was not measured how often such an "
                "interval holds the truth; with 20 too rarely.")  # fmt: skip
    near = max(n for n in MEASURED if n <= donors)
    low, high = MEASURED[near]
    short = f", up to {95 - 100 * low:.0f} points too few" if low < 0.93 else ""
    share = f"{100 * low:.0f} to {100 * high:.0f} %"
    return (f"Such an interval of an AUROC held the truth in {share} of simulated cohorts of "
            f"{near} donors{short}.")  # fmt: skip


def resampled_interval(
    values: Any,
    n_train: float,
    n_test: float,
    *,
    logit: bool = False,
    pairs: float = np.inf,
    freedom: int | None = None,
) -> tuple[float, float]:
    """Corrected resampled t interval of a mean over folds: of the procedure at this training size.

    Parameters
    ----------
    values
        (n,) scores of the folds; NaN left out.
    n_train, n_test
        Mean numbers of training and test donors of a fold.
    logit
        Of scores between 0 and 1: the interval is made of their logits, so that it ends inside.
    pairs
        Mean number of pairs of bags that a score rests on: keeps scores of 0 and 1 half a pair away
        from the ends.
    freedom
        Degrees of freedom; one less than there are scores when left out. Repeats deal the same
        donors, so that one less than the folds of one repeat is nearer to what they know.

    Returns
    -------
    tuple
        Low and high of 95 %; NaN of fewer than two scores, or of equal ones.

    Examples
    --------
    >>> import smalti as sm
    >>> low, high = sm.scores.resampled_interval([0.8, 0.9, 0.7, 1.0], 30, 10, logit=True, pairs=25)
    >>> round(low, 2), round(high, 2)
    (0.23, 1.0)
    """
    v = np.asarray(values, float)
    if logit:
        edge = 0.0 if np.isinf(pairs) else 0.5 / (pairs + 1)
        v = special.logit(np.clip(v, max(edge, 1e-6), 1 - max(edge, 1e-6)))
    found = corrected_test(v, n_train, n_test, freedom=freedom)
    ends = np.array([found["low"], found["high"]])
    low, high = special.expit(ends) if logit else ends
    return float(low), float(high)


def donor_bootstrap(
    truth: Any, p: Any, donors: Any, parts: Any, *, draws: int = 500, seed: int = 0
) -> tuple[float, float, float]:
    """AUROC of left-out bags with a bootstrap interval over donors: of these models' predictions.

    Bags are compared with bags of the same part only. A donor is drawn with all of its bags in all
    repeats. What would vary with other training donors is not in it.

    Parameters
    ----------
    truth, p
        (n,) whether a bag is of the class, and its probability.
    donors
        (n,) whose it is.
    parts
        (n,) the fold of each, anew in each repeat; or the repeat, to pool the folds. Pooled over
        folds of models that know how many of each class are left, it is below 0.5 by chance.
    draws, seed
        Of the bootstrap.

    Returns
    -------
    tuple
        Value, low and high of 95 %.

    Examples
    --------
    >>> import smalti as sm
    >>> p = [0.1, 0.4, 0.35, 0.8]
    >>> sm.scores.donor_bootstrap([0, 0, 1, 1], p, list("abcd"), [0] * 4, draws=9)[0]
    0.75
    """
    y = np.asarray(truth, bool)
    return pairs_bootstrap(lambda part: y[part][:, None] & ~y[part], p, donors, parts,
                           draws=draws, seed=seed)  # fmt: skip


def pairs_bootstrap(
    first: Callable[[np.ndarray], np.ndarray], p: Any, donors: Any, parts: Any, *,
    draws: int = 500, seed: int = 0,
) -> tuple[float, float, float]:  # fmt: skip
    """Share of the pairs in order, of bags of one part, with a bootstrap interval over donors.

    Parameters
    ----------
    first
        Rows of a part, (k,) positions -> (k, k) whether the one is to have the higher score.
    p, donors, parts, draws, seed
        As of :func:`donor_bootstrap`.

    Returns
    -------
    tuple
        Value, low and high of 95 %; NaN where no pair can be compared.
    """
    p, parts = np.asarray(p, float), np.asarray(parts)
    whose = np.unique(np.asarray(donors), return_inverse=True)[1]
    n = int(whose.max()) + 1
    won, all_ = np.zeros((n, n)), np.zeros((n, n))  # donor of the higher by donor of the lower
    for part in np.unique(parts):
        rows = np.flatnonzero(parts == part)
        one, two = (rows[side] for side in np.nonzero(first(rows)))
        above = (p[one] > p[two]) + 0.5 * (p[one] == p[two])
        np.add.at(won, (whose[one], whose[two]), above)
        np.add.at(all_, (whose[one], whose[two]), 1.0)
    if not all_.any():
        return np.nan, np.nan, np.nan
    weights = np.random.default_rng([seed, 47]).multinomial(n, np.full(n, 1 / n), draws)
    up = np.einsum("bi,ij,bj->b", weights, won, weights, optimize=True)
    down = np.einsum("bi,ij,bj->b", weights, all_, weights, optimize=True)
    known = up[down > 0] / down[down > 0]
    low, high = np.quantile(known, [0.025, 0.975])
    return float(won.sum() / all_.sum()), float(low), float(high)


def nested_interval(
    inner: Any, outer: Any, spread: Any, whole: float, error: float, folds: int
) -> tuple[float, float, float]:
    """Nested cross-validation of Bates, Hastie and Tibshirani (2023), of a mean loss per donor.

    Parameters
    ----------
    inner
        (m,) mean loss of the cross-validation inside of each outer training set.
    outer
        (m,) mean loss of each outer test fold by a model of its outer training set.
    spread
        (m,) squared standard error of each of the outer means: variance of the donors' losses over
        their number.
    whole
        The plain cross-validated loss.
    error
        Its standard error as if donors' losses were independent: s.d. over the root of their
        number. The one that is found is kept between this and the root of ``folds`` times this.
    folds
        Outer folds.

    Returns
    -------
    tuple
        The loss without the bias of fewer training donors, low and high of 95 %.

    Examples
    --------
    >>> import smalti as sm
    >>> found = sm.scores.nested_interval([0.2, 0.22], [0.24, 0.18], [0.0004, 0.0004], 0.2, 0.01, 5)
    >>> [round(x, 3) for x in found]
    [0.194, 0.15, 0.238]
    """
    a, b = np.asarray(inner, float), np.asarray(outer, float)
    mse = max(0.0, float(np.mean((a - b) ** 2 - np.asarray(spread, float))))
    value = float(a.mean()) - (1 + (folds - 2) / folds) * (float(a.mean()) - whole)
    found = np.clip(np.sqrt((folds - 1) / folds * mse), error, np.sqrt(folds) * error)
    half = float(stats.norm.ppf(0.975) * found)
    return value, value - half, value + half


def posterior(found: Any, margin: float) -> dict[str, float]:
    """Bayesian correlated t-test (Corani & Benavoli 2015) with a region of practical equivalence.

    Its interval is that of the corrected resampled t-test; what it adds are three probabilities.

    Parameters
    ----------
    found
        What :func:`~smalti.scores.corrected_test` returned.
    margin
        Differences from -margin to +margin do not matter.

    Returns
    -------
    dict
        below, inside and above the region: probabilities that sum to 1; NaN without an interval.

    Examples
    --------
    >>> import smalti as sm
    >>> gap = sm.scores.corrected_test([0.02, 0.05, 0.01, 0.04, 0.03], n_train=40, n_test=10)
    >>> {k: round(v, 2) for k, v in sm.scores.posterior(gap, 0.01).items()}
    {'below': 0.01, 'inside': 0.06, 'above': 0.93}
    """
    if np.isnan(found["standard_error"]):
        return dict.fromkeys(("below", "inside", "above"), np.nan)
    law = stats.t(found["freedom"], loc=found["difference"], scale=found["standard_error"])
    below, above = float(law.cdf(-margin)), float(law.sf(margin))
    return {"below": below, "inside": 1 - below - above, "above": above}
