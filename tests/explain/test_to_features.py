"""Predictions made of features: closed forms, completeness, and the way back through steps."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

import smalti as sm
from smalti.core.instances import as_array
from smalti.errors import InputError
from smalti.explain import feature_attributions
from smalti.mil import ABMIL, BagMean, Majority
from smalti.system import extras

captum = pytest.mark.skipif(extras.absent("captum") is not None, reason="captum is not installed")


def cohort(seed, **more):
    return sm.datasets.planted_bags(20, mean_length=10, seed=seed, **more)


def by_bag(values, bags):
    return np.add.reduceat(values, bags.offsets[:-1]) / bags.lengths[:, None]


def slope(model):
    return as_array(model.network_.slopes().detach())[:, 0].astype(float)


@pytest.mark.slow
@pytest.mark.parametrize("steps", [None, "pca=5", "scale", "scale,pca=5"])
def test_of_the_mean_of_a_bag_it_is_coefficients_times_differences(steps):
    train, test = cohort(0), cohort(1)
    model = BagMean(preprocess=steps, progress=False).fit(train)
    found = feature_attributions(model, test)
    # of features without names, and without a step, a model keeps no mean
    weight, middle = slope(model), (train if steps else test).table().astype(float).mean(0)
    for step in reversed(model.steps_):
        weight = step.axes_ @ weight if step.name == "pca" else weight / step.sd_
    by_hand = (by_bag(test.table().astype(float), test) - middle) * weight
    assert found.how == "linear"
    scale = np.abs(by_hand).max()
    assert np.allclose(found.bags, by_hand, atol=1e-5 * scale)  # steps give float32
    assert found.gap < 1e-5
    assert found.bags.shape == (20, 8)


@captum
@pytest.mark.parametrize(
    ("kind", "of"),
    [("binary", None), ("multiclass", 1), ("ordinal", None), ("regression", None)],
)
def test_they_sum_to_the_difference_from_a_bag_of_average_instances(kind, of):
    train, test = cohort(0, kind=kind), cohort(1, kind=kind)
    model = ABMIL(widths=(8,), attention_width=4, epochs=3, task=kind, preprocess="scale,pca=6",
                  progress=False).fit(train)  # fmt: skip
    found = feature_attributions(model, test, of=of, steps=100)
    middle = dataclasses.replace(test, x={"x": np.broadcast_to(
        model.steps_[0].mean_, test.table().shape).astype(np.float32)})  # fmt: skip

    def said(bags):
        raw = model.forward(bags)[0].astype(float)
        if kind == "multiclass":
            return raw[:, of] - raw.mean(1)
        return raw.mean(1) * (model.task_.scale if kind == "regression" else 1)

    gaps = said(test) - said(middle)
    assert found.how == "integrated gradients"
    assert np.allclose(found.bags.sum(axis=1), gaps, atol=0.02 * np.abs(gaps).max())
    assert found.gap < 0.02


@captum
def test_planted_features_come_first():
    law = dict(cells=(20, 30), driver_rate=0.3, effect=6, n_features=12, n_types=2)
    train, test = (sm.datasets.driver_cohort(30, seed=s, **law) for s in (0, 1))
    model = ABMIL(widths=(16,), epochs=30, lr=0.01, progress=False).fit(train)
    key = test.instance["key"].to_numpy()
    marked = np.abs(test.table()[key].mean(0) - test.table()[~key].mean(0))
    first = feature_attributions(model, test).table()["feature"].iloc[0]
    assert int(first.split()[1]) - 1 in np.argsort(-marked)[:3]


def test_of_the_other_class_the_signs_turn():
    train, test = cohort(0), cohort(1)
    model = BagMean(progress=False).fit(train)
    one, two = (feature_attributions(model, test, of=c).bags for c in (1, 0))
    assert np.allclose(one, -two)


def test_an_embedding_made_elsewhere_goes_back_by_its_loadings():
    rng = np.random.default_rng(0)
    train, test = cohort(0), cohort(1)
    axes = np.linalg.qr(rng.normal(size=(30, 8)))[0] * [1, 2, 3, 1, 1, 1, 1, 1]
    loadings = pd.DataFrame(axes, index=[f"gene{i}" for i in range(30)])
    model = BagMean(progress=False).fit(train)
    plain, found = (feature_attributions(model, test, loadings=w) for w in (None, loadings))
    assert found.bags.columns[3] == "gene3"
    assert np.allclose(found.bags.sum(axis=1), plain.bags.sum(axis=1))
    # a gene that only the second component holds has what that component has
    alone = np.zeros((8, 8))
    alone[np.arange(8), np.arange(8)[::-1]] = 2.0
    turned = feature_attributions(model, test, loadings=alone)
    assert np.allclose(turned.bags, plain.bags.to_numpy()[:, ::-1])


def test_cut_values_are_no_linear_step_and_what_is_named_is_what_the_network_reads():
    train, test = cohort(0), cohort(1)
    cut = sm.preprocess.Scale(max_value=0.5)
    model = BagMean(preprocess=[cut, sm.preprocess.PCA(n=3)], progress=False).fit(train)
    found = feature_attributions(model, test)
    assert found.bags.shape == (20, 8)  # back to the cut values
    assert found.gap < 1e-5


def test_counts_come_back_as_genes_by_name():
    rng = np.random.default_rng(0)
    names = {"x": [f"g{i}" for i in range(30)]}
    parts = [sm.Bags.from_rows(rng.poisson(3, size=(80, 30)), np.repeat(np.arange(8), 10),
                               y={i: i % 2 for i in range(8)}, donor="bag", features=names)
             for _ in range(2)]  # fmt: skip
    model = BagMean(preprocess="normalize,log1p,genes=12,scale,pca=4", progress=False)
    found = feature_attributions(model.fit(parts[0]), parts[1])
    assert found.bags.shape == (8, 12)
    assert set(found.bags) < set(names["x"])
    table = found.table()
    assert table["size"].is_monotonic_decreasing
    assert table["donors"].tolist() == [8] * 12


@pytest.mark.parametrize(
    ("method", "how", "message"),
    [(BagMean(), {"of": "ill"}, "bag_mean: of='ill' is no class; there are 0, 1"),
     (BagMean(), {"loadings": np.zeros((5, 3))}, r"loadings of shape \(5, 3\) do not belong"),
     (Majority(), {}, "majority: no gradient passes")],
)  # fmt: skip
def test_what_cannot_be_attributed_is_said(method, how, message):
    model = method.set_params(progress=False).fit(cohort(0))
    with pytest.raises(InputError, match=message):
        feature_attributions(model, cohort(1), **how)


def test_several_classes_must_be_named_and_bags_of_the_training_are_said():
    model = BagMean(progress=False).fit(cohort(0, kind="multiclass"))
    with pytest.raises(InputError, match="say which class is spoken for; there are 0, 1, 2"):
        feature_attributions(model, cohort(1, kind="multiclass"))
    with pytest.warns(UserWarning, match="20 of these 20 bags"):
        feature_attributions(model, cohort(0, kind="multiclass"), of=2)


def test_a_network_that_draws_at_random_is_said_not_to_add_up(monkeypatch):
    from smalti.explain import path_gradients

    plain = path_gradients.Path.gradients

    def half(self, steps):
        gradients, *rest = plain(self, steps)
        return gradients * 0.5, *rest

    monkeypatch.setattr(path_gradients.Path, "gradients", half)
    with pytest.warns(UserWarning, match="miss the difference of predictions by up to 50%"):
        feature_attributions(BagMean(progress=False).fit(cohort(0)), cohort(1))
