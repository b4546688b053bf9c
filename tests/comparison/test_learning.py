"""Fits on fewer donors: the same as by hand, and never a donor on both sides."""

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone

import smalti as sm
from smalti.comparison.learning import Shares
from smalti.comparison.phenotype import prepared
from smalti.datasets import planted_bags
from smalti.errors import InputError
from smalti.scores import learning_gains, learning_means, power_law
from smalti.scores.learning import learning_said
from smalti.scores.metrics import score

HOW = {"folds": 3, "n_jobs": 1, "progress": False}


def test_subsets_grow_class_by_class_and_no_donor_is_on_both_sides():
    bags = planted_bags(48, bags_per_donor=2, seed=0)
    arena, _ = prepared(["bag_mean"], bags, folds=3, repeats=2)
    fewer = Shares(arena, (0.25, 0.5, 0.75), 0)
    whole = {(s.repeat, s.fold): s for s in arena.parts}
    assert len(fewer.parts) == 3 * len(arena.parts)
    before = {}
    for split in sorted(fewer.parts, key=lambda s: s.fold):
        of = whole[split.repeat, split.fold % 3]
        assert (split.test == of.test).all()
        assert set(split.train) < set(of.train)
        assert not set(bags.donors[split.train]) & set(bags.donors[split.test])
        key = (split.repeat, split.fold % 3)
        assert before.get(key, set()) < set(split.train)  # each holds the one before
        before[key] = set(split.train)
        donors = {
            c: len(np.unique(bags.donors[split.train][bags.labels[split.train] == c]))
            for c in (0, 1)
        }
        share = fewer.shares[split.fold // 3]
        every = {
            c: len(np.unique(bags.donors[of.train][bags.labels[of.train] == c])) for c in (0, 1)
        }
        assert donors == {c: round(share * n) for c, n in every.items()}


def test_a_fit_of_the_curve_is_the_fit_by_hand(tmp_path, majority_alone, one_penalty):
    bags = planted_bags(24, seed=0)
    method = sm.mil.BagMean(seed=3, progress=False)
    table = sm.compare([method], bags, learning_curve=(0.5,), cache=tmp_path / "kept", **HOW)
    arena, _ = prepared([method], bags, folds=3)
    split = Shares(arena, (0.5,), 0).parts[1]
    model = clone(method).set_params(seed=3 + split.fold % 3).fit(bags[split.train])
    raw = model.forward(bags[split.test])[0]
    by_hand = score(bags.task, bags[split.test].labels, model.task_.decide(raw),
                    model.task_.probabilities(raw))  # fmt: skip
    own = table.learning.query("share == 0.5 and fold == 1").set_index("metric")["value"]
    assert own.to_dict() == pytest.approx(by_hand)
    whole = table.learning.query("share == 1").set_index(["fold", "metric"])["value"]
    folds = table.folds[table.folds["method"] == "bag_mean"].set_index(["fold", "metric"])["value"]
    assert whole.to_dict() == folds.to_dict()
    again = sm.compare([method], bags, learning_curve=(0.5,), cache=tmp_path / "kept", **HOW)
    pd.testing.assert_frame_equal(again.learning, table.learning)


@pytest.mark.slow
def test_the_cheapest_candidate_is_taken_or_those_named(majority_alone, one_penalty):
    bags = planted_bags(24, seed=0)
    table = sm.compare(["majority", "bag_mean"], bags, learning_curve={"bag_mean": True}, **HOW)
    assert table.learning["method"].unique().tolist() == ["bag_mean"]
    assert sorted(table.learning["share"].unique()) == [0.25, 0.5, 0.75, 1]
    plan = sm.comparison.plan(
        ["majority", "bag_mean"], bags, learning_curve={"bag_mean": True}, folds=3
    )
    assert plan.fits.set_index("method").loc["bag_mean, fewer donors", "fits"] == 9


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ((0.5, 1.0), "between 0 and 1"),
        ({"nobody": True}, "no such method"),
        ((0.01,), "too few donors"),
    ],
)
def test_what_is_no_curve_is_refused_before_a_fit(asked, words):
    with pytest.raises(InputError, match=words):
        sm.compare(["bag_mean"], planted_bags(24, seed=0), learning_curve=asked, **HOW)


def test_a_table_without_a_curve_says_how_to_have_one(majority_alone):
    table = sm.compare(["majority"], planted_bags(12, seed=0), **HOW)
    with pytest.raises(InputError, match="learning_curve=True"):
        table.learning_curve()


# ---------------------------------------------------------------- what curves say


def curve(at, spread=0.01, folds=20, seed=0):
    """Scores of folds: value at each number of donors, and noise."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame([
        {"method": "m", "share": n / max(at), "donors": n, "repeat": 0, "fold": f,
         "metric": "roc_auc", "value": v + rng.normal(0, spread), "n_train": 40, "n_test": 10}
        for n, v in at.items() for f in range(folds)
    ])  # fmt: skip


@pytest.mark.parametrize(
    ("at", "spread", "said"),
    [
        ({10: 0.6, 20: 0.7, 40: 0.8}, 0.01, "More donors would help m: it still improves"),
        ({10: 0.8, 20: 0.8, 40: 0.8}, 0.003, "More donors would hardly help m: it is flat"),
        ({10: 0.8, 20: 0.8, 40: 0.7}, 0.01, "m is worse on more donors"),
        ({10: 0.6, 20: 0.7, 40: 0.8}, 0.5, "Whether more donors would help m cannot be told"),
    ],
)
def test_a_curve_is_put_in_honest_words(at, spread, said):
    words = learning_said(curve(at, spread), "roc_auc", margin=0.01)
    assert words[0].startswith(said)


def test_folds_without_every_share_take_no_part():
    rows = curve({10: 0.6, 20: 0.7, 40: 0.8}, 0)
    rows.loc[(rows["donors"] == 10) & (rows["fold"] == 0), "value"] = np.nan
    rows.loc[rows["fold"] == 0, "value"] += 5
    found = learning_means(rows, "roc_auc")
    assert found["value"].tolist() == pytest.approx([0.6, 0.7, 0.8])
    assert found["folds"].tolist() == [19, 19, 19]
    gain = learning_gains(rows, "roc_auc", margin=0.01)
    assert gain[["donors", "all_donors", "difference"]].to_numpy().tolist() == [
        pytest.approx([20, 40, 0.1])
    ]


def test_the_power_law_is_found_again():
    n = np.array([8, 16, 24, 32])
    assert power_law(n, 0.9 - 1.2 * n**-0.5) == pytest.approx([0.9, 1.2, 0.5])
    assert np.isnan(power_law(n[:2], n[:2])).all()
