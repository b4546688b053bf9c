"""UMINT is a dense autoencoder without the blocks between modalities, and takes gaps."""

import dataclasses

import numpy as np
import pytest
import torch
from sklearn.base import clone

import smalti as sm
from smalti.bags import Bags
from smalti.batch import Batch, Shape
from smalti.datasets.modalities import planted_modalities
from smalti.errors import InputError
from smalti.integrate.umint import UMINT
from smalti.task import NOTHING

SIZES, WIDTHS = {"a": 7, "b": 4}, (5, 3)


def quick(**settings):
    known = {"accelerator": "cpu", "progress": False, "epochs": 2}
    return UMINT.example().set_params(**known | settings)


def net_of(method, sizes=SIZES, n=20):
    torch.manual_seed(0)
    return method.network(Shape({k: (d,) for k, d in sizes.items()}, NOTHING, n)).double()


def cells(sizes=SIZES, n=20, present=None):
    rng = np.random.default_rng(1)
    views = {k: torch.as_tensor(rng.normal(size=(n, d))) for k, d in sizes.items()}
    gaps = {} if present is None else {"present": torch.as_tensor(present, dtype=torch.float64)}
    return Batch(views, None, gaps)


def numbers(net):
    return {k: v.detach().numpy() for k, v in net.state_dict().items()}


def relu(x):
    return np.maximum(x, 0)


def by_hand(net, x, seen, lambdas, l1, l2, unit=False):
    """Code, output and loss of each cell of a network in NumPy, from the formulas alone."""
    p, m = numbers(net), len(x)
    edges = np.cumsum([0, *(p[f"encoders.{i}.bias"].size for i in range(m))])
    h = [relu(x[i] @ p[f"encoders.{i}.weight"].T + p[f"encoders.{i}.bias"]) for i in range(m)]
    h = [a * seen[:, [i]] for i, a in enumerate(h)]
    parts = [h[i] @ p["code.weight"][:, edges[i] : edges[i + 1]].T for i in range(m)]
    z = relu(m * sum(parts) / seen.sum(1, keepdims=True) + p["code.bias"])
    if unit:
        z = z / np.linalg.norm(z, axis=1, keepdims=True) * np.sqrt(z.shape[1])
    g = [relu(z @ p[f"decoders.{i}.weight"].T + p[f"decoders.{i}.bias"]) for i in range(m)]
    out = [g[i] @ p[f"outputs.{i}.weight"].T + p[f"outputs.{i}.bias"] for i in range(m)]
    loss = sum(lambdas[i] * ((x[i] - out[i]) ** 2).mean(1) * seen[:, i] for i in range(m))
    loss = loss + l1 * sum(np.abs(a).sum(1) for a in (*h, z, *g))
    kept_small = [p["code.weight"]]
    kept_small += [p[f"{part}.{i}.weight"] for part in ("encoders", "decoders") for i in range(m)]
    return z, out, loss + l2 * sum((w**2).sum() for w in kept_small)


