"""Counts of bins and cells summed over the tiles of a grid."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp


def members(corners: np.ndarray, side: int, xy: np.ndarray) -> sp.csr_matrix:
    """Which points lie in which tiles of a grid.

    A point on the line between two tiles is in the right or lower one. Tiles that overlap share
    points.

    Parameters
    ----------
    corners
        (n_tiles, 2) upper left corners, whole pixels, of some tiles of a regular grid.
    side
        Edge of a tile in pixels.
    xy
        (n_points, 2) pixels.

    Returns
    -------
    csr_matrix
        (n_tiles, n_points) of ones; its product with the (n_points, n_genes) counts is their sums.
    """
    (xs, column), (ys, row) = (np.unique(corners[:, k], return_inverse=True) for k in (0, 1))
    tile = np.full((len(ys), len(xs)), -1, dtype=np.int64)
    tile[row, column] = np.arange(len(corners))
    (left, across), (top, down) = (_covering(edges, side, xy[:, k])
                                   for k, edges in ((0, xs), (1, ys)))  # fmt: skip
    tiles, points = [], []
    for i in range(int(across.max(initial=0))):
        for j in range(int(down.max(initial=0))):
            inside = np.flatnonzero((i < across) & (j < down))
            at = tile[top[inside] + j, left[inside] + i]
            tiles.append(at[at >= 0])
            points.append(inside[at >= 0])
    if not tiles:
        return sp.csr_matrix((len(corners), len(xy)), dtype=np.float32)
    ones = np.ones(sum(map(len, tiles)), dtype=np.float32)
    at = np.concatenate(tiles), np.concatenate(points)
    return sp.csr_matrix((ones, at), shape=(len(corners), len(xy)))


def _covering(edges: np.ndarray, side: int, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each place the first interval [edge, edge + side) that it is in, and in how many."""
    first = np.searchsorted(edges, places - side, side="right")
    return first, np.searchsorted(edges, places, side="right") - first
