"""Deep Association: tiles see nuclei, genes the slide and each other (Zhou et al. 2025)."""

from smalti.expression.deep_association.method import DeepAssociation

__all__ = ["DeepAssociation"]
