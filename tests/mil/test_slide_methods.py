"""CLAM, DSMIL, additive MIL and ACMIL against their equations, bag by bag, in NumPy."""

from itertools import combinations

import numpy as np
import pytest
import torch

import smalti as sm
from smalti.core import noise
from smalti.datasets import planted_bags
from smalti.errors import InputError

pytestmark = pytest.mark.filterwarnings("ignore:.*still falling", "ignore:.*donors whose names")
KW = {"widths": (5, 4), "epochs": 2, "lr": 0.05, "progress": False, "accelerator": "cpu",
      "dropout": 0.0, "precision": "64-true"}  # fmt: skip
CLASSES = ("binary", "multiclass", "multilabel", "ordinal", "binomial")
KINDS = [(kind, {}) for kind in (*CLASSES, "regression")] + [
    ("survival", {"survival": model}) for model in ("cox", "discrete", "weibull")
]
IDS = [kind if not how else how["survival"] for kind, how in KINDS]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softplus(x):
    return np.log1p(np.exp(x))


def softmax(x):
    return np.exp(x - x.max(0)) / np.exp(x - x.max(0)).sum(0)


def dense(w, name, x):
    return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]


class Bag:
    """A fitted network's weights, and one bag through its encoder and its attention."""

    def __init__(self, model, bags, i):
        self.w = w = {k: v.double().numpy() for k, v in model.network_.state_dict().items()}
        h = (bags[[i]].table().astype(float) - w["scale.mean"]) / w["scale.sd"]
        for name in ("encoder.0", "encoder.3"):
            h = np.maximum(dense(w, name, h), 0)
        self.h, self.y = h, bags.labels[i]  # (n, 4)

    def scores(self, gated):
        inner = dense(self.w, "attention.inner", self.h)
        if gated:
            v, u = np.split(inner, 2, axis=1)
            return dense(self.w, "attention.outer", np.tanh(v) * sigmoid(u))
        return dense(self.w, "attention.outer", np.tanh(inner))

    def head(self, z, name="head"):
        return dense(self.w, name, z)


def clam(bag, branches):
    a = softmax(bag.scores(True))  # (n, n_branches)
    if branches == "single":
        return bag.head(a[:, 0] @ bag.h)
    each = np.array([bag.w["head.weight"][m] @ (a[:, m] @ bag.h) + bag.w["head.bias"][m]
                     for m in range(a.shape[1])])  # fmt: skip
    two = len(each) == 2 and np.ndim(bag.y) == 0  # classes, not labels
    return each[1:] - each[:1] if two else each


def streams(bag):
    s = dense(bag.w, "scorer", bag.h)  # (n, n_outputs)
    q = dense(bag.w, "query", bag.h)
    z = []
    for m in s.argmax(0):
        a = softmax(np.array([one @ q[m] for one in q]) / np.sqrt(q.shape[1]))
        z.append(sum(a_k * h_k for a_k, h_k in zip(a, bag.h, strict=True)))
    return s.max(0), bag.head(np.concatenate(z))


def psi(bag, x):
    return np.maximum(dense(bag.w, "hidden", x), 0) @ bag.w["head.weight"].T


def additive(bag):
    a = softmax(bag.scores(False))[:, 0]
    nothing = psi(bag, np.zeros(4))
    return bag.w["head.bias"] + sum(psi(bag, p * h) - nothing
                                    for p, h in zip(a, bag.h, strict=True))  # fmt: skip


def acmil(bag):
    a = softmax(bag.scores(True)).mean(1)
    return bag.head(a @ bag.h)


FOUR = {
    "clam": (sm.mil.CLAM(**KW), lambda bag: clam(bag, "single")),
    "clam-multi": (sm.mil.CLAM(branches="multi", **KW), lambda bag: clam(bag, "multi")),
    "dsmil": (sm.mil.DSMIL(query_width=3, **KW), lambda bag: np.mean(streams(bag), axis=0)),
    "additive": (sm.mil.AdditiveMIL(hidden=6, **KW), additive),
    "acmil": (sm.mil.ACMIL(branches=3, masked=4, **KW), acmil),
}


def small(kind="binary", n=12, **more):
    return planted_bags(n, n_features=4, mean_length=6, kind=kind, **more)


def in_training(model, bags):
    """Output of the network in training, and the loss of each bag."""
    store = model._store(bags, torch.device("cpu"))
    batch = store.batch(np.arange(len(bags)))
    batch.views = {k: v.double() for k, v in batch.views.items()}
    target = torch.as_tensor(model.task_.encode(bags.labels))
    with noise.drawn_from(torch.Generator().manual_seed(0)):
        out = model.network_.train()(batch)
    model.network_.eval()
    return out, model.loss(model.task_, out, target).detach().numpy()


