"""Weighted nearest neighbours of cells in several views, exact (Hao et al. 2021, STAR Methods).

With d the Euclidean distance in a view, N(i) the cells nearest to i there, and r the distance to
the first of them:

- The bandwidth s of a cell is its mean distance to the ``_BANDWIDTH`` cells that share the fewest
  neighbours with it, but one at least; of equals the farthest.
- A view predicts the point x of a cell by the mean of the points of N(i), of its own N(i) or of
  another view's: theta = exp(-max(|x - mean| - r, 0) / (s - r)).
- The weight of a view in a cell is the softmax, over views, of how well the view is predicted by
  its own neighbours over how well by the best of the others: own theta / (best other + 1e-4).
- Two cells are alike by a = sum of weight x exp(-d / s) over views, with the weights and bandwidths
  of the first of them, and lie sqrt((1 - a) / 2) apart. The nearest are sought among the
  candidates, the cells nearest in each view.

muon 0.1.9 computes the same where its searches, which are approximate, find all, and where its
lists of neighbours are sorted, which its Jaccard index takes for granted. No matrix of all pairs of
cells is held.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import TypeAlias

import numpy as np
import scipy.sparse as sp
from scipy.special import softmax
from sklearn.neighbors import NearestNeighbors

from smalti.solve.fuzzy_graph import directed, fuzzy_union, membership, smooth_distances

_BANDWIDTH = 20  # cells that tell how wide a neighbourhood is
_EPSILON = 1e-4  # added to the affinity that a view is compared with, as in muon
_SAME = 1e-5  # apart: cells so near in every view are one cell
_ROUNDING = 1e-9  # of a distance that is computed in two ways
_HELD = 2**22  # numbers held at once, 32 MiB
Points: TypeAlias = Sequence[np.ndarray]  # of each view, (n, d) of the same cells


@dataclasses.dataclass(frozen=True)
class Placed:
    """Where cells lie among reference cells.

    Attributes
    ----------
    weights
        (m, n_views) of the views in each cell, rows sum to 1.
    edges
        (m, n) CSR: connectivities with the reference cells, in [0, 1].
    own
        (m,) int64: the reference cell that a cell is, -1 where it is none.
    """

    weights: np.ndarray
    edges: sp.csr_matrix
    own: np.ndarray


@dataclasses.dataclass(frozen=True)
class WeightedNeighbors:
    """Reference cells, and all that it takes to place others among them.

    Attributes
    ----------
    points
        Of each view, (n, d).
    near
        (n_views, n, k) the nearest cells in each view, nearest first.
    width, reach
        (n, n_views) bandwidths, and the distance to the last candidate.
    weights
        (n, n_views) of the views, rows sum to 1.
    first, scale, last
        (n,) by all views: the distance at which connectivities begin to fall, the scale of their
        fall, and the distance to the last neighbour.
    graph
        (n, n) symmetric CSR of connectivities, in [0, 1].
    candidates, joint
        How many in each view, and how many neighbours by all.
    """

    points: tuple[np.ndarray, ...]
    near: np.ndarray
    width: np.ndarray
    reach: np.ndarray
    weights: np.ndarray
    first: np.ndarray
    scale: np.ndarray
    last: np.ndarray
    graph: sp.csr_matrix
    candidates: int
    joint: int

    @classmethod
    def of(cls, points: Points, near: int, joint: int, candidates: int = 200) -> WeightedNeighbors:
        """Weigh the views of cells, and find their nearest by all views.

        Parameters
        ----------
        points
            Of each view, (n, d).
        near, joint
            Neighbours of a cell in each view, and by all.
        candidates
            Cells nearest in each view, among which the joint neighbours are sought; at most n - 1.
        """
        points, own = tuple(points), np.arange(len(points[0]))
        candidates = min(candidates, len(own) - 1)
        lists, far = _search(points, points, own, candidates)
        close = lists[:, :, :near]
        weights, width = _weigh(points, points, close, close, far[:, :, 0].T, own)
        index, apart = _together(points, points, lists, weights, width, joint)
        first, scale = smooth_distances(apart)
        there = directed(index, apart, first, scale, len(own))
        return cls(points, close, width, far[:, :, -1].T, weights, first, scale, apart[:, -1],
                   fuzzy_union(there, there.T.tocsr()), candidates, joint)  # fmt: skip

    def place(self, points: Points) -> Placed:
        """Where cells lie among these; they do not see each other.

        One of these cells gets the weights and the edges that it has. Any other gets them by the
        same formulae, these cells staying as they are: an edge is the union of how it sees one of
        them and of how that would see it.

        Parameters
        ----------
        points
            Of each view, (m, d).
        """
        own = self._own(points)
        new = np.flatnonzero(own < 0)
        weights, edges = self.weights[own], self.graph[own]
        if len(new):
            weights[new], rows = self.among([x[new] for x in points], own[new])
            known = sp.diags((own >= 0).astype(np.float32)) @ edges
            at = sp.csr_matrix(
                (np.ones(len(new)), (new, np.arange(len(new)))), (len(own), len(new))
            )
            edges = sp.csr_matrix(known + at @ rows)
        return Placed(weights, edges, own)

    def among(self, points: Points, own: np.ndarray) -> tuple[np.ndarray, sp.csr_matrix]:
        """Weights (m, n_views) and connectivities (m, n) by the formulae.

        Parameters
        ----------
        points
            Of each view, (m, d).
        own
            (m,) which of these cells each is, and leaves out; -1: none.
        """
        lists, far = _search(self.points, points, own, self.candidates)
        close = lists[:, :, : self.near.shape[2]]
        weights, width = _weigh(self.points, points, self.near, close, far[:, :, 0].T, own)
        index, apart = _together(self.points, points, lists, weights, width, self.joint)
        there = directed(index, apart, *smooth_distances(apart), len(self.last))
        return weights, fuzzy_union(there, self._looking_back(points, own))

    def _own(self, points: Points) -> np.ndarray:
        """(m,) the cell that is the same in every view, -1: none."""
        search = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(np.hstack(self.points))
        far, index = search.kneighbors(np.hstack(list(points)))
        return np.where(far[:, 0] <= _SAME, index[:, 0], -1)

    def _looking_back(self, points: Points, own: np.ndarray) -> sp.csr_matrix:
        """(m, n) connectivities as these cells would see others."""
        edges = []
        for rows in _blocks(len(own), len(self.last)):
            far = [_distances(x[rows], y) for x, y in zip(points, self.points, strict=True)]
            near = np.logical_or.reduce(
                [d <= r * (1 + _ROUNDING) for d, r in zip(far, self.reach.T, strict=True)]
            )
            known = own[rows] >= 0
            near[known, own[rows][known]] = False
            i, j = near.nonzero()
            alike = sum(self.weights[j, v] * np.exp(-d[i, j] / self.width[j, v])
                        for v, d in enumerate(far))  # fmt: skip
            apart = _apart(np.asarray(alike))
            kept = apart <= self.last[j] * (1 + _ROUNDING)
            i, j, apart = i[kept], j[kept], apart[kept]
            values = membership(apart, self.first[j], self.scale[j])
            edges.append(sp.csr_matrix((values, (i, j)), shape=near.shape))
        return sp.csr_matrix(sp.vstack(edges))


def _search(
    among: Points, cells: Points, own: np.ndarray, most: int
) -> tuple[np.ndarray, np.ndarray]:
    """The nearest in each view and how far they are, (n_views, m, most) each, nearest first.

    ``own`` says which of the cells searched a cell is itself, -1: none. It is left out.
    """
    lists, far = [], []
    for known, x in zip(among, cells, strict=True):
        trees = NearestNeighbors(algorithm="brute").fit(known)
        apart, index = trees.kneighbors(x, min(most + 1, len(known)))
        itself = index == own[:, None]
        itself[~itself.any(1), -1] = True  # where it is not in the list, the last goes
        if index.shape[1] == most:  # as many as there are, and none of them goes
            itself[own < 0] = False
        keep = np.argsort(itself, axis=1, kind="stable")[:, :most]
        lists.append(np.take_along_axis(index, keep, 1))
        far.append(np.take_along_axis(apart, keep, 1))
    return np.stack(lists), np.stack(far)


def _weigh(
    among: Points, cells: Points, near: np.ndarray, close: np.ndarray, first: np.ndarray,
    own: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Weights of the views in each cell, and bandwidths; (m, n_views) each.

    ``near`` are the neighbours of the cells searched, ``close`` those of the cells themselves, and
    ``first`` (m, n_views) the distances to the first of them.
    """
    means = [_adjacency(c, len(among[0])) / c.shape[1] for c in close]
    ratios, widths = [], []
    for v, (known, x) in enumerate(zip(among, cells, strict=True)):
        width = _bandwidth(known, x, near[v], close[v], own)
        room = np.maximum(width - first[:, v], 1e-12)
        off = [np.linalg.norm(x - mean @ known, axis=1) for mean in means]
        theta = [np.exp(-np.maximum(d - first[:, v], 0) / room) for d in off]
        other = np.max([t for w, t in enumerate(theta) if w != v], axis=0)
        ratios.append(theta[v] / (other + _EPSILON))
        widths.append(width)
    return softmax(np.stack(ratios, axis=1), axis=1), np.stack(widths, axis=1)


