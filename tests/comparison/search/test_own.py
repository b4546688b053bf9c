"""Settings are chosen by the training donors alone, and as a naive nested loop chooses them."""

import dataclasses
import pickle
import sys

import numpy as np
import pandas as pd
import pytest
from scipy.stats import loguniform
from sklearn.base import clone
from sklearn.metrics import roc_auc_score

import smalti as sm
from smalti.comparison import plan
from smalti.comparison.phenotype import prepared
from smalti.comparison.phenotype_fit import Folds
from smalti.comparison.splits import donor_folds
from smalti.core.identity import identity
from smalti.core.validation import folds_by_donor
from smalti.datasets import planted_bags, planted_slides
from smalti.errors import InputError
from smalti.mil.bag_mean import BagMean

pytestmark = pytest.mark.usefixtures("one_penalty", "majority_alone")
QUIET = dict(accelerator="cpu", progress=False)
HOW = dict(n_jobs=1, progress=False)
VIEWS = ["v0", "x"]


@pytest.fixture(autouse=True)
def _unaudited(monkeypatch):
    """What is wrong with the data is asked elsewhere."""
    for kind in ("phenotype", "expression"):
        monkeypatch.setattr(f"smalti.comparison.{kind}.audit", lambda *_, **__: None)


class Plain(BagMean):
    """The mean of a bag, not as a baseline."""

    name = "plain"
    baseline = False


def of_views(bags, n=1, seed=0):
    """The same bags with views of noise beside the planted one."""
    rng = np.random.default_rng(seed)
    noise = {f"v{i}": rng.normal(size=(bags.n_instances, 3)) for i in range(n)}
    views = {k: v.astype(np.float32) for k, v in noise.items()}
    return dataclasses.replace(bags, x=views | bags.x)


def search(method=None, **how):
    method = Plain(**QUIET) if method is None else method
    return sm.Search(method, {"views": VIEWS}, **(dict(sampler="grid", folds=2) | how))


@pytest.fixture(scope="module")
def bags():
    return of_views(planted_bags(24, bags_per_donor=2, effect=3.0, seed=0))


def naive(bags, views, seed, folds=2):
    """The choice by a loop that knows nothing of ours but the folds: by position, as it was."""
    task = bags.as_task()
    parts = folds_by_donor(bags, task, folds, np.random.default_rng([seed, 53]))
    means = []
    for view in views:
        scores = []
        for train, test in parts:
            model = Plain(views=view, seed=seed, **QUIET).fit(bags[train])
            scores.append(roc_auc_score(bags[test].labels, model.predict_proba(bags[test])[:, 1]))
        means.append(np.mean(scores))
    return views[int(np.argmax(means))], max(means)


def test_a_comparison_chooses_and_scores_as_a_naive_nested_loop(bags):
    table = sm.compare({"s": search()}, bags, folds=2, **HOW)
    found = table.searches().set_index("fold")
    for split in donor_folds(bags, folds=2):
        train, test = bags[split.train], bags[split.test]
        view, inner = naive(train, VIEWS, seed=split.fold)
        model = Plain(views=view, seed=split.fold, **QUIET).fit(train)
        outer = roc_auc_score(test.labels, model.predict_proba(test)[:, 1])
        assert found.loc[split.fold, "chosen"] == f"views={view}"
        np.testing.assert_allclose(found.loc[split.fold, ["inner", "outer", "optimism"]].tolist(),
                                   [inner, outer, inner - outer])  # fmt: skip
    assert (found["metric"] == "roc_auc").all()