def raw_loss(model, raw, bags):
    target = torch.as_tensor(model.task_.encode(bags.labels))
    return model.task_.loss(torch.as_tensor(np.asarray(raw)), target).numpy()


@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel"])
@pytest.mark.parametrize(("model", "equation"), FOUR.values(), ids=FOUR)
def test_a_network_equals_its_equation(model, equation, kind):
    bags = small(kind)
    model = model.fit(bags)
    wanted = [equation(Bag(model, bags, i)) for i in range(len(bags))]
    assert np.ptp(wanted, axis=0).min() > 1e-3
    np.testing.assert_allclose(model.forward(bags)[0], wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("kind", "how"), KINDS, ids=IDS)
@pytest.mark.parametrize("name", FOUR)
def test_contributions_add_up_for_every_kind(name, kind, how):
    model, bags = FOUR[name][0], small(kind, 24)
    if name == "clam-multi" and kind in ("ordinal", "regression", "survival"):
        with pytest.raises(InputError, match="has one score: take branches='single'"):
            model.set_params(survival=how.get("survival")).fit(bags)
        return
    model = model.set_params(survival=how.get("survival")).fit(bags)
    raw, instance, _ = model.forward(bags)
    part = instance["contribution"].reshape(bags.n_instances, raw.shape[1])
    sums = np.stack([part[bags.index == i].sum(0) for i in range(len(bags))])
    constant = raw - sums
    np.testing.assert_allclose(constant, np.broadcast_to(constant[0], raw.shape), atol=1e-9)
    shown = model.attribute(bags).filter(regex="^contribution").to_numpy()
    np.testing.assert_allclose(shown, part[:, : shown.shape[1]])


@pytest.mark.parametrize("name", ["dsmil", "acmil"])
@pytest.mark.parametrize(("kind", "how"), KINDS, ids=IDS)
def test_the_order_of_instances_does_not_matter_where_scores_tie(name, kind, how):
    """Of a Weibull model one output is the same for all instances, and all are critical."""
    bags = small(kind, 24)
    model = FOUR[name][0].set_params(survival=how.get("survival")).fit(bags)
    x = bags[[3]].table()
    one, two = (model.forward(sm.Bags.from_list([t]))[0] for t in (x, x[::-1].copy()))
    np.testing.assert_allclose(one, two, atol=1e-9)


# ---------------------------------------------------------------- losses


