"""Connectivities of nearest neighbours as UMAP makes them (McInnes et al. 2018), in NumPy.

umap-learn compiles the same with numba, which takes longer than all of it here.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

_ROUNDS = 64  # of bisection
_CLOSE = 1e-5  # to the target sum
_LEAST = 1e-3  # of the mean distance: no scale is smaller


def smooth_distances(apart: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance at which a cell's connectivity begins to fall, and the scale of its fall.

    Found by bisection, so that the connectivities with all neighbours but the first add up to
    log2 of their number.

    Parameters
    ----------
    apart
        (n, k) distances to the nearest neighbours, ascending.

    Returns
    -------
    tuple
        (n,) the smallest distance above 0, and (n,) scales, both float64.
    """
    apart = apart.astype(np.float32).astype(np.float64)  # umap-learn's precision
    n, k = apart.shape
    first = np.where(apart > 0, apart, np.inf).min(1)
    first[~np.isfinite(first)] = 0
    beyond, target = np.maximum(apart[:, 1:] - first[:, None], 0), np.log2(k)
    low, high, scale = np.zeros(n), np.full(n, np.inf), np.ones(n)
    left = np.arange(n)  # whose sum is not close yet
    for _ in range(_ROUNDS):
        total = np.exp(-beyond[left] / scale[left, None]).sum(1)
        going = np.abs(total - target) >= _CLOSE
        left, total = left[going], total[going]
        over = total > target
        high[left[over]] = scale[left[over]]
        low[left[~over]] = scale[left[~over]]
        open_end = np.isinf(high[left])
        scale[left] = np.where(open_end, 2 * scale[left], (low[left] + high[left]) / 2)
    return first, np.maximum(scale, _LEAST * np.where(first > 0, apart.mean(1), apart.mean()))


def membership(apart: np.ndarray, first: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Connectivity at a distance, in [0, 1]; (n,) each, or any shapes that broadcast."""
    return np.exp(-np.maximum(apart - first, 0) / scale)


def directed(
    index: np.ndarray, apart: np.ndarray, first: np.ndarray, scale: np.ndarray, n: int
) -> sp.csr_matrix:
    """(m, n) CSR of the connectivities of m cells with their neighbours among n.

    Parameters
    ----------
    index, apart
        (m, k) positions of the neighbours and distances to them.
    first, scale
        (m,) as :func:`smooth_distances` gives them.
    n
        Cells among which the neighbours are.
    """
    m, k = index.shape
    values = membership(apart, first[:, None], scale[:, None])
    pointers = np.arange(0, m * k + 1, k)
    graph = sp.csr_matrix((values.ravel(), index.ravel(), pointers), shape=(m, n))
    graph.sort_indices()
    return graph


def fuzzy_union(there: sp.csr_matrix, back: sp.csr_matrix) -> sp.csr_matrix:
    """Of two directions of an edge, (m, n) CSR each, that one at least holds: a + b - a b."""
    out = sp.csr_matrix(there + back - there.multiply(back))
    out.eliminate_zeros()
    out.sort_indices()
    return out
