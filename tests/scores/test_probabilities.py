"""Calibration beside scikit-learn, SciPy and plain loops."""

import numpy as np
import pytest
from scipy import optimize, special, stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss, log_loss

from smalti.scores import calibration, calibration_curve
from smalti.scores.probabilities import wilson


def drawn(n=300, slope=1.0, shift=0.0, seed=0):
    """Truths whose logit is ``shift + slope`` times the logit of p."""
    rng = np.random.default_rng(seed)
    p = rng.beta(1.2, 1.6, n)
    return rng.random(n) < special.expit(shift + slope * special.logit(p)), p


@pytest.mark.parametrize(("slope", "shift"), [(1.0, 0.0), (0.4, 0.0), (1.0, -1.0), (2.5, 0.7)])
def test_slope_and_intercept_are_those_of_a_logistic_fit(slope, shift):
    y, p = drawn(slope=slope, shift=shift)
    found, x = calibration(y, p, draws=50), special.logit(p)
    fit = LogisticRegression(C=1e12, tol=1e-10, max_iter=1000).fit(x[:, None], y)
    assert found["slope"] == pytest.approx(fit.coef_.item(), rel=1e-4)
    root = optimize.brentq(lambda a: (y - special.expit(a + x)).sum(), -20, 20)
    assert found["intercept"] == pytest.approx(root, abs=1e-6)
    assert found["slope_low"] < found["slope"] < found["slope_high"]
    assert found["intercept_low"] < found["intercept"] < found["intercept_high"]


def test_scores_and_their_references_are_those_of_scikit_learn():
    y, p = drawn()
    found, share = calibration(y, p, draws=10), np.full(len(y), y.mean())
    assert found["brier"] == pytest.approx(brier_score_loss(y, p))
    assert found["brier_reference"] == pytest.approx(brier_score_loss(y, share))
    assert found["log_loss"] == pytest.approx(log_loss(y, p))
    assert found["log_loss_reference"] == pytest.approx(log_loss(y, share))
    assert (found["n"], found["events"]) == (300, y.sum())


def test_the_error_in_bins_by_a_loop():
    y, p = drawn(n=80)
    order, total = np.argsort(p), 0.0
    for rows in np.array_split(order, 10):  # 80 donors: ten bins of eight
        total += len(rows) / 80 * abs(y[rows].mean() - p[rows].mean())
    assert calibration(y, p, draws=10)["ece"] == pytest.approx(total)


def test_an_error_is_beside_what_perfect_probabilities_have():
    found = [calibration(*drawn(n=60, seed=seed), draws=200, seed=seed) for seed in range(40)]
    above = np.mean([f["ece"] > f["ece_perfect_high"] for f in found])
    assert above <= 0.15  # one of twenty
    assert np.mean([f["ece"] for f in found]) > 0.06  # though all are perfect
    assert np.mean([f["ece_perfect"] for f in found]) == pytest.approx(
        np.mean([f["ece"] for f in found]), rel=0.1
    )
    off = calibration(*drawn(n=300, slope=0.3), draws=200)
    assert off["ece"] > off["ece_perfect_high"]


def test_rows_of_a_donor_are_drawn_together():
    """Ten copies of each bag are no more donors: intervals are as wide."""
    y, p = drawn(n=100)
    once = calibration(y, p, np.arange(100), draws=300)
    copies = calibration(np.tile(y, 10), np.tile(p, 10), np.tile(np.arange(100), 10), draws=300)
    alone = calibration(np.tile(y, 10), np.tile(p, 10), draws=300)
    for name in ("slope", "slope_low", "slope_high", "intercept_low", "ece_perfect"):
        assert copies[name] == pytest.approx(once[name], rel=1e-4)
    assert alone["slope_high"] - alone["slope_low"] < 0.6 * (once["slope_high"] - once["slope_low"])
    assert alone["ece_perfect"] < 0.6 * once["ece_perfect"]


@pytest.mark.parametrize(("y", "p"), [
    ([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9]), ([1, 1, 0, 0], [0.1, 0.2, 0.8, 0.9]),
    ([0, 1, 0, 1], [0.5] * 4),
])  # fmt: skip
def test_what_has_no_slope(y, p):
    found = calibration(y, p, draws=20)
    assert np.isnan([found["slope"], found["slope_low"], found["slope_high"]]).all()
    assert np.isfinite(found["brier"])


def test_certain_probabilities_have_a_finite_slope():
    y, p = drawn()
    assert np.isfinite(calibration(y, np.round(p), draws=5)["slope"])


@pytest.mark.parametrize(("k", "n"), [(0, 7), (7, 7), (3, 10), (50, 60)])
def test_wilson_is_that_of_scipy(k, n):
    ci = stats.binomtest(k, n).proportion_ci(method="wilson")
    assert wilson(k / n, n) == pytest.approx((ci.low, ci.high))


def test_a_curve_counts_donors():
    y, p = drawn(n=80)
    once = calibration_curve(y, p)
    assert once["n"].tolist() == [8] * 10
    many = calibration_curve(np.repeat(y, 5), np.repeat(p, 5), np.repeat(np.arange(80), 5))
    np.testing.assert_allclose(many[["predicted", "observed", "low", "high"]],
                               once[["predicted", "observed", "low", "high"]])  # fmt: skip
    assert many["n"].tolist() == [40] * 10
    assert many["donors"].tolist() == [8] * 10
