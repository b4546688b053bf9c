"""What to leave out in turn when a setting is tuned inside the training slides."""

from __future__ import annotations

import numpy as np

from smalti.bags import Bags

_STRIPS = 5


def tuning_folds(bags: Bags) -> tuple[np.ndarray, str]:
    """(n_tiles,) fold of each tile, and what a fold is.

    Donors where there are two or more, else slides, else five strips of the one slide along its
    longer side: neighbours are alike, so parting them at random would choose too small a penalty.
    """
    if bags.donor is not None and len(np.unique(bags.donors)) > 1:
        return np.unique(bags.donors, return_inverse=True)[1][bags.index], "donor"
    if len(bags) > 1:
        return bags.index, "slide"
    n = bags.n_instances
    order = np.arange(n)
    if {"x_um", "y_um"} <= set(bags.instance):
        xy = bags.instance[["x_um", "y_um"]].to_numpy(float)
        order = np.argsort(np.argsort(xy[:, np.ptp(xy, axis=0).argmax()], kind="stable"))
    return order * min(_STRIPS, n) // n, "strip of the slide"
