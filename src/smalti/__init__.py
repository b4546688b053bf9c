"""smalti: learn a patient, a slide or a tissue from its pieces.

Every public name is loaded at first use, so that ``import smalti`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from smalti._version import __version__

if TYPE_CHECKING:
    from smalti import datasets, explain, integrate, mil, plot, preprocess
    from smalti.bags import Bags
    from smalti.errors import InputError
    from smalti.evaluate.compare import Comparison, compare
    from smalti.evaluate.integration import IntegrationComparison, compare_integration
    from smalti.integration import Integration
    from smalti.io.anndata import read
    from smalti.io.features import read_features
    from smalti.many import fit_many
    from smalti.method import Method
    from smalti.model_files import load
    from smalti.registry import make, methods
    from smalti.task import Task

_NAMES = {
    "Bags": "smalti.bags",
    "Comparison": "smalti.evaluate.compare",
    "InputError": "smalti.errors",
    "Integration": "smalti.integration",
    "IntegrationComparison": "smalti.evaluate.integration",
    "Method": "smalti.method",
    "Task": "smalti.task",
    "compare": "smalti.evaluate.compare",
    "compare_integration": "smalti.evaluate.integration",
    "fit_many": "smalti.many",
    "load": "smalti.model_files",
    "make": "smalti.registry",
    "methods": "smalti.registry",
    "read": "smalti.io.anndata",
    "read_features": "smalti.io.features",
}
_ROOMS = ("datasets", "evaluate", "explain", "integrate", "mil", "plot", "preprocess")

__all__ = [
    "Bags", "Comparison", "InputError", "Integration", "IntegrationComparison", "Method", "Task",
    "__version__", "compare", "compare_integration", "datasets", "evaluate", "explain", "fit_many",
    "integrate", "load", "make", "methods", "mil", "plot", "preprocess", "read", "read_features",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"smalti.{name}")
    if name not in _NAMES:
        raise AttributeError(f"module 'smalti' has no attribute {name!r}")
    value = getattr(importlib.import_module(_NAMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
