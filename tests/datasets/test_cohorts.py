import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import smalti as sm
from smalti.datasets import driver_cohort, mixmil_bags, proportion_cohort
from smalti.errors import InputError


def shares(bags):
    return bags.bag.filter(like="share_").to_numpy()


@pytest.mark.parametrize(("margin", "reached"), [(0, 0.9), (20, 0.95)])
def test_a_line_fails_on_the_signature_and_squares_do_not(margin, reached):
    train = proportion_cohort("signature", 1000, cells=1, margin=margin, seed=0)
    test = proportion_cohort("signature", 1000, cells=1, margin=margin, seed=1)

    def auc(features):
        line = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
        line.fit(features(train), train.labels)
        return roc_auc_score(test.labels, line.predict_proba(features(test))[:, 1])

    assert auc(shares) < 0.65
    assert auc(lambda b: np.hstack([shares(b), shares(b) ** 2])) > reached


def test_ranges_of_the_published_simulations():
    bags = proportion_cohort("signature", 400, cells=1, seed=3)
    share = bags.bag.filter(like="share_")
    np.testing.assert_allclose(share.sum(axis=1), 1)
    ratio = (share["share_CD4"] / share["share_B"]).to_numpy()  # totals cancel
    ill = bags.labels == 1
    assert np.median(ratio[~ill]) > 0
    assert (ratio[~ill] >= 22 / 69 - 1e-9).all()
    assert (ratio[~ill] <= 93 / 4 + 1e-9).all()
    low = share["share_CD4"][ill] < np.quantile(share["share_CD4"][~ill], 0.05)
    assert 0.3 < low.mean() < 0.6  # half of the ill have too few
    both = proportion_cohort("interaction", 600, cells=1, seed=3)
    ratio = (both.bag["share_monocyte"] / both.bag["share_CD4"]).to_numpy()
    assert (ratio[both.labels == 1] >= 49 / 115 - 1e-9).all()
    assert (ratio[both.labels == 1] <= 69 / 93 + 1e-9).all()


def test_cells_follow_the_proportions_and_types_have_their_place():
    bags = proportion_cohort("signature", 4, cells=4000, law_seed=5, seed=0)
    other = proportion_cohort("signature", 4, cells=4000, law_seed=5, seed=1)
    for i, one in enumerate(bags):
        share = one.instance["cell_type"].value_counts(normalize=True)
        for name, value in share.items():
            assert value == pytest.approx(bags.bag[f"share_{name}"].iloc[i], abs=0.03)
    mean = [b.table()[b.instance["cell_type"].to_numpy() == "B"].mean(0) for b in (bags, other)]
    np.testing.assert_allclose(*mean, atol=0.25)  # one law
    both = np.concatenate([bags.table(), other.table()])
    assert len(np.unique(both, axis=0)) == len(both)  # no cell twice


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.2])
def test_drivers_are_as_many_and_as_far_as_said(rate):
    bags = driver_cohort(10, driver_rate=rate, effect=3.0, n_features=12, n_types=1)
    key = bags.instance["key"].to_numpy()
    for i, n in enumerate(bags.lengths):
        count = key[bags.index == i].sum()
        assert count == (max(1, round(rate * n)) if bags.labels[i] else 0)
    x = bags.table()
    positive = bags.labels[bags.index] == 1
    shift = x[key].mean(0) - x[positive & ~key].mean(0)
    assert np.linalg.norm(shift) == pytest.approx(3.0, abs=1.0 if rate == 0.01 else 0.4)


def test_options_of_the_driver_cohort():
    bags = driver_cohort(12, samples_per_donor=2, driver_type="T2", background_rate=0.02,
                         batches=3, batch_effect=5.0, confounder=0.8, cells=(300, 300))  # fmt: skip
    assert len(bags) == 24
    assert bags.bag.groupby("donor")["target"].nunique().max() == 1
    key = bags.instance["key"].to_numpy()
    assert set(bags.instance["cell_type"][key]) == {"T2"}
    assert (np.bincount(bags.index, key)[bags.labels == 0] == 6).all()
    assert bags.bag["batch"].nunique() == 3
    many = driver_cohort(2000, cells=(2, 2), confounder=0.6, n_types=1, n_features=3)
    r = np.corrcoef(many.bag["confounder"], many.labels)[0, 1]
    assert r == pytest.approx(0.6, abs=0.05)
    plain = driver_cohort(2000, cells=(2, 2), n_types=1, n_features=3)
    assert abs(np.corrcoef(plain.bag["confounder"], plain.labels)[0, 1]) < 0.08


def test_kinds_and_laws():
    three = driver_cohort(9, kind="multiclass")
    assert sorted(set(three.labels)) == [0, 1, 2]
    real = driver_cohort(9, kind="regression", driver_rate=0.3, cells=(500, 600))
    found = np.bincount(real.index, real.instance["key"]) / real.lengths
    np.testing.assert_allclose(found, real.labels, atol=0.01)