def test_no_donor_is_on_both_sides_and_test_donors_take_no_part(bags, monkeypatch):
    inside, outside, fit = [], [], Folds.fit

    def noted(self, method, split):
        names = [set(self.bags[s].bag["donor"]) for s in (split.train, split.test)]
        (inside if self.protocol.name == "inner folds" else outside).append(names)
        if self.protocol.name == "inner folds":
            assert set(self.bags.bag["donor"]) == names[0] | names[1]
        return fit(self, method, split)

    monkeypatch.setattr(Folds, "fit", noted)
    sm.compare({"s": search()}, bags, folds=2, **HOW)
    searched = outside[:: len(outside) // 2]  # split by split, the search first
    assert len(inside) == 2 * 2 * 2  # outer folds, views, inner folds
    for i, (train, test) in enumerate(inside):
        assert not train & test
        assert train | test == searched[i // 4][0]
        assert not (train | test) & searched[i // 4][1]


@pytest.mark.slow  # enough fits that luck is seen to be luck
def test_where_there_is_nothing_to_find_the_inner_score_is_hopeful_and_the_outer_is_not():
    found = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        noise, labels = rng.normal(size=(64, 2)), rng.permutation(np.arange(32) % 2)
        bags = sm.Bags.from_list(noise.reshape(32, 2, 2), labels, donor=np.arange(32))
        bags = of_views(bags, n=7, seed=seed)
        chosen = sm.Search(Plain(**QUIET), {"views": list(bags.x)}, sampler="grid", folds=2)
        table = sm.compare({"s": chosen}, bags, folds=4, **HOW)
        row = table.optimism().iloc[0]
        found.append(row)
        assert row["low"] <= row["optimism"] <= row["high"]
        assert row["fits"] == table.chosen()["fits"].sum() == 4
        assert f"an optimism of {row['optimism']:+.3f}" in str(table)
    means = pd.DataFrame(found)[["inner", "outer", "optimism", "unsearched"]].mean()
    assert abs(means["outer"] - 0.5) < 0.06
    assert means["optimism"] > 0.1


def test_the_method_as_given_takes_part_too_and_labels_say_what_is_searched(bags):
    method = Plain(seed=3, **QUIET)
    table = sm.compare([search(method)], bags, folds=2, **HOW)
    assert set(table.summary()["method"]) == {"plain searched", "plain", "majority"}
    assert table.baselines == ("majority",)  # it is raced, and no yardstick of the headline
    means = table.summary("roc_auc").set_index("method")["mean"]
    assert table.optimism()["unsearched"].item() == pytest.approx(means["plain"])
    assert table.settings["plain searched"]["search"].startswith("views v0 | x; 2 trials (grid)")
    assert "search" not in table.settings["plain"]
    both = sm.compare([method, search(method)], bags, folds=2, **HOW)
    assert both.baselines == ("majority",)  # it takes part by itself
    assert both.optimism()["unsearched"].item() == pytest.approx(means["plain"])


def test_what_is_kept_carries_the_search(bags, tmp_path, monkeypatch):
    how = dict(folds=2, cache=tmp_path / "cache", **HOW)
    first = sm.compare([search()], bags, **how)
    monkeypatch.setattr(Plain, "fit", lambda *_: pytest.fail("fitted again"))
    again = sm.compare([search()], bags, **how)
    pd.testing.assert_frame_equal(again.searches(), first.searches())
    first.write(tmp_path / "run")
    kept = pd.read_csv(tmp_path / "run" / "searches.csv")
    assert kept["chosen"].tolist() == first.searches()["chosen"].tolist()
    assert (tmp_path / "run" / "chosen.csv").exists()


def test_it_is_fitted_saved_and_passed_on_as_the_method_is(bags, tmp_path):
    fitted = search(BagMean(**QUIET)).fit(bags)
    assert fitted.trials_["score"].idxmax() == 1
    assert fitted.chosen_ == {"views": "x"}
    model = BagMean(views="x", **QUIET).fit(bags)
    np.testing.assert_array_equal(fitted.predict_proba(bags), model.predict_proba(bags))
    pd.testing.assert_frame_equal(fitted.attribute(bags), model.attribute(bags))
    fitted.save(tmp_path / "model")
    loaded = sm.load(tmp_path / "model")
    assert type(loaded) is BagMean
    assert loaded.searched_ == fitted.searched_
    assert loaded.searched_["chosen"] == {"views": "x"}
    np.testing.assert_array_equal(loaded.forward(bags)[0], fitted.forward(bags)[0])
    other = pickle.loads(pickle.dumps(fitted))
    assert other.best_.identity_ == fitted.best_.identity_
    assert not hasattr(loaded.fit(bags), "searched_")  # of another fit


def test_settings_of_a_search_tell_it_apart():
    assert identity(search()) == identity(clone(search()))
    others = [search(folds=3), search(metric="accuracy"), search(Plain(class_weight="balanced")),
              sm.Search(Plain(), {"views": ["x"]}, sampler="grid", folds=2), Plain()]  # fmt: skip
    assert len({identity(m) for m in [search(), *others]}) == 1 + len(others)
    drawn = [identity(sm.Search("abmil", {"lr": loguniform(1e-4, high)})) for high in (0.1, 0.1, 1)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_arrays_are_donors_of_their_own():
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(3, 2)) + i % 2 for i in range(16)]
    chosen = sm.Search("bag_mean", {"class_weight": [None, "balanced"]}, sampler="grid")
    chosen.set_params(**QUIET).fit(arrays, np.arange(16) % 2)
    assert chosen.searched_["unit"] == "bag"
    assert chosen.predict(arrays).shape == (16,)


def test_a_failed_fit_is_a_failed_trial_and_all_of_them_one_error(bags):
    steps = ["pca=2", "genes=50"]  # there are no 50 features
    chosen = sm.Search(BagMean(views="x", **QUIET), {"preprocess": steps}, sampler="grid")
    fitted = chosen.fit(bags)
    assert fitted.chosen_ == {"preprocess": "pca=2"}
    assert fitted.trials_["score"].isna().tolist() == [False, True]
    assert fitted.searched_["failed"] == 1
    wrong = sm.Search(BagMean(views="lost", **QUIET), {"preprocess": ["pca=2", "pca=1"]})
    with pytest.raises(InputError, match=r"all 2 trials of the search failed.*lost"):
        wrong.fit(bags)


def test_seconds_end_a_search_and_trials_do_not_hang_on_them(bags):
    fitted = search(budget=1e-9).fit(bags)
    assert len(fitted.trials_) == 1  # the first one always runs
    assert "only trials give the same again" in search(budget=60).check()[0]


@pytest.mark.slow
@pytest.mark.parametrize("sampler", ["random", "optuna"])
def test_a_seed_makes_the_same_search_again(bags, sampler):
    if sampler == "optuna":
        pytest.importorskip("optuna")
    space = {"views": ["v0", "x"], "class_weight": [None, "balanced"]}
    how = dict(sampler=sampler, trials=3, folds=2)
    first, again = (sm.Search(BagMean(seed=4, **QUIET), space, **how).fit(bags) for _ in range(2))
    drop = "seconds"
    pd.testing.assert_frame_equal(
        first.trials_.drop(columns=drop), again.trials_.drop(columns=drop)
    )


def test_losses_are_chosen_by_the_least(bags):
    fitted = search(metric="log_loss").fit(bags)
    assert fitted.trials_["score"].idxmin() == 1
    assert fitted.chosen_ == {"views": "x"}
    for splits, metric in ((None, "roc_auc"), ("leave-one-donor-out", "log_loss")):
        _, lineup = prepared([search()], bags, splits=splits)
        assert lineup.methods["plain searched"].metric == metric  # which the table ranks by


def test_expression_is_searched_by_the_donors_of_the_fold():
    slides = planted_slides(4, 16, n_genes=6, seed=0)
    chosen = sm.Search("knn", {"k": [1, 8]}, sampler="grid", folds=2)
    table = sm.compare_expression({"s": chosen, "knn": "knn"}, slides, seeds=1, **HOW)
    found = table.searches()
    assert set(found["metric"]) == {"pcc_slide"}
    outer = table.folds.query("method == 's' and metric == 'pcc_slide'")["value"]
    np.testing.assert_allclose(found["outer"], outer)
    assert set(table.chosen()["value"]) == {"8"}  # one neighbour is noise
    assert "knn" not in table.baselines or "s" not in table.baselines


def test_a_plan_counts_the_fits_inside(bags):
    found = plan([search()], bags, folds=2)
    assert found.fits.set_index("method").loc["plain searched", "inside"] == 4
    assert "6 fits and at most 8 within them to choose settings" in str(found)


def test_who_cannot_be_searched(bags):
    umint = sm.Search(sm.integrate.UMINT(), {"lr": [0.1]})
    with pytest.raises(InputError, match="is no method of smalti.mil"):
        sm.compare([umint], bags)
    with pytest.raises(InputError, match="is of a method of mil or expression"):
        umint.fit(bags)
    first = bags.bag["donor"] == bags.bag["donor"].iloc[-1]
    with pytest.raises(InputError, match="a class has one donor in training"):
        search().fit(bags[np.flatnonzero((bags.labels == 0) | first)])


def test_without_optuna_the_extra_is_named(bags, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        InputError, match=r'optuna is not installed: pip install "smalti\[search\]"'
    ):
        sm.compare([sm.Search(BagMean(**QUIET), {"views": ["x"]}, sampler="optuna")], bags)


@pytest.mark.slow  # workers
def test_workers_choose_the_same(bags):
    here, there = (
        sm.compare([search(Plain(seed=1, **QUIET))], bags, folds=2, n_jobs=n, progress=False)
        for n in (1, 2)
    )
    pd.testing.assert_frame_equal(here.searches(), there.searches())
