"""Thresholds and net benefit beside plain loops."""

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, roc_curve

from smalti.errors import InputError
from smalti.scores import net_benefit, operating_point, pick_threshold


def drawn(n=60, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.random(n) < 0.4
    return y, np.clip(rng.normal(0.4 + 0.25 * y, 0.2), 0.01, 0.99)


@pytest.mark.parametrize("prevalence", [None, 0.05])
def test_net_benefit_by_counting(prevalence):
    y, p = drawn()
    found = net_benefit(y, p, prevalence=prevalence)
    assert len(found) == 19
    share = y.mean() if prevalence is None else prevalence
    for row in found.itertuples():
        t = row.threshold
        hit = np.mean([q >= t for q in p[y]]) * share
        vain = np.mean([q >= t for q in p[~y]]) * (1 - share)
        assert row.net_benefit == pytest.approx(hit - vain * t / (1 - t))
        assert row.treat_all == pytest.approx(share - (1 - share) * t / (1 - t))


def test_a_threshold_is_that_of_youden():
    y, p = drawn()
    fall_out, recall, _ = roc_curve(y, p)
    at = pick_threshold(y, p)
    called = p >= at
    assert called[y].mean() - called[~y].mean() == pytest.approx((recall - fall_out).max())
    assert at not in p  # between two


@pytest.mark.parametrize("wanted", [0.3, 0.8, 0.95, 1.0])
def test_the_highest_threshold_that_finds_enough(wanted):
    y, p = drawn()
    at = pick_threshold(y, p, sensitivity=wanted)
    assert (p[y] >= at).mean() >= wanted
    above = np.sort(p[p >= at])[0]  # the next bag: without it too few, or it is none of the class
    assert (p[y] > above).mean() < wanted


def test_an_operating_point_is_a_confusion_matrix():
    y, p = drawn()
    found = operating_point(y, p >= 0.5, np.arange(60))
    (tn, fp), (fn, tp) = confusion_matrix(y, p >= 0.5)
    assert found["sensitivity"] == pytest.approx(tp / (tp + fn))
    assert found["specificity"] == pytest.approx(tn / (tn + fp))
    assert found["ppv"] == pytest.approx(tp / (tp + fp))
    assert found["npv"] == pytest.approx(tn / (tn + fn))
    rare = operating_point(y, p >= 0.5, np.arange(60), prevalence=0.01)
    hits, vain = 0.01 * found["sensitivity"], 0.99 * (1 - found["specificity"])
    assert rare["ppv"] == pytest.approx(hits / (hits + vain))  # Bayes
    for name in ("sensitivity", "specificity", "ppv", "npv"):
        assert rare[f"{name}_low"] < rare[name] < rare[f"{name}_high"]
    few = operating_point(y, p >= 0.5, np.arange(60) // 3)
    assert few["sensitivity_low"] < found["sensitivity_low"]  # n is donors


def test_all_right_is_no_proof():
    found = operating_point([1, 1, 0, 0], [1, 1, 0, 0], np.arange(4))
    assert found["sensitivity"] == 1
    assert found["sensitivity_low"] < 0.4


@pytest.mark.parametrize(("call", "says"), [
    (lambda y, p: net_benefit(y, p, [0.0]), "between 0 and 1"),
    (lambda y, p: net_benefit(y, p, prevalence=1.0), "prevalence=1 is not"),
    (lambda y, p: net_benefit(y | True, p), "needs bags of the class and others"),
    (lambda y, p: pick_threshold(y, p, sensitivity=0), "sensitivity=0 is not"),
])  # fmt: skip
def test_what_is_refused(call, says):
    with pytest.raises(InputError, match=says):
        call(*drawn())
    assert pick_threshold([1, 1], [0.2, 0.3]) == 0.5
