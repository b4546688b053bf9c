"""Scores that mean nothing: the null of a design."""

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

import smalti as sm
from smalti.errors import InputError
from smalti.scores import chance_scores


def test_it_is_the_mean_of_the_metric_over_the_folds():
    """By loops: one score a donor, the same in every fold; what a fold cannot have is left out."""
    rng = np.random.default_rng(0)
    truth = np.r_[rng.integers(3, size=30), [1, 1]]  # the last fold has one class
    donors = np.r_[np.repeat(np.arange(10), 3) % 7, [0, 1]]
    parts = np.r_[np.repeat(np.arange(5), 6), [9, 9]]
    scores = np.random.default_rng([4, 31]).random((3, 7))
    for metric, wanted in (("roc_auc", truth == 1), ("spearman", truth)):
        found = chance_scores(metric, wanted, donors, parts, draws=3, seed=4)
        for mean, score in zip(found, scores, strict=True):
            each = []
            for part in range(5):
                rows = parts == part
                pair = wanted[rows], score[donors[rows]]
                each.append(roc_auc_score(*pair) if metric == "roc_auc" else
                            stats.spearmanr(*pair)[0])  # fmt: skip
            assert mean == pytest.approx(np.mean(each))


def test_each_class_has_scores_of_its_own():
    truth = np.arange(12) % 3
    found = chance_scores("roc_auc", truth[:, None] == np.arange(3), np.arange(12), np.zeros(12))
    one = chance_scores("roc_auc", truth == 0, np.arange(12), np.zeros(12))
    assert found.std() == pytest.approx(one.std() / np.sqrt(3), rel=0.1)


def test_the_null_of_twenty_people_four_of_them_healthy():
    """The design of the Covid cohort: five repeats of four folds are no twenty samples."""
    y = (np.arange(20) < 4).astype(int)
    bags = sm.Bags.from_list([np.ones((1, 1))] * 20, y, donor=np.arange(20))
    parts = sm.comparison.donor_folds(bags, folds=4, repeats=5)
    test = np.concatenate([part.test for part in parts])
    fold = np.repeat(np.arange(20), [len(part.test) for part in parts])
    means = chance_scores("roc_auc", y[test], test, fold, draws=4000)
    assert means.mean() == pytest.approx(0.5, abs=0.01)
    assert means.std() == pytest.approx(0.169, abs=0.01)
    assert np.quantile(means, [0.05, 0.95]) == pytest.approx([0.22, 0.78], abs=0.02)


def test_other_metrics_are_refused():
    with pytest.raises(InputError, match="'accuracy' is not known; of roc_auc and spearman"):
        chance_scores("accuracy", np.arange(2), np.arange(2), np.zeros(2))
