"""Data sets with names, digit bags, and simulated cohorts with a known truth."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smalti.datasets.cohorts import driver_cohort, proportion_cohort
    from smalti.datasets.digits import digit_bags, image_bags, mnist_bags
    from smalti.datasets.mixmil_simulation import mixmil_bags
    from smalti.datasets.modalities import planted_modalities
    from smalti.datasets.programmes import planted_programmes
    from smalti.datasets.registry import folds, load, names
    from smalti.datasets.simulate import planted_bags
    from smalti.datasets.slides import planted_slides

_NAMES = {
    "digit_bags": "digits", "image_bags": "digits", "mnist_bags": "digits",
    "planted_bags": "simulate", "driver_cohort": "cohorts", "proportion_cohort": "cohorts",
    "mixmil_bags": "mixmil_simulation", "planted_modalities": "modalities",
    "planted_programmes": "programmes", "planted_slides": "slides",
    "load": "registry", "names": "registry", "folds": "registry",
}  # fmt: skip
__all__ = [
    "digit_bags", "driver_cohort", "folds", "image_bags", "load", "mixmil_bags", "mnist_bags",
    "names", "planted_bags", "planted_modalities", "planted_programmes", "planted_slides",
    "proportion_cohort",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module 'smalti.datasets' has no attribute {name!r}")
    return getattr(importlib.import_module(f"smalti.datasets.{_NAMES[name]}"), name)
