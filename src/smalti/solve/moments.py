"""Mean and spread of a table that may be sparse or on disk, read in pieces."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import scipy.sparse as sp

from smalti.views import View, placed

_CHUNK = 2**24  # numbers read at a time
_BLOCK = 2**16  # numbers that are widened at a time: they stay in the cache of a core


@dataclasses.dataclass(frozen=True)
class Moments:
    """How many rows, their mean and the sum of squared deviations, (n_features,) float64 each."""

    count: int
    mean: np.ndarray
    square: np.ndarray

    def __add__(self, other: Moments) -> Moments:
        """Of both, by the pairwise update of Chan, Golub & LeVeque (1983)."""
        n = self.count + other.count
        if not n:
            return self
        with np.errstate(invalid="ignore", over="ignore"):  # of infinity comes NaN, which is seen
            away = other.mean - self.mean
            square = self.square + other.square + away**2 * (self.count * other.count / n)
            return Moments(n, self.mean + away * (other.count / n), square)


def none_of(width: int) -> Moments:
    """Moments of no rows, (width,)."""
    return Moments(0, np.zeros(width), np.zeros(width))


def moments_of(part: Any) -> Moments:
    """Of the rows of a dense or sparse table, (n, n_features), or images, (n, channels, ...)."""
    if sp.issparse(part):
        return _of_sparse(part)
    table = part if part.ndim == 2 else np.moveaxis(part, 1, -1).reshape(-1, part.shape[1])
    found, step = none_of(table.shape[1]), max(1, _BLOCK // max(table.shape[1], 1))
    with np.errstate(invalid="ignore", over="ignore"):  # of infinity comes NaN, which is seen
        for start in range(0, len(table), step):
            block = table[start : start + step].astype(np.float64)
            mean = block.mean(0)
            block -= mean
            found += Moments(len(block), mean, np.einsum("ij,ij->j", block, block))
    return found


def _of_sparse(part: Any) -> Moments:
    if not part.shape[0]:
        return none_of(part.shape[1])
    n, values = part.shape[0], part.astype(np.float64)
    m = np.asarray(values.sum(0)).reshape(-1) / n
    # about the mean: (x - m)^2 where x is there, m^2 where it is not
    seen = np.bincount(values.indices, minlength=part.shape[1])
    values.data -= m[values.indices]
    gap = np.bincount(values.indices, values.data**2, minlength=part.shape[1])
    return Moments(n, m, gap + (n - seen) * m**2)


def moments(view: View, rows: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance per feature or channel of a view, (n_features,) float64 each.

    Read in pieces; a sparse piece stays sparse. A view on disk that keeps the moments of its files
    is not read again. ``rows`` is a mask of the instances to count.
    """
    base: Any = getattr(view, "base", view)
    if rows is None and hasattr(base, "moments"):
        found = base.moments(getattr(view, "picked", None))
    else:
        found, step = none_of(view.shape[1]), max(1, _CHUNK // int(np.prod(view.shape[1:])))
        for start, part in placed(view, step):
            found += moments_of(part if rows is None else part[rows[start : start + step]])
    return found.mean, found.square / max(found.count, 1)


def center_and_spread(view: View, rows: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each feature or channel, (n_features,) float64 each.

    The latter is 1 where a feature is constant up to rounding. ``rows`` as in :func:`moments`.
    """
    mean, var = moments(view, rows)
    sd = np.sqrt(var)
    sd[sd <= 1e-7 * np.maximum(np.abs(mean), 1e-30)] = 1.0
    return mean, sd
