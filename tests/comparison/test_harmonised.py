"""Sites in a comparison: what is refused, what is marked, and that nothing leaks."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

import smalti as sm
from smalti.comparison.company import MARK
from smalti.datasets import planted_sites
from smalti.errors import InputError
from smalti.preprocess import fit_steps, steps_of

combatlearn = pytest.importorskip("combatlearn")
pytestmark = [pytest.mark.filterwarnings(f"ignore:{step}") for step in (
    "site_combat_transductive", "scale_batch")]  # fmt: skip
ALONE = {"n_jobs": 1, "progress": False}


def harmonised(step="site_combat", **kwargs):
    return {"harmonised": sm.mil.BagMean(preprocess=step, progress=False, **kwargs)}


def auroc(bags, step, folds=4, seed=0):
    """Mean over the folds, without baselines."""
    method, found = sm.mil.BagMean(preprocess=step, progress=False), []
    for train, test in sm.donor_split(bags, folds, seed=seed):
        p = method.fit(bags[train]).predict_proba(bags[test])
        case = list(method.classes_).index(bags.task.positive)
        found.append(roc_auc_score(bags.labels[test] == bags.task.positive, p[:, case]))
    return np.mean(found)


@pytest.mark.parametrize("splits", ["leave-one-site-out", "preserved-sites"])
def test_a_left_out_site_is_refused_before_any_fit(splits, monkeypatch):
    monkeypatch.setattr("smalti.comparison.phenotype.race", None)
    with pytest.raises(InputError, match="these splits test others.*site_combat_transductive"):
        sm.compare(harmonised(), planted_sites(24, seed=0), splits=splits, folds=2, **ALONE)


def test_the_transductive_mode_is_marked_in_every_table_and_page(tmp_path):
    bags = planted_sites(24, seed=0)
    table = sm.compare(harmonised("site_combat_transductive"), bags, splits="leave-one-site-out",
                       **ALONE)  # fmt: skip
    name = f"harmonised {MARK}"
    for frame in (table.folds, table.summary(), table.predictions, table.intervals()):
        assert name in set(frame["method"])
        assert "harmonised" not in set(frame["method"])
    assert name in str(table)
    table.report(tmp_path / "page.html")
    assert name in (tmp_path / "page.html").read_text("utf-8")
    assert any(name in note and "in such company" in note for note in table.notes)


def test_where_all_sites_train_nothing_is_marked():
    bags = planted_sites(24, seed=0)
    found = sm.compare(harmonised("site_combat_transductive"), bags, folds=3, **ALONE)
    assert "harmonised" in set(found.folds["method"])
    found = sm.compare(harmonised(), bags, folds=3, **ALONE)
    assert not found.failures.size


def test_another_source_counts_as_left_out_sites():
    train = planted_sites(24, seed=0)
    test = planted_sites(24, seed=1)
    test = dataclasses.replace(test, bag=test.bag.assign(
        site="elsewhere", donor=test.bag["donor"] + 100), )  # fmt: skip
    with pytest.raises(InputError, match="elsewhere"):
        sm.compare(harmonised(), train, test=test, **ALONE)


def test_scaling_by_the_cells_of_other_test_donors_is_marked_too():
    bags = planted_sites(24, seed=0)
    table = sm.compare(harmonised("scale_batch=site"), bags, splits="leave-one-site-out", **ALONE)
    assert f"harmonised {MARK}" in set(table.folds["method"])
    own = sm.compare(harmonised("scale_batch=donor"), bags, folds=3, **ALONE)
    assert "harmonised" in set(own.folds["method"])  # of its own cells alone


def test_a_planted_site_effect_is_taken_away():
    planted = [planted_sites(60, n_sites=6, n_features=3, effect=1.2, shift=3.0, seed=s)
               for s in range(5)]  # fmt: skip
    plain, moved = ([auroc(bags, step) for bags in planted] for step in (None, "site_combat"))
    assert np.mean(moved) > np.mean(plain) + 0.1


def test_scores_of_shuffled_labels_stay_at_chance():
    """And a ComBat that is told the labels of all donors does not, or this test could not fail."""
    found, told = [], []
    for seed in range(8):
        bags = planted_sites(48, n_sites=6, effect=1.5, unequal=0.5, n_features=30, seed=seed)
        label = np.random.default_rng(seed).permutation(bags.labels)
        bags = bags.with_target(label)
        found.append(auroc(bags, "site_combat"))
        means = pd.DataFrame([b.table().mean(0) for b in bags]).astype(float)
        cheat = combatlearn.ComBat(
            pd.Series(np.arange(48) % 12), method="fortin",  # small sites: it matters most there
            discrete_covariates=pd.Series(label),
        ).fit_transform(means)  # fmt: skip
        leak = sm.Bags.from_list([row[None].repeat(2, 0) for row in cheat.to_numpy()],
                                 y=label, donor=np.arange(48))  # fmt: skip
        told.append(auroc(leak, None))
    error = np.std(found, ddof=1) / len(found) ** 0.5
    assert abs(np.mean(found) - 0.5) < 3 * error
    assert np.mean(told) > 0.7


def test_no_label_has_a_part_in_the_step():
    bags = planted_sites(24, seed=0)
    other = bags.with_target(np.random.default_rng(0).permutation(bags.labels))
    one, two = (fit_steps(steps_of("site_combat"), b)[1].table() for b in (bags, other))
    assert np.array_equal(one, two)
