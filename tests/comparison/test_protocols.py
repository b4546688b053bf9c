"""Protocols by name: one donor or one site at a time, a column, and another source."""

import dataclasses

import numpy as np
import pytest

import smalti as sm
from smalti.comparison.page.curves import curves
from smalti.comparison.protocols import leave_one_out, protocol_of
from smalti.comparison.splits import expression_folds
from smalti.datasets import planted_bags, planted_slides
from smalti.errors import InputError

QUIET = dict(n_jobs=1, progress=False)


def cohort(n=24, sites=3, *, seed=0, **more):
    """Two bags a donor, sites one after the other."""
    bags = planted_bags(n, bags_per_donor=2, seed=seed)
    bags.bag["hospital"] = np.arange(n) * sites // n + 1  # a number that is a name
    return dataclasses.replace(bags, site="hospital", **more)


@pytest.fixture(scope="module")
def bags():
    return cohort()


@pytest.mark.parametrize(("name", "n"), [("leave-one-donor-out", 12), ("leave-one-site-out", 3)])
def test_each_is_tested_once_and_no_donor_parts(bags, name, n):
    parts = protocol_of(bags, name).splits
    assert len(parts) == n
    assert sorted(np.concatenate([s.test for s in parts])) == list(range(24))
    assert all(not set(bags.donors[s.train]) & set(bags.donors[s.test]) for s in parts)
    assert all(len(s.train) + len(s.test) == 24 for s in parts)


def test_a_donor_of_two_sites_trains_for_neither(bags):
    bags = dataclasses.replace(bags, bag=bags.bag.assign(donor=[0, *range(1, 23), 0]))
    protocol = protocol_of(bags, "leave-one-site-out")
    first, _, last = protocol.splits
    assert 23 not in first.train
    assert 0 not in last.train
    assert [len(s.train) for s in protocol.splits] == [15, 16, 15]
    assert "2 times a bag was left out of training" in protocol.notes[0]


def test_sites_that_cannot_be_left_out(bags):
    with pytest.raises(InputError, match="one site only"):
        leave_one_out(bags[:8], "site")
    with pytest.raises(InputError, match="no site: name the column"):
        protocol_of(dataclasses.replace(bags, site=None), "leave-one-site-out")
    both = bags[[0, 8]]
    both = dataclasses.replace(both, bag=both.bag.assign(donor="one"))
    with pytest.raises(InputError, match="every donor has a bag of site 1"):
        leave_one_out(both, "site")
    gap = dataclasses.replace(bags, bag=bags.bag.assign(hospital=[None, *"ab" * 11, "b"]))
    with pytest.raises(InputError, match="site column 'hospital' is missing for bag"):
        _ = gap.sites


def test_one_donor_alone_has_no_rank(majority_alone, one_penalty):
    table = sm.compare(["bag_mean"], cohort(12), splits="leave-one-donor-out", **QUIET)
    assert table.metrics[:2] == ("log_loss", "brier")
    wide = table.folds.pivot_table(index="metric", columns="method", values="value", dropna=False)
    assert wide.loc[["roc_auc", "average_precision", "balanced_accuracy"]].isna().all(None)
    assert wide.loc["log_loss", "bag_mean"] < wide.loc["log_loss", "majority"]
    assert table.summary()["method"].iloc[0] == "bag_mean"
    assert "6 donors, each left out once" in str(table)
    assert table.facts()["protocol"] == "leave-one-donor-out"
    assert curves(table) is None


def test_a_donor_with_both_labels_has_no_auroc_either(majority_alone):
    bags = cohort(8)
    bags.bag["label"] = ["a", "b"] * 4
    bags = dataclasses.replace(bags, target="label", kind=None)
    table = sm.compare(["majority"], bags, splits="leave-one-donor-out", **QUIET)
    assert table.folds.query("metric == 'roc_auc'")["value"].isna().all()


