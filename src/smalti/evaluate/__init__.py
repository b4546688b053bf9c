"""Honest comparison: splits by donor, metrics by name, trivial baselines, corrected tests.

``compare`` and ``compare_integration`` are names of :mod:`smalti` itself.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smalti.evaluate.clusters import cluster, cluster_scores, label_transfer, shape_scores
    from smalti.evaluate.compare import Comparison
    from smalti.evaluate.expression_metrics import expression_scores
    from smalti.evaluate.integration import IntegrationComparison
    from smalti.evaluate.metrics import METRICS, score
    from smalti.evaluate.mixing import batch_mixing
    from smalti.evaluate.reconstruction import (
        overall_reconstruction_score,
        reconstruction_score,
    )
    from smalti.evaluate.splits import Split, donor_folds, given_folds, split_digest
    from smalti.evaluate.statistics import corrected_test
    from smalti.evaluate.unseen import unseen_genes

_NAMES = {
    "METRICS": "metrics",
    "Comparison": "compare",
    "IntegrationComparison": "integration",
    "Split": "splits",
    "batch_mixing": "mixing",
    "cluster": "clusters",
    "cluster_scores": "clusters",
    "corrected_test": "statistics",
    "donor_folds": "splits",
    "expression_scores": "expression_metrics",
    "given_folds": "splits",
    "label_transfer": "clusters",
    "overall_reconstruction_score": "reconstruction",
    "reconstruction_score": "reconstruction",
    "score": "metrics",
    "shape_scores": "clusters",
    "split_digest": "splits",
    "unseen_genes": "unseen",
}

__all__ = [
    "METRICS", "Comparison", "IntegrationComparison", "Split", "batch_mixing", "cluster",
    "cluster_scores", "corrected_test", "donor_folds", "expression_scores", "given_folds",
    "label_transfer",
    "overall_reconstruction_score", "reconstruction_score", "score", "shape_scores",
    "split_digest", "unseen_genes",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module 'smalti.evaluate' has no attribute {name!r}")
    return getattr(importlib.import_module(f"smalti.evaluate.{_NAMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
