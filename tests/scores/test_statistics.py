"""Paired tests of scores, and what a table says in words."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from smalti.errors import InputError
from smalti.scores import Scores, corrected_test, verdict


def test_corrected_test_by_hand():
    d = np.array([0.1, 0.0, 0.2, 0.1])
    got = corrected_test(d, n_train=80, n_test=20)
    error = np.sqrt((1 / 4 + 20 / 80) * d.var(ddof=1))
    assert got["standard_error"] == pytest.approx(error)
    assert got["t"] == pytest.approx(0.1 / error)
    assert got["p"] == pytest.approx(2 * stats.t.sf(0.1 / error, 3))
    low, high = stats.t.interval(0.95, 3, loc=0.1, scale=error)
    assert (got["low"], got["high"]) == pytest.approx((low, high))
    assert got["standard_error"] > stats.sem(d)  # the plain test is too sure


def test_the_plain_test_is_the_limit_of_many_training_bags():
    d = np.random.default_rng(0).normal(0.1, 0.1, size=10)
    plain = stats.ttest_1samp(d, 0)
    assert corrected_test(d, 80, 20)["p"] > plain.pvalue
    got = corrected_test(d, 1e12, 1)
    assert got["p"] == pytest.approx(plain.pvalue)
    interval = plain.confidence_interval(0.95)
    assert (got["low"], got["high"]) == pytest.approx((interval.low, interval.high))


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


@pytest.mark.parametrize("d", [
    [0.1, 0.1], [0.3 - 0.2, 0.1], np.zeros(10), [0.1], [0.1, np.nan], [],
])  # fmt: skip
def test_equal_differences_have_no_interval(d):
    got = corrected_test(d, 80, 20)
    assert np.isnan([got[k] for k in ("standard_error", "t", "p", "low", "high")]).all()
    known = np.asarray(d)[np.isfinite(d)] if len(d) else np.array([])
    assert got["n"] == len(known)
    assert got["difference"] == pytest.approx(known.mean() if len(known) else np.nan, nan_ok=True)


@pytest.mark.parametrize(("d", "up", "down"), [
    ([0.1, 0.12, 0.11, 0.1], "better", "worse"),
    ([-0.1, -0.12, -0.11, -0.1], "worse", "better"),
    ([0.1, -0.12, 0.11, -0.1], "not told apart", "not told apart"),
    ([0.0, 0.0], "not told apart", "not told apart"),  # no interval: equal parts prove nothing
    ([0.1, 0.1], "not tested", "not tested"),
    ([0.0], "not tested", "not tested"),  # one part says nothing
    ([], "not tested", "not tested"),
])  # fmt: skip
def test_words(d, up, down):
    found = corrected_test(np.array(d), 80, 20)
    assert verdict(found) == up
    assert verdict(found, lower_is_better=True) == down


@dataclasses.dataclass(kw_only=True)
class Table(Scores):
    @property
    def metrics(self):
        return ("accuracy", "log_loss")


def table(baselines=("base",), metric="accuracy", **values):
    """Each method's values of folds."""
    rows = [
        {"method": m, "repeat": 0, "fold": i, "metric": k, "value": v, "n_train": 8, "n_test": 2,
         "seconds": 0.1}
        for m, vs in values.items() for i, v in enumerate(vs)
        for k in ("accuracy", "log_loss") if k == metric
    ]  # fmt: skip
    return Table(folds=pd.DataFrame(rows), digest="d", settings={}, baselines=baselines, notes=(),
                 about="bags")  # fmt: skip


BASE = "the best baseline, base"
HIGH, LOW = [0.9, 0.92, 0.91, 0.9, 0.93], [0.5, 0.51, 0.5, 0.52, 0.5]


