from .chance import above_chance, chance_scores
from .clusters import cluster, cluster_scores, label_transfer, shape_scores
from .curves import mean_curves
from .decisions import net_benefit, operating_point, pick_threshold
from .delong import delong_interval, delong_test
from .expression_limits import morans_i, reliability_ceiling
from .expression_metrics import expression_scores, pcc_beyond
from .intervals import donor_bootstrap, nested_interval, posterior, resampled_interval
from .learning import learning_gains, learning_means, power_law
from .metrics import METRICS, score
from .mixing import batch_mixing, mixing_within
from .pairs import within_donors
from .probabilities import calibration, calibration_curve
from .reconstruction import overall_reconstruction_score, reconstruction_score
from .selection import chosen_gap
from .sets import differences_over_sets, wilcoxon_over_sets
from .statistics import corrected_test
from .survival import concordance, kaplan_meier, log_rank, log_rank_trend
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
    "concordance",
    "corrected_test",
    "delong_interval",
    "delong_test",
    "differences_over_sets",
    "donor_bootstrap",
    "expression_scores",
    "holm",
    "judge",
    "kaplan_meier",
    "label_transfer",
    "learning_gains",
    "learning_means",
    "log_rank",
    "log_rank_trend",
    "mean_curves",
    "mixing_within",
    "morans_i",
    "nested_interval",
    "net_benefit",
    "operating_point",
    "overall_reconstruction_score",
    "pcc_beyond",
    "pick_threshold",
    "posterior",
    "power_law",
    "reconstruction_score",
    "reliability_ceiling",
    "resampled_interval",
    "score",
    "shape_scores",
    "verdict",
    "wilcoxon_over_sets",
    "within_donors",
]
