"""Four answers over a family of comparisons."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from smalti.errors import InputError
from smalti.scores import Scores, corrected_test, holm, judge


@dataclasses.dataclass(kw_only=True)
class Table(Scores):
    @property
    def metrics(self):
        return ("roc_auc",)


def table(values, baselines=("base",)):
    rows = [
        {
            "method": m,
            "repeat": 0,
            "fold": i,
            "metric": "roc_auc",
            "value": v,
            "n_train": 80,
            "n_test": 20,
            "seconds": 0.1,
        }
        for m, vs in values.items()
        for i, v in enumerate(vs)
    ]
    return Table(folds=pd.DataFrame(rows), digest="d", settings={}, baselines=baselines, notes=(),
                 about="bags")  # fmt: skip


def naive_holm(p):
    """Reject one after the other, by the text of Holm: the least level at which each falls."""
    out = []
    for mine in p:
        for level in np.linspace(0, 1, 20001):
            left, rejected = sorted(p), set()
            while left and left[0] <= level / len(left) + 1e-12:
                rejected.add(left.pop(0))
            if mine in rejected:
                break
        out.append(level)
    return out


@pytest.mark.parametrize("p", [[0.01, 0.04, 0.03], [0.2, 0.01], [0.001, 0.012, 0.3, 0.014]])
def test_holm_is_what_a_step_down_does(p):
    np.testing.assert_allclose(holm(p), naive_holm(p), atol=1e-4)


def test_what_has_no_p_is_no_member_of_a_family():
    np.testing.assert_allclose(holm([0.01, np.nan, 0.03]), [0.02, np.nan, 0.03])


@pytest.mark.parametrize(("mean", "sd", "answer"), [
    (0.2, 0.05, "better"), (-0.2, 0.05, "worse"), (0.2, 0.9, "not told apart"),
    (0.0, 0.001, "practically equal"),
    (0.004, 0.001, "practically equal"),  # surely above 0, and surely of no matter
])  # fmt: skip
def test_four_answers(mean, sd, answer):
    d = np.random.default_rng(0).normal(size=10)
    d = mean + sd * (d - d.mean()) / d.std(ddof=1)
    row = judge(pd.DataFrame([corrected_test(d, 80, 20)]), margin=0.01).iloc[0]
    assert row["verdict"] == answer
    error = np.sqrt((1 / 10 + 20 / 80) * sd**2)
    two_sided = stats.t.sf((np.array([0.01 - mean, 0.01 + mean])) / error, 9)
    assert row["p_equal"] == pytest.approx(two_sided.max())  # two one-sided tests
    found = judge(pd.DataFrame([corrected_test(-d, 80, 20)]), margin=0.01, lower_is_better=True)
    assert found["verdict"].item() == answer


def test_a_loss_without_a_region_is_never_practically_equal():
    d = [1e-4, -1e-4, 2e-4, -2e-4]
    assert judge(pd.DataFrame([corrected_test(d, 80, 20)]))["verdict"].item() == "not told apart"
    with pytest.raises(InputError, match="has a width > 0"):
        judge(pd.DataFrame([corrected_test(d, 80, 20)]), margin=0.0)


def test_what_is_detectable_is_found_four_times_of_five():
    rng = np.random.default_rng(1)
    shape = rng.normal(size=(4000, 12))
    unit = judge(pd.DataFrame([corrected_test(shape[0], 1e12, 1)]))["detectable"].item()
    gap = unit / shape[0].std(ddof=1)  # for the spread that is true of all
    p = stats.ttest_1samp(shape + gap, 0, axis=1).pvalue
    assert (p <= 0.05).mean() == pytest.approx(0.8, abs=0.03)


def test_one_of_many_needs_more_than_one_of_one():
    rng = np.random.default_rng(0)
    d = rng.normal(size=10)
    d = 0.1 + 0.06 * (d - d.mean()) / d.std(ddof=1)
    base = rng.uniform(0.4, 0.6, 10)
    alone = table({"ours": base + d, "base": base})
    assert alone.against("base")["verdict"].item() == "better"
    noise = {f"m{i}": base + rng.normal(0, 0.1, 10) for i in range(9)}
    many = table({"ours": base + d, "base": base} | noise)
    row = many.against("base").set_index("method").loc["ours"]
    assert (row["family"], row["verdict"]) == (10, "not told apart")
    assert row["p"] == alone.against("base")["p"].item()
    assert row["p_holm"] == pytest.approx(min(1, 10 * row["p"]))  # the least of them
    assert row["detectable"] > alone.against("base")["detectable"].item()
    assert any("by Holm over 10 comparisons" in words for words in many.said())


def test_baselines_and_oracles_are_no_members_of_the_family_of_methods():
    rng = np.random.default_rng(0)
    names = ("ours", "theirs", "base", "other", "third", "total (oracle)")
    found = table({m: rng.uniform(size=10) for m in names}, baselines=("base", "other", "third"))
    rows = found.against("base").set_index("method")["family"]
    assert rows[["ours", "theirs", "other", "third", "total (oracle)"]].tolist() == [2, 2, 2, 2, 1]
    pairs = found.all_pairs()
    assert len(pairs) == 10
    assert (pairs["family"] == 10).all()
    assert set(map(frozenset, pairs[["method", "reference"]].to_numpy())) == {
        frozenset((a, b)) for a in names[:5] for b in names[:5] if a != b
    }


@pytest.mark.slow
def test_of_null_tables_few_have_a_finding():
    """Twenty methods alike: hardly ever is one called better or worse than the reference."""
    rng = np.random.default_rng(0)
    called = 0
    for _ in range(60):
        values = {f"m{i}": rng.normal(0.5, 0.1, 10) for i in range(20)} | {
            "base": np.full(10, 0.5)}  # fmt: skip
        called += table(values).against("base")["verdict"].isin(["better", "worse"]).any()
    assert called <= 6


def test_words_name_the_estimand_and_the_region():
    found = table({"ours": [0.5, 0.6, 0.7], "base": [0.5, 0.5, 0.6]})
    said = str(found)
    assert "would be told apart four times of five" in said
    assert "of the procedure, fitted on 80 bags, not of one fitted model" in said
    assert "Practically equal: less than 0.01 apart." in said


def test_more_repeats_of_the_same_donors_bring_no_more_degrees_of_freedom():
    rng = np.random.default_rng(0)
    found = table({"ours": rng.uniform(size=10), "base": rng.uniform(size=10)})
    found.folds["repeat"], found.folds["fold"] = found.folds["fold"] // 5, found.folds["fold"] % 5
    row = found.against("base").iloc[0]
    assert (row["n"], row["freedom"]) == (10, 4)
    half = stats.t.ppf(0.975, 4) * row["standard_error"]
    assert row["high"] == pytest.approx(row["difference"] + half)
    assert row["p"] == pytest.approx(2 * stats.t.sf(abs(row["t"]), 4))
    assert "4 degrees of freedom" in " ".join(found.terms())
    seeds = table({"ours": rng.uniform(size=10), "base": rng.uniform(size=10)})
    seeds.folds["repeat"], seeds.folds["fold"] = seeds.folds["fold"], 0
    assert seeds.against("base")["freedom"].item() == 9  # one part a seed: none is dealt again


def test_a_mean_has_an_interval_of_the_same_degrees():
    from smalti.scores import resampled_interval

    values = np.array([0.6, 0.7, 0.8, 1.0, 0.9])
    found = table({"ours": values, "base": np.full(5, 0.5)}).intervals().set_index("method")
    low, high = resampled_interval(values, 80, 20, freedom=4)
    assert found.loc["ours"].tolist()[1:] == pytest.approx([values.mean(), low, min(high, 1)])
    assert np.isnan(found.loc["base", "value_low"])  # equal in every part
