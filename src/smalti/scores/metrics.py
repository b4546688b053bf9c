"""Metrics by their full names, all by scikit-learn and SciPy.

NaN policy: a metric that a fold cannot have (an AUROC with one class among the test bags) is NaN
there and left out of the mean; the number of folds that counted is reported beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy import stats
from sklearn import metrics as sk

from smalti.task import Task

LOWER_IS_BETTER = frozenset({
    "log_loss", "brier", "mean_absolute_error", "root_mean_squared_error", "davies_bouldin",
    "mse", "mae", "gene_correlation_error", "n_constant", "transfer_ece", "integrated_brier",
})  # fmt: skip
NOT_RANKED = frozenset({"halves_mixing"})
"""Metrics of which neither more nor less is better throughout: 1 is as mixed as chance has it."""
SHARES = frozenset(
    {
        "roc_auc",
        "average_precision",
        "accuracy",
        "balanced_accuracy",
        "brier",
        "transfer_f1",
        "transfer_accuracy",
        "donor_concordance",
    }
)
_UNIT = SHARES | {
    "c_index", "c_uno", "auroc_time", "integrated_brier",
    "fmi_kmeans", "fmi_ward", "fmi_leiden", "nmi_kmeans", "nmi_ward", "nmi_leiden", "ilisi", "kbet",
    "graph_connectivity", "unique_purity", "halves_transfer_f1", "halves_transfer_accuracy",
    "transfer_ece",
}  # fmt: skip
_CORRELATIONS = ("spearman", "pearson", "quadratic_kappa", "silhouette", "ors", "pcc_")
MARGIN = 0.01  # within which scores of one metric are practically equal, as Benavoli et al. (2017)


NAMES = {
    "roc_auc": "AUROC", "brier": "Brier score", "spearman": "Spearman correlation",
    "pearson": "Pearson correlation", "r2": "R²",
    "donor_concordance": "concordance within donors",
    "c_index": "Harrell's C", "c_uno": "Uno's C", "auroc_time": "AUROC over time",
    "integrated_brier": "integrated Brier score", "brier_gain": "gain over Kaplan-Meier",
    "ari_kmeans": "ARI by k-means", "ari_ward": "ARI by Ward", "ari_leiden": "ARI by Leiden",
    "ari_own": "ARI of own clusters",
    "fmi_kmeans": "FMI by k-means", "fmi_ward": "FMI by Ward", "fmi_leiden": "FMI by Leiden",
    "nmi_kmeans": "NMI by k-means", "nmi_ward": "NMI by Ward", "nmi_leiden": "NMI by Leiden",
    "davies_bouldin": "Davies-Bouldin index", "silhouette_labels": "silhouette of labels",
    "ors": "reconstruction score", "transfer_accuracy": "transfer accuracy",
    "transfer_f1": "transfer macro F1", "transfer_ece": "transfer calibration error",
    "ilisi": "iLISI", "kbet": "kBET",
    "halves_transfer_f1": "transfer to halves, macro F1",
    "halves_transfer_accuracy": "transfer to halves, accuracy",
    "halves_mixing": "mixing of halves and whole cells",
    "unique_purity": "purity of unique types",
    "pcc_slide": "Pearson within slides", "pcc_fold": "Pearson over test tiles",
    "pcc_tile": "Pearson over genes", "pcc_slide_beyond_depth": "Pearson beyond depth",
    "mse": "MSE", "mae": "mean absolute error", "pcc_slide_chosen": "PCC@H within slides",
    "pcc_fold_chosen": "PCC@H over test tiles",
    "pcc_slide_h_optimistic": "PCC@H within slides, optimistic",
    "pcc_fold_h_optimistic": "PCC@H over test tiles, optimistic",
}  # fmt: skip
"""Metric -> how people call it, wherever they read it; keys stay in code and tables."""
_WITH_UNIT = {
    "accuracy": "accuracy (share of bags)", "log_loss": "log loss (nats per bag)",
    "brier_gain": "gain over Kaplan-Meier (share of its Brier score)",
    "r2": "R² (share of variance)", "mean_absolute_error": "mean absolute error (units of the "
    "target)", "root_mean_squared_error": "root mean squared error (units of the target)",
    "ari_kmeans": "adjusted Rand index, k-means", "ari_ward": "adjusted Rand index, Ward",
    "ari_leiden": "adjusted Rand index, Leiden",
    "ari_own": "adjusted Rand index, own clusters", "ors": "overall reconstruction score",
    "fmi_kmeans": "Fowlkes-Mallows index, k-means", "silhouette": "silhouette of k-means clusters",
    "nmi_kmeans": "normalised mutual information, k-means",
    "transfer_accuracy": "accuracy of transferred labels",
    "transfer_f1": "macro F1 of transferred labels",
    "pcc_slide": "Pearson of a gene within a slide",
    "pcc_fold": "Pearson of a gene over all test tiles",
    "pcc_tile": "Pearson of a tile over the genes",
    "pcc_slide_beyond_depth": "Pearson within a slide beyond the total count",
    "pcc_slide_chosen": "PCC@H, genes chosen in training",
    "pcc_slide_h_optimistic": "PCC@H, genes chosen by the test",
}  # fmt: skip
BY_CHANCE = dict.fromkeys((
    "roc_auc", "c_index", "c_uno", "auroc_time", "donor_concordance",
), 0.5) | dict.fromkeys((
    "spearman", "pearson", "quadratic_kappa", "r2", "ari_kmeans", "ari_ward", "ari_leiden",
    "ari_own", "nmi_kmeans", "pcc_slide", "pcc_fold", "pcc_slide_beyond_depth",
), 0.0)  # fmt: skip
"""Metric -> what chance gives, where that is known."""


def named(metric: str) -> str:
    """How people call a metric.

    Examples
    --------
    >>> import smalti as sm
    >>> from smalti.scores.metrics import named
    >>> named("roc_auc"), named("balanced_accuracy"), named("ors_rna")
    ('AUROC', 'balanced accuracy', 'reconstruction score, rna')
    """
    if metric.startswith("ors_"):
        return f"{NAMES['ors']}, {metric.removeprefix('ors_')}"
    return NAMES.get(metric, metric.replace("_", " "))


def ends_of(metric: str) -> tuple[float, float]:
    """Least and greatest value that a metric can have, of infinite ones too.

    Examples
    --------
    >>> import smalti as sm
    >>> from smalti.scores.metrics import ends_of
    >>> ends_of("roc_auc"), ends_of("ari_kmeans"), ends_of("mse"), ends_of("r2")
    ((0.0, 1.0), (-0.5, 1.0), (0.0, inf), (-inf, 1.0))
    """
    if metric in _UNIT:
        return 0.0, 1.0
    if metric.startswith("ari_"):
        return -0.5, 1.0  # Chacon & Rastrojo (2023)
    if metric.startswith(_CORRELATIONS):
        return -1.0, 1.0
    return 0.0 if metric in LOWER_IS_BETTER else -math.inf, 1.0 if metric in (
        "r2",
        "brier_gain",
    ) else math.inf


def widest(metric: str) -> float:
    """How far apart two values of a metric can be."""
    low, high = ends_of(metric)
    return high - low


def with_unit(metric: str) -> str:
    """The same at length and with its unit, for an axis."""
    return _WITH_UNIT.get(metric, named(metric))


def margin_of(metric: str) -> float | None:
    """The region of practical equivalence of a metric; None of losses that have a unit."""
    unit = metric in LOWER_IS_BETTER and metric not in ("brier", "integrated_brier")
    return None if unit else MARGIN


_CLASSES = ("roc_auc", "average_precision", "accuracy", "balanced_accuracy", "log_loss", "brier")
METRICS: dict[str, tuple[str, ...]] = {
    "binary": _CLASSES,
    "multiclass": _CLASSES,
    "multilabel": ("roc_auc", "average_precision", "accuracy", "log_loss", "brier"),
    "ordinal": ("spearman", "quadratic_kappa", "mean_absolute_error", *_CLASSES),
    "binomial": ("spearman", "r2", "pearson", "mean_absolute_error", "root_mean_squared_error"),
    "regression": ("r2", "spearman", "pearson", "mean_absolute_error", "root_mean_squared_error"),
    "survival": ("c_index", "c_uno", "auroc_time", "integrated_brier", "brier_gain"),
}


def score(
    task: Task, labels: np.ndarray, predicted: np.ndarray, probability: np.ndarray | None
) -> dict[str, float]:
    """All metrics of the task's kind; of survival see :func:`~smalti.scores.survival_scores`.

    Parameters
    ----------
    task
        The task fitted in training.
    labels, predicted
        (n,) classes or values; (n, n_labels) for several labels or counts.
    probability
        (n, n_classes) in the order of ``task.classes``; None for a regression or binomial.

    Returns
    -------
    dict
        roc_auc: one class against the rest, mean over classes (over labels). average_precision:
        the same. accuracy: share of bags (of single labels, if several) that are right.
        log_loss: nats per bag, mean over labels if several. brier: mean squared distance of the
        probabilities to the truth, (p - y)^2 for a binary task, summed over classes otherwise,
        mean over labels if several. spearman, mean_absolute_error and quadratic_kappa of an
        ordinal task are of the class's rank (the expected rank for spearman). Those of a binomial
        task are of the expected count, mean over its columns.
    """
    if task.kind == "regression":
        return _regression(np.asarray(labels, float), np.asarray(predicted, float))
    if task.kind == "binomial":
        pairs = [np.asarray(v, float).reshape(len(v), -1).T for v in (labels, predicted)]
        each = [_regression(y, guess) for y, guess in zip(*pairs, strict=True)]
        return {m: float(np.mean([e[m] for e in each])) for m in METRICS["binomial"]}
    assert probability is not None
    if task.kind == "multilabel":
        truth = np.asarray(labels, int)
        right = float((truth == predicted).mean())
    else:
        truth = (task.encode(labels)[:, None] == np.arange(len(task.classes))).astype(int)
        right = float((np.asarray(labels) == np.asarray(predicted)).mean())
    out = {
        "roc_auc": _by_class(_auc, truth, probability, task),
        "average_precision": _by_class(_precision, truth, probability, task),
        "accuracy": right,
    }
    p = np.clip(probability, 1e-15, 1)
    if task.kind == "multilabel":
        q = np.clip(1 - probability, 1e-15, 1)
        out["log_loss"] = float(-(truth * np.log(p) + (1 - truth) * np.log(q)).mean())
        out["brier"] = float(((probability - truth) ** 2).mean())
        return out
    out["balanced_accuracy"] = float(np.mean([
        (np.asarray(predicted)[truth[:, c] == 1] == task.classes[c]).mean()
        for c in range(truth.shape[1]) if truth[:, c].any()
    ]))  # fmt: skip
    out["log_loss"] = float(-np.log(p[truth == 1]).mean())
    square = ((probability - truth) ** 2).sum(1).mean()
    out["brier"] = float(square / 2 if task.kind == "binary" else square)
    if task.kind == "ordinal":
        rank, guess = task.encode(labels), task.encode(predicted)
        expected = probability @ np.arange(len(task.classes))
        out["spearman"] = _correlation(stats.spearmanr, rank, expected)
        out["mean_absolute_error"] = float(np.abs(rank - guess).mean())
        varied = len(np.unique(np.concatenate([rank, guess]))) > 1
        kappa = sk.cohen_kappa_score(rank, guess, weights="quadratic") if varied else np.nan
        out["quadratic_kappa"] = float(kappa)
    return {name: out[name] for name in METRICS[task.kind]}


def _by_class(metric: Callable[..., float], truth: np.ndarray, p: np.ndarray, task: Task) -> float:
    """Of the second class if binary; else the mean over the classes that can have it."""
    if task.kind == "binary":
        return metric(truth[:, 1], p[:, 1])
    values = [metric(t, q) for t, q in zip(truth.T, p.T, strict=True)]
    there = [v for v in values if np.isfinite(v)]
    return float(np.mean(there)) if there else np.nan


def _auc(truth: np.ndarray, p: np.ndarray) -> float:
    return float(sk.roc_auc_score(truth, p)) if 0 < truth.mean() < 1 else np.nan


def _precision(truth: np.ndarray, p: np.ndarray) -> float:
    return float(sk.average_precision_score(truth, p)) if 0 < truth.mean() < 1 else np.nan


def _regression(y: np.ndarray, guess: np.ndarray) -> dict[str, float]:
    return {
        "r2": float(sk.r2_score(y, guess)) if len(y) > 1 else np.nan,
        "spearman": _correlation(stats.spearmanr, y, guess),
        "pearson": _correlation(stats.pearsonr, y, guess),
        "mean_absolute_error": float(sk.mean_absolute_error(y, guess)),
        "root_mean_squared_error": float(np.sqrt(sk.mean_squared_error(y, guess))),
    }


def _correlation(function: Callable, a: np.ndarray, b: np.ndarray) -> float:
    """NaN where a side is constant."""
    if len(a) < 3 or np.ptp(a) == 0 or np.ptp(b) < 1e-12:
        return np.nan
    return float(function(a, b)[0])
