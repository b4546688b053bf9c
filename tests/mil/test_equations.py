"""The networks of bags against the equations, instance by instance, in NumPy."""

import numpy as np
import pytest
import torch

import smalti as sm
from smalti.datasets import planted_bags

pytestmark = pytest.mark.filterwarnings("ignore:.*still falling", "ignore:.*donors whose names")
KW = {"widths": (5, 4), "epochs": 2, "lr": 0.05, "progress": False, "accelerator": "cpu"}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def weights(model):
    return {k: v.double().numpy() for k, v in model.network_.state_dict().items()}


def dense(w, name, x):
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def layers(w, x):
    """What each layer of the perceptron makes of one scaled instance."""
    x = (x - w["scale.mean"]) / w["scale.sd"]
    names = sorted({k.rsplit(".", 1)[0] for k in w if k.startswith(("encoder", "layers"))})
    found = []
    for name in names:
        x = np.maximum(dense(w, name, x), 0)
        found.append(x)
    return found


def abmil(w, bag, gated):
    h = [layers(w, x)[-1] for x in bag]
    scores = []
    for one in h:
        inner = dense(w, "attention.inner", one)
        v = np.tanh(inner[: len(inner) // 2] if gated else inner)
        u = sigmoid(inner[len(inner) // 2 :]) if gated else 1.0
        scores.append(float(dense(w, "attention.outer", v * u)[0]))
    a = np.exp(scores) / np.exp(scores).sum()
    return float(dense(w, "head", sum(p * one for p, one in zip(a, h, strict=True)))[0])


def pooled(w, bag, pool):
    h = [layers(w, x)[-1] for x in bag]
    return float(dense(w, "head", pool(h, axis=0))[0])


def mi_net(w, bag, pool):
    scores = [float(dense(w, "head", layers(w, x)[-1])[0]) for x in bag]
    if pool == "max":
        return max(scores)
    mean = np.mean([sigmoid(s) for s in scores])  # probabilities are averaged, not logits
    return float(np.log(mean / (1 - mean)))


def mi_net_ds(w, bag, pool):
    p = []
    for k in range(2):
        h = [layers(w, x)[k] for x in bag]
        z = np.max(h, axis=0) if pool == "max" else np.mean(h, axis=0)
        p.append(sigmoid(dense(w, f"heads.{k}", z)[0]))
    return float(np.log(np.mean(p) / (1 - np.mean(p))))


@pytest.mark.parametrize(("model", "equation"), [
    (sm.mil.ABMIL(gated=False, **KW), lambda w, bag: abmil(w, bag, False)),
    (sm.mil.ABMIL(gated=True, **KW), lambda w, bag: abmil(w, bag, True)),
    (sm.mil.MeanPooling(**KW), lambda w, bag: pooled(w, bag, np.mean)),
    (sm.mil.MaxPooling(**KW), lambda w, bag: pooled(w, bag, np.max)),
    (sm.mil.MiNet(pool="max", **KW), lambda w, bag: mi_net(w, bag, "max")),
    (sm.mil.MiNet(pool="mean", **KW), lambda w, bag: mi_net(w, bag, "mean")),
    (sm.mil.MINetDS(pool="max", **KW), lambda w, bag: mi_net_ds(w, bag, "max")),
    (sm.mil.MINetDS(pool="mean", **KW), lambda w, bag: mi_net_ds(w, bag, "mean")),
], ids=["abmil", "gated", "mean", "max", "mi-max", "mi-mean", "ds-max", "ds-mean"])  # fmt: skip
def test_a_network_equals_its_equation(model, equation):
    bags = planted_bags(12, n_features=4, mean_length=6)
    model = model.fit(bags)
    w = weights(model)
    wanted = [equation(w, bags[[i]].table().astype(float)) for i in range(len(bags))]
    assert np.ptp(wanted) > 1e-3
    np.testing.assert_allclose(model.forward(bags)[0][:, 0], wanted, rtol=1e-4, atol=1e-5)


def test_an_embedding_is_what_the_head_reads():
    bags = planted_bags(12, n_features=4, mean_length=6)
    one = bags[[3]].table().astype(float)
    for model in (sm.mil.ABMIL(**KW), sm.mil.MaxPooling(**KW), sm.mil.MeanPooling(**KW)):
        model = model.fit(bags)
        w, z = weights(model), model.transform(bags)
        assert z.shape == (12, 4)
        np.testing.assert_allclose(dense(w, "head", z), model.forward(bags)[0], rtol=1e-4)
    model = sm.mil.MINetDS(**KW).fit(bags)  # of every layer
    z, w = model.transform(bags), weights(model)
    assert z.shape == (12, 5 + 4)
    wanted = [np.max([layers(w, x)[k] for x in one], axis=0) for k in range(2)]
    np.testing.assert_allclose(z[3], np.concatenate(wanted), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("cls", [sm.mil.MaxPooling, sm.mil.MeanPooling, sm.mil.ABMIL])
def test_contributions_add_up_and_copies_share_that_of_one(cls):
    bags = planted_bags(12, n_features=4, mean_length=6)
    model = cls(**KW).fit(bags)
    x = bags[[3]].table()
    once, thrice = (sm.Bags.from_list([np.repeat(x, n, axis=0)]) for n in (1, 3))
    one = model.forward(once)[1]["contribution"].reshape(len(x), 1)
    found = model.forward(thrice)[1]["contribution"].reshape(len(x), 3)
    # each a third, but where rounding tells copies apart, as a product of matrices may
    np.testing.assert_allclose(found.sum(1, keepdims=True), one, rtol=1e-4, atol=1e-6)
    constant = weights(model)["head.bias"]
    np.testing.assert_allclose(one.sum() + constant, model.forward(once)[0][0], rtol=1e-4)


def test_deep_supervision_sums_the_losses_of_all_heads():
    bags = planted_bags(8, n_features=4, mean_length=6)
    model = sm.mil.MINetDS(**KW | {"dropout": 0.0, "epochs": 1}).fit(bags)
    w, labels = weights(model), bags.labels
    wanted = []
    for i in range(len(bags)):
        bag = bags[[i]].table().astype(float)
        raw = [dense(w, f"heads.{k}", np.max([layers(w, x)[k] for x in bag], axis=0))[0]
               for k in range(2)]  # fmt: skip
        y = float(labels[i])
        wanted.append(sum(np.log1p(np.exp(-r)) * y + np.log1p(np.exp(r)) * (1 - y) for r in raw))
    store = model._store(bags, torch.device("cpu"))
    out = model.network_(store.batch(np.arange(len(bags))))
    found = model.loss(model.task_, out, torch.as_tensor(labels.astype(np.float32)))
    np.testing.assert_allclose(found.detach(), wanted, rtol=1e-4)