@pytest.mark.parametrize(("values", "says"), [
    (dict(ours=HIGH, base=LOW), f"ours is better than {BASE}: accuracy 0.91 (95 % 0.89 to 0.94) "
     "against 0.51; difference +0.41 (+0.37 to +0.44)"),
    (dict(ours=LOW, base=HIGH), f"ours is worse than {BASE}: accuracy 0.51 (95 % 0.49 to 0.52) "
     "against 0.91; difference −0.41"),
    (dict(ours=[0.9, 0.5, 0.8], base=[0.5, 0.9, 0.7]), f"ours is not told apart from {BASE}: "),
    (dict(ours=HIGH, base=HIGH), f"ours and {BASE}, are equal in every part: accuracy 0.91"),
    (dict(ours=[0.9], base=[0.5]), f"ours beside {BASE}: accuracy 0.90 against 0.50; one part "
     "alone, a difference of +0.40, so no interval can be given"),
    (dict(ours=[0.9, 0.8], base=[0.5, 0.4]), "accuracy 0.85 (95 % 0.07 to 1.00) against 0.45; "
     "every part differs by +0.40, so no interval can be given"),
    (dict(base=HIGH), "No method but baselines"),
    ({"base (oracle)": HIGH}, "No method could be ranked"),
    ({"base (oracle)": HIGH, "ours": LOW}, "ours has the best mean: accuracy 0.51"),
])  # fmt: skip
def test_a_headline_rests_on_the_paired_interval(values, says):
    baselines = tuple(m for m in values if m.startswith("base"))
    found = table(baselines, **values)
    words = found.headline("accuracy")
    assert says in words
    assert words in str(found)


def test_where_less_is_better_a_lower_mean_is_better():
    found = table(metric="log_loss", ours=LOW, base=HIGH)
    assert found.headline("log_loss").startswith(
        "ours is better than the best baseline, base: log loss 0.5"
    )
    row = found.against("base", "log_loss").iloc[0]
    assert (row["verdict"], row["reference"]) == ("better", "base")
    with pytest.raises(InputError, match="no method 'x'"):
        found.against("x", "log_loss")


def test_a_seed_is_no_part_of_its_own_where_folds_are_donors():
    class Donors(Table):
        pairs = ("fold",)

    plain = table(ours=HIGH, base=LOW)
    again = plain.folds.assign(repeat=1, value=plain.folds["value"] + 0.01)
    both = pd.concat([plain.folds, again[again["method"] == "ours"]])
    found = Donors(**{f.name: getattr(plain, f.name) for f in dataclasses.fields(plain)})
    found.folds = both
    row = found.against("base", "accuracy").iloc[0]
    wanted = np.array(HIGH) + 0.005 - np.array(LOW)  # the mean over the seeds
    assert row["n"] == 5
    assert row["difference"] == pytest.approx(wanted.mean())
    assert row["low"] == pytest.approx(corrected_test(wanted, 8, 2)["low"])


def test_no_difference_of_shares_is_beyond_one():
    found = table(ours=[0.9, 0.1], base=[0.1, 0.6])
    row = found.against("base", "accuracy").iloc[0]
    assert (row["low"], row["high"]) == (-1, 1)
    assert "would tell no difference apart" in found.said()[1]


def test_a_headline_says_of_how_many_the_best_was_picked():
    found = table(ours=HIGH, theirs=LOW, base=LOW)
    assert found.headline("accuracy").startswith(
        "ours, best of 2, is better than the best baseline"
    )


def test_an_interval_of_two_methods_does_not_hang_on_a_third():
    """One that trains on all cells has other sizes, which are no matter of the others."""
    pair = table(ours=[0.9, 0.8, 0.95], base=[0.5, 0.7, 0.4])
    three = table(ours=[0.9, 0.8, 0.95], base=[0.5, 0.7, 0.4], third=[0.1, 0.2, 0.3])
    three.folds.loc[three.folds["method"] == "third", "n_train"] = 1000
    rows = [t.against("base", "accuracy").set_index("method").loc["ours"] for t in (pair, three)]
    assert (rows[0]["low"], rows[0]["p"]) == (rows[1]["low"], rows[1]["p"])


def test_equal_means_share_the_star():
    lines = str(table(ours=HIGH, base=HIGH, other=LOW)).splitlines()
    assert [("*" in line) for line in lines if "±" in line and "mean ±" not in line] == [
        True, True, False,
    ]  # fmt: skip
