"""smalti: learn a patient, a slide or a tissue from its pieces.

Every public name is loaded at first use, so that ``import smalti`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from smalti._version import __version__

if TYPE_CHECKING:
    from smalti import (
        datasets,
        evaluate,
        explain,
        expression,
        features,
        genes,
        integrate,
        mil,
        plot,
        preprocess,
        tiles,
    )  # fmt: skip
    from smalti.bags import Bags
    from smalti.errors import InputError
    from smalti.evaluate.compare import Comparison, compare
    from smalti.evaluate.expression import ExpressionComparison, compare_expression
    from smalti.evaluate.integration import IntegrationComparison, compare_integration
    from smalti.expression_method import ExpressionMethod
    from smalti.integration import Integration
    from smalti.io.anndata import read
    from smalti.io.features import read_features
    from smalti.io.slides import read_slides, read_tiles
    from smalti.many import fit_many
    from smalti.method import Method
    from smalti.model_files import load
    from smalti.registry import make, methods
    from smalti.task import Task

_NAMES = {
    "Bags": "smalti.bags",
    "Comparison": "smalti.evaluate.compare",
    "ExpressionComparison": "smalti.evaluate.expression",
    "ExpressionMethod": "smalti.expression_method",
    "InputError": "smalti.errors",
    "Integration": "smalti.integration",
    "IntegrationComparison": "smalti.evaluate.integration",
    "Method": "smalti.method",
    "Task": "smalti.task",
    "compare": "smalti.evaluate.compare",
    "compare_expression": "smalti.evaluate.expression",
    "compare_integration": "smalti.evaluate.integration",
    "fit_many": "smalti.many",
    "load": "smalti.model_files",
    "make": "smalti.registry",
    "methods": "smalti.registry",
    "read": "smalti.io.anndata",
    "read_features": "smalti.io.features",
    "read_slides": "smalti.io.slides",
    "read_tiles": "smalti.io.slides",
}
_ROOMS = ("datasets", "evaluate", "explain", "expression", "features", "genes", "integrate", "mil",
          "plot", "preprocess", "tiles")  # fmt: skip

__all__ = [
    "Bags", "Comparison", "ExpressionComparison", "ExpressionMethod", "InputError", "Integration",
    "IntegrationComparison", "Method", "Task", "__version__", "compare", "compare_expression",
    "compare_integration", "datasets", "evaluate", "explain", "expression", "features", "fit_many",
    "genes", "integrate", "load", "make", "methods", "mil", "plot", "preprocess", "read",
    "read_features", "read_slides", "read_tiles", "tiles",
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
