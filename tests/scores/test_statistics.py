import numpy as np
import pytest
from scipy import stats

from smalti.scores import corrected_test


@pytest.mark.parametrize(("n", "ratio"), [(5, 0.25), (10, 0.25), (50, 1e-12)])
def test_the_interval_is_of_95_percent(n, ratio):
    d = np.random.default_rng(n).normal(0.1, 0.2, n)
    got = corrected_test(d, n_train=1.0, n_test=ratio)
    error = np.sqrt(d.var(ddof=1) * (1 / n + ratio))
    want = stats.t.interval(0.95, n - 1, loc=d.mean(), scale=error)
    np.testing.assert_allclose((got["low"], got["high"]), want)
    if ratio < 1e-9:  # nothing to correct: the plain interval
        plain = stats.ttest_1samp(d, 0).confidence_interval(0.95)
        np.testing.assert_allclose((got["low"], got["high"]), plain)


def test_the_interval_ends_where_p_is_one_in_twenty():
    d = np.random.default_rng(0).normal(0.1, 0.2, 12)
    found = corrected_test(d, 80, 20)
    for end in (found["low"], found["high"]):
        assert corrected_test(d - end, 80, 20)["p"] == pytest.approx(0.05)
