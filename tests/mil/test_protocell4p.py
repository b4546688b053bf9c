"""ProtoCell4P against loops over cells and prototypes, and sparse input against dense."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
import torch.nn.functional as F

from smalti.bags import Bags
from smalti.core import noise
from smalti.core.stage import Gradient
from smalti.core.store import Store
from smalti.datasets.simulate import planted_bags
from smalti.errors import InputError
from smalti.mil import protocell4p
from smalti.mil.protocell4p import ProtoCell4P
from smalti.nn import sparse

TINY = {"group": "cell_type", "n_prototypes": 4, "latent": 3, "widths": (6, 5), "lr": 1e-2,
        "pretrain_epochs": 2, "epochs": 2, "subsample": False, "accelerator": "cpu",
        "progress": False}  # fmt: skip


def tiny(**settings):
    return ProtoCell4P(**{**TINY, **settings})


def csr(dense):
    m = sp.csr_array(dense)
    return torch.sparse_csr_tensor(torch.tensor(m.indptr, dtype=torch.int64),
                                   torch.tensor(m.indices, dtype=torch.int64),
                                   torch.tensor(m.data), m.shape)  # fmt: skip


def counts(n, g, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.poisson(0.3, (n, g)) * 1.0
    x[3] = 0  # a cell without counts
    x[:, 2] = 0  # a gene without counts
    return x


def typed_bags(n_bags=12, *, as_csr=False, seed=0):
    """Counts of three types, each with its own genes; positive bags hold more of type "c"."""
    rng = np.random.default_rng(seed)
    rate = np.full((3, 30), 0.2)
    for t in range(3):
        rate[t, 10 * t : 10 * t + 10] = 6.0
    y = np.arange(n_bags) % 2
    kind = np.concatenate([rng.choice(3, 40, p=[0.6, 0.3, 0.1] if v == 0 else [0.1, 0.3, 0.6])
                           for v in y])  # fmt: skip
    x = rng.poisson(rate[kind]).astype(np.float32)
    return Bags.from_rows(
        sp.csr_matrix(x) if as_csr else x, np.repeat(np.arange(n_bags), 40), target="target",
        bag=pd.DataFrame({"target": y}),
        instance=pd.DataFrame({"cell_type": np.array(["a", "b", "c"])[kind]}),
    )  # fmt: skip


def opened(model, bags):
    """The network in float64, and all bags as one batch."""
    store = Store(bags, torch.device("cpu"), torch.float64, model.columns_, sparse=True)
    return model.network_.double().eval(), store.batch(np.arange(len(bags)))


pytestmark = pytest.mark.filterwarnings("ignore:Sparse")  # PyTorch calls its CSR a beta


# -------------------------------------------------------------------- sparse rows


def test_sparse_layer_is_the_dense_layer():
    x = counts(20, 11)
    weight = torch.randn(5, 11, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(5, dtype=torch.float64, requires_grad=True)
    seen = torch.randn(20, 5, dtype=torch.float64)
    results = []
    for rows in (torch.tensor(x), csr(x)):
        y = sparse.linear(rows, weight, bias)
        results.append([y, *torch.autograd.grad((y * seen).sum(), [weight, bias])])
    for one, two in zip(*results, strict=True):
        torch.testing.assert_close(one, two)


@pytest.mark.parametrize("keep", [2**26, 0])
@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("layout", ["dense", "csr"])
def test_squared_error_in_chunks(layout, relu, scaled, keep, monkeypatch):
    monkeypatch.setattr(sparse, "_CHUNK", 40)  # three rows of eleven at a time
    monkeypatch.setattr(sparse, "_KEEP", keep)
    x = counts(20, 11)
    leaves = [torch.randn(s, dtype=torch.float64, requires_grad=True)
              for s in ((20, 4), (11, 4), (11,))]  # fmt: skip
    h, weight, bias = leaves
    center, scale = (torch.rand(11, dtype=torch.float64) + 0.5 for _ in range(2))
    target = (torch.tensor(x) - center) / scale if scaled else torch.tensor(x)
    seen = torch.rand(20, dtype=torch.float64)
    found = sparse.squared_error(
        h, weight, bias, csr(x) if layout == "csr" else torch.tensor(x), relu=relu,
        **({"center": center, "scale": scale} if scaled else {}),
    )  # fmt: skip
    out = h @ weight.t() + bias
    naive = ((out.relu() if relu else out) - target).square().sum(1)
    torch.testing.assert_close(found, naive)
    grads = [torch.autograd.grad((error * seen).sum(), leaves) for error in (found, naive)]
    for one, two in zip(*grads, strict=True):
        torch.testing.assert_close(one, two)


@pytest.mark.parametrize("settings", [{}, {"standardize": True}, {"pretrain": False},
                                      {"subsample": True}], ids=str)  # fmt: skip
def test_a_fit_on_sparse_bags_is_the_fit_on_dense_bags(settings):
    dense, thin = typed_bags(), typed_bags(as_csr=True)
    model = tiny(precision="64-true", **settings)
    one = model.fit(dense).forward(dense)
    two = tiny(precision="64-true", **settings).fit(thin).forward(thin)
    np.testing.assert_allclose(one[0], two[0], atol=1e-9)
    np.testing.assert_allclose(one[1]["similarity"], two[1]["similarity"], atol=1e-9)


# -------------------------------------------------------------------- the network by loops


def by_loops(model, bags):
    """Latent cells, similarities, relevances and squared distances, one number at a time."""
    net, _ = opened(model, bags)
    x = torch.as_tensor(bags.table()).double()

    def read(mlp, rows):
        for layer in [mlp.first, *mlp.middle]:
            rows = F.leaky_relu(rows @ layer.weight.t() + layer.bias)
        return rows @ mlp.last.weight.t() + mlp.last.bias

    z = F.leaky_relu(read(net.encoder, x))
    distance = torch.stack([torch.stack([((c - p) ** 2).sum() for p in net.prototypes])
                            for c in z])  # fmt: skip
    relevance = read(net.scorer, x).sigmoid().reshape(len(x), len(net.prototypes), -1)
    decoded = read(net.decoder, z)
    decoded = decoded if net.signed else decoded.relu()
    return x, z, distance, relevance, decoded


@pytest.mark.parametrize("as_csr", [False, True])
def test_logits(as_csr):
    bags = typed_bags(4)
    model = tiny().fit(bags)
    with torch.no_grad():
        _, _, distance, relevance, _ = by_loops(model, bags)
    raw = np.zeros(len(bags))
    for b in range(len(bags)):
        cells = np.flatnonzero(bags.index == b)
        for i in cells:
            for p in range(4):
                s = 1 / (distance[i, p] + 0.5)
                raw[b] += s * (relevance[i, p, 1] - relevance[i, p, 0]) / len(cells)
    given = typed_bags(4, as_csr=as_csr)
    model.set_params(precision="64-true")
    np.testing.assert_allclose(model.forward(given)[0][:, 0], raw, atol=1e-10)
    np.testing.assert_array_equal(model.forward(given)[1]["prototype"], distance.argmin(1))


@pytest.mark.parametrize("term", range(5))
def test_terms_of_the_first_stage(term):
    bags = typed_bags(4)
    bags.instance.loc[bags.index == 3, "cell_type"] = "a"
    model = tiny(d_min=3.0).fit(bags)
    net, batch = opened(model, bags)
    net.lambdas = tuple(float(i == term) for i in range(6))
    with torch.no_grad():
        found = net.prototype_loss(batch, net._read(batch, scored=False)[0])
        x, _, distance, _, decoded = by_loops(model, bags)
    n, p = distance.shape
    kind = bags.instance["cell_type"].to_numpy()
    per_bag = None
    if term == 0:
        cells = [float(((decoded[i] - x[i]) ** 2).mean()) for i in range(n)]
    elif term == 1:
        cells = [min(map(float, distance[i])) for i in range(n)]
    elif term == 2:
        nearest = [min(float(distance[kind == t, j].mean()) for t in "abc") for j in range(p)]
        per_bag = np.full(len(bags), np.mean(nearest))
    elif term == 3:
        place = net.prototypes.detach()
        gaps = [max(0, 3.0 - float((place[i] - place[j]).norm())) ** 2
                for i in range(p) for j in range(p) if i != j]  # fmt: skip
        per_bag = np.full(len(bags), np.mean(gaps))
    else:
        layer = net.type_by_similarity
        logits = ((1 / (distance + 0.5)) @ layer.weight.t() + layer.bias).detach()
        cells = [float(-logits[i].log_softmax(0)["abc".index(kind[i])]) for i in range(n)]
    if per_bag is None:
        per_bag = pd.Series(cells).groupby(bags.index).mean()
    np.testing.assert_allclose(found.detach(), per_bag, rtol=1e-9)


def test_prototype_to_cell_without_types_and_with_blocking():
    bags = typed_bags(4)
    net, _ = opened(tiny(group=None).fit(bags), bags)
    distance = torch.rand(50, 4, dtype=torch.float64)
    assert float(net.to_cells(distance, None)) == pytest.approx(float(distance.min(0)[0].mean()))
    net.train()
    with noise.drawn_from(torch.Generator().manual_seed(5)):
        found = net.to_cells(distance, None)
    blocked = torch.rand(50, 4, generator=torch.Generator().manual_seed(5)) < 0.3
    left = [min(float(d) for d, b in zip(distance[:, p], blocked[:, p], strict=True) if not b)
            for p in range(4)]  # fmt: skip
    assert float(found) == pytest.approx(np.mean(left))
    only = torch.rand(1, 4, dtype=torch.float64)  # all of a prototype may be blocked
    with noise.drawn_from(torch.Generator().manual_seed(5)):
        assert float(net.to_cells(only, None)) == pytest.approx(float(only.mean()))


def test_a_batch_may_lack_a_type():
    bags = typed_bags(6)
    bags.instance.loc[bags.index > 1, "cell_type"] = "a"
    model = tiny(batch_size=1).fit(bags)
    net, _ = opened(model, bags)
    assert np.isfinite(model.forward(bags)[0]).all()
    distance = torch.rand(5, 4, dtype=torch.float64, requires_grad=True)
    found = net.to_cells(distance, torch.tensor([2, 0, 2, 0, 0]))
    means = torch.stack([distance[[1, 3, 4]].mean(0), distance[[0, 2]].mean(0)])
    naive = means.min(0).values.mean()
    torch.testing.assert_close(found, naive)
    for one, two in zip(*(torch.autograd.grad(v, distance) for v in (found, naive)), strict=True):
        torch.testing.assert_close(one, two)


def test_type_loss_of_the_second_stage():
    bags = typed_bags(4)
    model = tiny(lambda6=0.5).fit(bags)
    net, batch = opened(model, bags)
    with torch.no_grad():
        found = net(batch).extra["types"]()
        relevance = by_loops(model, bags)[3].flatten(1)
        logits = net.type_by_relevance(relevance).log_softmax(1)
    cells = [-0.5 * float(logits[i, "abc".index(t)])
             for i, t in enumerate(bags.instance["cell_type"])]  # fmt: skip
    np.testing.assert_allclose(found, pd.Series(cells).groupby(bags.index).mean(), rtol=1e-9)


# -------------------------------------------------------------------- stages


def states(model, bags):
    return {k: v.clone() for k, v in model.fit(bags).network_.state_dict().items()}


def test_each_stage_moves_its_own_part():
    bags = typed_bags()
    start = states(tiny(pretrain_epochs=0, epochs=0), bags)
    first = states(tiny(epochs=0), bags)
    second = states(tiny(), bags)
    late = ("scorer.", "type_by_relevance.")
    for name in start:
        if name == "signed":
            continue
        before, after = (
            torch.equal(start[name], first[name]),
            torch.equal(first[name], second[name]),
        )
        assert (before, after) == ((True, False) if name.startswith(late) else (False, True)), name


@pytest.mark.parametrize(("settings", "names"), [
    ({}, ["output", "pretrain", "train"]),
    ({"pretrain_epochs": 0}, ["output", "train"]),
    ({"pretrain": False}, ["output", "train"]),
    ({"standardize": True, "pretrain": False}, ["standardize", "train"]),
    ({"output": "linear", "pretrain_epochs": 0}, ["train"]),
])  # fmt: skip
def test_the_stages_by_name(settings, names):
    history = tiny(**settings).fit(typed_bags()).history_
    assert history["stage"].unique().tolist() == names


def test_cached_similarities_change_nothing(monkeypatch):
    bags = typed_bags()
    one = tiny(precision="64-true").fit(bags).forward(bags)[0]
    plan = ProtoCell4P.plan

    def uncached(self, shape):
        for stage in plan(self, shape):
            plain = isinstance(stage, Gradient) and stage.cache
            yield dataclasses.replace(stage, cache=None) if plain else stage

    monkeypatch.setattr(ProtoCell4P, "plan", uncached)
    two = tiny(precision="64-true").fit(bags).forward(bags)[0]
    np.testing.assert_allclose(one, two, atol=1e-12)


def test_a_broken_fit_goes_on_as_if_it_had_not_been(tmp_path, monkeypatch):
    from smalti.system.progress import Progress

    bags = typed_bags()
    model = tiny(subsample=True, pretrain_epochs=3, epochs=3)
    whole = model.fit(bags).forward(bags)[0]
    advance, steps = Progress.advance, []

    def stop(self, *args):
        steps.append(1)
        if len(steps) == 3:
            raise KeyboardInterrupt
        advance(self, *args)

    monkeypatch.setattr(Progress, "advance", stop)
    with pytest.raises(KeyboardInterrupt):
        model.fit(bags, checkpoint=tmp_path / "fit")
    monkeypatch.setattr(Progress, "advance", advance)
    assert (tmp_path / "fit").exists()
    resumed = model.fit(bags, checkpoint=tmp_path / "fit").forward(bags)[0]
    np.testing.assert_array_equal(whole, resumed)


def test_draws_of_cells():
    lengths = np.array([100, 100, 30, 7, 55, 10_000])
    train = np.array([0, 1, 2, 3, 4])
    draws = protocell4p._Draws()
    store = SimpleNamespace(lengths=lengths)
    units = draws.epoch(train, np.zeros(6), store, np.random.default_rng(0))
    width = int(lengths[train].mean()) // 5  # 11
    times = {0: 8, 1: 8, 2: 5, 3: 1, 4: 8}
    assert {b: (units[:, 0] == b).sum() for b in range(5)} == times
    assert set(units[units[:, 0] == 3, 1]) == {0}
    assert set(units[units[:, 0] != 3, 1]) == {width}
    assert (units[:-1, 0] != np.sort(units[:, 0])[:-1]).any()
    bags = Bags.from_rows(np.arange(10_292.0)[:, None], np.repeat(np.arange(6), lengths))
    store = Store(bags, torch.device("cpu"), torch.float64)
    batch = draws.batch(store, units)
    for i, (bag, size, _) in enumerate(units):
        cells = batch.x[batch.segments.index == i, 0].numpy()
        assert len(np.unique(cells)) == len(cells) == (size or lengths[bag])
        assert (cells >= store.offsets[bag]).all()
        assert (cells < store.offsets[bag + 1]).all()
    torch.testing.assert_close(batch.x, draws.batch(store, units).x)


# -------------------------------------------------------------------- what it says


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["binary", "multiclass", "multilabel", "ordinal", "binomial",
                                  "regression"])  # fmt: skip
@pytest.mark.parametrize("scorer", [True, False])
def test_contributions_add_up(kind, scorer):
    bags = planted_bags(24, kind=kind)
    model = tiny(scorer=scorer, precision="64-true").fit(bags)
    raw, instance, bag = model.forward(bags)
    sums = np.stack([instance["contribution"][bags.index == b].sum(0) for b in range(24)])
    constant = raw - sums
    np.testing.assert_allclose(constant, np.broadcast_to(constant[0], constant.shape), atol=1e-9)
    assert instance["similarity"].shape == (bags.n_instances, 4)
    assert len(bag["embedding"]) == 24


@pytest.mark.slow  # a fit of many epochs, to find what is planted
def test_prototypes_find_the_types_and_bags_follow():
    bags, new = typed_bags(20, as_csr=True), typed_bags(20, as_csr=True, seed=1)
    model = tiny(pretrain_epochs=30, epochs=30, latent=8, widths=(32, 32)).fit(bags)
    names = model.name_prototypes(new)
    assert list(names.columns) == ["prototype", "cell_type", "distance", "n_cells", "share"]
    assert names["n_cells"].sum() == new.n_instances
    near = names[names["n_cells"] > 0]
    assert len(set(near["cell_type"])) >= 2
    assert (near["share"] * near["n_cells"]).sum() / new.n_instances > 0.7
    assert model.score(new) > 0.8


def test_types_are_not_needed_to_predict_nor_to_fit():
    bags = typed_bags()
    bare = dataclasses.replace(bags, instance=bags.instance[[]])
    model = tiny().fit(bags)
    np.testing.assert_array_equal(model.forward(bare)[0], model.forward(bags)[0])
    loose = tiny(group=None).fit(bare)
    assert len(loose.attribute(bare)) == bags.n_instances
    with pytest.raises(InputError, match="group="):
        loose.name_prototypes(bare)
    assert len(loose.name_prototypes(bags, group="cell_type")) == 4


def test_a_prototype_is_named_by_the_mean_distance_to_the_cells_of_a_type():
    bags = typed_bags()
    model = tiny().fit(bags)
    net = model.network_
    with torch.no_grad():
        z = net.encoder.after_first(net.encoder.first(torch.as_tensor(bags.table())))
        z = torch.nn.functional.leaky_relu(z)
        gap = (z[:, None] - net.prototypes).square().sum(2).numpy()  # (n, P)
    kinds = bags.instance["cell_type"].to_numpy()
    levels = sorted(set(kinds))
    table = model.name_prototypes(bags)
    assert table["prototype"].tolist() == list(range(gap.shape[1]))
    for p, row in table.iterrows():
        means = [gap[kinds == t, p].mean() for t in levels]
        assert row["cell_type"] == levels[int(np.argmin(means))]
        assert row["distance"] == pytest.approx(min(means), rel=1e-3, abs=1e-4)
        own = kinds[gap.argmin(1) == p]
        assert row["n_cells"] == len(own)
        if len(own):
            assert row["share"] == pytest.approx((own == row["cell_type"]).mean())


@pytest.mark.slow
@pytest.mark.parametrize("settings", [
    {"scorer": False}, {"pretrain": False}, {"pretrain": False, "scorer": False},
    {"group": None}, {"n_prototypes": 1}, {"widths": (6,)}, {"dropout": 0.5}, {"subsample": True},
    {"lambda1": 0.0, "lambda3": 0.0, "lambda5": 0.0, "lambda6": 0.0}, {"validation": 0.3},
    {"precision": "bf16-mixed"}, {"precision": "bf16-mixed", "pretrain": False},
], ids=str)  # fmt: skip
def test_ablations(settings):
    bags = typed_bags(as_csr=True)
    model = tiny(**settings).fit(bags)
    assert np.isfinite(model.predict_proba(bags)).all()
    assert np.isfinite(model.history_["train_loss"].dropna()).all()


@pytest.mark.parametrize(("kind", "columns", "outputs"), [
    ("binary", 2, 1), ("multiclass", 3, 3), ("multilabel", 4, 2), ("ordinal", 2, 2),
    ("regression", 2, 1),
])  # fmt: skip
def test_relevances_by_kind_of_target(kind, columns, outputs):
    bags = planted_bags(12, kind=kind)
    model = tiny(group=None, epochs=1, pretrain_epochs=0).fit(bags)
    assert model.network_.n_classes == columns  # two that differ, for an output that is one logit
    assert model.forward(bags)[0].shape == (12, outputs)


def test_the_decoder_follows_the_data():
    assert not tiny().fit(typed_bags(as_csr=True)).network_.signed
    assert tiny().fit(planted_bags(12)).network_.signed
    assert not tiny(output="relu").fit(planted_bags(12)).network_.signed
    assert tiny(standardize=True).fit(typed_bags()).network_.signed


@pytest.mark.parametrize(
    "wrong",
    [{"output": "tanh"}, {"encoder": "lenet"}, {"n_prototypes": 0}, {"widths": ()}],
    ids=str,
)
def test_wrong_settings_are_named(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        tiny(**wrong).fit(typed_bags())
