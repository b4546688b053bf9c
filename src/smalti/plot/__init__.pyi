from .annotations import plot_composition, plot_reliability
from .bags import plot_attention, plot_bags
from .before import plot_predictable, plot_screen
from .cells import plot_cells, plot_score_types
from .contact_sheet import plot_contact_sheet
from .contributions import plot_contributions
from .curves import plot_history, plot_precision_recall, plot_roc
from .embeddings import plot_embeddings
from .features import plot_features
from .flow import plot_flow
from .forest import plot_forest
from .genes import plot_genes
from .heatmaps import plot_extreme_tiles, plot_heatmap, plot_tile_scores
from .learning import plot_learning
from .mixing import plot_mixing
from .nuclei import plot_nuclei, plot_nuclei_map
from .pairs import plot_pairs
from .patients import plot_patients
from .probabilities import plot_calibration, plot_net_benefit
from .removal import plot_removal
from .scores import plot_scores
from .searches import plot_searches
from .slides import plot_gene_maps, plot_grad_cam
from .survival import plot_risks, plot_survival, plot_survival_calibration

__all__ = [
    "plot_attention",
    "plot_bags",
    "plot_calibration",
    "plot_cells",
    "plot_composition",
    "plot_contact_sheet",
    "plot_contributions",
    "plot_embeddings",
    "plot_extreme_tiles",
    "plot_features",
    "plot_flow",
    "plot_forest",
    "plot_gene_maps",
    "plot_genes",
    "plot_grad_cam",
    "plot_heatmap",
    "plot_history",
    "plot_learning",
    "plot_mixing",
    "plot_net_benefit",
    "plot_nuclei",
    "plot_nuclei_map",
    "plot_pairs",
    "plot_patients",
    "plot_precision_recall",
    "plot_predictable",
    "plot_reliability",
    "plot_removal",
    "plot_risks",
    "plot_roc",
    "plot_score_types",
    "plot_scores",
    "plot_screen",
    "plot_searches",
    "plot_survival",
    "plot_survival_calibration",
    "plot_tile_scores",
]