def test_equals_a_dense_autoencoder_without_the_blocks_between_modalities():
    net = net_of(UMINT(width=6, widths=WIDTHS, l1=0.01, l2=0.02, clip=None)).train()
    batch, p = cells(), {k: v.detach().clone() for k, v in net.state_dict().items()}

    def dense(layer):
        return torch.block_diag(p[f"{layer}.0.weight"], p[f"{layer}.1.weight"]).requires_grad_()

    def joined(layer):
        return torch.cat([p[f"{layer}.0.bias"], p[f"{layer}.1.bias"]]).requires_grad_()

    w = {"encoders": dense("encoders"), "outputs": dense("outputs"),
         "code": p["code.weight"].requires_grad_(),
         "decoders": torch.cat([p["decoders.0.weight"],
                                p["decoders.1.weight"]]).requires_grad_()}  # fmt: skip
    b = {k: joined(k) for k in ("encoders", "decoders", "outputs")}
    b["code"] = p["code.bias"].requires_grad_()
    x = torch.cat(list(batch.views.values()), dim=1)
    h = torch.relu(x @ w["encoders"].T + b["encoders"])
    z = torch.relu(h @ w["code"].T + b["code"])
    g = torch.relu(z @ w["decoders"].T + b["decoders"])
    out = g @ w["outputs"].T + b["outputs"]
    error = (x - out).square()
    loss = error[:, :7].mean() + error[:, 7:].mean()
    loss = loss + 0.01 * sum(a.sum(1).mean() for a in (h, z, g))
    loss = loss + 0.02 * sum(w[k].square().sum() for k in ("encoders", "code", "decoders"))
    loss.backward()

    ours = net(batch)
    mean = ours.extra["loss"].mean()
    mean.backward()
    exact = {"rtol": 0, "atol": 1e-10}
    torch.testing.assert_close(ours.raw, z, **exact)
    torch.testing.assert_close(torch.cat(list(net.decode(ours.raw).values()), 1), out, **exact)
    torch.testing.assert_close(mean, loss, **exact)
    grad = {k: v.grad for k, v in net.named_parameters()}
    for layer, (rows, columns) in {"encoders": (5, 7), "outputs": (7, 5)}.items():
        whole = w[layer].grad
        torch.testing.assert_close(grad[f"{layer}.0.weight"], whole[:rows, :columns], **exact)
        torch.testing.assert_close(grad[f"{layer}.1.weight"], whole[rows:, columns:], **exact)
        assert whole[:rows, columns:].abs().max() > 0  # what a dense layer would learn besides
    torch.testing.assert_close(grad["code.weight"], w["code"].grad, **exact)
    split = torch.cat([grad["decoders.0.weight"], grad["decoders.1.weight"]])
    torch.testing.assert_close(split, w["decoders"].grad, **exact)
    for layer in ("encoders", "decoders", "outputs"):
        both = torch.cat([grad[f"{layer}.0.bias"], grad[f"{layer}.1.bias"]])
        torch.testing.assert_close(both, b[layer].grad, **exact)
    torch.testing.assert_close(grad["code.bias"], b["code"].grad, **exact)


@pytest.mark.parametrize("unit", [False, True])
@pytest.mark.parametrize("gaps", [False, True])
def test_code_and_loss_by_hand(unit, gaps):
    method = UMINT(width=6, widths=WIDTHS, weights=(2.0, 0.5), l1=0.03, l2=0.07, clip=None,
                   unit_code=unit, drop=0.0)  # fmt: skip
    net, seen = net_of(method), np.ones((20, 2))
    if gaps:
        seen[:6, 0] = seen[6:11, 1] = 0
    batch = cells(present=seen if gaps else None)
    x = [v.numpy() * seen[:, [i]] for i, v in enumerate(batch.views.values())]
    z, out, loss = by_hand(net, x, seen, (2.0, 0.5), 0.03, 0.07, unit)
    ours = net.train()(batch)
    np.testing.assert_allclose(ours.raw.detach().numpy(), z, atol=1e-12)
    np.testing.assert_allclose(ours.extra["loss"].detach().numpy(), loss, atol=1e-12)
    quiet = net.eval()(batch)
    np.testing.assert_array_equal(quiet.raw.detach().numpy(), ours.raw.detach().numpy())
    assert not quiet.extra
    for ours_i, by_hand_i in zip(net.decode(quiet.raw).values(), out, strict=True):
        np.testing.assert_allclose(ours_i.detach().numpy(), by_hand_i, atol=1e-12)


def test_three_modalities_with_gaps_by_hand():
    sizes, seen = {"a": 7, "b": 4, "c": 1}, np.ones((20, 3))
    seen[:5, 1] = seen[3:8, 2] = seen[9, :2] = 0
    method = UMINT(width=6, widths=(5, 3, 1), l1=0.03, l2=0.07, clip=None, drop=0.0)
    net = net_of(method, sizes)
    batch = cells(sizes, present=seen)
    x = [v.numpy() * seen[:, [i]] for i, v in enumerate(batch.views.values())]
    z, _, loss = by_hand(net, x, seen, (1, 1, 1), 0.03, 0.07)
    ours = net.train()(batch)
    np.testing.assert_allclose(ours.raw.detach().numpy(), z, atol=1e-12)
    np.testing.assert_allclose(ours.extra["loss"].detach().numpy(), loss, atol=1e-12)


