from .activity import gene_activity
from .coexpression import coexpression_vectors
from .exploring import GeneExploration, explore
from .groups import gene_groups
from .language import gene_vectors
from .pathways import interacting_pairs, pathway_membership, pathway_weights
from .read import read_vectors
from .sets import Matched, gene_kind, match, read_gmt
from .terms import TermMap, term_map, term_similarity
from .text import GeneText, gene_text
from .vectors import GeneVectors, random_vectors

__all__ = [
    "GeneExploration",
    "GeneText",
    "GeneVectors",
    "Matched",
    "TermMap",
    "coexpression_vectors",
    "explore",
    "gene_activity",
    "gene_groups",
    "gene_kind",
    "gene_text",
    "gene_vectors",
    "interacting_pairs",
    "match",
    "pathway_membership",
    "pathway_weights",
    "random_vectors",
    "read_gmt",
    "read_vectors",
    "term_map",
    "term_similarity",
]
