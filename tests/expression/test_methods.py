"""Single methods against naive references, and their settings."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.spatial.distance import cdist
from sklearn.cross_decomposition import PLSRegression
from sklearn.neighbors import KNeighborsRegressor
from sklearn.preprocessing import StandardScaler, normalize

import smalti as sm
from smalti.datasets import planted_slides
from smalti.errors import InputError
from smalti.genes import gene_groups
from smalti.nn.gene_head import GeneHead


def make(name, **settings):
    return sm.make(name, progress=False, accelerator="cpu", **settings)


def test_knn_is_that_of_scikit_learn():
    bags = planted_slides(4, 25)
    train, test = bags[:3], bags[3:]
    model = make("knn", k=7).fit(train)
    scaler = StandardScaler().fit(train.table("X_planted"))
    unit = [normalize(scaler.transform(b.table("X_planted"))) for b in (train, test)]
    peer = KNeighborsRegressor(7).fit(unit[0], model.measured(train))
    np.testing.assert_allclose(model.predict(test), peer.predict(unit[1]), atol=1e-4)


def test_pls_is_that_of_scikit_learn():
    bags = planted_slides(4, 25)
    model = make("pls", components=3).fit(bags[:3])
    x, y = bags[:3].table("X_planted").astype(float), model.measured(bags[:3])
    peer = PLSRegression(3, tol=1e-4).fit(x, y)
    wanted = peer.predict(bags[3:].table("X_planted").astype(float))
    np.testing.assert_allclose(model.predict(bags[3:]), wanted, atol=1e-3)


def test_gene_mean_and_total_count():
    bags = planted_slides(4, 25)
    mean = make("gene_mean").fit(bags[:3])
    np.testing.assert_allclose(
        mean.predict(bags[3:])[4], mean.measured(bags[:3]).mean(0), atol=1e-5
    )
    line = make("total_count").fit(bags[:3])
    depth = [np.log1p(b.table("counts").sum(1)) for b in (bags[:3], bags[3:])]
    for g in (0, 5):
        fit = np.polyfit(depth[0], line.measured(bags[:3])[:, g], 1)
        np.testing.assert_allclose(
            line.predict(bags[3:])[:, g], np.polyval(fit, depth[1]), atol=1e-3
        )


def test_neighbour_mean_is_a_naive_loop():
    bags = planted_slides(2, 20)
    model = make("neighbour_mean", k=3).fit(bags)
    guess, true = model.predict(bags), model.measured(bags)
    for s in range(2):
        rows = np.flatnonzero(bags.index == s)
        xy = bags.instance.iloc[rows][["x_um", "y_um"]].to_numpy()
        apart = cdist(xy, xy)
        for i in (0, 7, 13):
            order = np.sort(np.delete(apart[i], i))
            if order[2] < order[3]:  # no ties at the third neighbour
                near = [j for j in range(20) if j != i and apart[i, j] <= order[2]]
                np.testing.assert_allclose(guess[rows[i]], true[rows[near]].mean(0), atol=1e-4)
    # the spot itself does not count
    changed = bags.table("counts").copy()
    changed[0] = 999
    other = model.predict(dataclasses.replace(bags, x={**bags.x, "counts": changed}))
    np.testing.assert_allclose(other[0], guess[0], atol=1e-5)


def test_block_head_is_one_network_per_group():
    torch.manual_seed(0)
    groups = (0, 1, 0, 2, 1)
    head = GeneHead(6, groups, hidden=4)
    x = torch.randn(3, 6)
    _, scaled = head(x)
    order = np.argsort(groups, kind="stable")
    for position, gene in enumerate(order):
        k = groups[gene]
        rows = slice(4 * k, 4 * k + 4)
        hidden = torch.relu(x @ head.blocks.weight[rows].t() + head.blocks.bias[rows])
        wanted = hidden @ head.out.weight[position] + head.out.bias[position]
        torch.testing.assert_close(scaled[:, gene], wanted)
    # and each gene moves with its own group alone
    scaled[:, 3].sum().backward()
    assert head.blocks.weight.grad[8:12].abs().sum() > 0
    assert head.blocks.weight.grad[:8].abs().sum() == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [{"groups": "kmeans"}, {"groups": "prefix"}, {"groups": {"AAA1": "one", "BBB1": "two"}},
     {"alpha": 0.5, "beta": 0.4}, {"alpha": 0.3, "beta": 0.7, "axis": "tile"}, {"huber": 0.5},
     {"scale_targets": False}, {"head": 0}, {"accumulate": 3}],
    ids=str,
)  # fmt: skip
def test_losses_and_groups_learn_and_come_back(settings, tmp_path):
    bags = planted_slides(6, 36)
    model = make("mlp", widths=(32,), epochs=25, lr=5e-3, **settings).fit(bags[[0, 1, 3, 4]])
    assert model.score(bags[[2, 5]]) > 0.45
    model.save(tmp_path / "m")
    back = sm.load(tmp_path / "m")
    assert back.shape_.groups == model.shape_.groups
    np.testing.assert_array_equal(back.predict(bags), model.predict(bags))


@pytest.mark.slow
def test_flipped_views_train_and_are_averaged():
    bags = planted_slides(2, 4, images=True, size=32)
    every = sm.features.extract(bags, "morphology", flips="all")
    model = make("mlp", x="X_morphology", flips=True, widths=(8,), epochs=2).fit(every)
    names = ["X_morphology", *(f"X_morphology_{k}" for k in range(1, 8))]
    swapped = {**every.x, **{a: every.x[b] for a, b in zip(names, names[::-1], strict=True)}}
    other = dataclasses.replace(every, x=swapped)  # the mean knows no order
    np.testing.assert_allclose(model.predict(other), model.predict(every), atol=1e-5)
    alone = make("mlp", x="X_morphology", widths=(8,), epochs=2).fit(every)
    assert not np.allclose(alone.predict(every), model.predict(every), atol=1e-3)
    with pytest.raises(InputError, match="flips='all'"):
        make("mlp", x="X_planted", flips=True).fit(bags)


def test_pathways_weigh_genes(tmp_path):
    bags = planted_slides(4, 25)
    file = tmp_path / "p.gmt"
    file.write_text("one\tx\t" + "\t".join(f"AAA{i}" for i in range(1, 9)) + "\n")
    plain = make("mlp", widths=(8,), epochs=3).fit(bags)
    weighed = make("mlp", widths=(8,), epochs=3, pathways=str(file)).fit(bags)
    joint = make("mlp", widths=(8,), epochs=3, pathways=str(file), joint=1.0).fit(bags)
    assert not np.allclose(plain.predict(bags), weighed.predict(bags))
    assert not np.allclose(joint.predict(bags), weighed.predict(bags))
    with pytest.raises(InputError, match="pathways"):
        make("mlp", joint=1.0).fit(bags)


def test_groups_come_from_training_tiles_only():
    bags = planted_slides(6, 36)
    train = bags[[0, 1, 3, 4]]
    model = make("mlp", epochs=1, groups="kmeans").fit(train)
    found = gene_groups(model.genes_, "kmeans", target=model.measured(train), min_size=2)
    codes = np.array(model.shape_.groups)
    assert [np.flatnonzero(codes == k).tolist() for k in range(5)] == [
        v.tolist() for v in found.values()
    ]


@pytest.mark.parametrize(
    ("settings", "word"),
    [({"alpha": 0.9, "beta": 0.4}, "beta"), ({"alpha": -0.1}, "alpha"), ({"axis": "spot"}, "axis"),
     ({"epochs": 0}, "epochs"), ({"units": "cpm"}, "units"), ({"genes": 0}, "genes"),
     ({"genes": ()}, "genes"), ({"x": "X_nope"}, "X_nope")],
    ids=str,
)  # fmt: skip
def test_settings_that_cannot_work(settings, word):
    with pytest.raises(InputError, match=word):
        make("mlp", **settings).fit(planted_slides(2, 9))


def test_genes_twice_and_normalised_values():
    bags = planted_slides(2, 9)
    names = ("AAA1", "AAA1", *bags.features["counts"][2:])
    twice = dataclasses.replace(bags, features={**bags.features, "counts": names})
    with pytest.raises(InputError, match="AAA1"):
        make("ridge").fit(twice)
    logs = dataclasses.replace(bags, x={**bags.x, "counts": np.log1p(bags.table("counts"))})
    with pytest.raises(InputError, match="units='given'"):
        make("ridge").fit(logs)
    model = make("ridge", units="given").fit(logs)
    np.testing.assert_allclose(model.measured(logs), logs.table("counts"), rtol=1e-6)


def test_units_are_scanpys():
    bags = planted_slides(2, 9)
    counts = bags.table("counts")
    wanted = np.log1p(counts / counts.sum(1, keepdims=True) * 1e4)
    model = make("ridge", genes=("BBB1", "AAA1")).fit(bags)
    np.testing.assert_allclose(model.measured(bags), wanted[:, [1, 0]], rtol=1e-5)


# ---------------------------------------------------------------- ensembles


def test_mean_of_members():
    bags = planted_slides(4, 25)
    both = make("ensemble", members=("ridge", "pls")).fit(bags)
    parts = [make(n).fit(bags).predict(bags) for n in ("ridge", "pls")]
    np.testing.assert_allclose(both.predict(bags), np.mean(parts, axis=0), atol=1e-4)


def test_stacking_weights_are_least_squares_on_left_out_donors():
    bags = planted_slides(6, 30, donors=3)
    model = make("ensemble", members=("ridge", "knn"), how="stack").fit(bags)
    y = model.measured(bags).astype(float)
    sd, mean = y.std(0), y.mean(0)
    out = np.zeros((2, *y.shape))
    given = dataclasses.replace(bags, x={**bags.x, "counts": model.measured(bags)})
    donors = bags.donors[bags.index]
    for d in np.unique(donors):
        rows = donors == d
        for i, name in enumerate(("ridge", "knn")):
            part = make(name, units="given").fit(given.keep(~rows))
            out[i, rows] = part.predict(given.keep(rows))
    p, t = ((out - mean) / sd).reshape(2, -1), ((y - mean) / sd).ravel()
    best = minimize(lambda w: ((w @ p - t) ** 2).sum(), [0.5, 0.5], bounds=[(0, None)] * 2).x
    np.testing.assert_allclose(model.network_.weight.numpy(), best / best.sum(), atol=1e-3)


def test_members_of_other_views_and_settings(tmp_path):
    bags = planted_slides(4, 25)
    noise = np.random.default_rng(0).normal(size=(bags.n_instances, 5)).astype(np.float32)
    bags = dataclasses.replace(bags, x={"X_noise": noise, **bags.x})
    members = (make("ridge", x="X_planted"), {"method": "ridge", "x": "X_noise"})
    model = make("ensemble", members=members, how="stack").fit(bags)
    assert model.network_.weight[0] > 0.8  # noise is worth nothing
    model.save(tmp_path / "m")
    np.testing.assert_array_equal(sm.load(tmp_path / "m").predict(bags), model.predict(bags))


def test_tiles_and_features_in_one_ensemble():
    bags = planted_slides(4, 12, images=True, size=32)
    small = sm.expression.FineTune.example().set_params(epochs=1)
    model = make("ensemble", members=("ridge", small)).fit(bags)
    assert model.predict(bags).shape == (48, 40)


@pytest.mark.parametrize(
    ("settings", "word"),
    [({"members": ()}, "members"), ({"how": "vote"}, "how"),
     ({"members": ("total_count",)}, "total"),
     ({"members": (sm.make("ridge", preprocess="scale"),)}, "preprocess")],
    ids=str,
)  # fmt: skip
def test_ensembles_that_cannot_work(settings, word):
    with pytest.raises(InputError, match=word):
        make("ensemble", **settings).fit(planted_slides(2, 9))


# ---------------------------------------------------------------- tiles


def test_fine_tuning_moves_the_backbone_after_the_head():
    bags = planted_slides(2, 16, images=True, size=32)
    model = sm.expression.FineTune.example().set_params(epochs=1, warm=1, progress=False).fit(bags)
    assert list(model.history_["stage"].unique()) == ["weights", "targets", "head", "train"]


def test_flips_at_prediction_make_it_invariant():
    bags = planted_slides(2, 16, images=True, size=32)
    model = sm.expression.FineTune.example().set_params(epochs=1, flips=True, progress=False)
    model.fit(bags)
    turned = np.ascontiguousarray(np.rot90(bags.x["tile"], axes=(2, 3)))
    other = dataclasses.replace(bags, x={**bags.x, "tile": turned})
    np.testing.assert_allclose(model.predict(other), model.predict(bags), atol=1e-4)
    plain = model.set_params(flips=False)
    assert plain.get_params()["flips"] is False


def test_accumulated_gradients_equal_one_step_for_squared_error():
    bags = planted_slides(2, 16)
    whole = make("mlp", dropout=0.0, epochs=2, batch_size=16).fit(bags)
    parts = make("mlp", dropout=0.0, epochs=2, batch_size=16, accumulate=4).fit(bags)
    np.testing.assert_allclose(parts.predict(bags), whole.predict(bags), atol=1e-3)


def test_half_precision_trains_and_predicts_about_the_same():
    bags = planted_slides(2, 16, images=True, size=32)
    plain = sm.expression.FineTune.example().set_params(epochs=2, progress=False)
    half = sm.expression.FineTune.example().set_params(epochs=2, progress=False,
                                                       precision="bf16-mixed")  # fmt: skip
    one, two = plain.fit(bags).predict(bags), half.fit(bags).predict(bags)
    assert np.isfinite(two).all()
    assert np.abs(one - two).max() < 0.1 * np.ptp(one)


@pytest.mark.slow  # a network of timm; of our own, above
def test_a_backbone_of_timm_is_tuned_and_comes_back_without_its_weights(tmp_path, monkeypatch):
    bags = planted_slides(2, 6, images=True, size=32)
    model = sm.make("fine_tune", backbone="resnet10t", weights="random", epochs=1, warm=1,
                    accumulate=2, progress=False).fit(bags)  # fmt: skip
    model.save(tmp_path / "m")
    monkeypatch.setattr("smalti.features.pretrained._hub", lambda *a: pytest.fail("went online"))
    np.testing.assert_allclose(
        sm.load(tmp_path / "m").predict(bags), model.predict(bags), atol=1e-5
    )
    monkeypatch.undo()
    with pytest.raises(InputError, match=r"\.safetensors"):
        sm.make("fine_tune", backbone="resnet10t", weights="w.pt", progress=False).fit(bags)
