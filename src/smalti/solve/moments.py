"""Mean and spread of a table that may be sparse or on disk, read in pieces."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp

from smalti.views import View, placed

_CHUNK = 2**24  # numbers read at a time


def moments(view: View, rows: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance per feature or channel of a view, (n_features,) float64 each.

    Read in pieces, by the pairwise update of Chan, Golub & LeVeque (1983); a sparse piece stays
    sparse. ``rows`` is a mask of the instances to count.
    """
    step = max(1, _CHUNK // int(np.prod(view.shape[1:])))
    count, mean, square = 0, np.zeros(view.shape[1]), np.zeros(view.shape[1])
    for start, part in placed(view, step):
        if rows is not None:
            part = part[rows[start : start + part.shape[0]]]
        if not part.shape[0]:
            continue
        if sp.issparse(part):
            n, values = part.shape[0], part.astype(np.float64)
            m = np.asarray(values.sum(0)).reshape(-1) / n
            # about the mean: (x - m)^2 where x is there, m^2 where it is not
            seen = np.bincount(values.indices, minlength=part.shape[1])
            values.data -= m[values.indices]
            gap = np.bincount(values.indices, values.data**2, minlength=part.shape[1])
            gap += (n - seen) * m**2
        else:
            table = np.moveaxis(part, 1, -1).reshape(-1, part.shape[1]).astype(np.float64)
            n, m = len(table), table.mean(0)
            gap = ((table - m) ** 2).sum(0)
        square += gap + (m - mean) ** 2 * count * n / (count + n)
        mean += (m - mean) * n / (count + n)
        count += n
    return mean, square / max(count, 1)


def center_and_spread(view: View, rows: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each feature or channel, (n_features,) float64 each.

    The latter is 1 where a feature is constant up to rounding. ``rows`` as in :func:`moments`.
    """
    mean, var = moments(view, rows)
    sd = np.sqrt(var)
    sd[sd <= 1e-7 * np.maximum(np.abs(mean), 1e-30)] = 1.0
    return mean, sd
