"""mi-Graph against its equations, pair by pair, and against scikit-learn's machines."""

import dataclasses

import numpy as np
import pytest
import torch
from sklearn.svm import SVC, SVR

import smalti as sm
from smalti.datasets import planted_bags
from smalti.errors import InputError
from smalti.mil import MiGraph
from smalti.mil import mi_graph as module
from smalti.mil.mi_graph import bag_kernels, voice_of

pytestmark = pytest.mark.filterwarnings("ignore:.*donors whose names")
ONE = {"gammas": 2.0, "costs": 3.0, "folds": 3, "progress": False, "accelerator": "cpu"}


def voices(x):
    distance = [[np.sqrt(((a - b) ** 2).sum()) for b in x] for a in x]
    mean = np.mean(distance)
    return np.array([1 / sum(d <= mean for d in row) for row in distance])


def kernel(one, two, gamma):
    v, w = voices(one), voices(two)
    total = sum(v[a] * w[b] * np.exp(-gamma * ((one[a] - two[b]) ** 2).sum())
                for a in range(len(one)) for b in range(len(two)))  # fmt: skip
    return total / (v.sum() * w.sum())


def scaled(bags, by):
    x = by.table().astype(float)
    return [(b.table().astype(float) - x.mean(0)) / x.std(0) for b in bags]


@pytest.mark.parametrize("pairs", [2**24, 40], ids=["whole", "in pieces"])
def test_the_kernel_is_that_of_every_pair(pairs, monkeypatch):
    monkeypatch.setattr(module, "_PAIRS", pairs)
    bags = scaled(*[planted_bags(7, n_features=4, mean_length=8)] * 2)
    x = [torch.as_tensor(b) for b in bags]
    ends = np.concatenate([[0], np.cumsum([len(b) for b in bags])])
    found = bag_kernels(torch.cat(x), torch.cat([voice_of(b) for b in x]), ends, [0.1, 0.7])
    for k, gamma in zip(found, [0.1, 0.7], strict=True):
        wanted = [[kernel(a, b, gamma) for b in bags] for a in bags]
        np.testing.assert_allclose(k, wanted, rtol=1e-10)


@pytest.mark.parametrize("kind", ["binary", "regression"])
def test_a_prediction_is_that_of_the_machine(kind):
    train, test = (planted_bags(24, n_features=4, mean_length=8, seed=s, kind=kind) for s in (0, 1))
    model = MiGraph(**ONE).fit(train)
    model.set_params(precision="64-true")
    ours, theirs = scaled(train, train), scaled(test, train)
    gamma = 2.0 / (2 * np.concatenate(ours).var(0).sum())
    inner = [[kernel(a, b, gamma) for b in ours] for a in ours]
    across = [[kernel(a, b, gamma) for b in ours] for a in theirs]
    machine = (SVC if kind == "binary" else SVR)(C=3.0, kernel="precomputed")
    machine.fit(inner, model.task_.encode(train.labels))
    decision = machine.decision_function(across) if kind == "binary" else machine.predict(across)
    raw, instance, _ = model.forward(test)
    slope, constant = np.polyfit(decision, raw[:, 0], 1)
    np.testing.assert_allclose(raw[:, 0], slope * decision + constant, atol=1e-4)
    assert slope > 0
    sums = np.add.reduceat(instance["contribution"][:, 0], test.offsets[:-1])
    np.testing.assert_allclose(np.diff(raw[:, 0] - sums), 0, atol=1e-6)


def test_a_contribution_is_what_the_instance_brings():
    bags = planted_bags(24, n_features=4, mean_length=8)
    model = MiGraph(**ONE).fit(bags)
    x = bags[[3]].table()
    twice = np.concatenate([x, x[:1]])  # a copy: all that are linked to it speak less
    raw, instance, _ = model.forward(sm.Bags.from_list([x, twice]))
    part = instance["contribution"][len(x) :, 0]
    assert part[0] == pytest.approx(part[-1], rel=1e-4)
    key = bags.instance["key"].to_numpy()
    every = model.forward(bags)[1]["contribution"][:, 0] / 1.0
    assert every[key].mean() > every[~key].mean()
    assert np.isfinite(raw).all()


def test_the_choice_is_the_least_loss_in_folds_of_donors():
    bags = planted_bags(40, effect=4.0)
    several = MiGraph(progress=False).fit(bags)
    losses = []
    for gamma in several.gammas:
        for cost in several.costs:
            one = several.__class__(gammas=gamma, costs=cost, progress=False).fit(bags)
            losses.append(float(one.history_["train_loss"].iloc[-1]))
    assert float(several.history_["train_loss"].iloc[-1]) == pytest.approx(min(losses))


def test_many_instances_are_drawn_and_new_bags_are_read_whole():
    bags = planted_bags(30, mean_length=40)
    model = MiGraph(max_instances=300, **ONE).fit(bags)
    assert len(model.network_.support) <= 300
    assert (model.predict(bags) == bags.labels).mean() > 0.9
    assert len(model.attribute(bags)) == bags.n_instances


def test_copies_and_lone_instances():
    same = torch.ones(4, 3, dtype=torch.float64)
    np.testing.assert_allclose(voice_of(same), 0.25)
    np.testing.assert_allclose(voice_of(same[:1]), 1.0)
    two = torch.tensor([[0.0], [1.0]], dtype=torch.float64)  # further apart than their mean
    np.testing.assert_allclose(voice_of(two), 0.5)


def test_a_saved_machine_keeps_its_support(tmp_path):
    bags = planted_bags(24)
    model = MiGraph(**ONE).fit(bags)
    model.save(tmp_path / "model")
    again = sm.load(tmp_path / "model")
    assert again.network_.support.shape == model.network_.support.shape
    np.testing.assert_array_equal(again.forward(bags)[0], model.forward(bags)[0])


def test_a_survival_target_is_refused():
    bags = planted_bags(24, kind="survival")
    with pytest.raises(InputError, match="cannot learn a survival target"):
        MiGraph(**ONE).fit(bags)


def test_class_weight_moves_the_machine():
    bags = planted_bags(24, effect=1.0)
    plain, heavy = (MiGraph(class_weight=c, **ONE).fit(bags) for c in (None, {1: 5.0}))
    assert heavy.forward(bags)[0].mean() > plain.forward(bags)[0].mean()


def test_an_image_is_its_pixels():
    bags = planted_bags(20, n_features=8)
    images = dataclasses.replace(bags, x={"x": bags.table().reshape(-1, 2, 2, 2)}, features={})
    model = MiGraph(**ONE).fit(images)
    assert np.isfinite(model.forward(images)[0]).all()
