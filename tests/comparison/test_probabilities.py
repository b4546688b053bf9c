"""Probabilities of a comparison, class by class."""

import dataclasses
import itertools

import numpy as np
import pandas as pd
import pytest

import smalti as sm
from smalti.comparison.probabilities import by_class, by_donor, decided, donor_losses
from smalti.datasets import planted_bags
from smalti.errors import InputError
from smalti.task import Task

pytestmark = pytest.mark.slow  # whole comparisons; each number has a quick test of its own


@pytest.fixture(scope="module")
def table():
    bags = planted_bags(32, effect=1, bags_per_donor=2)
    return sm.compare(["bag_mean"], bags, folds=4, repeats=2, n_jobs=1, progress=False)


def test_a_comparison_is_scored_by_its_left_out_bags(table):
    found = table.calibration().set_index("method")
    rows = table.predictions.query("method == 'bag_mean'")
    positive = str(table.task.positive)
    truth = rows["true"].astype(str) == positive
    want = sm.scores.calibration(truth, rows[f"p_{positive}"], rows["donor"])
    assert found.loc["bag_mean", list(want)].to_dict() == pytest.approx(want)
    assert found.loc["bag_mean", "class"] == positive
    assert np.isnan(found.loc["majority", "slope"])
    curve = table.calibration(curve=True).query("method == 'bag_mean'")
    assert curve["n"].sum() == len(rows)
    benefit = table.net_benefit([0.3], prevalence=0.2).set_index("method")
    want = sm.scores.net_benefit(truth, rows[f"p_{positive}"], [0.3], prevalence=0.2)
    assert benefit.loc["bag_mean", "net_benefit"] == want["net_benefit"].item()


def test_a_threshold_never_sees_its_own_donors():
    """Fold 1 is called by fold 0: where that one's threshold is 0.2, all of fold 1 is above."""
    rows = pd.DataFrame({
        "repeat": 0, "fold": [0] * 4 + [1] * 4, "donor": list("abcdefgh"),
        "truth": [False, False, True, True] * 2,
        "p": [0.1, 0.15, 0.25, 0.3, 0.7, 0.75, 0.85, 0.9],
    })  # fmt: skip
    found = decided(rows, None, None)
    assert (found["threshold_low"], found["threshold_high"]) == pytest.approx((0.2, 0.8))
    assert (found["sensitivity"], found["specificity"]) == (0.5, 0.5)
    alone = decided(rows.assign(fold=0), None, None)  # nobody else: the threshold is 0.5
    assert (alone["threshold"], alone["sensitivity"]) == (0.5, 0.5)


def test_several_classes_are_scored_one_by_one():
    p = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.2, 0.2, 0.6], [0.3, 0.5, 0.2]] * 3)
    frame = pd.DataFrame(p, columns=["p_a", "p_b", "p_c"])
    frame = frame.assign(method="m", repeat=0, fold=np.arange(12) // 4, bag=np.arange(12),
                         donor=np.arange(12), true=list("abca") * 3)  # fmt: skip
    task = Task.infer(np.array(list("abca") * 3))
    parts = {c: rows for _, c, rows in by_class(frame, task)}
    assert list(parts) == ["a", "b", "c"]
    assert parts["b"]["truth"].tolist() == [False, True, False, False] * 3
    np.testing.assert_array_equal(parts["b"]["p"], p[:, 1])
    with pytest.raises(InputError, match="a regression target has no probabilities"):
        next(by_class(frame, Task.infer(np.linspace(0, 1, 30))))


@pytest.mark.slow  # writes a page with all its pictures
def test_the_page_has_tables_and_curves(table, tmp_path):
    table.report(tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text("utf-8")
    for name in ("scores", "metrics", "calibration", "thresholds"):
        assert f'<table id="table-{name}"' in page
    for name in ("calibration-curve", "net-benefit", "roc"):
        assert f'<figure id="figure-{name}"' in page
    assert ">if perfect</th>" in page
    assert "Probabilities of “1” for left-out bags" in page


def test_losses_of_donors_by_flipping_all_signs():
    task = Task.infer(np.array(["no", "yes"] * 4))
    rng = np.random.default_rng(0)
    frames = []
    for method in ("a", "b"):
        p = rng.uniform(0.1, 0.9, 16)
        frames.append(pd.DataFrame({
            "method": method, "repeat": np.repeat([0, 1], 8), "donor": np.tile(np.arange(8), 2),
            "true": ["no", "yes"] * 8, "p_no": 1 - p, "p_yes": p,
        }))  # fmt: skip
    losses = donor_losses(pd.concat(frames), task, "brier")
    one = frames[0].query("donor == 3")
    assert losses.loc[3, "a"] == pytest.approx(((1 - one["p_yes"]) ** 2).mean())
    found = by_donor(losses, "b").iloc[0]
    gap = (losses["a"] - losses["b"]).to_numpy()
    flips = np.array(list(itertools.product([1, -1], repeat=8))) @ gap / 8
    assert found["difference"] == pytest.approx(gap.mean())
    assert found["p"] == pytest.approx((np.abs(flips) >= abs(gap.mean()) - 1e-12).mean())
    log = donor_losses(pd.concat(frames), task, "log_loss")
    assert log.loc[3, "a"] == pytest.approx(-np.log(one["p_yes"]).mean())
    for name, says in (("roc_auc", "is not of single bags"), ("brier", "no method 'c'")):
        with pytest.raises(InputError, match=says):
            by_donor(donor_losses(pd.concat(frames), task, name), "c")


def test_delong_is_of_one_test_set(table):
    with pytest.raises(InputError, match="one model on one test set"):
        table.delong()
    part = dataclasses.replace(
        table, folds=table.folds.query("repeat == 0 and fold == 0"),
        predictions=table.predictions.query("repeat == 0 and fold == 0")
        .drop_duplicates(["method", "donor"]),
    )  # fmt: skip
    found = part.delong().set_index("method").loc["bag_mean"]
    rows = part.predictions.query("method == 'bag_mean'")
    want = sm.scores.delong_interval(rows["true"] == table.task.positive,
                                     rows[f"p_{table.task.positive}"])  # fmt: skip
    assert found["roc_auc"] == want["roc_auc"]