def test_one_law_many_samples():
    def shift(law_seed, seed):
        bags = driver_cohort(20, n_types=1, driver_rate=0.5, effect=4.0, cells=(400, 400),
                             law_seed=law_seed, seed=seed)  # fmt: skip
        x, key = bags.table(), bags.instance["key"].to_numpy()
        return x[key].mean(0) - x[~key].mean(0), x

    (one, a), (two, b), (other, _) = shift(7, 0), shift(7, 1), shift(8, 0)
    np.testing.assert_allclose(one, two, atol=0.15)  # 4,000 drivers each: s.e. 0.02
    assert np.linalg.norm(one) == pytest.approx(4.0, abs=0.1)
    assert abs(one @ other) < 12  # of 16: another direction
    assert len(np.unique(np.concatenate([a, b]), axis=0)) == len(a) + len(b)  # no cell twice


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression"])
@pytest.mark.parametrize("rate", [0.05, 0.4])
def test_composition_does_not_tell_where_drivers_are_of_one_type(kind, rate):
    bags = driver_cohort(600, kind=kind, driver_rate=rate, driver_type="T2", cells=(200, 200),
                         n_features=3)  # fmt: skip
    key = bags.instance["key"].to_numpy()
    assert set(bags.instance["cell_type"][key]) == {"T2"}
    share = np.bincount(bags.index, bags.instance["cell_type"] == "T2") / bags.lengths
    assert share.min() >= rate
    assert abs(np.corrcoef(share, bags.labels)[0, 1]) < 0.12  # 3 / sqrt(600)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["binary", "multiclass", "regression"])
def test_batch_and_confounder_shift_all_cells(kind):
    plain, shifted = (
        driver_cohort(60, cells=(200, 200), kind=kind, batches=2, batch_effect=length)
        for length in (0.0, 5.0)
    )
    moved = shifted.table() - plain.table()
    np.testing.assert_allclose(np.linalg.norm(moved, axis=1), 5.0, rtol=1e-4)
    assert len(np.unique(moved.round(3), axis=0)) == 2  # one shift for each batch
    many = driver_cohort(
        3000, cells=(2, 2), kind=kind, confounder=0.9, n_types=1, n_features=4, effect=0.0
    )
    trait = many.bag["confounder"].to_numpy()
    assert trait.std() == pytest.approx(1.0, abs=0.05)
    truth = many.labels if kind == "regression" else many.labels > 0
    assert np.corrcoef(trait, truth)[0, 1] == pytest.approx(0.9, abs=0.02)
    x = many.table() - many.table().mean(0)
    slope = trait[many.index] @ x / (2 * trait @ trait)
    assert np.linalg.norm(slope) == pytest.approx(1.0, abs=0.1)


def test_mixmil_truth():
    bags = mixmil_bags(400, n_outputs=2)
    weight = bags.instance["weight_0"].to_numpy()
    np.testing.assert_allclose(np.bincount(bags.index, weight), 1)
    assert bags.bag["u_0"].var(ddof=0) == pytest.approx(0.5)
    assert set(np.unique(bags.labels)) == {0, 1, 2}
    expected = 2 / (1 + np.exp(1 - bags.bag["u_0"]))
    assert bags.labels[:, 0].mean() == pytest.approx(expected.mean(), abs=0.1)
    score = np.log(weight) - np.log(weight).reshape(400, 50).mean(1).repeat(50)
    assert score.var() == pytest.approx(0.8, rel=0.05)


@pytest.mark.parametrize(("make", "settings", "match"), [
    (proportion_cohort, dict(kind="x"), "kind='x'"), (proportion_cohort, dict(split=2), "split"),
    (proportion_cohort, dict(margin=40), "margin"), (proportion_cohort, dict(cells=0), "cells=0"),
    (driver_cohort, dict(kind="x"), "kind='x'"), (driver_cohort, dict(driver_rate=0), "over 0"),
    (driver_cohort, dict(confounder=2), "correlation"),
    (driver_cohort, dict(cells=(9, 3)), "least"),
    (driver_cohort, dict(driver_type="X"), "driver_type='X' is not one of"),
    (driver_cohort, dict(n_features=1), "needs 2 directions"),
    (driver_cohort, dict(cells=200), "the least and the most"),
    (driver_cohort, dict(n_donors=2.5), "n_donors=2.5 must be a whole"),
    (driver_cohort, dict(n_types=float("nan")), "n_types=nan must be a whole"),
    (driver_cohort, dict(effect=float("nan")), "finite"),
    (driver_cohort, dict(kind="multiclass", n_classes=1), "n_classes=1"),
    (driver_cohort, dict(kind="regression", background_rate=0.1), "background_rate"),
    (proportion_cohort, dict(separation=0), "separation=0"),
    (mixmil_bags, dict(n_bags=1), "at least 2"),
])  # fmt: skip
def test_numbers_that_make_no_cohort(make, settings, match):
    with pytest.raises(InputError, match=match):
        make(**settings)


def test_pictured_cells_hide_half_of_the_ill_from_each_view():
    pytest.importorskip("skimage")
    cells = sm.datasets.pictured_cells(12, 40, seed=1)
    share = cells.bag["share"]
    assert share[cells.labels == "ill"].min() > 0.55 > 0.2 > share[cells.labels == "healthy"].max()
    kinds = cells.instance.groupby(cells.index)["altered"].unique()
    assert not any({"genes", "look"} <= set(k) for k in kinds)  # one of the two in a donor
    assert {"genes", "look"} <= set(cells.instance["altered"])
    altered, tumour = cells.instance["altered"], cells.instance["cell_type"] == "tumour"
    assert set(cells.instance["cell_type"][altered != "no"]) == {"tumour"}
    names = list(cells.features["counts"])
    programme = cells.table("counts")[:, [n.startswith("PROG") for n in names]].mean(1)
    dark = 255 - cells.table("tile")[:, :, 8:24, 8:24].mean((1, 2, 3))
    plain = tumour & (altered == "no")
    for values, kind, other in ((programme, "genes", "look"), (dark, "look", "genes")):
        assert values[altered == kind].mean() > 1.5 * values[plain].mean()
        assert abs(values[altered == other].mean() / values[plain].mean() - 1) < 0.25
    with pytest.raises(InputError, match="1 donors, 40 cells, 40 genes, tiles of 32 px: take 2"):
        sm.datasets.pictured_cells(1, 40)
