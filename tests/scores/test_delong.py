"""DeLong beside its definition, pair by pair."""

import itertools

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from smalti.errors import InputError
from smalti.scores import delong_interval, delong_test


def by_pairs(y, *scores):
    """Areas and covariance by structural components, as DeLong et al. write them."""
    v10, v01 = [], []
    for s in scores:
        psi = [[1.0 if a > b else 0.5 if a == b else 0.0 for b in s[~y]] for a in s[y]]
        v10.append(np.mean(psi, axis=1))
        v01.append(np.mean(psi, axis=0))
    areas = [v.mean() for v in v10]
    k = len(scores)
    cover = np.zeros((k, k))
    for i, j in itertools.product(range(k), repeat=2):
        for parts, n in ((v10, y.sum()), (v01, (~y).sum())):
            both = (parts[i] - areas[i]) * (parts[j] - areas[j])
            cover[i, j] += both.sum() / (n - 1) / n
    return areas, cover


def drawn(seed, ties):
    rng = np.random.default_rng(seed)
    y = np.arange(30) % 3 == 0
    p, q = rng.normal(y, 1.0), rng.normal(y * 0.5, 1.0)
    return (y, np.round(p), np.round(q)) if ties else (y, p, q)


@pytest.mark.parametrize("ties", [False, True])
def test_areas_and_covariance_are_those_of_the_definition(ties):
    y, p, q = drawn(0, ties)
    areas, cover = by_pairs(y, p, q)
    found = delong_interval(y, p)
    assert found["roc_auc"] == pytest.approx(areas[0]) == pytest.approx(roc_auc_score(y, p))
    assert found["standard_error"] == pytest.approx(np.sqrt(cover[0, 0]))
    logit = np.log([x / (1 - x) for x in (found["low"], areas[0], found["high"])])
    half = stats.norm.ppf(0.975) * np.sqrt(cover[0, 0]) / (areas[0] * (1 - areas[0]))
    assert np.diff(logit) == pytest.approx([half, half])
    gap = delong_test(y, p, q)
    error = np.sqrt(cover[0, 0] + cover[1, 1] - 2 * cover[0, 1])
    assert (gap["difference"], gap["standard_error"]) == pytest.approx((areas[0] - areas[1], error))
    assert gap["p"] == pytest.approx(2 * stats.norm.sf(abs(areas[0] - areas[1]) / error))


def test_it_holds_the_truth_of_a_fixed_model():
    truth, held = stats.norm.cdf(1 / np.sqrt(2)), 0
    for seed in range(200):
        y = np.arange(80) % 2 == 0
        found = delong_interval(y, np.random.default_rng(seed).normal(y, 1.0))
        held += found["low"] <= truth <= found["high"]
    assert 0.9 <= held / 200 <= 0.99


def test_where_it_has_no_interval():
    found = delong_interval([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9])
    assert found["roc_auc"] == 1
    assert np.isnan([found["low"], found["high"]]).all()  # no error was seen: no proof of none
    same = delong_test([0, 0, 1, 1], [0.1, 0.5, 0.4, 0.9], [0.1, 0.5, 0.4, 0.9])
    assert np.isnan(same["p"])


def test_what_is_refused():
    with pytest.raises(InputError, match="keep one bag of each donor"):
        delong_interval([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9], list("abca"))
    with pytest.raises(InputError, match="two bags or more of the class"):
        delong_interval([0, 0, 1], [0.1, 0.2, 0.8])
