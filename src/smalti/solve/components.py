"""Leading components of a table whose covariance of features would not fit, sparse or dense.

Design:

- The mean is never taken off the table, which would make it dense: (X - 1m')v = Xv - 1(m'v).
- Up to ``SMALL`` rows or columns, the products of all rows (or of all columns) with one another are
  decomposed whole; beyond, ARPACK's Lanczos iteration asks for products with single vectors, to
  rounding. Neither makes anything of features x features where there are many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse as sp
from scipy.sparse.linalg import LinearOperator, eigsh

from smalti.views import PIECE, dense

SMALL = 1000  # rows or columns up to which a matrix of them all is made


def components(
    table: Any, k: int, *, mean: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Largest eigenvalues and eigenvectors of (X - m)'(X - m).

    Parameters
    ----------
    table
        (n, d), CSR or dense, in float64 for results to rounding.
    k
        How many, at most min(n, d).
    mean
        (d,) m; None: zeros, which makes it the singular value decomposition of the table itself.

    Returns
    -------
    tuple
        (k,) eigenvalues, the greatest first, and (d, k) vectors of length 1 whose entry of largest
        size is positive; a column of zeros where the table has no further component.
    """
    n, d = (int(s) for s in table.shape)
    mean = np.zeros(d) if mean is None else np.asarray(mean, dtype=np.float64)
    by_rows = n < d
    side = min(n, d)
    if side <= SMALL or 4 * k > side:
        gram = _gram(table, mean, by_rows=by_rows)
        values, vectors = scipy.linalg.eigh(gram, subset_by_index=(side - k, side - 1))
        values, vectors = values[::-1], vectors[:, ::-1]
    else:
        values, vectors = largest(_operator(table, mean, by_rows=by_rows), side, k)
    values = np.maximum(values, 0)
    if by_rows:
        # left vectors to right ones; below rounding there is no direction to be had
        root = np.sqrt(values)
        there = root > 1e-7 * root[0]
        vectors = _across(table, mean, vectors) * np.where(there, 1 / np.where(there, root, 1), 0)
    return values, signed(vectors)


def largest(
    multiply: Callable[[np.ndarray], np.ndarray], size: int, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Largest eigenvalues (k,), and vectors (size, k), of a symmetric matrix known by its products.

    ``multiply`` is the product with a vector (size,), and gives one.
    """
    operator = LinearOperator((size, size), matvec=multiply, dtype=np.float64)
    start = np.random.default_rng(0).normal(size=size)  # ARPACK would draw its own
    values, vectors = eigsh(operator, k, which="LA", v0=start, ncv=min(size, max(2 * k + 1, 40)))
    order = np.argsort(-values)
    return values[order], vectors[:, order]


def signed(vectors: np.ndarray) -> np.ndarray:
    """The same (d, k) vectors, in each the entry of largest size positive."""
    at = np.abs(vectors).argmax(0)
    return vectors * np.where(vectors[at, np.arange(vectors.shape[1])] < 0, -1.0, 1.0)


def covariance_of_pairs(
    tables: Sequence[Any], there: np.ndarray
) -> tuple[Callable[[np.ndarray], np.ndarray], np.ndarray, np.ndarray]:
    """The covariance of features over the rows that have both, by its products with a vector.

    Parameters
    ----------
    tables
        (n, d_i) each, CSR or dense; rows that were not measured are not looked at.
    there
        (n, n_tables) 1 or 0: which rows were measured in which table.

    Returns
    -------
    tuple
        The product with a vector of all features (d,); the mean of each feature (d,) and its
        variance (d,) over the rows that have it.
    """
    m, edges = len(tables), np.cumsum([0, *(t.shape[1] for t in tables)])
    there = np.asarray(there, dtype=np.float64)
    pairs = np.maximum(there.T @ there, 1)  # (m, m) rows that have both
    # (m, d_i) sums of the features of i over the rows that have i and j
    sums = [np.stack([t.T @ (there[:, i] * there[:, j]) for j in range(m)])
            for i, t in enumerate(tables)]  # fmt: skip

    def multiply(v: np.ndarray) -> np.ndarray:
        v = v.reshape(-1)
        parts = [v[edges[j] : edges[j + 1]] for j in range(m)]
        products = [t @ part for t, part in zip(tables, parts, strict=True)]
        rows = np.stack(products) * there.T  # (m, n)
        out = []
        for i, t in enumerate(tables):
            seen = there[:, i] * (rows / pairs[i][:, None]).sum(0)
            away = [sums[i][j] * ((sums[j][i] @ parts[j]) / pairs[i, j] ** 2) for j in range(m)]
            out.append(t.T @ seen - np.sum(away, axis=0))
        return np.concatenate(out)

    mean = np.concatenate([s[i] / pairs[i, i] for i, s in enumerate(sums)])
    square = np.concatenate([_squares(t).T @ there[:, i] / pairs[i, i]
                             for i, t in enumerate(tables)])  # fmt: skip
    return multiply, mean, square - mean**2


def _squares(table: Any) -> Any:
    return table.multiply(table).tocsr() if sp.issparse(table) else np.square(table)


def _operator(table: Any, mean: np.ndarray, *, by_rows: bool) -> Callable[..., np.ndarray]:
    def rows(v: np.ndarray) -> np.ndarray:  # (d,) -> (n,)
        return table @ v - mean @ v

    def columns(u: np.ndarray) -> np.ndarray:  # (n,) -> (d,)
        return table.T @ u - mean * u.sum()

    if by_rows:
        return lambda u: rows(columns(u.reshape(-1)))
    return lambda v: columns(rows(v.reshape(-1)))


def _across(table: Any, mean: np.ndarray, left: np.ndarray) -> np.ndarray:
    """(X - m)' times (n, k) left vectors: (d, k)."""
    return np.asarray(table.T @ left) - np.outer(mean, left.sum(0))


def _gram(table: Any, mean: np.ndarray, *, by_rows: bool) -> np.ndarray:
    """Products of all rows, (n, n), or of all columns, (d, d), less the mean; dense by pieces."""
    side = table.shape[0 if by_rows else 1]
    out = np.zeros((side, side))
    for part in _slabs(table, mean, by_rows=by_rows):
        out += part @ part.T
    return out


def _slabs(table: Any, mean: np.ndarray, *, by_rows: bool) -> Iterator[np.ndarray]:
    """Pieces (side, step) float64 of the centred table, or of its transpose."""
    n, d = table.shape
    step = max(1, PIECE // max(n if by_rows else d, 1))
    if by_rows:
        columns = table.tocsc() if sp.issparse(table) else table
        for at in range(0, d, step):
            yield dense(columns[:, at : at + step]).astype(np.float64) - mean[at : at + step]
    else:
        for at in range(0, n, step):
            yield (dense(table[at : at + step]).astype(np.float64) - mean).T
