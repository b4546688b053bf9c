"""Gene sets, groups of genes, weights from pathways, maps of terms, vectors of what genes mean."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smalti.genes.coexpression import coexpression_vectors
    from smalti.genes.groups import gene_groups
    from smalti.genes.language import gene_vectors
    from smalti.genes.pathways import interacting_pairs, pathway_membership, pathway_weights
    from smalti.genes.read import read_vectors
    from smalti.genes.sets import Matched, gene_kind, match, read_gmt
    from smalti.genes.terms import TermMap, term_map, term_similarity
    from smalti.genes.text import GeneText, gene_text
    from smalti.genes.vectors import GeneVectors, random_vectors

_NAMES = {
    "GeneText": "text",
    "GeneVectors": "vectors",
    "Matched": "sets",
    "TermMap": "terms",
    "coexpression_vectors": "coexpression",
    "gene_groups": "groups",
    "gene_kind": "sets",
    "gene_text": "text",
    "gene_vectors": "language",
    "interacting_pairs": "pathways",
    "match": "sets",
    "pathway_membership": "pathways",
    "pathway_weights": "pathways",
    "random_vectors": "vectors",
    "read_gmt": "sets",
    "read_vectors": "read",
    "term_map": "terms",
    "term_similarity": "terms",
}

__all__ = [
    "GeneText", "GeneVectors", "Matched", "TermMap", "coexpression_vectors", "gene_groups",
    "gene_kind", "gene_text", "gene_vectors", "interacting_pairs", "match", "pathway_membership",
    "pathway_weights", "random_vectors", "read_gmt", "read_vectors", "term_map", "term_similarity",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module 'smalti.genes' has no attribute {name!r}")
    return getattr(importlib.import_module(f"smalti.genes.{_NAMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
