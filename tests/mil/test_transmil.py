"""TransMIL against its equations, bag by bag in NumPy; and in which order it reads tiles."""

import dataclasses

import numpy as np
import pytest
import torch

import smalti as sm
from smalti.bags import Bags
from smalti.datasets import planted_bags
from smalti.errors import InputError
from smalti.mil import TransMIL
from smalti.mil.transmil import pseudo_inverse

pytestmark = pytest.mark.filterwarnings("ignore:.*still falling", "ignore:.*donors whose names")
KW = {"widths": (6,), "heads": 2, "reach": 5, "iterations": 4, "lr": 0.02, "epochs": 2,
      "progress": False, "accelerator": "cpu"}  # fmt: skip


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def norm(w, name, x):
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(var + 1e-5) * w[f"{name}.weight"] + w[f"{name}.bias"]


def inverse(a, steps):
    z = a.T / (np.abs(a).sum(0).max() * np.abs(a).sum(1).max())
    one = np.eye(len(a))
    for _ in range(steps):
        b = a @ z
        z = 0.25 * z @ (13 * one - b @ (15 * one - b @ (7 * one - b)))
    return z


def means(x, m):
    n = len(x)
    return np.stack([x[j * n // m : -(-(j + 1) * n // m)].mean(0) for j in range(m)])


def layer(w, name, t, model):
    """t + A(LN(t)) of one bag, head by head; and what each token reads of each other."""
    n, width = t.shape
    d, m = width // model.heads, model.landmarks
    inner = norm(w, f"{name}.norm", t) @ w[f"{name}.query_key_value.weight"].T
    q, k, v = np.split(inner, 3, axis=1)
    read, shares = np.zeros((n, width)), []
    for head in range(model.heads):
        own = slice(head * d, (head + 1) * d)
        qh, kh, vh = q[:, own] / np.sqrt(d), k[:, own], v[:, own]
        if n <= m:
            share = softmax(qh @ kh.T)
        else:
            ql, kl = means(qh, m), means(kh, m)
            middle = inverse(softmax(ql @ kl.T), model.iterations)
            share = softmax(qh @ kl.T) @ middle @ softmax(ql @ kh.T)
        shares.append(share)
        read[:, own] = share @ vh
        kernel = w[f"{name}.along.weight"][head, 0, :, 0]
        for i in range(n):
            for j, weight in enumerate(kernel):
                at = i + j - len(kernel) // 2
                if 0 <= at < n:
                    read[i, own] += weight * vh[at]
    return t + read @ w[f"{name}.out.0.weight"].T + w[f"{name}.out.0.bias"], np.mean(shares, 0)


def places(w, t, side):
    out = t.copy()
    for name, k in (("seven", 7), ("five", 5), ("three", 3)):
        weight, bias = w[f"places.{name}.weight"], w[f"places.{name}.bias"]
        for row in range(side):
            for column in range(side):
                found = bias.copy()
                for i in range(k):
                    for j in range(k):
                        r, s = row + i - k // 2, column + j - k // 2
                        if 0 <= r < side and 0 <= s < side:
                            found += weight[:, 0, i, j] * t[1 + r * side + s]
                out[1 + row * side + column] += found
    return out


def naive(w, bag, model):
    """Logit of one bag, and the attention of its instances in the order given."""
    x = (bag - w["scale.mean"]) / w["scale.sd"]
    order = x.sum(1).argsort()
    h = np.maximum(x[order] @ w["encoder.0.weight"].T + w["encoder.0.bias"], 0)
    n, side = len(h), int(np.ceil(np.sqrt(len(h))))
    square = np.concatenate([h, h[: side**2 - n]])
    t = np.concatenate([w["token"][None], square])
    t, _ = layer(w, "first", t, model)
    t, share = layer(w, "last", places(w, t, side), model)
    looked = np.maximum(share[0, 1:], 0)
    looked[: side**2 - n] += looked[n:]
    attention = np.zeros(n)
    attention[order] = looked[:n] / looked[:n].sum()
    return float((norm(w, "norm", t[0]) @ w["head.weight"].T + w["head.bias"])[0]), attention


@pytest.mark.parametrize("landmarks", [4, 5, 1000], ids=["shared", "even", "none"])
def test_a_network_equals_its_equations(landmarks):
    bags = planted_bags(10, n_features=4, mean_length=10)
    assert len(set(np.ceil(np.sqrt(bags.lengths)))) < len(bags)  # some share a tensor
    model = TransMIL(landmarks=landmarks, **KW).fit(bags)
    model.set_params(precision="64-true")
    w = {k: v.double().numpy() for k, v in model.network_.state_dict().items()}
    wanted = [naive(w, bags[[i]].table().astype(float), model) for i in range(len(bags))]
    raw, instance, _ = model.forward(bags)
    np.testing.assert_allclose(raw[:, 0], [logit for logit, _ in wanted], rtol=1e-9)
    np.testing.assert_allclose(
        instance["attention"], np.concatenate([a for _, a in wanted]), rtol=1e-8, atol=1e-10
    )
    assert np.ptp(raw) > 1e-3


def test_gradients_are_those_of_bags_alone():
    bags = planted_bags(8, n_features=4, mean_length=10)
    model = TransMIL(landmarks=4, dropout=0.0, **KW | {"precision": "64-true"}).fit(bags)
    net, store = model.network_.train(), model._store(bags, torch.device("cpu"))

    def gradient(*members):
        net.zero_grad()
        for some in members:
            net(store.batch(np.array(some))).raw.square().sum().backward()
        return torch.cat([p.grad.flatten() for p in net.parameters()])

    together = gradient(range(8))
    alone = gradient(*[[i] for i in range(8)])
    torch.testing.assert_close(together, alone, rtol=1e-9, atol=1e-12)


def test_the_inverse_is_that_of_moore_and_penrose():
    a = torch.as_tensor(np.random.default_rng(0).normal(size=(3, 6, 6)))
    a[1, :, 0] = a[1, :, 1]  # of rank 5
    np.testing.assert_allclose(pseudo_inverse(a, 40), torch.linalg.pinv(a), atol=1e-9)


def test_with_every_token_a_landmark_it_is_attention_itself():
    """A A^+ A = A: what a bag of few tokens is spared."""
    model = TransMIL(landmarks=8, **KW | {"precision": "64-true"})
    layer_ = model.fit(planted_bags(8, n_features=4, mean_length=30)).network_.last
    q, k, v = layer_._queries_keys_values(torch.randn(2, 12, 6, dtype=torch.float64))
    layer_.steps = 60
    whole = (q @ k.transpose(2, 3)).softmax(3)
    torch.testing.assert_close(whole @ layer_._inverse(q, k, whole @ v), whole @ v)


# -------------------------------------------------------------------- where tiles lie


def slides(n=6, seed=0, **columns):
    """Bags with places, drawn apart from what the instances hold."""
    bags = planted_bags(n, n_features=4, mean_length=20, seed=seed)
    rng = np.random.default_rng(seed)
    xy = np.stack([rng.permutation(bags.n_instances) * 112.0 for _ in range(2)], 1)
    instance = bags.instance.assign(x_um=xy[:, 0], y_um=xy[:, 1], **columns)
    return dataclasses.replace(bags, instance=instance)


def shuffled(bags, seed=1):
    rows = np.lexsort((np.random.default_rng(seed).random(bags.n_instances), bags.index))
    return dataclasses.replace(
        bags, x={k: v[rows] for k, v in bags.x.items()}, instance=bags.instance.iloc[rows]
    )


def test_tiles_stand_in_reading_order_whatever_that_of_the_file():
    bags = slides()
    model = TransMIL(landmarks=4, **KW).fit(bags)
    raw = model.forward(bags)[0]
    np.testing.assert_allclose(model.forward(shuffled(bags))[0], raw, atol=1e-5)
    for moved, same in [  # further apart: the same order; mirrored: another
        ({"x_um": bags.instance["x_um"] * 3 + 5}, True),
        ({"y_um": -bags.instance["y_um"]}, False),
    ]:
        other = dataclasses.replace(bags, instance=bags.instance.assign(**moved))
        assert np.allclose(model.forward(other)[0], raw, atol=1e-5) == same
    blind = TransMIL(landmarks=4, by_place=False, **KW).fit(bags)
    other = dataclasses.replace(bags, instance=bags.instance.assign(y_um=-bags.instance["y_um"]))
    np.testing.assert_array_equal(blind.forward(other)[0], blind.forward(bags)[0])


def test_a_prediction_needs_places_where_the_training_had_them(tmp_path):
    bags = slides()
    bare = dataclasses.replace(bags, instance=bags.instance.drop(columns=["x_um", "y_um"]))
    model = TransMIL(landmarks=4, **KW).fit(bags)
    with pytest.raises(InputError, match="said where their instances lie"):
        model.predict(bare)
    model.save(tmp_path / "model")
    again = sm.load(tmp_path / "model")
    np.testing.assert_array_equal(again.forward(bags)[0], model.forward(bags)[0])
    other = TransMIL(landmarks=4, **KW).fit(bare)  # which had none, and reads none
    np.testing.assert_array_equal(other.forward(bags)[0], other.forward(bare)[0])


def test_slides_of_one_bag_stand_one_after_another():
    whole = slides(2)
    names = np.where(np.arange(whole.n_instances) % 2, "b", "a")
    bags = dataclasses.replace(whole, instance=whole.instance.assign(slide=names))
    rank = sm.mil.TransMIL(**KW).fit(bags).columns_.reading_order(bags)
    for start, stop in zip(bags.offsets[:-1], bags.offsets[1:], strict=True):
        part = bags.instance.iloc[start:stop].assign(rank=rank[start:stop])
        wanted = part.sort_values(["slide", "y_um", "x_um"])
        assert wanted["rank"].is_monotonic_increasing


def test_what_cannot_be_is_refused():
    bags = planted_bags(6, n_features=4)
    with pytest.raises(InputError, match="must share the 6 units"):
        TransMIL(**KW | {"heads": 4}).fit(bags)
    with pytest.raises(InputError, match="reach=4 must be odd"):
        TransMIL(**KW | {"reach": 4}).fit(bags)


def test_a_bag_of_one_and_of_two():
    model = TransMIL(landmarks=4, **KW).fit(planted_bags(8, n_features=4))
    x = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    raw, instance, _ = model.forward(Bags.from_list([x[:1], x[1:]]))
    assert np.isfinite(raw).all()
    np.testing.assert_allclose(instance["attention"][[0]], 1.0)
    np.testing.assert_allclose(instance["attention"][1:].sum(), 1.0, rtol=1e-6)
