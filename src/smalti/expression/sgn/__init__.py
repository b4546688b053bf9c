"""SGN: a graph of tiles, a transformer over the words of a gene (Yang et al. 2024)."""

from smalti.expression.sgn.method import SGN

__all__ = ["SGN"]
