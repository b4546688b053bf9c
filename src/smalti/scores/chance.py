"""What a comparison of folds gives to scores that mean nothing: the null of its design."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from smalti.errors import InputError
from smalti.scores.pairs import WITHIN
from smalti.scores.survival import concordances
from smalti.scores.verdicts import LEVEL, holm
from smalti.task import Task

BY_RANK = ("roc_auc", "spearman", "c_index", WITHIN)  # what a score without a scale has


def chance_scores(
    metric: str,
    truth: np.ndarray,
    donors: np.ndarray,
    parts: np.ndarray,
    *,
    draws: int = 1000,
    seed: int = 0,
) -> np.ndarray:
    """Means over the folds of random scores: each donor has one, the same in all folds.

    Few test bags in a fold, and the same donors in every repeat, make such means vary far more than
    the number of folds suggests.

    Parameters
    ----------
    metric
        "roc_auc", "spearman", "c_index" or "donor_concordance".
    truth
        For roc_auc (n,) bool, or (n, n_classes), each class against the rest with random scores of
        its own; for spearman (n,) numbers; for c_index (n, 2 or 3) time, event and entry; for
        donor_concordance (n, 2) label and donor, as numbers.
    donors
        (n,) whose each test bag is. Where samples of a donor are held against each other, one name
        for the samples of one label: with one score for all of them nothing would vary.
    parts
        (n,) which fold each test bag is in; a bag of several repeats has a row in each.
    draws, seed
        How many, and the seed of them.

    Returns
    -------
    ndarray
        (draws,) mean over the folds, and over the classes; a fold that cannot have the metric is
        left out, as in a table.

    Raises
    ------
    InputError
        If the metric is another one.

    Examples
    --------
    >>> import smalti as sm
    >>> import numpy as np
    >>> truth, donors = np.array([True, False] * 4), np.arange(8)
    >>> mean = sm.scores.chance_scores("roc_auc", truth, donors, donors // 4, draws=4000)
    >>> [round(float(x), 1) for x in (mean.mean(), mean.min(), mean.max())]
    [0.5, 0.0, 1.0]
    """
    if metric not in BY_RANK:
        raise InputError(f"chance of {metric!r} is not known; of {' and '.join(BY_RANK)} it is.")
    columns = np.asarray(truth).reshape(len(truth), -1).T[:, :, None]  # each (n, 1), but
    if metric in ("c_index", WITHIN):
        columns = np.asarray(truth, float)[None]  # these belong together
    whose = np.unique(donors, return_inverse=True)[1]
    rng = np.random.default_rng([seed, 31])
    value, least = _VALUES[metric]
    folds: dict[object, list[np.ndarray]] = {part: [] for part in np.unique(parts)}
    for column in columns:
        scores = rng.random((draws, whose.max() + 1))
        for part, values in folds.items():
            rows = np.flatnonzero(parts == part)
            known, owner = column[rows].astype(float), whose[rows]
            if len(rows) >= least and np.ptp(known[:, 0]) > 0 and np.ptp(owner) > 0:
                values.append(value(known, scores[:, owner]))
    means = [np.mean(values, axis=0) for values in folds.values() if np.isfinite(values).any()]
    return np.mean(means, axis=0) if means else np.full(draws, np.nan)


def _auc(truth: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """(draws,) areas, by the rank sum of the positive bags."""
    truth = truth[:, 0]
    n = truth.sum()
    total = stats.rankdata(scores, axis=1)[:, truth > 0].sum(1)
    return (total - n * (n + 1) / 2) / (n * (len(truth) - n))


def _spearman(truth: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """(draws,) correlations of ranks."""
    wanted, found = stats.rankdata(truth[:, 0]), stats.rankdata(scores, axis=1)
    wanted, found = wanted - wanted.mean(), found - found.mean(1, keepdims=True)
    return found @ wanted / (np.linalg.norm(wanted) * np.linalg.norm(found, axis=1))


def _concordance(truth: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """(draws,) Harrell's C of risks."""
    entry = truth[:, 2] if truth.shape[1] > 2 else None
    return concordances(truth[:, 0], truth[:, 1], scores, entry)


def _within(truth: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """(draws,) shares of the pairs of a donor's labels that are in order, the mean over donors."""
    arms, first = np.unique(truth, axis=0, return_index=True)
    one, two = np.triu_indices(len(arms), 1)
    same = arms[one, 1] == arms[two, 1]
    one, two = one[same], two[same]
    _, of, n_pairs = np.unique(arms[one, 1], return_inverse=True, return_counts=True)
    if not len(one):
        return np.full(len(scores), np.nan)
    right = scores[:, first[two]] > scores[:, first[one]]
    return right @ (1 / n_pairs[of] / len(n_pairs))


# and how many bags it needs, as in a table
_VALUES = {
    "roc_auc": (_auc, 2), "spearman": (_spearman, 3), "c_index": (_concordance, 2),
    WITHIN: (_within, 2),
}  # fmt: skip


def above_chance(
    found: Mapping[str, float], null: Mapping[str, Any], *, lower_is_better: bool = False,
    least: float = 0.0,
) -> pd.DataFrame:  # fmt: skip
    """Whether methods score better than with permuted labels.

    Parameters
    ----------
    found
        Method -> its score.
    null
        Method -> (n,) its scores with labels in other places; a NaN counts as good as the score.
    lower_is_better
        Whether the least is the best.
    least
        No p is smaller: where every label changes for the other, the question is the same one.

    Returns
    -------
    DataFrame
        method, value, chance (mean with permuted labels), reached (arrangements as good as the
        score, itself left out), arrangements, p ((1 + reached) / (1 + arrangements)), p_holm (over
        the methods) and verdict: "above chance" where that is at most 0.05, else "not above
        chance".

    Examples
    --------
    >>> import smalti as sm
    >>> import numpy as np
    >>> found = sm.scores.above_chance({"a": 0.8}, {"a": np.linspace(0.3, 0.7, 20)})
    >>> found[["reached", "verdict"]].to_numpy().tolist()
    [[0, 'above chance']]
    """
    sign = -1.0 if lower_is_better else 1.0
    rows = []
    for method, value in found.items():
        other = np.asarray(null[method], float)
        best = np.where(np.isnan(other), np.inf, sign * other)
        reached = int((best >= sign * value - 1e-12).sum()) if value == value else len(other)
        p = max(least, (1 + reached) / (1 + len(other)))
        rows.append({"method": method, "value": value, "chance": _mean(other), "reached": reached,
                     "arrangements": len(other), "p": p})  # fmt: skip
    table = pd.DataFrame(rows)
    table["p_holm"] = holm(table["p"].to_numpy())
    above = table["p_holm"] <= LEVEL
    return table.assign(verdict=np.where(above, "above chance", "not above chance"))


def _mean(values: np.ndarray) -> float:
    return float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")


def truths(predictions: pd.DataFrame, task: Task, metric: str) -> np.ndarray:
    """What the ranks of random scores are held against.

    Parameters
    ----------
    predictions
        Of a comparison: ``true``, or a column ``true_NAME`` for each of several values; n rows.
    task
        The task of the whole set.
    metric
        One of :data:`BY_RANK`.

    Returns
    -------
    ndarray
        (n,) or (n, n_columns), as :func:`chance_scores` wants it.
    """
    if len(task.truths) > 1:
        return predictions[list(task.truths)].to_numpy(float)
    if metric == WITHIN:
        return np.column_stack(
            [pd.factorize(predictions["true"], sort=True)[0], pd.factorize(predictions["donor"])[0]]
        )
    if not task.is_classifier:
        return predictions["true"].to_numpy(float)
    codes = task.encode(predictions["true"].to_numpy())
    if metric == "spearman" or task.kind == "binary":
        return codes
    return codes[:, None] == np.arange(len(task.classes))