def test_parameters_of_the_published_networks():
    def count(sizes):
        rng = np.random.default_rng(0)
        views = {f"v{i}": rng.normal(size=(16, d)).astype(np.float32) for i, d in enumerate(sizes)}
        model = UMINT(epochs=1, accelerator="cpu", progress=False).fit(views)
        assert model.n_parameters_ == model.parameter_count()["umint"]
        return model.parameter_count()

    cbmc = count((2000, 10))  # hidden layers (128, 10), code 64
    assert cbmc == {"umint": 532_214, "autoencoder": 574_774, "saving": 42_560}
    assert cbmc["saving"] == 2 * (2000 * 10 + 10 * 128)

    three = count((50, 20, 300))  # hidden layers (10, 10, 128)
    d, n, width = (50, 20, 300), (10, 10, 128), 64
    separate = sum(a * b + b + width * b + b + b * a + a for a, b in zip(d, n, strict=True))
    assert three["umint"] == separate + sum(n) * width + width
    dense = 370 * 148 + 148 + 148 * width + width + width * 148 + 148 + 148 * 370 + 370
    assert three["autoencoder"] == dense


def test_the_code_is_never_negative_and_may_have_unit_length():
    bags = planted_modalities(80)
    plain = quick().fit(bags).transform(bags)
    assert plain.min() >= 0
    unit = quick(unit_code=True).fit(bags).transform(bags)
    assert unit.min() >= 0
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), np.sqrt(16), rtol=1e-5)


def test_hides_modalities_in_training_where_cells_lack_one():
    batch, gaps = cells(), cells(present=np.ones((20, 2)))
    net = net_of(UMINT(width=6, widths=WIDTHS)).train()
    whole = net(batch).raw
    assert torch.equal(net(batch).raw, whole)  # no gaps: as published
    assert not torch.allclose(net(gaps).raw, whole)
    never = net_of(UMINT(width=6, widths=WIDTHS, drop=0.0)).train()
    torch.testing.assert_close(never(gaps).raw, whole)


def tied(n=400, missing=0.0, seed=0):
    """Cells whose second modality depends on the state that the first one shows too.

    The states of ``planted_modalities`` are independent: one modality says nothing of another.
    """
    bags = planted_modalities(n, features=(40, 12), clusters=3, effect=8.0, seed=seed)
    profile = np.random.default_rng(5).normal(size=(3, 12)) * 2
    noise = np.random.default_rng([6, seed]).normal(size=(n, 12))
    second = (profile[bags.instance["state_0"]] + noise).astype(np.float32)
    there = np.random.default_rng([7, seed]).random(n) >= missing
    present = {"m1": there} if missing else {}
    gaps = np.where(there[:, None], second, 0)
    return dataclasses.replace(bags, x={**bags.x, "m1": gaps}, present=present), second


@pytest.mark.slow  # 60 epochs; the lines of impute run below
def test_imputes_what_was_not_measured():
    bags, _ = tied()
    model = quick(drop=0.3).set_params(epochs=30).fit(bags)
    untaught = quick(align_halves=False).set_params(epochs=30).fit(bags)
    new, truth = tied(200, missing=0.5, seed=1)
    gone = ~new.present["m1"]
    imputed = model.impute(new)
    center = bags.x["m1"].mean(0)

    def correlation(values):  # over cells, about the mean of each feature: of the mean itself 0
        return np.corrcoef((values - center).ravel(), (truth[gone] - center).ravel())[0, 1]

    assert correlation(imputed["m1"][gone]) > 0.7
    assert correlation(untaught.impute(new)["m1"][gone]) < 0.6
    error = ((imputed["m1"][gone] - truth[gone]) ** 2).mean()
    assert error < 0.6 * ((center - truth[gone]) ** 2).mean()
    inputs, decoded = model.inputs(new), model.reconstruct(new)
    np.testing.assert_array_equal(imputed["m1"][~gone], inputs["m1"][~gone])
    np.testing.assert_array_equal(imputed["m0"], inputs["m0"])
    np.testing.assert_array_equal(imputed["m1"][gone], decoded["m1"][gone])


