"""Metrics against scikit-learn, naive loops and rank formulas; folds that lack a class."""

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from smalti.scores import METRICS, score
from smalti.task import Task


def classes(n=60, k=3, seed=0, order=None):
    rng = np.random.default_rng(seed)
    y = np.array(list("abcde"[:k]))[rng.permutation(np.arange(n) % k)]
    p = rng.dirichlet(np.ones(k), size=n)
    return y, p, np.array(list("abcde"[:k]))[p.argmax(1)], Task.infer(y, order=order)


def test_multiclass_is_one_against_the_rest():
    y, p, guess, task = classes()
    got = score(task, y, guess, p)
    assert got["roc_auc"] == pytest.approx(sk.roc_auc_score(y, p, multi_class="ovr"))
    each = [sk.average_precision_score(y == c, p[:, i]) for i, c in enumerate("abc")]
    assert got["average_precision"] == pytest.approx(np.mean(each))
    assert got["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(y, guess))
    assert got["log_loss"] == pytest.approx(sk.log_loss(y, p, labels=list("abc")))
    naive = [sum((q - (c == t)) ** 2 for q, c in zip(row, "abc", strict=True))
             for row, t in zip(p, y, strict=True)]  # fmt: skip
    assert got["brier"] == pytest.approx(np.mean(naive))


def test_binary_brier_and_auroc_are_those_of_the_books():
    y, p, guess, task = classes(k=2)
    got = score(task, y, guess, p)
    assert got["brier"] == pytest.approx(sk.brier_score_loss(y == "b", p[:, 1]))
    yes, no = p[y == "b", 1], p[y == "a", 1]
    u = stats.mannwhitneyu(yes, no).statistic
    assert got["roc_auc"] == pytest.approx(u / (len(yes) * len(no)))


def test_multilabel_is_a_mean_over_labels():
    rng = np.random.default_rng(0)
    y, p = rng.integers(2, size=(40, 3)), rng.random((40, 3))
    guess = (p > 0.5).astype(int)
    got = score(Task.infer(y, kind="multilabel"), y, guess, p)
    assert got["roc_auc"] == pytest.approx(sk.roc_auc_score(y, p, average="macro"))
    assert got["log_loss"] == pytest.approx(
        np.mean([sk.log_loss(y[:, j], p[:, j]) for j in (0, 1, 2)])
    )
    assert got["brier"] == pytest.approx(
        np.mean([sk.brier_score_loss(y[:, j], p[:, j]) for j in (0, 1, 2)])
    )


def test_ordinal_metrics_are_of_ranks():
    y, p, guess, task = classes(k=4, order=list("abcd"))
    got = score(task, y, guess, p)
    rank, predicted = (np.array(["abcd".index(v) for v in a]) for a in (y, guess))
    assert got["mean_absolute_error"] == pytest.approx(np.abs(rank - predicted).mean())
    expected = sum(i * p[:, i] for i in range(4))
    assert got["spearman"] == pytest.approx(stats.spearmanr(rank, expected).statistic)
    seen = sum((a - b) ** 2 for a, b in zip(rank, predicted, strict=True)) / len(y)
    chance = np.mean([(a - b) ** 2 for a in rank for b in predicted])
    assert got["quadratic_kappa"] == pytest.approx(1 - seen / chance)


def test_regression_metrics_are_their_definitions():
    rng = np.random.default_rng(0)
    y = rng.normal(size=30)
    guess = y + rng.normal(size=30)
    got = score(Task.infer(y), y, guess, None)
    assert got["r2"] == pytest.approx(1 - ((y - guess) ** 2).sum() / ((y - y.mean()) ** 2).sum())
    assert got["root_mean_squared_error"] == pytest.approx(np.sqrt(((y - guess) ** 2).mean()))
    assert got["pearson"] == pytest.approx(np.corrcoef(y, guess)[0, 1])
    ranks = stats.rankdata(y), stats.rankdata(guess)
    assert got["spearman"] == pytest.approx(np.corrcoef(*ranks)[0, 1])


def test_a_fold_that_lacks_a_class_is_scored_on_the_others():
    y, p, guess, task = classes()
    there = y != "c"
    got = score(task, y[there], guess[there], p[there])
    assert all(np.isfinite(v) for v in got.values())
    each = [sk.roc_auc_score(y[there] == c, p[there, i]) for i, c in enumerate("ab")]
    assert got["roc_auc"] == pytest.approx(np.mean(each))
    assert got["log_loss"] == pytest.approx(sk.log_loss(y[there], p[there], labels=list("abc")))


def test_what_a_fold_cannot_have_is_nan():
    y = np.array([1.0, 2.0])
    task = Task.infer(np.array([0.5, 1.0, 2.0]))
    got = score(task, y[:1], y[:1], None)
    assert {k for k, v in got.items() if np.isnan(v)} == {"r2", "spearman", "pearson"}
    assert tuple(got) == METRICS["regression"]
    constant = score(task, np.arange(5.0), np.ones(5), None)  # what a mean predicts
    assert np.isnan(constant["spearman"])
    assert np.isfinite(constant["r2"])


def test_a_sure_and_wrong_prediction_costs_a_finite_log_loss():
    task = Task.infer(np.array(["a", "b"]))
    got = score(task, np.array(["a"]), np.array(["b"]), np.array([[0.0, 1.0]]))
    assert got["log_loss"] == pytest.approx(-np.log(1e-15))
