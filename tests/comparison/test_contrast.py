"""Samples of a donor held against each other, in a comparison."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

import smalti as sm
from smalti.comparison.arranged import arrangements, exchange_of
from smalti.comparison.contrast import contrasted
from smalti.datasets import planted_bags, planted_pairs
from smalti.errors import InputError
from smalti.scores import above_chance

ALONE = {"n_jobs": 1, "progress": False}


@pytest.fixture(scope="module")
def few() -> sm.comparison.Comparison:
    """Four pairs and a donor of one sample, with a strong shift."""
    bags = planted_pairs(5, alone=1, effect=6.0, seed=0)
    return sm.compare(["bag_mean"], bags, folds=4, contrast="donor",
                      permutations={"bag_mean": 20}, **ALONE)  # fmt: skip


def test_four_pairs_say_that_no_p_can_be_small(few):
    found = few.within_donors().set_index("method")
    assert found.loc["bag_mean", ["donors", "value", "right"]].tolist() == [4, 1.0, 4]
    assert found.loc["bag_mean", ["p", "least"]].tolist() == [0.125, 0.125]
    assert found.loc["majority", ["value", "p"]].tolist() == [0.5, 1.0]
    assert (found["verdict"] == "not told from chance").all()
    words = " ".join(few.said())
    assert "no p can be below 0.12, and no method can be told from chance" in words
    assert "the smallest possible p is 0.12" in words
    assert few.above_chance()["p"].item() == 0.125  # of models fitted anew too


def test_donors_of_one_sample_are_said_and_left_out(few):
    assert any("1 of 5 donors are left out of the contrast" in note for note in few.notes)
    out = few.flow[few.flow["step"] == "left out"]
    assert out[["donors", "bags"]].to_numpy(int).tolist() == [[1, 1]]
    assert few.predictions["donor"].nunique() == 4


def test_it_is_what_methods_are_ranked_by_and_what_is_drawn(few, tmp_path):
    assert few.metrics[0] == "donor_concordance"
    assert few.summary("donor_concordance").set_index("method")["mean"]["bag_mean"] == 1.0
    null = few.chance()
    assert (null["metric"], round(null["mean"], 1)) == ("donor_concordance", 0.5)
    assert null["low"] < 0.5 < null["high"]
    assert few.chance("roc_auc")["sd"] > 0  # one score a sample: one a donor would never vary
    few.report(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Samples of a donor beside each other" in page
    few.write(tmp_path / "run")
    assert len(pd.read_csv(tmp_path / "run" / "within_donors.csv")) == 3


def test_lines_have_one_score_for_each_label_of_a_donor(few):
    arms = few.arms("bag_mean")
    assert len(arms) == 8
    gap = arms.pivot_table("score", "donor", "true")
    assert (gap["stim"] > gap["ctrl"]).all()
    assert (arms["in_order"] == 1).all()


def test_each_donor_may_be_left_out_alone():
    bags = planted_pairs(6, effect=6.0, seed=1)
    table = sm.compare(["bag_mean"], bags, splits="leave-one-donor-out", contrast="donor", **ALONE)
    assert table.metrics[0] == "donor_concordance"
    own = table.folds.query("metric == 'donor_concordance' and method == 'bag_mean'")
    assert len(own) == 6
    assert own["value"].notna().all()  # where an AUROC of one donor is none


def test_numbers_and_ranks_are_held_against_each_other():
    bags = planted_pairs(6, effect=6.0, seed=2)
    time = np.where(bags.labels == "stim", 2.0, 1.0) + 0.1 * np.arange(len(bags)) % 0.5
    numbers = bags.with_target(time, kind="regression")
    for other in (numbers, bags.with_target(bags.labels, order=["ctrl", "stim"], kind="ordinal")):
        table = sm.compare(["bag_mean"], other, folds=3, contrast="donor", **ALONE)
        assert table.within_donors().set_index("method").loc["bag_mean", "value"] > 0.9
        assert len(table.arms("bag_mean")) == 12


def test_labels_change_places_within_donors_only():
    bags = planted_pairs(5, seed=0)
    for other in arrangements(bags, exchange_of(bags), 99, 0):
        assert (other.bag.groupby("donor")["target"].nunique() == 2).all()


def test_a_p_is_no_smaller_than_the_design_allows():
    null = np.full(15, 0.5)
    assert above_chance({"a": 1.0}, {"a": null}, least=0.125)["p"].item() == 0.125
    assert above_chance({"a": 1.0}, {"a": null})["p"].item() == 1 / 16


@pytest.mark.parametrize(
    ("bags", "how", "words"),
    [
        (planted_bags(12, seed=0), {}, "two donors or more with samples of several labels"),
        (planted_pairs(6, seed=0), {"contrast": "pair"}, "contrast='pair' is not one of donor"),
        (planted_bags(12, kind="multilabel", seed=0), {}, "not by several targets"),
        (planted_bags(12, kind="survival", seed=0), {}, "not by a survival target"),
    ],
)
def test_what_has_no_contrast_is_refused(bags, how, words):
    with pytest.raises(InputError, match=words):
        sm.compare(["bag_mean"], bags, folds=3, **({"contrast": "donor"} | how), **ALONE)


def test_samples_of_a_donor_that_several_models_test_are_refused():
    bags = planted_pairs(6, seed=0)
    bags = dataclasses.replace(bags, site="centre", bag=bags.bag.assign(
        centre=np.where(np.arange(12) < 2, ["a", "b"] * 6, np.repeat(list("cccddd"), 2))
    ))  # fmt: skip
    with pytest.raises(InputError, match="are tested by several models"):
        sm.compare(["bag_mean"], bags, splits="leave-one-site-out", contrast="donor", **ALONE)


def test_without_a_contrast_there_is_none():
    bags = planted_pairs(6, alone=1, seed=0)
    assert contrasted(bags, None) is bags
    table = sm.compare(["bag_mean"], bags, folds=3, **ALONE)
    assert table.metrics[0] == "roc_auc"
    with pytest.raises(InputError, match="compare\\(contrast='donor'\\)"):
        table.within_donors()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:scale_batch")
@pytest.mark.parametrize("steps", [None, "scale_batch=donor"])
def test_p_of_a_cross_validation_is_true_and_has_power(steps):
    def p(effect, seed):
        bags = planted_pairs(8, effect=effect, seed=seed)
        method = sm.mil.BagMean(preprocess=steps, progress=False)
        splits = sm.donor_split(bags, 4)
        said = np.zeros((len(bags), 2))
        for train, test in splits:
            said[test] = np.log(method.fit(bags[train]).predict_proba(bags[test]))
        return sm.scores.pairs.within_donors(said, bags.labels == "stim", bags.donors).p

    null = np.array([p(0.0, i) for i in range(100)])
    assert (null <= 0.05).mean() <= 0.05 + 3 * (0.05 * 0.95 / 100) ** 0.5
    assert np.mean([p(2.0, i) <= 0.05 for i in range(20)]) > 0.5
