"""Ridge regression: all penalties from one decomposition, and leave-one-group-out without refits.

The problem is min ||Y - X W||^2 + alpha ||W||^2 on standardised features and centred targets. With
X = U S V' every penalty shares V and V'X'Y (Hastie, Tibshirani & Friedman 2009, section 3.4.1), so
a grid of penalties costs one decomposition. Leaving a group out subtracts its moments, so no row
is read twice; the standardisation is redone for what is left, and each answer is that of a refit.

Where only the error over all targets counts, no prediction is made. With scores Z of rows left
out, their targets T, B = V'X'Y, d = 1 / (S^2 + alpha) and W the weights of the targets, the squared
error is d'(Z'Z * BWB')d - 2 d'diag(Z'TWB') + tr(TWT'): what grows with the targets is computed once
for a group, and each penalty is a form in d.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import cached_property

import numpy as np
import scipy.linalg

ALPHAS = tuple(float(a) for a in np.logspace(-1, 6, 20))
_LEAST = 1e-9  # of the largest eigenvalue: below it, a direction is rounding


@dataclasses.dataclass(frozen=True)
class Moments:
    """Sums over rows: number, x, y, x x', x y', all float64."""

    n: int
    x: np.ndarray  # (d,)
    y: np.ndarray  # (g,)
    xx: np.ndarray  # (d, d)
    xy: np.ndarray  # (d, g)

    @classmethod
    def of(cls, x: np.ndarray, y: np.ndarray) -> Moments:
        """Of rows (n, d) and targets (n, g)."""
        return cls(len(x), x.sum(0), y.sum(0), x.T @ x, x.T @ y)

    def __sub__(self, other: Moments) -> Moments:
        return Moments(self.n - other.n, self.x - other.x, self.y - other.y, self.xx - other.xx,
                       self.xy - other.xy)  # fmt: skip


class RidgePath:
    """Solutions for every penalty.

    Parameters
    ----------
    moments
        Of the training rows.
    rows
        The rows and targets themselves, (n, d) and (n, g), where d is larger than n: the
        decomposition is then that of the n x n products.
    standardize
        Features to s.d. 1; otherwise they are centred only.
    """

    def __init__(
        self, moments: Moments, rows: tuple[np.ndarray, np.ndarray] | None = None, *,
        standardize: bool = True,
    ) -> None:  # fmt: skip
        n = moments.n
        self.center, self.target = moments.x / n, moments.y / n
        variance = np.diag(moments.xx) / n - self.center**2
        floor = 1e-12 * np.maximum(np.diag(moments.xx) / n, 1e-30)
        constant = variance <= floor
        sd = np.sqrt(np.maximum(variance, floor))
        self.scale = np.where(constant | (not standardize), 1.0, sd)
        if rows is None:
            gram = moments.xx - n * np.outer(self.center, self.center)
            gram /= np.outer(self.scale, self.scale)
            gram[constant], gram[:, constant] = 0, 0
            cross = moments.xy - n * np.outer(self.center, self.target)
            cross /= self.scale[:, None]
            cross[constant] = 0
            values, vectors = scipy.linalg.eigh(gram, overwrite_a=True, check_finite=False)
            keep = values > _LEAST * max(values[-1], 1e-300)
            self.values, self.vectors = values[keep], vectors[:, keep]
            self._left, self._right = self.vectors, cross
        else:
            x = (rows[0] - self.center) / self.scale
            x[:, constant] = 0
            values, left = scipy.linalg.eigh(x @ x.T, overwrite_a=True, check_finite=False)
            keep = values > _LEAST * max(values[-1], 1e-300)
            self.values, left = values[keep], left[:, keep]
            self.vectors = x.T @ (left / np.sqrt(self.values))
            self._left, self._right = left * np.sqrt(self.values), rows[1] - self.target

    @cached_property
    def inner(self) -> np.ndarray:
        """(r, g) V'X'Y, which every penalty shares."""
        return self._left.T @ self._right

    def solution(self, alpha: float | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Weights (d, g) and intercept (g,) on the features as they were given.

        ``alpha`` is one number, or (g,) one per target.
        """
        shrunk = self.inner / (self.values[:, None] + np.asarray(alpha, dtype=np.float64))
        weight = (self.vectors @ shrunk) / self.scale[:, None]
        return weight, self.target - self.center @ weight

    def predictions(self, x: np.ndarray, alphas: tuple[float, ...]) -> Iterator[np.ndarray]:
        """(n, g) predictions of new rows for each penalty, in turn."""
        scores = ((x - self.center) / self.scale) @ self.vectors
        for alpha in alphas:
            yield (scores / (self.values + alpha)) @ self.inner + self.target

    def errors(
        self, x: np.ndarray, y: np.ndarray, weight: np.ndarray, alphas: tuple[float, ...]
    ) -> np.ndarray:
        """Squared error of the predictions of new rows, summed over rows and weighted targets.

        Parameters
        ----------
        x, y
            (n, d) rows and (n, g) what they should give.
        weight
            (g,) of the targets, none negative.
        alphas
            Penalties.

        Returns
        -------
        ndarray
            (n_alphas,) float64.
        """
        scores = ((x - self.center) / self.scale) @ self.vectors  # (n, r)
        gap = (y - self.target) * weight
        right = self._right * np.sqrt(weight)
        # of a matrix with its own transpose NumPy computes half
        square = (scores.T @ scores) * (self._left.T @ (right @ right.T) @ self._left)
        linear = (scores * (gap @ self._right.T @ self._left)).sum(0)  # (r,)
        constant = np.vdot(gap, y - self.target)
        shrink = 1 / (self.values + np.asarray(alphas)[:, None])  # (n_alphas, r)
        both = ((shrink @ square) * shrink).sum(1)
        return np.asarray(both - 2 * shrink @ linear + constant)


