"""Groups of donors: who is in which, what is said of each, and when they are told apart."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

import smalti as sm
from smalti.comparison.cohort import Cohort
from smalti.comparison.groups import by_group, groupings
from smalti.comparison.page.groups import groups as section
from smalti.datasets import planted_bags
from smalti.errors import InputError
from smalti.task import Task

TASK = Task.infer(np.array(["a", "b"] * 4))


def rows(n=40, worse=(), seed=0):
    """Predictions of one fold; donors in ``worse`` are guessed at."""
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % 2
    p = np.clip(truth * 0.6 + 0.2 + rng.normal(0, 0.1, n), 0.01, 0.99)
    p[list(worse)] = rng.uniform(0.02, 0.98, len(worse))
    return pd.DataFrame({"repeat": 0, "fold": 0, "bag": np.arange(n), "donor": np.arange(n),
                         "true": np.array(["a", "b"])[truth], "p_a": 1 - p, "p_b": p})  # fmt: skip


def test_a_group_has_the_area_of_its_own_rows():
    found = rows()
    half = pd.Series(np.where(np.arange(40) < 20, "one", "two"), index=range(40))
    table = by_group(found, TASK, {"sex": half}).set_index("group")
    own = found[half == "one"]
    assert table.loc["one", "roc_auc"] == pytest.approx(
        roc_auc_score(own["true"] == "b", own["p_b"])
    )
    assert table.loc["one", "excess"] == pytest.approx(own["p_b"].mean() - 0.5)
    likely = np.where(own["true"] == "b", own["p_b"], own["p_a"])
    assert table.loc["one", "loss"] == pytest.approx(-np.log(likely).mean())
    assert table.loc["one", ["donors", "bags", "events"]].tolist() == [20, 20, 10]
    assert (table["verdict"] == "not told apart").all()


def test_a_group_that_is_guessed_at_is_told_apart():
    half = pd.Series(np.where(np.arange(40) < 20, "one", "two"), index=range(40))
    table = by_group(rows(worse=range(20)), TASK, {"sex": half})
    assert (table["verdict"] == "not alike").all()


@pytest.mark.slow
def test_groups_without_meaning_are_seldom_told_apart():
    rng, said = np.random.default_rng(1), 0
    for seed in range(100):
        half = pd.Series(rng.permutation(np.repeat(["one", "two"], 20)), index=range(40))
        said += (by_group(rows(seed=seed), TASK, {"sex": half})["verdict"] == "not alike").any()
    assert said <= 10  # one in twenty


def test_numbers_are_parted_at_their_median_and_a_missing_one_is_in_no_group():
    bags = pd.DataFrame({"part": "compared", "bag": list("abcdefghijkl"), "donor": range(12),
                         "group": "x", "instances": 5,
                         "age": [*range(30, 41), np.nan]})  # fmt: skip
    found = groupings(Cohort(bags, pd.DataFrame(index=range(12))))
    assert found["age"].tolist()[:3] == ["up to 35", "up to 35", "up to 35"]
    assert found["age"].isna().tolist() == [False] * 11 + [True]
    few = bags.assign(age=[1, 1, *[2] * 9, np.nan])  # two donors are no group to compare
    assert groupings(Cohort(few, pd.DataFrame(index=range(12)))) == {}


def test_a_group_of_mostly_one_class_is_not_another_for_that():
    found = rows()
    ill = found["true"] == "b"
    found.loc[ill, ["p_a", "p_b"]] = [0.4, 0.6]  # all of a class are harder, in each group
    found.loc[~ill, ["p_a", "p_b"]] = [0.9, 0.1]
    mostly = ill.where(found["bag"] % 10 != 0, ~ill).map({True: "one", False: "two"})
    table = by_group(found, TASK, {"ward": mostly})
    assert set(table["verdict"]) == {"not told apart"}
    assert table["loss"].max() > 2 * table["loss"].min()
    assert table["roc_auc_low"].isna().all()  # of an area of 1


def test_the_class_itself_is_no_group():
    found = rows()
    assert by_group(found, TASK, {"disease": found["true"]}).empty


def test_in_a_comparison_and_its_page(majority_alone, one_penalty):
    bags = planted_bags(24, seed=0)
    sex = np.array(["f", "m"])[np.arange(24) // 2 % 2]
    bags = dataclasses.replace(bags, bag=bags.bag.assign(sex=sex))
    table = sm.compare(["bag_mean"], bags, folds=3, n_jobs=1, progress=False)
    found = table.by_group("bag_mean")
    assert found.loc[found["column"] == "sex", "group"].tolist() == ["f", "m"]
    assert section(table).name == "groups"
    with pytest.raises(InputError, match="no method 'lost'"):
        table.by_group("lost")