def test_a_modality_that_new_data_lack_altogether():
    bags, _ = tied(120)
    model = quick(drop=0.3).fit(bags)
    lone = dataclasses.replace(bags, x={"m0": bags.x["m0"]}, features={}, present={})
    marked = dataclasses.replace(bags, present={"m1": np.zeros(120, dtype=bool)})
    np.testing.assert_array_equal(model.transform(lone), model.transform(marked))
    assert model.impute(lone)["m1"].shape == (120, 12)
    other = dataclasses.replace(bags, x={"m9": bags.x["m0"]}, features={}, present={})
    with pytest.raises(InputError, match="no view 'm0'"):
        model.transform(other)


def test_hidden_modalities_are_drawn_in_training_only():
    net, batch = net_of(UMINT(width=6, drop=0.5, clip=None)), cells()
    first, second = net.train()(batch).raw, net(batch).raw
    assert not torch.equal(first, second)
    net.eval()
    assert torch.equal(net(batch).raw, net(batch).raw)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"widths": (8,)}, r"widths=\(8,\) needs one value for each of 2 modalities"),
        ({"weights": (1.0, 1.0, 1.0)}, r"weights=.* needs one value for each of 2 modalities"),
        ({"widths": 8}, r"widths=8 should be several values"),
        ({"preprocess": {"m7": "scale"}}, "no view 'm7'"),
    ],
)
def test_settings_that_do_not_fit(settings, match):
    with pytest.raises(InputError, match=match):
        quick(**settings).fit(planted_modalities(30))


def test_presets():
    fast = UMINT.presets["fast"]
    assert {k: sm.make("umint:fast").get_params()[k] for k in fast} == fast
    assert sm.make("umint:fast", width=8).width == 8
    assert sm.make("umint:fast", epochs=3).epochs == 3
    assert (sm.make("umint").batch_size, sm.make("umint").epochs) == (16, 25)  # as published
    with pytest.raises(InputError, match="umint has no preset 'quick'; there are fast"):
        sm.make("umint:quick")
    with pytest.raises(InputError, match="no setting 'widht'"):
        sm.make("umint:fast", widht=8)


@pytest.mark.parametrize(("epochs", "min_steps", "made"), [
    (None, 0, 1), (None, 5, 1), (None, 25, 5), (None, 26, 6), (2, 26, 2),
])  # fmt: skip
def test_epochs_that_are_said_are_the_epochs_that_are_made(epochs, min_steps, made):
    settings = dict(batch_size=10, epochs=epochs, min_steps=min_steps)
    model = quick(**settings).fit(planted_modalities(50))  # five steps an epoch
    assert (model.history_["stage"] == "train").sum() == made


def test_epochs_go_before_the_steps_of_a_preset():
    model = sm.make("umint:fast", width=4, epochs=2, progress=False).fit(planted_modalities(50))
    assert (model.history_["stage"] == "train").sum() == 2


def test_three_modalities_and_one_feature():
    bags = planted_modalities(90, features=(30, 12, 1), counts=True)
    model = quick().fit(bags)  # clr of one protein is no ratio, but this one is peaks
    assert model.transform(bags).shape == (90, 16)
    assert {k: v.shape[1] for k, v in model.reconstruct(bags).items()} == {
        "rna": 30, "protein": 12, "atac": 1}  # fmt: skip
    one = planted_modalities(90, features=(30, 1), counts=True)
    assert np.isfinite(quick().fit(one).transform(one)).all()


def test_a_constant_feature_stays_finite():
    bags = planted_modalities(60)
    bags.x["m0"][:, 3] = 5.0
    model = quick().fit(bags)
    assert np.isfinite(model.transform(bags)).all()
    assert np.isfinite(model.reconstruct(bags)["m0"]).all()
    shifted = dataclasses.replace(bags, x={**bags.x, "m0": bags.x["m0"].copy()})
    shifted.x["m0"][:, 3] = 1e6  # a new value cannot blow up the code: it is cut
    assert np.isfinite(model.transform(shifted)).all()


