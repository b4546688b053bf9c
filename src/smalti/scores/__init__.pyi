from .chance import above_chance, chance_scores
from .clusters import cluster, cluster_scores, label_transfer, shape_scores
from .decisions import net_benefit, operating_point, pick_threshold
from .expression_limits import morans_i, reliability_ceiling
from .expression_metrics import expression_scores, pcc_beyond
from .metrics import METRICS, score
from .mixing import batch_mixing
from .probabilities import calibration, calibration_curve
from .reconstruction import overall_reconstruction_score, reconstruction_score
from .selection import chosen_gap
from .statistics import corrected_test
from .table import Scores
from .verdicts import holm, judge, verdict

__all__ = [
    "METRICS",
    "Scores",
    "above_chance",
    "batch_mixing",
    "calibration",
    "calibration_curve",
    "chance_scores",
    "chosen_gap",
    "cluster",
    "cluster_scores",
    "corrected_test",
    "expression_scores",
    "holm",
    "judge",
    "label_transfer",
    "morans_i",
    "net_benefit",
    "operating_point",
    "overall_reconstruction_score",
    "pcc_beyond",
    "pick_threshold",
    "reconstruction_score",
    "reliability_ceiling",
    "score",
    "shape_scores",
    "verdict",
]
