"""Pictures: each function returns a matplotlib ``Figure`` and touches no global state."""

from smalti.plot.bags import plot_attention, plot_bags
from smalti.plot.curves import plot_history, plot_roc
from smalti.plot.embeddings import plot_embeddings
from smalti.plot.scores import plot_scores

__all__ = [
    "plot_attention", "plot_bags", "plot_embeddings", "plot_history", "plot_roc", "plot_scores",
]  # fmt: skip
