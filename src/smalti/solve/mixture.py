"""Full-covariance Gaussian mixtures, by scikit-learn."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np


def fit_gaussians(x: np.ndarray, k: int, ridge: float, rng: np.random.Generator) -> Any:
    """scikit-learn's full-covariance mixture of (n, d) cells, with min(k, n) components.

    ``ridge`` is added to the variances, so that few or equal cells have a density.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    distinct = len(np.unique(x[: 10 * k], axis=0)) if len(x) <= 10 * k else k
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return GaussianMixture(
            max(1, min(k, distinct)), covariance_type="full", reg_covar=ridge,
            random_state=int(rng.integers(2**31)),
        ).fit(x if len(x) > 1 else np.repeat(x, 2, axis=0))  # fmt: skip
