"""Intervals beside plain loops and closed forms."""

import numpy as np
import pytest
from scipy import integrate, special, stats
from sklearn.metrics import roc_auc_score

from smalti.scores import (
    corrected_test,
    donor_bootstrap,
    nested_interval,
    posterior,
    resampled_interval,
)
from smalti.scores.intervals import measured_coverage


def test_the_resampled_interval_is_that_of_its_test():
    v = np.array([0.6, 0.7, 0.9, 0.8])
    found = corrected_test(v, 40, 10)
    assert resampled_interval(v, 40, 10) == pytest.approx((found["low"], found["high"]))
    logits = corrected_test(special.logit(v), 40, 10)
    want = special.expit([logits["low"], logits["high"]])
    assert resampled_interval(v, 40, 10, logit=True) == pytest.approx(want)
    few = resampled_interval(v, 40, 10, freedom=1)
    assert few[1] - v.mean() == pytest.approx(stats.t.ppf(0.975, 1) * found["standard_error"])
    low, high = resampled_interval([1.0, 0.9, 1.0], 40, 10, logit=True, pairs=9)
    assert 0 < low < high < 1
    assert np.isnan(resampled_interval([1.0, 1.0], 40, 10, logit=True)).all()


@pytest.mark.slow
def test_a_bootstrap_of_donors_by_copying_their_rows():
    rng = np.random.default_rng(0)
    donors, repeats = np.tile(np.repeat(np.arange(9), 2), 3), np.repeat(np.arange(3), 18)
    y = donors % 2 == 0
    p = rng.normal(y * 0.5, 1)
    value, low, high = donor_bootstrap(y, p, donors, repeats, draws=300, seed=5)
    plain = [roc_auc_score(y[repeats == r], p[repeats == r]) for r in range(3)]
    assert value == pytest.approx(np.mean(plain))
    drawn = np.random.default_rng([5, 47]).multinomial(9, np.full(9, 1 / 9), 300)
    values = []
    for counts in drawn:
        rows = np.concatenate(
            [np.flatnonzero(donors == d) for d in np.repeat(np.arange(9), counts)]
        )
        if 0 < y[rows].mean() < 1:
            values.append(np.mean([
                roc_auc_score(y[rows][repeats[rows] == r], p[rows][repeats[rows] == r])
                for r in range(3)
            ]))  # fmt: skip
    assert (low, high) == pytest.approx(np.quantile(values, [0.025, 0.975]))


def test_bags_of_other_folds_are_not_compared():
    y = np.array([0, 1, 0, 1])
    p = np.array([0.1, 0.2, 0.8, 0.9])  # the folds have other levels
    assert donor_bootstrap(y, p, range(4), [0, 0, 1, 1], draws=9)[0] == 1.0
    assert donor_bootstrap(y, p, range(4), [0] * 4, draws=9)[0] == 0.75
    assert np.isnan(donor_bootstrap(y, p, range(4), range(4), draws=9)).all()


def test_nested_cross_validation_of_a_mean_holds_it():
    """The loss of a mean: y - mean of the training donors, squared; its truth is known."""
    n, folds, held = 40, 4, []
    for seed in range(150):
        rng = np.random.default_rng(seed)
        y, inner, outer, spread, plain = rng.normal(size=n), [], [], [], []
        for _ in range(8):
            fold = rng.permutation(n) % folds
            for i in range(folds):
                rest = fold != i
                parts = [(y[fold == j] - y[rest & (fold != j)].mean()) ** 2
                         for j in range(folds) if j != i]  # fmt: skip
                own = (y[~rest] - y[rest].mean()) ** 2
                inner.append(np.concatenate(parts).mean())
                outer.append(own.mean())
                spread.append(own.var(ddof=1) / len(own))
                plain.append(own.mean())
        error = np.std((y - y.mean()) ** 2, ddof=1) / np.sqrt(n)
        value, low, high = nested_interval(inner, outer, spread, np.mean(plain), error, folds)
        truth = 1 + y.mean() ** 2  # of the mean of all donors
        held.append(low <= truth <= high)
        assert low <= value <= high
    assert 0.85 <= np.mean(held) <= 1.0


def test_a_posterior_is_the_integral_of_its_density():
    d = np.random.default_rng(0).normal(0.01, 0.03, 12)
    found = corrected_test(d, 80, 20)
    told = posterior(found, 0.01)
    rho = 20 / 100  # as Corani and Benavoli write it
    scale = np.sqrt((1 / 12 + rho / (1 - rho)) * d.var(ddof=1))
    law = stats.t(11, loc=d.mean(), scale=scale)
    assert told["inside"] == pytest.approx(integrate.quad(law.pdf, -0.01, 0.01)[0])
    assert told["above"] == pytest.approx(integrate.quad(law.pdf, 0.01, np.inf)[0], abs=1e-7)
    assert sum(told.values()) == pytest.approx(1)
    assert np.isnan(list(posterior(corrected_test([0.1], 80, 20), 0.01).values())).all()


@pytest.mark.parametrize(("donors", "says"), [
    (12, "fewer than 20 donors"), (24, "cohorts of 20 donors, up to"), (150, "of 100 donors."),
])  # fmt: skip
def test_what_was_measured_is_said_of_the_next_smaller_study(donors, says):
    assert says in measured_coverage(donors)
