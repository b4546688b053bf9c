"""Settings that all methods trained by gradient share do what they say, in each of them."""

import dataclasses

import numpy as np
import pytest

import smalti as sm
from smalti.batch import Shape
from smalti.core.stage import Gradient
from smalti.datasets import planted_bags
from smalti.errors import InputError
from smalti.mil.base import NetworkMethod
from smalti.task import Task

NETWORKS = [m for m in sm.methods().values() if issubclass(m, NetworkMethod)]
QUICK = {"abmil", "mi_net", "mean_pooling"}
EACH = [pytest.param(m, id=m.name, marks=[] if m.name in QUICK else pytest.mark.slow)
        for m in NETWORKS]  # fmt: skip


ODD = {
    "epochs": 7, "lr": 0.017, "optimizer": "sgd", "momentum": 0.31, "weight_decay": 0.013,
    "batch_size": 11, "max_instances": 1234, "patience": 3,
}  # fmt: skip


@pytest.mark.parametrize(("cls", "own"), [
    *((m, {}) for m in NETWORKS), (sm.mil.ProtoCell4P, {"pretrain": False}),
], ids=lambda x: "-".join(x) if isinstance(x, dict) else x.name)  # fmt: skip
def test_every_shared_setting_reaches_the_last_stage(cls, own):
    shape = Shape({"x": (4,)}, Task.infer([0, 1]), 20, levels=("a", "b"))
    stages = list(cls.example().set_params(**ODD, **own).plan(shape))
    last = [stage for stage in stages if isinstance(stage, Gradient)][-1]
    assert {name: getattr(last, name) for name in ODD} == ODD
    scaled = [list(cls.example().set_params(standardize=s).plan(shape)) for s in (True, False)]
    if cls.name != "cloudpred":  # which scales by one number instead
        assert len(scaled[0]) == len(scaled[1]) + (cls.name != "protocell4p")


def fitted(cls, bags, **settings):
    settings = {"progress": False, "accelerator": "cpu", "epochs": 8} | settings
    return cls.example().set_params(**settings).fit(bags)


def size(model):
    """Sum of squares of all that was trained by gradient."""
    return sum(float(p.detach().square().sum()) for p in model.network_.parameters())


@pytest.mark.filterwarnings("ignore:.*still falling")
@pytest.mark.parametrize("cls", EACH)
def test_weight_decay_shrinks_the_weights(cls):
    bags = planted_bags(16)
    assert size(fitted(cls, bags, weight_decay=1.0)) < 0.999 * size(
        fitted(cls, bags, weight_decay=0.0)
    )


@pytest.mark.filterwarnings("ignore:.*still falling")
@pytest.mark.parametrize("cls", EACH)
def test_a_class_without_weight_is_not_learned(cls):
    bags = planted_bags(16)
    plain, without = (fitted(cls, bags, class_weight=w) for w in (None, {1: 0.0, 0: 1.0}))
    p, q = (m.predict_proba(bags)[:, 1].mean() for m in (plain, without))
    assert q < p - 0.02


@pytest.mark.filterwarnings("ignore:.*still falling")
@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_weight_decay_of_each_optimizer(optimizer):
    bags = planted_bags(16)
    one, two = (size(fitted(sm.mil.ABMIL, bags, weight_decay=w, optimizer=optimizer))
                for w in (0.0, 1.0))  # fmt: skip
    assert two < 0.999 * one


@pytest.mark.filterwarnings("ignore:.*still falling")
def test_class_weights_multiply_the_loss_of_each_bag():
    """The loss of the first epoch, from the same start, in one step over all bags."""
    bags = planted_bags(16)
    start = dict(epochs=1, batch_size=16, dropout=0.0)
    per_class = {}
    for c in (0, 1):
        alone = dict.fromkeys((0, 1), 0.0) | {c: 1.0}
        found = fitted(sm.mil.ABMIL, bags, class_weight=alone, **start)
        per_class[c] = found.history_["train_loss"].iloc[-1]
    both = fitted(sm.mil.ABMIL, bags, class_weight={0: 2.0, 1: 5.0}, **start)
    n0, n1 = (bags.labels == 0).sum(), (bags.labels == 1).sum()
    wanted = (2 * n0 * per_class[0] + 5 * n1 * per_class[1]) / (2 * n0 + 5 * n1)
    assert both.history_["train_loss"].iloc[-1] == pytest.approx(wanted, rel=1e-5)


def test_each_weight_is_of_the_bags_class():
    bags = planted_bags(16)
    keep = np.r_[np.flatnonzero(bags.labels == 0)[:2], np.flatnonzero(bags.labels == 1)]
    few = dataclasses.replace(bags[keep])
    task = few.task
    found = task.weights(few.labels, "balanced")
    n0, n1 = (few.labels == 0).sum(), (few.labels == 1).sum()
    assert found[few.labels == 0] == pytest.approx(len(few) / 2 / n0)
    assert found[few.labels == 1] == pytest.approx(len(few) / 2 / n1)


