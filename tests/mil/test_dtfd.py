"""DTFD-MIL against its equations, pseudo-bag by pseudo-bag in NumPy."""

import numpy as np
import pytest
import torch

from smalti.datasets import planted_bags
from smalti.mil import DTFD
from smalti.nn.order import content_hash

pytestmark = pytest.mark.filterwarnings("ignore:.*still falling", "ignore:.*donors whose names")
KW = {"widths": (6,), "attention_width": 5, "pseudo_bags": 4, "lr": 0.02, "epochs": 2,
      "progress": False, "accelerator": "cpu"}  # fmt: skip


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def dense(w, name, x):
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


def attention(w, name, h, gated):
    inner = dense(w, f"{name}.inner", h)
    if gated:
        v, u = np.split(inner, 2, axis=1)
        inner = np.tanh(v) * sigmoid(u)
    else:
        inner = np.tanh(inner)
    return softmax(dense(w, f"{name}.outer", inner)[:, 0])


def naive(w, bag, parts, model):
    """Logits of one bag, of its pseudo-bags, and what is said of its instances."""
    x = (bag - w["scale.mean"]) / w["scale.sd"]
    h = np.maximum(dense(w, "encoder.0", x), 0)
    slope, slope2 = (w[f"{name}.weight"].T for name in ("head", "second_head"))
    told, first, given = [], [], []
    score = np.zeros((len(h), slope.shape[1]))
    for part in parts:
        a = attention(w, "attention", h[part], model.gated)
        first.append(dense(w, "head", a @ h[part]))
        score[part] = a[:, None] * (h[part] @ slope)
        p = sigmoid(score[part]) if slope.shape[1] == 1 else softmax(score[part])
        weights = []
        if model.distil == "afs":
            weights.append(a)
        else:
            weights += [np.eye(len(part))[i] for i in p.argmax(0)]
        if model.distil == "maxmin":
            weights += [np.eye(len(part))[i] for i in p.argmin(0)]
        for weight in weights:
            whole = np.zeros(len(h))
            whole[part] = weight
            given.append(whole)
            told.append(whole @ h)
    b = attention(w, "second_attention", np.stack(told), model.gated)
    share = b @ np.stack(given)
    raw = dense(w, "second_head", b @ np.stack(told))
    return raw, np.stack(first), share, share[:, None] * (h @ slope2), score


@pytest.mark.parametrize("distil", ["afs", "max", "maxmin"])
@pytest.mark.parametrize("kind", ["binary", "multiclass"])
def test_a_network_equals_its_equations(distil, kind):
    bags = planted_bags(12, n_features=4, mean_length=6, kind=kind)
    assert bags.lengths.min() < 4 < bags.lengths.max()
    model = DTFD(distil=distil, gated=kind == "binary", **KW).fit(bags)
    net = model.set_params(precision="64-true").network_
    raw, instance, _ = model.forward(bags)
    w = {k: v.double().numpy() for k, v in net.state_dict().items()}
    found = []
    for i in range(len(bags)):
        x = bags[[i]].table()
        order = content_hash(torch.as_tensor(x), net.hash).argsort().numpy()
        m = min(4, len(x))
        parts = [order[-(-j * len(x) // m) : -(-(j + 1) * len(x) // m)] for j in range(m)]
        found.append(naive(w, x.astype(float), parts, model))
    np.testing.assert_allclose(raw, np.stack([f[0] for f in found]), rtol=1e-9)
    for name, k in (("attention", 2), ("contribution", 3), ("score", 4)):
        wanted = np.concatenate([f[k] for f in found])
        np.testing.assert_allclose(instance[name].reshape(wanted.shape), wanted, atol=1e-12)
    assert np.ptp(raw) > 1e-3
    y = model.task_.encode(bags.labels)
    batch = model._store(bags, torch.device("cpu")).batch(np.arange(12))
    loss = model.loss(model.task_, net(batch), torch.as_tensor(y))

    def entropy(logits, label):
        if kind == "binary":
            return np.log1p(np.exp(-logits[..., 0] if label else logits[..., 0]))
        return -np.log(softmax(logits)[..., label])

    wanted = [entropy(f[0], y[i]) + entropy(f[1], y[i]).mean() for i, f in enumerate(found)]
    np.testing.assert_allclose(loss.detach(), wanted, rtol=1e-9)


def test_no_gradient_flows_from_the_second_tier_to_the_first():
    bags = planted_bags(8, n_features=4, mean_length=10)
    for distil in ("afs", "maxmin"):
        model = DTFD(distil=distil, **KW).fit(bags)
        net = model.network_.train()
        net.zero_grad()
        net(model._store(bags, torch.device("cpu")).batch(np.arange(8))).raw.sum().backward()
        moved = {n.split(".")[0] for n, p in net.named_parameters() if p.grad is not None}
        assert moved == {"second_attention", "second_head"}


def test_pseudo_bags_are_drawn_in_training_and_dealt_in_a_prediction():
    bags = planted_bags(8, n_features=4, mean_length=20)
    model = DTFD(**KW).fit(bags)
    net, batch = model.network_, model._store(bags, torch.device("cpu")).batch(np.arange(8))
    assert torch.equal(net.eval()._dealt(batch)[0], net._dealt(batch)[0])
    rows, pseudo, of = net.train()._dealt(batch)
    assert not torch.equal(rows, net._dealt(batch)[0])
    lengths = pseudo.lengths.numpy()
    for bag, (start, stop) in enumerate(zip(of.offsets[:-1], of.offsets[1:], strict=True)):
        n = bags.lengths[bag]
        assert lengths[start:stop].sum() == n
        assert np.ptp(lengths[start:stop]) <= 1
        at = rows[pseudo.offsets[start] : pseudo.offsets[stop]].sort().values
        assert torch.equal(at, torch.arange(bags.offsets[bag], bags.offsets[bag + 1]))
