"""Donors one by one, against loops."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

import smalti as sm
from smalti.comparison.cohort import Cohort
from smalti.comparison.patients import one_by_one, verdict
from smalti.datasets import planted_bags
from smalti.errors import InputError
from smalti.plot import plot_patients


@pytest.fixture
def table(majority_alone, one_penalty):
    bags = planted_bags(24, seed=0, effect=1.0)
    return sm.compare(["bag_mean"], bags, folds=3, repeats=3, n_jobs=1, progress=False)


def test_each_bag_is_what_its_predictions_are(table):
    found = table.patients("bag_mean").set_index("bag")
    own = table.predictions[table.predictions["method"] == "bag_mean"]
    assert len(found) == 24
    for bag, rows in own.groupby("bag"):
        row, truth = found.loc[bag], rows["true"].iloc[0]
        p = rows["p_1"]
        assert row[["p", "p_low", "p_high"]].tolist() == pytest.approx([p.mean(), p.min(), p.max()])
        assert (row["right"], row["times"]) == ((rows["predicted"] == truth).sum(), 3)
        assert row["off"] == pytest.approx(1 - rows[f"p_{truth}"].mean())
        assert row["predicted"] == int(p.mean() > 0.5)
    assert (found["off"].diff().dropna() <= 0).all()
    wrong = (found["predicted"] != found["true"]).sum()
    assert verdict(found.reset_index(), table.task).startswith(
        f"{wrong} of 24 bags are called wrong"
    )


def test_what_was_in_them_is_told_against_their_class():
    shares = {"a": (8, 2), "b": (7, 3), "c": (2, 8), "d": (3, 7), "e": (1, 9)}  # e is truly ill
    types = list("".join("B" * b + "T" * t for b, t in shares.values()))
    bags = sm.Bags.from_rows(
        np.zeros((50, 2)), np.repeat(list(shares), 10), donor="bag",
        y={"a": "ill", "b": "ill", "c": "well", "d": "well", "e": "ill"},
        instance=pd.DataFrame({"cell_type": types}),
    )  # fmt: skip
    p = dict.fromkeys(shares, 0.9) | {"e": 0.2}
    truth = dict(zip(shares, bags.labels, strict=True))
    rows = pd.DataFrame([
        {"bag": k, "donor": k, "true": truth[k], "predicted": "ill" if p[k] > 0.5 else "well",
         "p_well": 1 - p[k], "p_ill": p[k]} for k in shares
    ])  # fmt: skip
    found = one_by_one(rows, bags.task, Cohort.of({"compared": bags})).set_index("bag")
    assert found.index[:2].tolist() == ["c", "d"]  # truly well, called ill with 0.9
    assert found.loc["e", "like"] == "c (well)"
    assert found.loc["e", "differs"] == "B: 10% (75%), T: 90% (25%)"
    assert found.loc["e", "instances"] == 10


def test_numbers_have_residuals(majority_alone, one_penalty):
    bags = planted_bags(24, seed=0)
    bags = bags.with_target(bags.bag["trait"].to_numpy(), kind="regression")
    table = sm.compare(["bag_mean"], bags, folds=3, repeats=2, n_jobs=1, progress=False)
    found = table.patients("bag_mean").set_index("bag")
    own = table.predictions[table.predictions["method"] == "bag_mean"].groupby("bag")
    assert found["residual"].to_dict() == pytest.approx(
        (own["predicted"].mean() - own["true"].first()).to_dict()
    )
    assert plot_patients(found.reset_index()).get_ylabel() == "predicted less true"


def test_the_picture_draws_the_worst_and_the_best(table):
    found = table.patients()
    axes = plot_patients(found, positive=1, classes=table.task.classes, most=9)
    names = [t.get_text() for t in axes.get_yticklabels()]
    assert sorted(names) == sorted([*found["bag"][:6], *found["bag"][-3:]])
    bold = {t.get_text() for t in axes.get_yticklabels() if t.get_fontweight() == "bold"}
    shown = found[found["bag"].isin(names)]
    assert bold == set(shown.loc[shown["predicted"] != shown["true"], "bag"])


def test_what_has_no_single_truth_is_refused(table):
    with pytest.raises(InputError, match="no method 'nobody'"):
        table.patients("nobody")
    several = sm.Task(kind="multilabel", classes=("a", "b"))
    with pytest.raises(InputError, match="several targets"):
        dataclasses.replace(table, task=several).patients()