@pytest.mark.filterwarnings("ignore:.*still falling")
@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_class_weights_reach_steps_of_any_size(batch_size):
    """A step that is divided by its own weight forgets it where it holds one bag."""
    bags = planted_bags(16)
    sgd = dict(epochs=1, batch_size=batch_size, dropout=0.0, optimizer="sgd", weight_decay=0.0,
               momentum=0.0, lr=1e-4, precision="64-true")  # fmt: skip
    start = fitted(sm.mil.ABMIL, bags, **sgd | {"lr": 1e-12})
    moved = {}
    for key, weight in {
        "one": {0: 1.0, 1: 0.0},
        "two": {0: 0.0, 1: 1.0},
        "both": {0: 1.0, 1: 3.0},
    }.items():
        model = fitted(sm.mil.ABMIL, bags, class_weight=weight, **sgd)
        moved[key] = [
            (a - b).detach().double() for a, b in zip(
                model.network_.parameters(), start.network_.parameters(), strict=True)
        ]  # fmt: skip
    n = np.array([(bags.labels == c).sum() for c in (0, 1)]) / len(bags)
    for one, two, both in zip(*moved.values(), strict=True):
        wanted = (n[0] * one + 3 * n[1] * two) / (n[0] + 3 * n[1])
        assert (both - wanted).norm() <= 0.02 * both.norm() + 1e-12


# ---------------------------------------------------------------- views


def two_halves(n=60, seed=0):
    """Half of the positive bags show it in the one view, half in the other."""
    rng = np.random.default_rng(seed)
    y, of = np.arange(n) % 2, np.repeat(np.arange(n), 8)
    views = {"genes": rng.normal(size=(8 * n, 4)), "look": rng.normal(size=(8 * n, 3))}
    for name, rest in (("genes", 1), ("look", 3)):
        views[name][np.isin(of, np.flatnonzero(np.arange(n) % 4 == rest)), 0] += 2
    views["spare"] = np.zeros((8 * n, 2))
    return sm.Bags.from_rows(views, of, y=y[of], donor="bag")


STEPS = {"genes": "scale", "look": "scale,pca=2"}


@pytest.mark.parametrize(
    "cls", [pytest.param(sm.mil.ABMIL, marks=pytest.mark.slow), sm.mil.BagMean, sm.mil.MiFV]
)
def test_several_views_stand_side_by_side(cls, tmp_path):
    bags, settings = two_halves(), {"preprocess": STEPS, "progress": False}
    if hasattr(cls.example(), "epochs"):
        settings["epochs"] = 25
    models = {views: cls.example().set_params(views=views, **settings).fit(bags)
              for views in ("genes", "look", ("genes", "look"))}  # fmt: skip
    both = models["genes", "look"]
    assert list(both.inputs_) == ["genes", "look"]
    new = two_halves(seed=1)
    scores = {views: model.score(new) for views, model in models.items()}
    assert scores["genes", "look"] > max(scores["genes"], scores["look"]) + 0.05
    both.save(tmp_path / "model")
    again = sm.load(tmp_path / "model")
    assert again.views == ("genes", "look")
    np.testing.assert_array_equal(again.predict(new), both.predict(new))
    np.testing.assert_array_equal(again.attribute(new), both.attribute(new))
    with pytest.raises(InputError, match="no view 'look'"):
        both.predict(new.only("genes"))
    assert models["genes"].predict(new.only("genes")).shape == (60,)
    alone = both.predict_proba(new[[3]])  # whatever else is predicted with it
    np.testing.assert_allclose(alone[0], both.predict_proba(new)[3], atol=1e-6)


def test_one_mapping_of_steps_serves_all_choices_of_views():
    bags = two_halves()
    alone = sm.mil.BagMean(views="look", preprocess=STEPS, progress=False).fit(bags)
    plain = sm.mil.BagMean(preprocess="scale,pca=2", progress=False).fit(bags.only("look"))
    np.testing.assert_array_equal(alone.predict_proba(bags), plain.predict_proba(bags.only("look")))


def test_a_model_of_one_view_asks_for_no_other():
    bags = two_halves(8)
    model = sm.mil.BagMean(preprocess="scale", progress=False).fit(bags)
    assert list(model.inputs_) == ["genes"]
    assert model.predict(bags.only("genes")).shape == (8,)


def test_a_model_knows_its_training_bags_by_the_views_that_it_reads():
    bags = dataclasses.replace(two_halves(), donor=None)
    model = sm.mil.BagMean(views="look", progress=False).fit(bags)
    with pytest.warns(UserWarning, match="some of these bags were in its training"):
        model.predict(bags[:4])


@pytest.mark.parametrize(("settings", "match"), [
    ({"preprocess": STEPS}, r"names view 'look', and bag_mean reads 'genes' alone: .*"
                            r"views=\['genes', 'look'\]"),
    ({"views": ("genes", "loook")}, "no view 'loook'; there are"),
    ({"views": ()}, "no view is named; there are"),
    ({"views": ("genes", "look"), "preprocess": {"lok": "scale"}}, "no view 'lok'"),
    ({"views": 3}, "views=3 should be"),
])  # fmt: skip
def test_views_that_cannot_be_read(settings, match):
    with pytest.raises(InputError, match=match):
        sm.mil.BagMean(progress=False, **settings).fit(two_halves(8))
