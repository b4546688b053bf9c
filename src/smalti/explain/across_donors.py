"""Means of numbers of bags with the donor as the unit: bags of one donor count once, together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

FEWEST = 3  # donors of an interval


def across_donors(values: np.ndarray, donors: Any) -> pd.DataFrame:
    """Mean over donors with a 95 % t interval and a two-sided p against 0.

    Parameters
    ----------
    values
        (n_bags, k) numbers; NaN ones are left out.
    donors
        (n_bags,) names.

    Returns
    -------
    DataFrame
        k rows: value, low, high, p, and donors, how many have a number. Interval and p are NaN of
        fewer than three donors, and where all donors are equal.
    """
    table = pd.DataFrame(np.asarray(values, dtype=float))
    each = table.groupby(pd.factorize(np.asarray(donors))[0]).mean().to_numpy()  # (n_donors, k)
    n = np.isfinite(each).sum(0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(n > 0, np.nansum(each, 0) / np.maximum(n, 1), np.nan)
        spread = np.sqrt(np.nansum((each - mean) ** 2, 0) / np.maximum(n - 1, 1))
        # rounding apart they are equal: a spread of 0 proves nothing
        known = (n >= FEWEST) & (spread > 1e-9 * np.maximum(np.abs(mean), 1e-300))
        error = np.where(known, spread / np.sqrt(np.maximum(n, 1)), np.nan)
        half = stats.t.ppf(0.975, np.maximum(n - 1, 1)) * error
        p = 2 * stats.t.sf(np.abs(mean) / error, np.maximum(n - 1, 1))
    return pd.DataFrame({"value": mean, "low": mean - half, "high": mean + half, "p": p,
                         "donors": n})  # fmt: skip
