"""Data sets with names, digit bags, and simulated cohorts with a known truth."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smalti.datasets.digits import digit_bags, image_bags, mnist_bags
    from smalti.datasets.registry import folds, load, names
    from smalti.datasets.simulate import planted_bags

_NAMES = {
    "digit_bags": "digits", "image_bags": "digits", "mnist_bags": "digits",
    "planted_bags": "simulate",
    "load": "registry", "names": "registry", "folds": "registry",
}  # fmt: skip
__all__ = ["digit_bags", "folds", "image_bags", "load", "mnist_bags", "names", "planted_bags"]


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module 'smalti.datasets' has no attribute {name!r}")
    return getattr(importlib.import_module(f"smalti.datasets.{_NAMES[name]}"), name)
