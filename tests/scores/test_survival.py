"""Scores of risks and of curves beside scikit-survival and lifelines."""

import numpy as np
import pytest
import torch
from scipy import stats

from smalti.errors import InputError
from smalti.scores.survival import (
    auroc_at,
    brier_at,
    concordance,
    horizon,
    kaplan_meier,
    log_rank,
    log_rank_trend,
    still_watched,
    survival_scores,
)
from smalti.task.survival import partial_likelihood


def lives(n, seed, *, decimals=0, signal=1.0):
    """Risk, time and event; times that are tied unless ``decimals`` are many."""
    rng = np.random.default_rng(seed)
    risk = rng.normal(size=n).round(1)
    life = rng.exponential(20 * np.exp(-signal * risk))
    gone = rng.uniform(5, 60, n)
    return risk, np.maximum(np.minimum(life, gone).round(decimals), 0.5), life <= gone


def structured(time, event):
    return np.array(list(zip(event, time, strict=True)), dtype=[("e", bool), ("t", float)])


@pytest.fixture(scope="module")
def sksurv():
    return pytest.importorskip("sksurv.metrics")


@pytest.mark.parametrize("decimals", [0, 6])
def test_concordance_is_that_of_scikit_survival(sksurv, decimals):
    risk, time, event = lives(150, 0, decimals=decimals)
    expected = sksurv.concordance_index_censored(event, time, risk)[0]
    assert concordance(time, event, risk) == pytest.approx(expected, abs=1e-12)
    assert concordance(time, event, risk) > 0.7  # a higher risk is an earlier event
    assert concordance(time, event, -risk) == pytest.approx(1 - expected, abs=1e-12)


@pytest.mark.parametrize("decimals", [0, 6])
def test_unos_concordance_is_that_of_scikit_survival(sksurv, decimals):
    _, before, seen = lives(200, 1, decimals=decimals)
    risk, time, event = lives(150, 0, decimals=decimals)
    end = min(before.max(), time.max()) - 5
    expected = sksurv.concordance_index_ipcw(
        structured(before, seen), structured(time, event), risk, tau=end
    )[0]
    watched = still_watched(before, seen)
    from smalti.task.survival import steps_at

    weight = 1 / np.maximum(steps_at(*watched, time, start=1.0), 1e-12) ** 2
    found = concordance(time, event, risk, weight=weight, until=end)
    assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("decimals", [0, 6])
def test_auroc_over_time_is_that_of_scikit_survival(sksurv, decimals):
    _, before, seen = lives(200, 1, decimals=decimals)
    risk, time, event = lives(150, 0, decimals=decimals)
    times = np.array([4.0, 10.5, 20.0, 30.0])
    kept = time < before.max()  # it refuses others
    time, event, risk = time[kept], event[kept], risk[kept]
    expected = sksurv.cumulative_dynamic_auc(
        structured(before, seen), structured(time, event), risk, times
    )[0]
    found = auroc_at(times, time, event, risk, still_watched(before, seen))
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("decimals", [0, 6])
def test_brier_is_that_of_scikit_survival(sksurv, decimals):
    _, before, seen = lives(200, 1, decimals=decimals)
    risk, time, event = lives(150, 0, decimals=decimals)
    kept = time < before.max()
    time, event, risk = time[kept], event[kept], risk[kept]
    times = np.linspace(1, 40, 30)
    curves = np.exp(-np.exp(risk)[:, None] * times / 20)
    train, test = structured(before, seen), structured(time, event)
    _, expected = sksurv.brier_score(train, test, curves, times)
    found = brier_at(times, time, event, curves, still_watched(before, seen))
    np.testing.assert_allclose(found, expected, atol=1e-12)
    from scipy.integrate import trapezoid

    whole = sksurv.integrated_brier_score(train, test, curves, times)
    assert trapezoid(found, times) / np.ptp(times) == pytest.approx(whole, abs=1e-12)


def test_kaplan_meier_is_that_of_lifelines():
    lifelines = pytest.importorskip("lifelines")
    rng = np.random.default_rng(0)
    _, time, event = lives(100, 0)
    entry = np.where(rng.random(100) < 0.3, time * rng.random(100) * 0.9, 0.0)
    for late in (None, entry):
        fitter = lifelines.KaplanMeierFitter().fit(time, event, entry=late)
        found = kaplan_meier(time, event, late)
        at = found["time"].to_numpy()
        np.testing.assert_allclose(found["survival"], fitter.predict(at), atol=1e-10)
        if late is None:
            low, high = fitter.confidence_interval_.reindex(at).to_numpy().T
            np.testing.assert_allclose(found["low"], low, atol=1e-10)
            np.testing.assert_allclose(found["high"], high, atol=1e-10)


