"""Leading components of a table whose covariance of features would not fit, sparse or dense.

Design:

- The mean is never taken off the table, which would make it dense: (X - 1m')v = Xv - 1(m'v).
- Up to ``SMALL`` rows or columns, the products of all rows (or of all columns) with one another are
  decomposed whole; beyond, a block Lanczos iteration asks for products with a few vectors at a
  time, to rounding. ARPACK's, with single vectors, reads a sparse table twice as often. Neither
  makes anything of features x features where there are many.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from smalti.errors import InputError
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


_PRODUCTS = 10_000  # at most; some hundred are the rule
_BLOCK = 4  # vectors of a product: a sparse table is read once for all of them
_REST = 1e-9  # residual of an eigenvector, as a share of its eigenvalue
_ROUNDING = 1e-14  # the same, as a share of the largest eigenvalue


def largest(
    multiply: Callable[[np.ndarray], np.ndarray], size: int, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Largest eigenvalues (k,), and vectors (size, k), of a symmetric matrix known by its products.

    ``multiply`` is the product with some vectors (size, b), and gives as many. A block Lanczos
    iteration, each block made orthogonal to all before it, with a thick restart: where the basis
    is full, the leading vectors that it knows are kept.

    Raises
    ------
    InputError
        If it does not come to rest.
    """
    most = 4 * k + 8 * _BLOCK  # vectors of the basis
    if size <= most:
        values, vectors = scipy.linalg.eigh(multiply(np.eye(size)))
        return values[: -k - 1 : -1], vectors[:, : -k - 1 : -1]
    basis, within = np.empty((size, most), order="F"), np.zeros((most, most))
    block = np.linalg.qr(np.random.default_rng(0).normal(size=(size, _BLOCK)))[0]
    n, looked, before = 0, 0, np.full(k, -np.inf)
    for _ in range(_PRODUCTS):
        new = slice(n, n + _BLOCK)
        basis[:, new], n = block, new.stop
        own, left = basis[:, :n], multiply(block)
        share = own.T @ left
        within[:n, new], within[new, :n] = share, share.T
        block, length = np.linalg.qr(left - own @ share)
        block, again = np.linalg.qr(block - own @ (own.T @ block))  # what rounding left
        full = n + _BLOCK > most
        if full or n - looked >= k:
            values, turn = (part[..., ::-1] for part in np.linalg.eigh(within[:n, :n]))
            away = np.linalg.norm(again @ length @ turn[new, :k], axis=0)  # residuals
            at_rest = (away <= np.maximum(_REST * values[:k], _ROUNDING * values[0])).all()
            # where products lead nowhere new, an eigenvalue of many vectors may lack some of them:
            # the next block, made of rounding, is as good as random, and finds them
            alone = np.linalg.norm(length) <= _REST * values[0]
            if at_rest and not (alone and (values[:k] - before > _REST * values[0]).any()):
                return values[:k], own @ turn[:, :k]
            looked, before = n, values[:k]
        if full:
            n = looked = k + k // 2
            basis[:, :n], within[:] = own @ turn[:, :n], 0
            within[np.arange(n), np.arange(n)] = values[:n]
    raise InputError(
        f"{k} components were not found in {_PRODUCTS:,} products: values of the table are too "
        "large or too small, or many components are all but equal. Scale it, or ask for fewer."
    )


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
        The product with vectors of all features, (d, b) to (d, b); the mean of each feature (d,)
        and its variance (d,) over the rows that have it.
    """
    m, edges = len(tables), np.cumsum([0, *(t.shape[1] for t in tables)])
    there = np.asarray(there, dtype=np.float64)
    pairs = np.maximum(there.T @ there, 1)  # (m, m) rows that have both
    # (m, d_i) sums of the features of i over the rows that have i and j
    sums = [np.stack([t.T @ (there[:, i] * there[:, j]) for j in range(m)])
            for i, t in enumerate(tables)]  # fmt: skip

    onto = [_times(t) for t in tables]

    def multiply(v: np.ndarray) -> np.ndarray:
        parts = [v[edges[j] : edges[j + 1]] for j in range(m)]
        products = [times(part) for times, part in zip(onto, parts, strict=True)]
        rows = np.stack(products) * there.T[:, :, None]  # (m, n, b)
        out = []
        for i, t in enumerate(tables):
            seen = there[:, i, None] * (rows / pairs[i][:, None, None]).sum(0)
            away = [np.outer(sums[i][j], (sums[j][i] @ parts[j]) / pairs[i, j] ** 2)
                    for j in range(m)]  # fmt: skip
            out.append(t.T @ seen - np.sum(away, axis=0))
        return np.concatenate(out)

    mean = np.concatenate([s[i] / pairs[i, i] for i, s in enumerate(sums)])
    square = np.concatenate([_squares(t).T @ there[:, i] / pairs[i, i]
                             for i, t in enumerate(tables)])  # fmt: skip
    return multiply, mean, square - mean**2


def _squares(table: Any) -> Any:
    return table.multiply(table).tocsr() if sp.issparse(table) else np.square(table)


def _operator(table: Any, mean: np.ndarray, *, by_rows: bool) -> Callable[..., np.ndarray]:
    onto = _times(table)

    def rows(v: np.ndarray) -> np.ndarray:  # (d, b) -> (n, b)
        return onto(v) - mean @ v

    def columns(u: np.ndarray) -> np.ndarray:  # (n, b) -> (d, b)
        return _across(table, mean, u)

    return (lambda u: rows(columns(u))) if by_rows else (lambda v: columns(rows(v)))


def _times(table: Any) -> Callable[[np.ndarray], np.ndarray]:
    """The product of (n, d) with vectors (d, b): PyTorch's, by MKL, takes half of SciPy's time."""
    import torch

    rows_of_doubles = sp.issparse(table) and table.format == "csr" and table.dtype == np.float64
    small = rows_of_doubles and table.indices.dtype == np.int32  # MKL's own numbers
    if not (small and table.has_canonical_format and torch.backends.mkl.is_available()):
        return lambda v: np.asarray(table @ v)
    rows, columns, values = map(torch.from_numpy, (table.indptr, table.indices, table.data))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that it is young
        same = torch.sparse_csr_tensor(rows, columns, values, table.shape)
    return lambda v: (same @ torch.from_numpy(np.ascontiguousarray(v))).numpy()


def _across(table: Any, mean: np.ndarray, left: np.ndarray) -> np.ndarray:
    """(X - m)' times (n, b) left vectors: (d, b)."""
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
