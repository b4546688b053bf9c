import dataclasses
import warnings

import numpy as np
import pandas as pd
import pytest
import torch

from smalti.bags import Bags
from smalti.columns import Columns
from smalti.core.store import Store
from smalti.datasets import planted_bags
from smalti.errors import InputError
from smalti.mil import ScRAT
from smalti.mil.scrat.method import Mixup, mixed_loss
from smalti.mil.scrat.transformer import EncoderBlock
from smalti.nn.order import content_hash
from smalti.task import Task

pytestmark = pytest.mark.filterwarnings("ignore:.*training bags have fewer than draw")


def test_the_block_is_that_of_torch():
    torch.manual_seed(0)
    ours = EncoderBlock(16, 4, 32, 0.3).eval()
    theirs = torch.nn.TransformerEncoderLayer(16, 4, 32, 0.3, batch_first=True).eval()
    pairs = {
        "query_key_value": theirs.self_attn, "out": theirs.self_attn.out_proj,
        "first": theirs.linear1, "second": theirs.linear2,
        "norm1": theirs.norm1, "norm2": theirs.norm2,
    }  # fmt: skip
    with torch.no_grad():
        for name, layer in pairs.items():
            one = getattr(ours, name)
            other = ("in_proj_weight", "in_proj_bias") if name[0] == "q" else ("weight", "bias")
            one.weight.copy_(getattr(layer, other[0]))
            one.bias.copy_(getattr(layer, other[1]))
        x = torch.randn(3, 7, 16)
        there = torch.arange(7) < torch.tensor([[7], [4], [1]])
        want = theirs(x, src_key_padding_mask=~there)
        found = ours(x, there)
        for i, n in enumerate((7, 4, 1)):
            torch.testing.assert_close(found[i, :n], want[i, :n], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(ours(x), theirs(x), atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(ours.with_top_keys(x)[0], theirs(x), atol=1e-5, rtol=1e-4)


def test_top_keys_are_counted_over_heads_and_queries():
    torch.manual_seed(0)
    block = EncoderBlock(8, 2, 8, 0.0).eval()
    x = torch.randn(2, 5, 8)
    q, k, _ = block._heads(x)
    naive = np.zeros((2, 5), dtype=int)
    for s in range(2):
        for head in range(2):
            for i in range(5):
                naive[s, int((k[s, head] @ q[s, head, i]).argmax())] += 1
    np.testing.assert_array_equal(block.with_top_keys(x)[1], naive)
    assert naive.sum() == 2 * 2 * 5


def two_bags(kinds_one, kinds_two, width=2):
    """Cells whose first value is their bag, the second their type."""
    kinds = list(kinds_one) + list(kinds_two)
    bag = np.repeat([0, 1], [len(kinds_one), len(kinds_two)])
    x = np.zeros((len(kinds), width), dtype=np.float32)
    x[:, 0], x[:, 1] = bag, [ord(k) for k in kinds]
    return Bags.from_rows(x, bag, y=bag, donor="bag",
                          instance=pd.DataFrame({"cell_type": kinds}))  # fmt: skip


def sampler(**settings):
    defaults = dict(draw=400, draws=1, augment=5, alpha=0.5, pool=10_000, mix="different",
                    inter_only=False, n_types=3)  # fmt: skip
    return Mixup(**(defaults | settings))


def store_of(bags):
    return Store(bags, torch.device("cpu"), torch.float32, Columns.fit(bags, "cell_type", ()))


def test_quotas_of_types_follow_the_mixed_proportions():
    bags = two_bags("a" * 80 + "b" * 20, "a" * 10 + "b" * 90)
    store, mix = store_of(bags), sampler(n_types=2)
    counts, wanted = [], []
    for seed in range(200):
        unit = np.array([[0, 1, seed]])
        batch = mix.batch(store, unit)
        share = mix.shares(unit)[0]
        counts.append((batch.x[:, 1] == ord("a")).float().mean().item())
        wanted.append(share * 0.8 + (1 - share) * 0.1)
        assert len(batch.x) == 400
        # every pair is of one type and the mixture is lambda x_1 + (1 - lambda) x_2
        assert set(batch.x[:, 1].unique().tolist()) <= {float(ord("a")), float(ord("b"))}
        np.testing.assert_allclose(batch.x[:, 0], 1 - share, atol=1e-5)
    residual = np.array(counts) - np.array(wanted)
    assert abs(residual.mean()) < 3 * residual.std() / 200**0.5 + 1e-3
    np.testing.assert_allclose(residual.std(), 0.5 / 400**0.5, atol=0.01)
    assert np.corrcoef(counts, wanted)[0, 1] > 0.98


def test_every_cell_of_a_type_may_be_mixed():
    """Which cells of a sample are drawn, told by a feature of their own."""
    ids, kinds = np.repeat([0, 1], [30, 20]), np.array(list("ab") * 15 + list("aaab") * 5)
    x = np.zeros((50, 2), np.float32)
    x[:, 0] = np.r_[np.arange(30), np.zeros(20)]
    bags = Bags.from_rows(x, ids, y=ids, donor="bag", instance=pd.DataFrame({"cell_type": kinds}))
    store, mix = store_of(bags), sampler(n_types=2)
    seen = np.zeros(30)
    for seed in range(20):
        unit = np.array([[0, 1, seed]])
        cells = mix.batch(store, unit).x[:, 0].numpy() / mix.shares(unit)[0]  # the partner's is 0
        if mix.shares(unit)[0] > 0.05:
            seen += np.bincount(cells.round().astype(int), minlength=30)
    assert (seen > 0).all()
    for kind in "ab":
        own = seen[kinds[:30] == kind]
        assert own.max() < 1.6 * own.mean()


def test_a_type_that_one_sample_lacks_mixes_within_the_other():
    bags = two_bags("a" * 50, "b" * 50)
    mix = sampler(n_types=2)
    batch = mix.batch(store_of(bags), np.array([[0, 1, 3]]))
    of_a, of_b = (batch.x[batch.x[:, 1] == ord(k)] for k in "ab")
    assert len(of_a)
    assert len(of_b)
    np.testing.assert_allclose(of_a[:, 0], 0.0, atol=1e-6)  # both partners of bag 0
    np.testing.assert_allclose(of_b[:, 0], 1.0, atol=1e-6)  # no zero vector takes part


def test_a_rare_type_has_a_quota_of_one_at_least():
    bags = two_bags("a" * 999 + "c", "a" * 1000)
    mix = sampler(n_types=2, draw=2000, pool=100)
    counts = [(mix.batch(store_of(bags), np.array([[0, 1, s]])).x[:, 1] == ord("c")).sum().item()
              for s in range(20)]  # fmt: skip
    np.testing.assert_allclose(np.mean(counts), 2000 / 101, rtol=0.3)  # 1 of 101, not 1 of 2000


def test_units_are_samples_and_pairs_of_different_classes():
    y = np.array([0, 0, 1, 1, 2])
    rng = np.random.default_rng(0)
    train = np.array([0, 1, 2, 4])
    for mix, inter in (("different", False), ("same", True), ("any", False)):
        units = sampler(augment=200, mix=mix, inter_only=inter, draws=3).epoch(train, y, None, rng)
        pairs = units[units[:, 1] >= 0]
        assert len(pairs) == 600
        assert len(units) - len(pairs) == (0 if inter else 12)
        assert set(units[:, 0]) <= set(train)
        assert (pairs[:, 0] != pairs[:, 1]).all()
        same = y[pairs[:, 0]] == y[pairs[:, 1]]
        assert same.all() if mix == "same" else (not same.any() if mix == "different" else True)
        assert len(np.unique(units[:, 2])) == len(units)


def test_two_samples_can_be_mixed_and_one_cannot():
    rng = np.random.default_rng(0)
    mix = sampler(augment=4)
    labels = np.array([0, 1, 1])
    pairs = mix._pairs(np.array([0, 2]), labels, rng)
    assert {tuple(sorted(p)) for p in pairs.tolist()} == {(0, 2)}
    for train in ([0], [1, 2], []):
        assert mix._pairs(np.array(train, dtype=int), labels, rng).shape == (0, 2)


def test_the_loss_of_a_mixture_is_that_of_the_soft_label():
    task = Task(kind="multiclass", classes=(0, 1, 2))
    from smalti.batch import Output

    raw = torch.randn(4, 3)
    one, two, share = torch.tensor([0, 1, 2, 0]), torch.tensor([1, 1, 0, 2]), torch.rand(4)
    soft = share[:, None] * torch.eye(3)[one] + (1 - share)[:, None] * torch.eye(3)[two]
    want = torch.nn.functional.cross_entropy(raw, soft, reduction="none")
    torch.testing.assert_close(mixed_loss(task, Output(raw), (one, two, share)), want)


def test_draws_without_replacement_and_nothing_is_held():
    bags = planted_bags(10, mean_length=50)
    store = Store(bags, torch.device("cpu"), torch.float32)
    mix = sampler(draw=8, n_types=1)
    units = np.column_stack([np.arange(10), np.full(10, -1), np.arange(10)])
    batch = mix.batch(store, units)
    for i, length in enumerate(batch.segments.lengths.tolist()):
        assert length == min(8, bags.lengths[i])
        rows = batch.x[batch.segments.offsets[i] : batch.segments.offsets[i + 1]]
        assert len(rows.unique(dim=0)) == length
    again = mix.batch(store, units)
    torch.testing.assert_close(again.x, batch.x)  # a unit is all that its cells are made from


def test_prediction_draws_cover_all_cells_evenly():
    bags = planted_bags(12, mean_length=100)
    model = ScRAT.example().set_params(epochs=1, draw=16, predict_draws=25).fit(bags)
    order = torch.randperm(70)
    sets = torch.cat(list(model.network_._draws(order)))
    assert sets.shape == (25, 16)
    counts = np.bincount(sets.flatten(), minlength=70)
    assert counts.max() - counts.min() <= 1
    assert all(len(set(s.tolist())) == 16 for s in sets)
    for n in (15, 16):  # no more than a draw: once, all of them
        [sets] = model.network_._draws(torch.randperm(n))
        assert sets.shape == (1, n)


@pytest.mark.parametrize("kind", ["binary", "multiclass"])
def test_prediction_is_the_mean_over_draws(kind):
    bags = planted_bags(9, mean_length=100, kind=kind)
    model = ScRAT.example().set_params(epochs=2, draw=16, predict_draws=5).fit(bags)
    net, one = model.network_, bags[[0]]
    x = torch.as_tensor(one.table())
    with torch.no_grad():
        h = net.embed(net.scale(x))
        order = content_hash(x, net.hash).argsort()
        p, count = [], np.zeros(len(x))
        for sets in net._draws(order):
            for s in sets:
                out, top = net.block.with_top_keys(h[s][None])
                raw = net.head(net.last(out.mean(1)))[0]
                p.append(raw.sigmoid().numpy() if kind == "binary" else raw.softmax(0).numpy())
                np.add.at(count, s.numpy(), top[0].numpy())
    found = model.predict_proba(one)[0]
    assert (found[1:] if kind == "binary" else found) == pytest.approx(np.mean(p, 0), abs=1e-5)
    np.testing.assert_allclose(model.attribute(one)["top_key"], count / count.sum(), atol=1e-6)


def test_cells_may_be_embedded_by_a_perceptron():
    bags = planted_bags(8)
    model = ScRAT.example().set_params(embed="mlp", epochs=1).fit(bags)
    first, _, _, last = model.network_.embed
    assert (first.in_features, first.out_features, last.in_features) == (8, 256, 256)
    assert last.out_features == model.width
    assert np.isfinite(model.predict_proba(bags)).all()


@pytest.mark.parametrize("wrong", [{"draw": 0}, {"draws": 0}, {"augment": -1}, {"alpha": 0.0}])
def test_numbers_of_the_sampler_that_are_too_small(wrong):
    with pytest.raises(InputError, match="draw"):
        sampler(**wrong)


def test_types_are_needed_for_training_alone():
    bags = planted_bags(20)
    model = ScRAT.example().set_params(epochs=2).fit(bags)
    bare = Bags.from_list([b.table() for b in bags])
    np.testing.assert_allclose(model.forward(bare)[0], model.forward(bags)[0], atol=1e-5)
    with pytest.raises(InputError, match="no instance column 'cell_type'"):
        ScRAT.example().fit(bare.with_target(bags.labels))
    ScRAT.example().set_params(group=None, epochs=2).fit(bare.with_target(bags.labels))


def test_bags_smaller_than_the_draw_are_named():
    bags = planted_bags(20)
    with pytest.warns(UserWarning, match="20 of 20 training bags have fewer than draw=500 .*'bag"):
        ScRAT.example().set_params(epochs=1, draw=500).fit(bags)


@pytest.mark.slow
def test_drivers_are_tallied_by_type():
    bags = planted_bags(40, mean_length=60, effect=4)
    model = ScRAT.example().fit(bags)
    table = model.drivers(bags, top=5)
    assert set(table["group"]) <= {"a", "b", "c"}
    np.testing.assert_allclose(table.groupby("predicted")["share"].sum(), 1)
    np.testing.assert_allclose(table.groupby("predicted")["expected"].sum(), 1)
    with pytest.raises(InputError, match="no instance column 'x'"):
        model.drivers(bags, group="x")


@pytest.mark.parametrize(("settings", "match"), [
    (dict(mix="both"), "mix='both'"), (dict(embed="x"), "embed='x'"), (dict(draw=0), "draw"),
    (dict(inter_only=True, augment=0), "augment must be over 0"),
])  # fmt: skip
def test_bad_settings(settings, match):
    with pytest.raises(InputError, match=match):
        ScRAT.example().set_params(**settings).fit(planted_bags(20))


def test_weights_of_classes_reach_the_mixtures():
    mix = sampler()
    units = np.array([[0, 1, 5], [0, -1, 6]])
    weight = np.array([2.0, 1.0], dtype=np.float32)
    share = mix.shares(units)
    np.testing.assert_allclose(mix.weight(units, weight), [2 * share[0] + 1 - share[0], 2])


def test_resumes_inside_an_epoch(killed_and_resumed):
    killed_and_resumed(lambda: ScRAT.example().set_params(epochs=2), planted_bags(20), 6)


def test_labels_of_every_kind_can_be_mixed():
    for kind in ("ordinal", "regression", "multilabel", "multiclass"):
        bags = planted_bags(24, kind=kind)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = ScRAT.example().set_params(epochs=2).fit(bags)
        assert np.isfinite(model.forward(bags)[0]).all()


def test_a_type_of_validation_samples_alone_does_no_harm():
    bags = planted_bags(30)
    kinds = bags.instance["cell_type"].to_numpy().copy()
    kinds[bags.index == 29] = "only here"
    told = dataclasses.replace(bags, instance=bags.instance.assign(cell_type=kinds))
    model = ScRAT.example().set_params(epochs=2, validation=0.3).fit(told)
    assert np.isfinite(model.forward(told)[0]).all()