def _bandwidth(
    known: np.ndarray, x: np.ndarray, near: np.ndarray, close: np.ndarray, own: np.ndarray
) -> np.ndarray:
    """(m,) mean distance to the cells that share the fewest neighbours, but one at least."""
    having = sp.csr_matrix(_adjacency(near, len(known)).T)  # whose neighbour a cell is
    out = np.empty(len(x))
    # a cell shares neighbours with some k^2 others, and with more where some are everybody's
    for rows in _blocks(len(x), 4 * near.shape[1] ** 2):
        shared = (_adjacency(close[rows], len(known)) @ having).tocoo()
        there = shared.col != own[rows][shared.row]
        i, count = shared.row[there], shared.data[there].astype(np.float64)
        far = _lengths(x[rows][i] - known[shared.col[there]])
        # one number sorts by cell, then by neighbours shared, then from far to near
        step = 2 * far.max(initial=0) + 1
        turn = step * (near.shape[1] + 1)
        key = np.sort(i * turn + count * step - far)
        number = np.bincount(i, minlength=rows.stop - rows.start)
        place = np.arange(len(key)) - np.repeat(np.cumsum(number) - number, number)
        few = place < _BANDWIDTH
        i = np.repeat(np.arange(len(number)), number)[few]
        left = key[few] - i * turn
        far = np.rint(left / step + 0.25) * step - left
        out[rows] = np.bincount(i, far, len(number)) / np.clip(number, 1, _BANDWIDTH)
    return np.maximum(out, 1e-12)


