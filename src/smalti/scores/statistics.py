"""Paired tests of fold scores that share training data."""

from __future__ import annotations

import numpy as np
from scipy import stats


def corrected_test(
    differences: np.ndarray, n_train: float, n_test: float, *, freedom: int | None = None
) -> dict[str, float]:
    """Corrected resampled t-test (Nadeau & Bengio 2003; repeated folds: Bouckaert & Frank 2004).

    The plain paired t-test takes folds for independent and finds differences that are not there.
    The variance of the mean of n differences is taken as (1 / n + n_test / n_train) s^2, with
    n - 1 degrees of freedom. Repeats deal the same donors again: with n - 1 of five times five
    folds the test found a difference in 6 to 14 % of cohorts without any, with those of one repeat
    in 1 to 5 % (``benchmarks/intervals.py``), which comparisons therefore take.

    Parameters
    ----------
    differences
        (n,) differences of a metric, fold by fold; NaN left out.
    n_train, n_test
        Mean numbers of training and test bags of a fold.
    freedom
        Degrees of freedom instead: one less than the folds of one repeat.

    Returns
    -------
    dict
        difference, standard_error, t, p (two-sided), low and high (95 % interval), n and freedom.
        All but the difference and the counts are NaN where they are not defined: of fewer than two
        differences, or of such that are all equal.

    Examples
    --------
    >>> import smalti as sm
    >>> found = sm.scores.corrected_test([0.02, 0.05, 0.01, 0.04, 0.03], n_train=40, n_test=10)
    >>> {name: round(found[name], 3) for name in ("difference", "standard_error", "p")}
    {'difference': 0.03, 'standard_error': 0.011, 'p': 0.047}
    """
    d = np.asarray(differences, float)
    d = d[np.isfinite(d)]
    n = len(d)
    freedom = max(n - 1, 1) if freedom is None else max(min(freedom, n - 1), 1)
    mean, about = float(d.mean()) if n else np.nan, {"n": n, "freedom": freedom}
    if n < 2 or np.ptp(d) <= 1e-12:  # rounding apart they are equal: a spread of 0 proves nothing
        names = ("standard_error", "t", "p", "low", "high")
        return {"difference": mean} | dict.fromkeys(names, np.nan) | about
    error = float(np.sqrt((1 / n + n_test / n_train) * d.var(ddof=1)))
    t = mean / error
    half = float(stats.t.ppf(0.975, freedom)) * error
    return {
        "difference": mean, "standard_error": error, "t": float(t),
        "p": float(2 * stats.t.sf(abs(t), freedom)), "low": mean - half, "high": mean + half,
    } | about  # fmt: skip