def test_scikit_learn_idioms():
    method = UMINT(widths=(8, 4), weights=(1.0, 2.0), preprocess={"m0": "scale"})
    assert clone(method).get_params() == method.get_params()
    assert method.set_params(width=7).width == 7
    with pytest.raises(ValueError, match="no setting 'widht'"):
        method.set_params(widht=7)
    bags = planted_modalities(60)
    model = quick(seed=4)
    codes = model.fit_transform(bags)
    again = clone(model).fit(bags)
    np.testing.assert_array_equal(again.transform(bags), codes)
    tables = {k: np.asarray(v) for k, v in bags.x.items()}  # a mapping of arrays will do
    np.testing.assert_array_equal(clone(model).fit_transform(tables), codes)
    with pytest.raises(ValueError, match="not fitted"):
        clone(model).transform(bags)
    with pytest.raises(ValueError, match="not fitted"):
        clone(model).parameter_count()


@pytest.mark.slow
@pytest.mark.parametrize("step", [1, 4, 5, 11])
def test_killed_and_resumed_equals_uninterrupted(killed_and_resumed, step):
    settings = dict(batch_size=16, drop=0.3, anneal=True)  # five steps an epoch
    bags = planted_modalities(70, missing=0.2)
    killed_and_resumed(lambda: quick(**settings).set_params(epochs=3), bags, step)


def test_an_epoch_sees_every_cell_once():
    seen = []

    class Spy(UMINT):
        name = ""  # not to be found as a method

        def network(self, shape):
            net = super().network(shape)
            net.register_forward_pre_hook(
                lambda module, args: seen.append(args[0].views["a"][:, 0].clone())
                if module.training else None
            )  # fmt: skip
            return net

    table = np.arange(50, dtype=np.float32)[:, None]
    bags = Bags.from_rows({"a": table, "b": table}, np.repeat(np.arange(10), 5))
    Spy(epochs=2, batch_size=8, accelerator="cpu", progress=False, preprocess=None).fit(bags)
    assert len(seen) == 14
    for epoch in (seen[:7], seen[7:]):
        np.testing.assert_array_equal(np.sort(torch.cat(epoch).numpy()), np.arange(50))
    assert not torch.equal(torch.cat(seen[:7]), torch.cat(seen[7:]))


# ---------------------------------------------------------------- what a view is taken for


def test_what_views_were_taken_for_is_told_and_kept(tmp_path, caplog):
    bags = planted_modalities(40, counts=True)
    views = {"rna": bags.x["rna"] * np.float32(0.9), "surface": bags.x["protein"]}
    with (
        caplog.at_level("INFO", "smalti"),
        pytest.warns(UserWarning, match=r"rna \(40 feat.*stands"),
    ):
        model = quick().fit(Bags.from_rows(views, np.arange(40)))
    line = "surface (12 features): taken for protein, by its name; clr"
    assert line in caplog.text
    assert str(model.modalities_[1]) == line
    model.save(tmp_path / "m")
    assert sm.load(tmp_path / "m").modalities_ == model.modalities_
    given = quick(preprocess={"surface": "log1p,scale"}).fit(Bags.from_rows(views, np.arange(40)))
    assert [str(m).split(": ")[1] for m in given.modalities_] == [
        "as it stands, as preprocess= says", "log1p,scale, as preprocess= says",
    ]  # fmt: skip


def test_kinds_of_the_bags_choose_the_steps():
    bags = planted_modalities(40, counts=True)
    views = {"one": bags.x["rna"], "two": bags.x["protein"]}
    cells = Bags.from_rows(views, np.arange(40), kinds={"one": "rna", "two": "protein"})
    model = quick().fit(cells)
    named = Bags.from_rows({"rna": views["one"], "protein": views["two"]}, np.arange(40))
    np.testing.assert_array_equal(model.transform(cells), quick().fit(named).transform(named))
    assert cells.asked_digest != Bags.from_rows(views, np.arange(40)).asked_digest


def test_one_modality_is_no_integration():
    rna = planted_modalities(40, counts=True).x["rna"]
    for cells in (rna, {"rna": rna}, Bags.from_rows({"rna": rna}, np.arange(40))):
        with pytest.raises(InputError, match="two modalities or more, and there is one, .*pca=50"):
            quick().fit(cells)