def test_what_the_site_alone_says_is_a_control(majority_alone):
    bags = cohort(24, sites=2)
    bags = bags.with_target(np.repeat(["a", "b"], 12))  # the hospital is the label
    table = sm.compare(["majority"], bags, folds=3, **QUIET)
    assert "site alone" in table.controls
    mean = table.summary("roc_auc").set_index("method")["mean"]
    assert mean["site alone"] == 1
    assert set(table.predictions["site"]) == {1, 2}
    assert (
        "site alone"
        not in sm.compare(  # it cannot know a new one
            ["majority"], cohort(), splits="leave-one-site-out", **QUIET
        ).settings
    )


def test_a_site_is_a_name_even_if_it_is_a_number(majority_alone):
    bags = cohort(24, sites=3)
    bags = bags.with_target(np.repeat(["a", "b", "a"], 8))  # no line through 1, 2, 3 says that
    table = sm.compare(["majority"], bags, folds=2, **QUIET)
    assert table.summary("roc_auc").set_index("method").loc["site alone", "mean"] == 1


def test_a_column_of_the_bags_is_the_folds(bags):
    column = np.array(["train"] * 16 + ["test"] * 8)
    one = dataclasses.replace(bags, bag=bags.bag.assign(part=column))
    (split,) = protocol_of(one, "part").splits
    assert split.test.tolist() == list(range(16, 24))
    several = dataclasses.replace(bags, bag=bags.bag.assign(part=np.arange(24) // 8))
    assert [s.test[0] for s in protocol_of(several, "part").splits] == [0, 8, 16]
    column[-2:] = "val"
    three = dataclasses.replace(bags, bag=bags.bag.assign(part=column))
    with pytest.raises(InputError, match="says 'train' and 'val'"):
        protocol_of(three, "part")
    none = dataclasses.replace(bags, bag=bags.bag.assign(part="train"))
    with pytest.raises(InputError, match="column 'part' has no fold that tests a bag"):
        protocol_of(none, "part")


# ---------------------------------------------------------------- another source


def elsewhere(n=10, **more):
    bags = planted_bags(n, seed=7)
    return dataclasses.replace(bags, bag=bags.bag.assign(donor=[f"x{i}" for i in range(n)]), **more)


def test_another_source_is_scored_by_the_model_of_all(bags, majority_alone):
    test = elsewhere()
    table = sm.compare(["bag_mean"], bags, test=test, **QUIET)
    model = sm.mil.BagMean(progress=False, seed=0).fit(bags)
    own = table.predictions.query("method == 'bag_mean'")
    assert own["bag"].tolist() == test.bag.index.tolist()
    np.testing.assert_allclose(own["p_1"], model.predict_proba(test)[:, 1], rtol=1e-5)
    assert table.folds[["n_train", "n_test"]].drop_duplicates().to_numpy().tolist() == [[24, 10]]
    assert table.protocol == "external validation"


@pytest.mark.parametrize(
    ("test", "says"),
    [(lambda b: elsewhere(10, donor="donor").with_target(["0", "9"] * 5), "has the label"),
     (lambda b: b[:2], "donors are in training and in test: 0"),
     (lambda b: dataclasses.replace(b[:2], bag=b.bag[:2].assign(donor=["y", "z"])),
      "hold what bags of the training hold: bag0, bag1")],
)  # fmt: skip
def test_what_is_in_both_is_refused(bags, test, says):
    with pytest.raises(InputError, match=says):
        sm.compare(["majority"], bags, test=test(bags), **QUIET)


def test_another_source_is_one_split(bags):
    with pytest.raises(InputError, match="leave splits= out"):
        sm.compare(["majority"], bags, test=elsewhere(), splits="leave-one-donor-out", **QUIET)


# ---------------------------------------------------------------- tiles


def test_sites_of_slides_are_left_out_with_their_donors():
    slides = planted_slides(4)
    slides.bag["site"], slides.bag["who"] = ["a", "a", "b", "c"], ["1", "2", "3", "1"]
    slides = dataclasses.replace(slides, site="site", donor="who")
    folds = expression_folds(slides, by="site")
    tested = [sorted(set(slides.index[test])) for _, test in folds]
    trained = [sorted(set(slides.index[train])) for train, _ in folds]
    assert tested == [[0, 1], [2], [3]]
    assert trained == [[2], [0, 1, 3], [1, 2]]
