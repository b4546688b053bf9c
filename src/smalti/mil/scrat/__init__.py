"""ScRAT: a transformer over cells, trained on mixtures of samples (Mao et al. 2024)."""

from smalti.mil.scrat.method import ScRAT

__all__ = ["ScRAT"]
