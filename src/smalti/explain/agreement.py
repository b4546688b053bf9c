"""Whether two fits give the instances of a bag the same order."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
from scipy.stats import rankdata

_LEAST = 3  # instances of a bag: two have one order or the other


def agreement(
    one: Mapping[str, np.ndarray], two: Mapping[str, np.ndarray], offsets: np.ndarray
) -> np.ndarray:
    """(n_bags, n_kinds) Spearman correlation within each bag, of several columns their mean.

    NaN of bags of fewer than three instances, and where all scores of a bag are equal.

    Parameters
    ----------
    one, two
        Kind -> (n_instances, c) scores of two fits. A kind that the other lacks is NaN.
    offsets
        (n_bags + 1,) of the bags.
    """
    found = np.full((len(offsets) - 1, len(one)), np.nan)
    for j, (kind, values) in enumerate(one.items()):
        other = two.get(kind)
        if other is None or other.shape != values.shape:
            continue
        for i, (start, stop) in enumerate(pairwise(offsets)):
            if stop - start >= _LEAST:
                found[i, j] = _spearman(values[start:stop], other[start:stop])
    return found


def _spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Of (n, c) and (n, c), column by column, the mean of those that vary."""
    x, y = (rankdata(v, axis=0) for v in (a, b))
    x, y = x - x.mean(0), y - y.mean(0)
    size = np.sqrt((x**2).sum(0) * (y**2).sum(0))
    varies = size > 0
    if not varies.any():
        return np.nan
    return float(((x * y).sum(0)[varies] / size[varies]).mean())
