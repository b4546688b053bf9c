"""Which pixels of a tile are nuclear, and where one nucleus ends and the next begins."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from smalti.errors import InputError
from smalti.extras import need

_FAINT = 0.02  # haematoxylin of bare glass and eosin alone, in the units of `separate`
_VALLEY = 0.8  # of the lower of two hills: a way over that stays above it joins them


def nuclear(stain: np.ndarray, threshold: str | float, diameter: float) -> np.ndarray:
    """Which pixels are nuclear; ``diameter`` in pixels."""
    smooth = _smooth(stain, diameter / 12)
    if not isinstance(threshold, str):
        return smooth > threshold
    filters = need("skimage.filters", "slides")
    if threshold not in ("otsu", "local"):
        raise InputError(f"threshold={threshold!r} is not 'otsu', 'local' or a number.")
    if smooth.max() <= _FAINT:
        return np.zeros(stain.shape, dtype=bool)
    if threshold == "local":
        around = ndimage.uniform_filter(smooth, 2 * round(3 * diameter) + 1)
        return (smooth > 1.1 * around) & (smooth > _FAINT)
    level = max(filters.threshold_otsu(smooth), _FAINT)
    # dark nuclei raise the threshold of the whole tile: a pale one stands out near by only
    lifted = smooth - _smooth(stain, diameter) > 0.2 * level
    return (smooth > level) | (lifted & (smooth > max(0.5 * level, _FAINT)))


def parted(stain: np.ndarray, mask: np.ndarray, diameter: float) -> np.ndarray:
    """(height, width) labels of the nuclei of a mask; ``diameter`` in pixels.

    Each nucleus is a hill of the difference of two Gaussians, which parts those that overlap where
    the distance to the edge of the mask says nothing: in crowds. A hill is joined to its
    neighbour where the way over to it falls by less than a fifth: chromatin is uneven.
    """
    features, segmentation = (need(f"skimage.{m}", "slides") for m in ("feature", "segmentation"))
    hills = np.maximum(_smooth(stain, diameter / 6) - _smooth(stain, diameter), 0) * mask
    near = max(1, round(diameter / 3))
    peaks = features.peak_local_max(hills, min_distance=near, exclude_border=False)
    markers = np.zeros(mask.shape, dtype=np.int32)
    markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    labels = segmentation.watershed(-hills, markers, mask=mask)
    return _joined(labels, hills, np.append(0, hills[tuple(peaks.T)]))


def _joined(labels: np.ndarray, hills: np.ndarray, peak: np.ndarray) -> np.ndarray:
    """Labels after the joining of those between which no valley lies; ``peak`` of each label."""
    pairs, heights = [], []
    for one, other in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        a, b = labels[one], labels[other]
        touch = (a != b) & (a > 0) & (b > 0)
        pairs.append(np.stack([a[touch], b[touch]]))
        heights.append(np.minimum(hills[one][touch], hills[other][touch]))
    (a, b), height = np.concatenate(pairs, axis=1), np.concatenate(heights)
    join = height > _VALLEY * np.minimum(peak[a], peak[b])  # at any pixel of their border
    n = len(peak)
    graph = coo_matrix((np.ones(join.sum()), (a[join], b[join])), shape=(n, n))
    return connected_components(graph, directed=False)[1][labels]


def _smooth(stain: np.ndarray, sd: float) -> np.ndarray:
    return ndimage.gaussian_filter(stain, max(0.5, sd), truncate=3.0)
