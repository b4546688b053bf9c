"""Sites harmonised inside a fold."""

import numpy as np
import pandas as pd
import pytest

import smalti as sm
from smalti.datasets import planted_sites
from smalti.errors import InputError
from smalti.preprocess import apply_steps, by_company, fit_steps, steps_of

combatlearn = pytest.importorskip("combatlearn")


def sites_of(bags):
    return bags.bag["site"].to_numpy()[bags.index]


@pytest.fixture(scope="module")
def halves():
    bags = planted_sites(48, n_sites=4, seed=0)
    return bags[:32], bags[32:]


def test_training_and_later_donors_are_moved_as_combatlearn_moves_them(halves):
    train, test = halves
    steps, moved = fit_steps(steps_of("site_combat"), train)
    x = pd.DataFrame(np.concatenate([train.table(), test.table()]).astype(float))
    batch = pd.Series(np.concatenate([sites_of(train), sites_of(test)]))
    theirs = combatlearn.ComBat(batch, method="johnson").fit(x[: train.n_instances])
    want = theirs.transform(x).to_numpy()
    np.testing.assert_allclose(moved.table(), want[: train.n_instances], atol=1e-5)
    found = apply_steps(steps, test).table()
    np.testing.assert_allclose(found, want[train.n_instances :], atol=1e-5)


def test_site_effects_go_and_what_is_of_a_bag_hangs_on_no_other(halves):
    train, test = halves
    steps, moved = fit_steps(steps_of("site_combat=site"), train)
    means = pd.DataFrame(moved.table()).groupby(sites_of(train)).mean()
    before = pd.DataFrame(train.table()).groupby(sites_of(train)).mean()
    assert means.std().max() < 0.05 * before.std().min()
    whole = apply_steps(steps, test)
    alone = apply_steps(steps, test[[3]])
    assert np.array_equal(alone.table(), whole[[3]].table())
    assert by_company("site_combat") == []


def test_a_site_that_training_lacked_is_refused_or_moved_by_its_own_cells(halves):
    train = halves[0][sorted(np.flatnonzero(halves[0].bag["site"] != "site 02"))]
    new = halves[1][np.flatnonzero(halves[1].bag["site"] == "site 02")]
    steps, _ = fit_steps(steps_of("site_combat"), train)
    with pytest.raises(InputError, match="knows nothing of site 02.*site_combat_transductive"):
        apply_steps(steps, new)
    steps, moved = fit_steps(steps_of("site_combat_transductive"), train)
    with pytest.warns(UserWarning, match="moved by their own cells"):
        found = apply_steps(steps, new).table()
    np.testing.assert_allclose(found.mean(0), moved.table().mean(0), atol=1e-4)
    np.testing.assert_allclose(found.std(0), moved.table().std(0), rtol=1e-4)
    assert by_company("site_combat_transductive") == ["site_combat_transductive"]
    known = halves[1][np.flatnonzero(halves[1].bag["site"] == "site 01")]
    plain = fit_steps(steps_of("site_combat"), train)[0]
    assert np.array_equal(apply_steps(steps, known).table(), apply_steps(plain, known).table())


def test_a_sample_of_very_many_holds_each_site(halves, monkeypatch):
    monkeypatch.setattr("smalti.preprocess.sites._MOST", 200)
    steps, _ = fit_steps(steps_of("site_combat"), halves[0])
    whole = fit_steps(steps_of("site_combat"), halves[0])[0]
    np.testing.assert_allclose(steps[0].shifts_, whole[0].shifts_, atol=1.0)
    assert len(steps[0].sites_) == 4


def test_a_saved_model_moves_bags_alike(halves, tmp_path):
    train, test = halves
    model = sm.mil.BagMean(preprocess="site_combat", progress=False).fit(train)
    model.save(tmp_path / "model")
    again = sm.load(tmp_path / "model")
    assert np.array_equal(model.predict_proba(test), again.predict_proba(test))


@pytest.mark.parametrize(
    ("spec", "words"),
    [("site_combat=target", "is what is to be predicted"), ("site_combat=hospital", "hospital")],
)
def test_a_column_that_is_no_site_is_refused(halves, spec, words):
    with pytest.raises(InputError, match=words):
        fit_steps(steps_of(spec), halves[0])


def test_one_site_and_raw_counts_are_refused(halves):
    one = halves[0][np.flatnonzero(halves[0].bag["site"] == "site 01")]
    with pytest.raises(InputError, match="training is of site 'site 01' alone"):
        fit_steps(steps_of("site_combat"), one)
    counts = sm.Bags.from_list([np.full((5, 2), i) + np.arange(5)[:, None] for i in range(4)],
                               y=[0, 1, 0, 1], site=list("aabb"))  # fmt: skip
    with pytest.raises(InputError, match="these are raw counts"):
        fit_steps(steps_of("site_combat"), counts)
