"""Which pixels of a tile are nuclear, and where one nucleus ends and the next begins."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from smalti.errors import InputError
from smalti.system.extras import need
from smalti.tiles.smoothing import smooth

_FAINT = 0.02  # haematoxylin of bare glass and eosin alone, in the units of `separate`
_VALLEY = 0.8  # of the lower of two hills: a way over that stays above it is no valley
_NECK = 0.8  # of the lesser of two half widths: a passage that is wider is no neck


def nuclear(
    stain: np.ndarray, threshold: str | float, diameter: float, around: np.ndarray
) -> np.ndarray:
    """Which pixels are nuclear: (H, W) bool from the haematoxylin of each, (H, W).

    ``threshold`` is "otsu", "local" or a number in the units of ``stain``; ``diameter`` in
    pixels; ``around`` the stain smoothed by it, (H, W).

    Raises
    ------
    InputError
        If ``threshold`` is none of these.
    """
    near = _smooth(stain, diameter / 12)
    if not isinstance(threshold, str):
        return near > threshold
    filters = need("skimage.filters", "slides")
    if threshold not in ("otsu", "local"):
        raise InputError(f"threshold={threshold!r} is not 'otsu', 'local' or a number.")
    if near.max() <= _FAINT:
        return np.zeros(stain.shape, dtype=bool)
    if threshold == "local":
        mean = ndimage.uniform_filter(near, 2 * round(3 * diameter) + 1)
        return (near > 1.1 * mean) & (near > _FAINT)
    level = max(filters.threshold_otsu(near), _FAINT)
    # dark nuclei raise the threshold of the whole tile: a pale one stands out near by only
    lifted = near - around > 0.2 * level
    return (near > level) | (lifted & (near > max(0.5 * level, _FAINT)))


def parted(stain: np.ndarray, mask: np.ndarray, diameter: float, around: np.ndarray) -> np.ndarray:
    """(height, width) labels of the nuclei of a mask; ``diameter`` and ``around`` as above.

    Each hill of the difference of two Gaussians begins a nucleus, which parts crowds, where the
    distance to the edge of the mask says nothing. Chromatin is uneven, so that a nucleus may have
    several: neighbours are joined unless a valley of the stain or a neck of the mask lies between.
    """
    features, segmentation = (need(f"skimage.{m}", "slides") for m in ("feature", "segmentation"))
    hills = np.maximum(_smooth(stain, diameter / 6) - around, 0) * mask
    near = max(1, round(diameter / 3))
    peaks = features.peak_local_max(hills, min_distance=near, exclude_border=False)
    markers = np.zeros(mask.shape, dtype=np.int32)
    markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    labels = segmentation.watershed(-hills, markers, mask=mask)
    depth = _smooth(ndimage.distance_transform_edt(mask).astype(np.float32), diameter / 12)
    return _joined(labels, len(peaks), ((hills, _VALLEY), (depth, _NECK)))


def _joined(labels: np.ndarray, n: int, heights: Sequence[tuple[np.ndarray, float]]) -> np.ndarray:
    """Labels after the joining of those whose border is high in all ``heights``.

    High: at its highest pixel over the named share of the lower of the two tops.
    """
    sides: list[tuple[np.ndarray, np.ndarray]] = []
    at = np.arange(labels.size).reshape(labels.shape)
    for one, other in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        touch = (labels[one] != labels[other]) & (labels[one] > 0) & (labels[other] > 0)
        sides.append((at[one][touch], at[other][touch]))
    a, b = (np.concatenate(s) for s in zip(*sides, strict=True))
    low, high = np.sort(np.stack([labels.ravel()[a], labels.ravel()[b]]), axis=0)
    pairs, which = np.unique(low.astype(np.int64) * (n + 1) + high, return_inverse=True)
    low, high = np.divmod(pairs, n + 1)
    join = np.ones(len(pairs), dtype=bool)
    inside = np.flatnonzero(labels)
    for height, share in heights:
        # of the type of the heights: maximum.at is ten times slower where it has to convert
        top, over = (np.zeros(k, dtype=height.dtype) for k in (n + 1, len(pairs)))
        np.maximum.at(top, labels.ravel()[inside], height.ravel()[inside])
        np.maximum.at(over, which, np.minimum(height.ravel()[a], height.ravel()[b]))
        join &= over > share * np.minimum(top[low], top[high])
    graph = coo_matrix((np.ones(join.sum()), (low[join], high[join])), shape=(n + 1, n + 1))
    return connected_components(graph, directed=False)[1][labels]


def _smooth(stain: np.ndarray, sd: float) -> np.ndarray:
    return smooth(stain, max(0.5, sd))
