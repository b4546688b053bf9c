"""Leading components of a table whose covariance of features would not fit, sparse or dense.

Design:

- The mean is never taken off the table, which would make it dense: (X - 1m')v = Xv - 1(m'v).
- Up to ``SMALL`` rows or columns, the products of all rows (or of all columns) with one another are
  decomposed whole; beyond, a Lanczos iteration asks for products with a few vectors at a time, to
  rounding. Neither makes anything of features x features where there are many.
- Vectors go through a sparse table side by side, some rows of it at a time and those column by
  column: each number of the table is then read once for all of them, and what it is added to stays
  in the cache. ARPACK asks for one vector at a time, each of which waits for the whole table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from smalti.views import PIECE, dense

SMALL = 1000  # rows or columns up to which a matrix of them all is made
_ROWS = 2000  # of a sparse table that are multiplied at a time
_BLOCK = 16  # vectors that are multiplied at a time
_STEPS = 4000  # blocks of vectors at most, where rounding keeps products from coming near enough
_WITHIN = 1e-12  # of the largest eigenvalue: how far a product may be from its vector times value


def components(
    table: Any, k: int, *, mean: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Largest eigenvalues and eigenvectors of (X - m)'(X - m).

    Parameters
    ----------
    table
        (n, d), CSR or dense; sums are in float64, whatever its numbers are.
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
        _, columns = _products(table, mean)
        vectors = columns(vectors) * np.where(there, 1 / np.where(there, root, 1), 0)
    return values, signed(vectors)


def along(table: Any, axes: np.ndarray) -> np.ndarray:
    """Scores (n, k) of a table (n, d), CSR or dense, along axes (d, k): their product."""
    return _products(table, np.zeros(len(axes)))[0](axes)


def largest(
    multiply: Callable[[np.ndarray], np.ndarray], size: int, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Largest eigenvalues (k,), and vectors (size, k), of a symmetric matrix known by its products.

    By a block Lanczos iteration that starts anew from its best vectors where it has too many.
    ``multiply`` is the product with some vectors (size, b), and gives as many.
    """
    keep, most = k + 2 * _BLOCK, 9 * k + 4 * _BLOCK  # vectors to start anew from, and to have
    if size <= most + _BLOCK:
        values, vectors = scipy.linalg.eigh(_even(multiply(np.eye(size))))
        return values[::-1][:k], vectors[:, ::-1][:, :k]
    basis, small, m = np.empty((size, most)), np.zeros((most, most)), 0
    block = np.linalg.qr(np.random.default_rng(0).normal(size=(size, _BLOCK)))[0]
    for step in range(1, _STEPS + 1):
        here, m = slice(m, m + _BLOCK), m + _BLOCK
        basis[:, here] = block
        known, rest = basis[:, :m], multiply(block)
        small[:m, here] = known.T @ rest
        small[here, :m] = small[:m, here].T
        block, left = np.linalg.qr(_away(_away(rest, known), known))
        block = np.linalg.qr(_away(block, known))[0]  # where little was left, that was rounding
        full = m + _BLOCK > most
        if not full and (m < keep or step % 4):
            continue
        values, within = scipy.linalg.eigh(_even(small[:m, :m]), subset_by_index=(m - keep, m - 1))
        off = np.linalg.norm(left @ within[-_BLOCK:, -k:], axis=0).max()
        if off <= _WITHIN * np.abs(values).max():
            break
        if full:
            basis[:, :keep] = known @ within
            small[:] = np.diag(np.append(values, np.zeros(most - keep)))
            m = keep
    return values[::-1][:k], known @ within[:, ::-1][:, :k]


def _away(vectors: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Vectors (size, b) without what they have of known ones (size, m) of length 1."""
    return vectors - known @ (known.T @ vectors)


def _even(matrix: np.ndarray) -> np.ndarray:
    """A matrix that is symmetric but for rounding, without that."""
    return (matrix + matrix.T) / 2


def signed(vectors: np.ndarray) -> np.ndarray:
    """The same (d, k) vectors, in each the entry of largest size positive."""
    at = np.abs(vectors).argmax(0)
    return vectors * np.where(vectors[at, np.arange(vectors.shape[1])] < 0, -1.0, 1.0)


def covariance_of_pairs(
    tables: Sequence[Any], there: np.ndarray
) -> tuple[Callable[[np.ndarray], np.ndarray], np.ndarray, np.ndarray]:
    """The covariance of features over the rows that have both, by its products with vectors.

    Parameters
    ----------
    tables
        (n, d_i) each, CSR or dense; rows that were not measured are not looked at.
    there
        (n, n_tables) 1 or 0: which rows were measured in which table.

    Returns
    -------
    tuple
        The product with vectors of all features (d, b); the mean of each feature (d,) and its
        variance (d,) over the rows that have it.
    """
    m, edges = len(tables), np.cumsum([0, *(t.shape[1] for t in tables)])
    there = np.asarray(there, dtype=np.float64)
    pairs = np.maximum(there.T @ there, 1)  # (m, m) rows that have both
    # (m, d_i) sums of the features of i over the rows that have i and j
    sums = [np.stack([t.T @ (there[:, i] * there[:, j]) for j in range(m)])
            for i, t in enumerate(tables)]  # fmt: skip

    products = [_products(t, np.zeros(t.shape[1])) for t in tables]

    def multiply(v: np.ndarray) -> np.ndarray:
        parts = [v[edges[j] : edges[j + 1]] for j in range(m)]
        each = zip(products, parts, there.T, strict=True)
        seen = [rows(part) * own[:, None] for (rows, _), part, own in each]  # (n, b)
        out = []
        for i, (_, columns) in enumerate(products):
            both = there[:, i, None] * sum(seen[j] / pairs[i, j] for j in range(m))
            away = [np.outer(sums[i][j], sums[j][i] @ parts[j] / pairs[i, j] ** 2)
                    for j in range(m)]  # fmt: skip
            out.append(columns(both) - np.sum(away, axis=0))
        return np.concatenate(out)

    mean = np.concatenate([s[i] / pairs[i, i] for i, s in enumerate(sums)])
    square = np.concatenate([_squares(t).T @ there[:, i] / pairs[i, i]
                             for i, t in enumerate(tables)])  # fmt: skip
    return multiply, mean, square - mean**2


def _squares(table: Any) -> Any:
    return table.multiply(table).tocsr() if sp.issparse(table) else np.square(table)


Multiply: TypeAlias = Callable[[np.ndarray], np.ndarray]


def _operator(table: Any, mean: np.ndarray, *, by_rows: bool) -> Multiply:
    rows, columns = _products(table, mean)
    return (lambda u: rows(columns(u))) if by_rows else (lambda v: columns(rows(v)))


def _products(table: Any, mean: np.ndarray) -> tuple[Multiply, Multiply]:
    """Products of the centred table with vectors: (d, b) -> (n, b), and (n, b) -> (d, b)."""
    if sp.issparse(table):
        starts = range(0, table.shape[0], _ROWS)
        slabs = [table[at : at + _ROWS].tocsc() for at in starts]
    else:
        starts, slabs = range(1), [np.asarray(table, dtype=np.float64)]

    def rows(v: np.ndarray) -> np.ndarray:
        return np.concatenate([slab @ v for slab in slabs]) - mean @ v

    def columns(u: np.ndarray) -> np.ndarray:
        out = -np.outer(mean, u.sum(0))
        for at, slab in zip(starts, slabs, strict=True):
            out += slab.T @ u[at : at + slab.shape[0]]
        return out

    return rows, columns


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