def clusters(bag, model, membership):
    """Loss of the pieces of one bag, by loops; ``membership`` 0 to 1 of each clusterer."""
    scores, n = bag.scores(True), len(bag.h)
    b = min(model.sampled, n // 2)
    if b == 0:
        return 0.0
    total = 0.0
    for m, share in enumerate(membership):
        order = np.argsort(-scores[:, m if scores.shape[1] > 1 else 0], kind="stable")
        d = dense(bag.w, "clusterer", bag.h)[:, m]
        top, least = order[:b], order[n - b :]
        own = sum(softplus(1 - d[k]) for k in top) + sum(softplus(1 + d[k]) for k in least)
        out = sum(softplus(1 + d[k]) for k in top)
        total += share * own / (2 * b) + (1 - share) * out / b
    return total


def members(kind, bags, task):
    if kind in ("binary", "multiclass", "ordinal"):
        return (bags.labels[:, None] == np.asarray(task.classes)).astype(float)
    if kind in ("multilabel", "binomial"):
        return np.asarray(bags.labels, float).reshape(len(bags), -1) / task.trials
    return np.ones((len(bags), 1))


@pytest.mark.parametrize("sampled", [1, 3, 40])
@pytest.mark.parametrize("branches", ["single", "multi"])
@pytest.mark.parametrize(("kind", "how"), KINDS, ids=IDS)
def test_the_loss_of_clam_equals_its_equation(kind, how, branches, sampled):
    """With more pieces asked for than most bags have twice over, too."""
    if branches == "multi" and kind in ("ordinal", "regression", "survival"):
        return
    bags = small(kind)
    model = sm.mil.CLAM(branches=branches, sampled=sampled, bag_weight=0.6, **KW, **how).fit(bags)
    share = members(kind, bags, model.task_)
    pieces = [clusters(Bag(model, bags, i), model, share[i]) for i in range(len(bags))]
    whole = raw_loss(model, model.forward(bags)[0], bags)
    np.testing.assert_allclose(in_training(model, bags)[1], 0.6 * whole + 0.4 * np.array(pieces),
                               rtol=1e-7)  # fmt: skip


def test_a_bag_of_one_has_no_pseudo_labels_and_one_of_three_two():
    x = [np.random.default_rng(i).normal(size=(n, 4)) for i, n in enumerate((1, 3, 1, 9))]
    bags = sm.Bags.from_list(x, [0, 1, 1, 0])
    model = sm.mil.CLAM(sampled=8, **KW).fit(bags)
    own = in_training(model, bags)[0].extra["in"].detach().numpy()
    assert (own[[0, 2]] == 0).all()
    assert (own[[1, 3]] > 0).all()


@pytest.mark.parametrize(("kind", "how"), KINDS, ids=IDS)
def test_the_loss_of_dsmil_is_the_mean_of_its_streams(kind, how):
    bags = small(kind)
    model = sm.mil.DSMIL(query_width=3, **KW, **how).fit(bags)
    out, loss = in_training(model, bags)
    both = [part.detach().numpy() for part in out.extra["streams"]]
    np.testing.assert_allclose(loss, sum(raw_loss(model, r, bags) for r in both) / 2, rtol=1e-9)
    np.testing.assert_allclose(out.raw.detach(), sum(both) / 2, rtol=1e-9)
    if kind in ("binary", "multiclass", "multilabel"):
        wanted = [streams(Bag(model, bags, i)) for i in range(len(bags))]
        for k in (0, 1):
            np.testing.assert_allclose(both[k], [w[k] for w in wanted], rtol=1e-9)


@pytest.mark.parametrize(("kind", "how"), [KINDS[0], KINDS[1], KINDS[5]], ids=lambda x: str(x))
def test_the_loss_of_acmil_equals_its_equation(kind, how):
    bags = small(kind)
    model = sm.mil.ACMIL(branches=3, masked=0, **KW, **how).fit(bags)
    wanted = raw_loss(model, model.forward(bags)[0], bags)
    heads, alike = [[], [], []], []
    for i in range(len(bags)):
        bag = Bag(model, bags, i)
        a = softmax(bag.scores(True))
        for m in range(3):
            heads[m].append(dense(bag.w, f"heads.{m}", a[:, m] @ bag.h))
        cosines = [a[:, m] @ a[:, j] / np.sqrt((a[:, m] @ a[:, m]) * (a[:, j] @ a[:, j]))
                   for m, j in combinations(range(3), 2)]  # fmt: skip
        alike.append(np.mean(cosines))
    wanted = wanted + np.mean([raw_loss(model, raw, bags) for raw in heads], axis=0) + alike
    np.testing.assert_allclose(in_training(model, bags)[1], wanted, rtol=1e-7)


# ---------------------------------------------------------------- masks


def test_masks_are_of_the_largest_in_training_only_and_leave_one():
    """With a probability of all but 1, all of the largest are left out, and no others."""
    bags = sm.Bags.from_list([np.random.default_rng(i).normal(size=(n, 4))
                              for i, n in enumerate((1, 2, 5, 20))], [0, 1, 0, 1])  # fmt: skip
    model = sm.mil.ACMIL(branches=2, masked=4, mask_rate=1 - 1e-9, **KW).fit(bags)
    net = model.network_
    seen = []
    was, net._mask = net._mask, lambda s, g: seen.append((s, was(s, g))) or seen[-1][1]
    in_training(model, bags)
    model.forward(bags)
    assert len(seen) == 1  # a prediction masks nothing
    score, masked = (part.detach().numpy() for part in seen[0])
    for i, left in enumerate((1, 1, 1, 16)):
        own, kept = score[bags.index == i], np.isfinite(masked[bags.index == i])
        assert (kept.sum(0) == left).all()
        for m in range(2):
            assert kept[np.argsort(-own[:, m])[len(own) - left :], m].all()


def test_each_of_the_largest_is_masked_with_its_probability():
    bags = sm.Bags.from_list([np.random.default_rng(i).normal(size=(30, 4)) for i in range(200)],
                             np.arange(200) % 2)  # fmt: skip
    model = sm.mil.ACMIL(branches=2, masked=10, mask_rate=0.3, **KW | {"epochs": 1}).fit(bags)
    store = model._store(bags, torch.device("cpu"))
    segments = store.batch(np.arange(len(bags))).segments
    masked = model.network_._mask(torch.randn(bags.n_instances, 2), segments)
    found = float((~torch.isfinite(masked)).sum()) / (200 * 10 * 2)
    assert abs(found - 0.3) < 0.03  # six standard errors
    assert np.isfinite(model.forward(bags)[0]).all()


def test_attention_of_several_branches_is_named_by_class():
    bags = small("multiclass")
    model = sm.mil.CLAM(branches="multi", **KW).fit(bags)
    frame = model.attribute(bags)
    names = [f"attention_{c}" for c in model.task_.classes]
    assert [c for c in frame if c.startswith("attention")] == names
    np.testing.assert_allclose(frame.groupby("bag")[names].sum(), 1)
