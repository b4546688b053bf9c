"""Honest comparison: splits by donor, metrics by name, trivial baselines, corrected tests.

``compare`` itself is ``smalti.compare``: here the name is that of its file.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smalti.evaluate.compare import Comparison
    from smalti.evaluate.metrics import METRICS, score
    from smalti.evaluate.splits import Split, donor_folds, given_folds, split_digest
    from smalti.evaluate.statistics import corrected_test

_NAMES = {
    "METRICS": "metrics",
    "Comparison": "compare",
    "Split": "splits",
    "corrected_test": "statistics",
    "donor_folds": "splits",
    "given_folds": "splits",
    "score": "metrics",
    "split_digest": "splits",
}

__all__ = [
    "METRICS", "Comparison", "Split", "corrected_test", "donor_folds", "given_folds", "score",
    "split_digest",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module 'smalti.evaluate' has no attribute {name!r}")
    return getattr(importlib.import_module(f"smalti.evaluate.{_NAMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