def _together(
    among: Points, cells: Points, lists: np.ndarray, weights: np.ndarray, width: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest by all views, and how far they are; (m, k) each, nearest first."""
    lists = np.sort(np.concatenate(list(lists), axis=1), axis=1)  # (m, candidates of all views)
    index = np.empty((len(lists), k), dtype=np.int64)
    apart = np.empty((len(lists), k))
    for rows in _blocks(len(lists), lists.shape[1] * max(x.shape[1] for x in cells)):
        part = lists[rows]
        alike = np.zeros(part.shape)
        for v, (known, x) in enumerate(zip(among, cells, strict=True)):
            far = _lengths(known[part] - x[rows][:, None].astype(np.float64))
            alike += weights[rows, v, None] * np.exp(-far / width[rows, v, None])
        alike[:, 1:][part[:, 1:] == part[:, :-1]] = -np.inf  # a candidate of two views
        best = np.argsort(-alike, axis=1, kind="stable")[:, :k]
        index[rows] = np.take_along_axis(part, best, 1)
        apart[rows] = _apart(np.take_along_axis(alike, best, 1))
    return index, apart


def _apart(alike: np.ndarray) -> np.ndarray:
    """How far cells lie apart that are so much alike, 0 to 1."""
    return np.sqrt(np.maximum(1 - alike, 0) / 2)


def _adjacency(lists: np.ndarray, n: int) -> sp.csr_matrix:
    """(m, n) CSR with 1 where a cell is in a list of (m, k)."""
    m, k = lists.shape
    ones = np.ones(m * k, dtype=np.float32)
    return sp.csr_matrix((ones, lists.ravel(), np.arange(0, m * k + 1, k)), shape=(m, n))


def _lengths(x: np.ndarray) -> np.ndarray:
    """Euclidean norms along the last axis."""
    return np.sqrt(np.einsum("...d,...d->...", x, x))


def _distances(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """(m, n) float64 Euclidean distances."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    square = (x * x).sum(1)[:, None] + (y * y).sum(1) - 2 * x @ y.T
    return np.sqrt(np.maximum(square, 0, out=square), out=square)


def _blocks(n: int, columns: int) -> Iterator[slice]:
    """Slices of n rows, each with no more numbers in so many columns than are held at once."""
    step = max(1, _HELD // max(columns, 1))
    for start in range(0, n, step):
        yield slice(start, min(start + step, n))
