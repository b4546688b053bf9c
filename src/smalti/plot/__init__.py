"""Pictures: each function returns a matplotlib ``Figure`` and touches no global state."""

from smalti.plot.bags import plot_attention, plot_bags
from smalti.plot.contact_sheet import plot_contact_sheet
from smalti.plot.curves import plot_history, plot_roc
from smalti.plot.embeddings import plot_embeddings
from smalti.plot.nuclei import plot_nuclei, plot_nuclei_map
from smalti.plot.scores import plot_scores
from smalti.plot.slides import plot_gene_maps, plot_grad_cam, plot_tile_scores

__all__ = [
    "plot_attention", "plot_bags", "plot_contact_sheet", "plot_embeddings", "plot_gene_maps",
    "plot_grad_cam", "plot_history", "plot_nuclei", "plot_nuclei_map", "plot_roc", "plot_scores",
    "plot_tile_scores",
]  # fmt: skip