def ridge_path(x: np.ndarray, y: np.ndarray, *, standardize: bool = True) -> RidgePath:
    """The path for rows (n, d) and targets (n, g)."""
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    thin = Moments(len(x), x.sum(0), y.sum(0), np.diag((x**2).sum(0)), np.zeros((0, 0)))
    if x.shape[1] > len(x):
        return RidgePath(thin, (x, y), standardize=standardize)
    return RidgePath(Moments.of(x, y), standardize=standardize)


def left_out(
    x: np.ndarray, y: np.ndarray, folds: np.ndarray, *, standardize: bool = True
) -> Iterator[tuple[np.ndarray, RidgePath]]:
    """For each fold: its rows, (k,) int64, and the path fitted on the rows of all others.

    ``x`` (n, d), ``y`` (n, g) and ``folds`` (n,), the fold of each row.
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    members = [np.flatnonzero(folds == g) for g in np.unique(folds)]
    wide = x.shape[1] > len(x) - max(map(len, members))
    if wide:
        for rows in members:
            rest = np.setdiff1d(np.arange(len(x)), rows)
            yield rows, ridge_path(x[rest], y[rest], standardize=standardize)
        return
    shift_x, shift_y = x.mean(0), y.mean(0)  # sums of squares about it lose no digits
    x, y = x - shift_x, y - shift_y
    parts = [Moments.of(x[rows], y[rows]) for rows in members]
    whole = Moments(*(sum(getattr(p, f.name) for p in parts)
                      for f in dataclasses.fields(Moments)))  # fmt: skip
    for rows, part in zip(members, parts, strict=True):
        path = RidgePath(whole - part, standardize=standardize)
        path.center, path.target = path.center + shift_x, path.target + shift_y
        yield rows, path


def tune(
    x: np.ndarray, y: np.ndarray, folds: np.ndarray, alphas: tuple[float, ...] = ALPHAS, *,
    standardize: bool = True,
) -> np.ndarray:  # fmt: skip
    """Squared error of each penalty where each fold is predicted from the others.

    Returns
    -------
    ndarray
        (n_alphas,) float64: summed squared error over the target's sum of squares about the mean,
        so that 1 is what the mean of all rows leaves; the mean over targets that are not constant,
        0 where all are.
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    spread = _spread(y)
    known = np.isfinite(spread)
    weight = np.divide(1, spread, out=np.zeros(len(spread)), where=known)
    paths = left_out(x, y, folds, standardize=standardize)
    total = sum(path.errors(x[rows], y[rows], weight, alphas) for rows, path in paths)
    return np.asarray(total / max(known.sum(), 1))


def tune_each(
    x: np.ndarray, y: np.ndarray, folds: np.ndarray, alphas: tuple[float, ...] = ALPHAS, *,
    standardize: bool = True,
) -> np.ndarray:  # fmt: skip
    """:func:`tune` for each target apart: (n_alphas, g) float64, NaN for constant targets.

    All predictions are made, which takes many times as long.
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    total = np.zeros((len(alphas), y.shape[1]))
    for rows, path in left_out(x, y, folds, standardize=standardize):
        # the decomposition is in double precision; the errors that are compared need less
        scores = (((x[rows] - path.center) / path.scale) @ path.vectors).astype(np.float32)
        inner, wanted = path.inner.astype(np.float32), (y[rows] - path.target).astype(np.float32)
        for i, alpha in enumerate(alphas):
            gap = (scores / (path.values + alpha).astype(np.float32)) @ inner
            gap -= wanted
            total[i] += np.einsum("ij,ij->j", gap, gap)
    return total / _spread(y)


def _spread(y: np.ndarray) -> np.ndarray:
    """(g,) sum of squares about the mean; NaN of constant targets."""
    spread = ((y - y.mean(0)) ** 2).sum(0)
    return np.where(spread > 1e-12, spread, np.nan)