@pytest.mark.parametrize("n_groups", [2, 3])
def test_log_rank_is_that_of_lifelines(n_groups):
    statistics = pytest.importorskip("lifelines.statistics")
    risk, time, event = lives(120, 0)
    group = np.digitize(risk, np.quantile(risk, np.arange(1, n_groups) / n_groups))
    other = statistics.multivariate_logrank_test(time, group, event)
    found = log_rank(time, event, group)
    assert found["chi2"] == pytest.approx(other.test_statistic, rel=1e-8)
    assert found["p"] == pytest.approx(other.p_value, rel=1e-6)
    with pytest.raises(InputError, match="two groups"):
        log_rank(time, event, np.zeros(len(time)))


def test_a_trend_is_the_score_test_of_a_cox_model():
    rng = np.random.default_rng(0)
    time, event, order = rng.exponential(size=60), rng.random(60) < 0.7, rng.integers(0, 3, 60)
    slope = torch.zeros((), dtype=torch.float64, requires_grad=True)
    y = [torch.as_tensor(v, dtype=torch.float64) for v in (time, event, np.zeros(60), np.zeros(60))]
    loss = partial_likelihood(slope * torch.as_tensor(order), *y).sum()
    (first,) = torch.autograd.grad(loss, slope, create_graph=True)
    (second,) = torch.autograd.grad(first, slope)
    found = log_rank_trend(time, event, order)
    assert found["z"] == pytest.approx(float(-first / second.sqrt()))
    assert found["p"] == pytest.approx(stats.norm.sf(found["z"]))
    two = log_rank_trend(time, event, order > 0)["z"]  # of two groups it is that test, with a sign
    assert two**2 == pytest.approx(log_rank(time, event, order > 0)["chi2"])
    assert log_rank_trend(time, event, -order)["z"] == pytest.approx(-found["z"])
    early = log_rank_trend([1, 2, 3, 4], [1, 1, 1, 1], [1, 1, 0, 0])
    assert early["z"] > 0  # the second group has its events earlier
    with pytest.raises(InputError, match="two groups"):
        log_rank_trend(time, event, np.zeros(60))


def test_a_pair_counts_only_where_the_other_had_entered():
    assert concordance([5, 9], [1, 0], [1, 0], [0, 0]) == 1.0
    assert np.isnan(concordance([5, 9], [1, 0], [1, 0], [0, 6]))


def test_random_risks_score_as_chance():
    """The mean C of risks that mean nothing is 0.5, and no gain over Kaplan-Meier."""
    found = []
    for seed in range(100):
        rng = np.random.default_rng([seed, 5])
        _, time, event = lives(80, seed)
        y = np.column_stack([time, event, np.zeros(80)])
        risk, times = rng.normal(size=80), np.linspace(0, 50, 25)
        curves = np.exp(-np.exp(0.5 * risk)[:, None] * times / 20)
        found.append(survival_scores(y[:40], y[40:], risk[40:], curves[40:], times))
    for metric in ("c_index", "c_uno", "auroc_time"):
        values = np.array([f[metric] for f in found])
        away = 2.6 * np.nanstd(values) / 10
        assert abs(np.nanmean(values) - 0.5) < away, metric
    assert np.mean([f["brier_gain"] for f in found]) < 0


def test_the_curve_of_all_has_no_gain_and_the_truth_has():
    risk, time, event = lives(300, 0, decimals=2)
    y = np.column_stack([time, event, np.zeros(300)])
    usual = kaplan_meier(time[:150], event[:150])
    from smalti.task.survival import steps_at

    times = np.linspace(0, 50, 25)
    flat = np.tile(steps_at(usual["time"], usual["survival"], times, start=1.0), (150, 1))
    found = survival_scores(y[:150], y[150:], np.zeros(150), flat, times)
    assert found["brier_gain"] == pytest.approx(0, abs=1e-12)
    assert found["c_index"] == pytest.approx(0.5)
    true = np.exp(-np.exp(risk[150:])[:, None] * times / 20)
    found = survival_scores(y[:150], y[150:], risk[150:], true, times)
    assert found["brier_gain"] > 0.1
    assert found["c_index"] > 0.7


def test_what_cannot_be_said_is_nan():
    y = np.array([[1.0, 1, 0], [2.0, 0, 0], [3.0, 1, 0]])
    times = np.linspace(0, 3, 5)
    found = survival_scores(y, y[1:2], np.zeros(1), np.ones((1, 5)), times)
    assert np.isnan(found["c_index"])
    assert np.isnan(found["auroc_time"])


def test_the_horizon_ends_where_few_are_watched():
    time, event = np.arange(1.0, 41.0), np.arange(40) < 20
    assert horizon(time, event) == 20.0
    assert horizon([1, 2, 3, 4, 9], [1, 0, 0, 0, 1]) == 9.0
    many = np.arange(1.0, 101.0)
    assert horizon(many, np.append(np.zeros(99), 1)) == 91.0
