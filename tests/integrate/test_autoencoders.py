"""The autoencoders that UMINT is compared with, and their linear optimum."""

import dataclasses

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from scipy.special import rel_entr
from sklearn.base import clone
from sklearn.decomposition import PCA

from smalti.batch import Batch, Shape
from smalti.core import noise
from smalti.datasets.modalities import planted_modalities
from smalti.errors import InputError
from smalti.integrate.ae import AE
from smalti.integrate.block_pca import BlockPCA
from smalti.integrate.dae import DAE
from smalti.integrate.sae import SAE, kl_divergence
from smalti.task import NOTHING

SIZES = {"a": 7, "b": 4}


def net_of(method, sizes=SIZES, n=20):
    torch.manual_seed(0)
    return method.network(Shape({k: (d,) for k, d in sizes.items()}, NOTHING, n)).double()


def cells(n=20, present=None):
    rng = np.random.default_rng(1)
    views = {k: torch.as_tensor(rng.normal(size=(n, d))) for k, d in SIZES.items()}
    gaps = {} if present is None else {"present": torch.as_tensor(present, dtype=torch.float64)}
    return Batch(views, None, gaps)


def layers_by_hand(net, x, seen, activation):
    """Activations h, z, g and output of the joined table, in NumPy."""
    p = {k: v.detach().numpy() for k, v in net.state_dict().items()}
    share = seen.shape[1] / seen.sum(1, keepdims=True)
    h = activation(x @ p["encoder.weight"].T * share + p["encoder.bias"])
    z = activation(h @ p["code.weight"].T + p["code.bias"])
    g = activation(z @ p["decoder.weight"].T + p["decoder.bias"])
    weights = sum((p[f"{k}.weight"] ** 2).sum() for k in ("encoder", "code", "decoder"))
    return (h, z, g), g @ p["output.weight"].T + p["output.bias"], weights


def relu(x):
    return np.maximum(x, 0)


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("per", ["feature", "modality"])
def test_loss_by_hand(per, gaps):
    seen = np.ones((20, 2))
    if gaps:
        seen[:6, 0] = seen[6:11, 1] = 0
    net = net_of(AE(hidden=6, width=3, per=per, l1=0.03, l2=0.07, clip=None)).train()
    batch = cells(present=seen if gaps else None)
    mask = np.repeat(seen, [7, 4], axis=1)
    x = np.concatenate([v.numpy() for v in batch.views.values()], axis=1) * mask
    acts, out, weights = layers_by_hand(net, x, seen, relu)
    square = (x - out) ** 2 * mask
    if per == "feature":
        loss = square.sum(1) / mask.sum(1)
    else:
        loss = square[:, :7].sum(1) / 7 + square[:, 7:].sum(1) / 4
    loss = loss + 0.03 * sum(np.abs(a).sum(1) for a in acts) + 0.07 * weights
    ours = net(batch)
    np.testing.assert_allclose(ours.raw.detach().numpy(), acts[1], atol=1e-12)
    np.testing.assert_allclose(ours.extra["loss"].detach().numpy(), loss, atol=1e-12)


def test_per_feature_all_but_ignores_a_narrow_modality():
    bags = planted_modalities(300, features=(200, 5), effect=8.0)
    errors = {}
    for per in ("feature", "modality"):
        model = AE.example().set_params(per=per, accelerator="cpu", progress=False).fit(bags)
        x, y = bags.x["m1"], model.reconstruct(bags)["m1"]
        errors[per] = ((x - y) ** 2).mean() / x.var(0).mean()
    assert errors["modality"] < 0.8 * errors["feature"]


def test_noise_and_mask_are_drawn_in_training_only():
    settings = dict(hidden=6, width=3, clip=None)
    batch = cells()
    plain = net_of(AE(**settings))
    for corruption in ({"noise": 0.5, "mask": 0.0}, {"noise": 0.0, "mask": 0.5}):
        net = net_of(DAE(**settings, **corruption))
        assert torch.equal(net.eval()(batch).raw, plain.eval()(batch).raw)
        first, second = net.train()(batch), net(batch)
        assert not torch.equal(first.raw, second.raw)
        assert not torch.equal(first.raw, plain(batch).raw)


@pytest.mark.parametrize("gaps", [False, True])
def test_what_comes_back_is_compared_with_the_clean_input(gaps):
    seen = np.ones((20, 2))
    if gaps:
        seen[:6, 0] = 0
    net = net_of(DAE(hidden=6, width=3, noise=0.3, mask=0.2, per="modality", l1=0, l2=0,
                     clip=None)).train()  # fmt: skip
    batch = cells(present=seen if gaps else None)
    stream = torch.Generator().manual_seed(3)
    with noise.drawn_from(stream):
        ours = net(batch)
    stream.manual_seed(3)  # the same draws by hand: noise, then what is hidden, view by view
    mask, noisy, clean = np.repeat(seen, [7, 4], axis=1), [], []
    for i, x in enumerate(batch.views.values()):
        x = x * torch.as_tensor(seen[:, [i]])
        drawn = torch.empty_like(x).normal_(generator=stream)
        keep = torch.rand(x.shape, generator=stream, dtype=x.dtype) >= 0.2
        clean.append(x.numpy())
        noisy.append(((x + 0.3 * drawn) * keep).numpy())
    acts, out, _ = layers_by_hand(net, np.concatenate(noisy, 1) * mask, seen, relu)
    square = (np.concatenate(clean, 1) - out) ** 2 * mask
    np.testing.assert_allclose(ours.raw.detach().numpy(), acts[1], atol=1e-12)
    loss = square[:, :7].mean(1) + square[:, 7:].mean(1)
    np.testing.assert_allclose(ours.extra["loss"].detach().numpy(), loss, atol=1e-12)


def test_kl_divergence_is_of_the_wanted_from_the_found():
    q = torch.linspace(0.01, 0.99, 25, dtype=torch.float64)
    p = 0.2
    expected = rel_entr(p, q.numpy()) + rel_entr(1 - p, 1 - q.numpy())
    np.testing.assert_allclose(kl_divergence(p, q).numpy(), expected, atol=1e-12)
    other = rel_entr(q.numpy(), p) + rel_entr(1 - q.numpy(), 1 - p)
    assert np.abs(expected - other).max() > 0.1  # the order matters
    assert torch.isfinite(kl_divergence(p, torch.tensor([0.0, 1.0]))).all()


def test_sparsity_is_asked_of_the_mean_activation():
    rho, beta = 0.1, 2.0
    net = net_of(SAE(hidden=6, width=3, rho=rho, beta=beta, l2=0.07, clip=None)).train()
    batch = cells()
    x = np.concatenate([v.numpy() for v in batch.views.values()], axis=1)
    acts, out, weights = layers_by_hand(net, x, np.ones((20, 2)), lambda v: 1 / (1 + np.exp(-v)))
    means = np.concatenate([a.mean(0) for a in acts])
    kl = (rel_entr(rho, means) + rel_entr(1 - rho, 1 - means)).sum()
    each = np.concatenate(acts, axis=1)
    cell_by_cell = (rel_entr(rho, each) + rel_entr(1 - rho, 1 - each)).sum(1).mean()
    assert abs(cell_by_cell - kl) > 0.01  # another penalty, which is not meant
    loss = ((x - out) ** 2).mean(1) + 0.07 * weights + beta / 11 * kl
    ours = net(batch)
    np.testing.assert_allclose(ours.extra["loss"].detach().numpy(), loss, atol=1e-12)
    assert SAE().l1 == 0


@pytest.mark.slow  # a fit of many epochs, to come near
def test_sparse_units_come_near_the_wanted_mean():
    bags = planted_modalities(200)
    settings = dict(accelerator="cpu", progress=False, epochs=30)
    strong = SAE.example().set_params(beta=30.0, rho=0.3, **settings).fit(bags)
    weak = SAE.example().set_params(beta=0.0, rho=0.3, **settings).fit(bags)
    far = [np.abs(m.transform(bags).mean(0) - 0.3).mean() for m in (strong, weak)]
    assert far[0] < 0.05
    assert far[1] > 0.1


# ---------------------------------------------------------------- block_pca


def block_pca(**settings):
    return BlockPCA(**{"clip": None, "accelerator": "cpu", "precision": "64-true",
                       "progress": False, "preprocess": None} | settings)  # fmt: skip


def scaled(train, bags):
    """[x_i / sqrt(d_i)] of features standardised by the training cells."""
    return np.concatenate(
        [(bags.x[k] - v.mean(0, dtype=np.float64)) / v.std(0, dtype=np.float64) / v.shape[1] ** 0.5
         for k, v in train.x.items()], axis=1,
    )  # fmt: skip


def assert_same_up_to_sign(ours, theirs, atol=1e-5):
    signs = np.sign((ours * theirs).sum(0))
    np.testing.assert_allclose(ours, theirs * signs, atol=atol)


def test_block_pca_is_pca_of_blocks_of_equal_variance():
    train = planted_modalities(300, features=(30, 8, 15))
    test = planted_modalities(50, features=(30, 8, 15), seed=1)
    model = block_pca(width=5).fit(train)
    pca = PCA(5, svd_solver="full").fit(scaled(train, train))
    for bags in (train, test):
        theirs = pca.transform(scaled(train, bags))
        assert_same_up_to_sign(model.transform(bags), theirs)
        back = pca.inverse_transform(theirs)
        for i, (name, view) in enumerate(train.x.items()):
            d = view.shape[1]
            part = np.split(back, [30, 38], axis=1)[i] * d**0.5
            expected = part * view.std(0, dtype=np.float64) + view.mean(0, dtype=np.float64)
            np.testing.assert_allclose(model.reconstruct(bags)[name], expected, atol=1e-5)
    assert model.transform(train).dtype == np.float64
    assert block_pca(width=5, precision="32-true").fit_transform(train).dtype == np.float32


def test_block_pca_is_the_linear_optimum():
    train = planted_modalities(300, features=(60, 6), effect=2.0)
    z, k = scaled(train, train), 4

    def error(codes):  # sum of the modalities' mean squared errors, with the best linear decoder
        return ((z - codes @ np.linalg.lstsq(codes, z, rcond=None)[0]) ** 2).sum(1).mean()

    best = error(block_pca(width=k).fit_transform(train))
    flat = z * np.repeat(np.sqrt([60, 6]), [60, 6])  # every feature the same variance
    assert best < error(PCA(k).fit_transform(flat))
    rng = np.random.default_rng(0)
    for _ in range(20):
        assert best < error(z @ np.linalg.qr(rng.normal(size=(66, k)))[0])
    own = block_pca(width=k).fit(train)
    parts = own.reconstruct(train)
    loss = sum(((train.x[m] - parts[m]) ** 2 / train.x[m].var(0)).mean() for m in train.x)
    assert loss == pytest.approx(best, rel=1e-4)  # what it decodes is the best decoding


def test_gaps_are_filled_by_the_posterior_mean():
    train = planted_modalities(300, features=(10, 6), effect=3.0)
    model = block_pca(width=3).fit(train)
    there = np.arange(300) % 3  # 0: both, 1: no m0, 2: no m1
    present = {"m0": there != 1, "m1": there != 2}
    ours = model.transform(dataclasses.replace(train, present=present))
    p = {k: v.numpy() for k, v in model.network_.state_dict().items()}
    x, axes = scaled(train, train) - p["center"], p["axes"]
    np.testing.assert_allclose(ours[there == 0], x[there == 0] @ axes, atol=1e-6)
    for gap, seen in ((1, np.arange(10, 16)), (2, np.arange(10))):
        a, law = axes[seen], np.diag(p["variance"])
        # scores ~ N(0, law), features = axes scores + noise: the mean of scores given features
        of_seen = a @ law @ a.T + p["residual"] * np.eye(len(seen))
        expected = x[there == gap][:, seen] @ np.linalg.inv(of_seen) @ a @ law
        np.testing.assert_allclose(ours[there == gap], expected, atol=1e-6)
    values = PCA(16).fit(scaled(train, train)).explained_variance_ * 299 / 300
    np.testing.assert_allclose(p["variance"], values[:3], rtol=1e-5)
    np.testing.assert_allclose(p["residual"], values[3:].mean(), rtol=1e-5)


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "32-true"])
def test_gaps_in_other_precisions(precision):
    bags = planted_modalities(200, missing=0.4, effect=8.0)
    exact = block_pca(width=3).fit_transform(bags)
    rough = block_pca(width=3, precision=precision).fit_transform(bags)
    signs = np.sign((exact * rough).sum(0))
    assert np.corrcoef((rough * signs).ravel(), exact.ravel())[0, 1] > 0.98


def test_covariances_of_pairs_that_were_both_measured():
    bags = planted_modalities(400, features=(6, 4), missing=0.5)
    model = block_pca(width=10).fit(bags)
    p = {k: v.numpy() for k, v in model.network_.state_dict().items()}
    ours = p["axes"] * p["variance"] @ p["axes"].T  # of all ten components
    a, b = bags.present["m0"], bags.present["m1"]
    x = [bags.x["m0"][a], bags.x["m1"][b]]
    both = [(bags.x[k][a & b] - v.mean(0)) / v.std(0) / v.shape[1] ** 0.5
            for k, v in zip(("m0", "m1"), x, strict=True)]  # fmt: skip
    cross = (both[0] - both[0].mean(0)).T @ (both[1] - both[1].mean(0)) / (a & b).sum()
    np.testing.assert_allclose(ours[:6, :6], np.corrcoef(x[0].T) / 6, atol=1e-5)
    np.testing.assert_allclose(ours[6:, 6:], np.corrcoef(x[1].T) / 4, atol=1e-5)
    np.testing.assert_allclose(ours[:6, 6:], cross, atol=1e-5)


@pytest.mark.parametrize("gaps", [False, True])
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("small", [1000, 20], ids=["products", "lanczos"])
def test_wide_tables_need_no_covariance(monkeypatch, gaps, sparse, small):
    bags = planted_modalities(120, features=(90, 40), counts=True, missing=0.3 * gaps)
    x = {k: v.copy() for k, v in bags.x.items()}
    x["rna"][:, 3] = 0
    x["rna"][0, 3] = 500  # cut at 10 s.d.
    x["rna"][:, 5] = 700
    x["rna"][1, 5] = 0  # a zero that is cut
    x = {k: sp.csr_matrix(v) if sparse else v for k, v in x.items()}
    bags = dataclasses.replace(bags, x=x)
    method = BlockPCA(width=7, preprocess=None, accelerator="cpu")
    narrow = method.fit(bags)
    whole = narrow.transform(bags)
    kept = {k: v.clone() for k, v in narrow.network_.state_dict().items()}
    monkeypatch.setattr("smalti.integrate.block_pca._WIDE", 50)
    monkeypatch.setattr("smalti.solve.components.SMALL", small)
    wide = clone(method).fit(bags)
    for name, values in wide.network_.state_dict().items():
        np.testing.assert_allclose(values, kept[name], atol=2e-5, err_msg=name)
    np.testing.assert_allclose(wide.transform(bags), whole, atol=1e-4)


def test_one_modality_alone():
    train = planted_modalities(200, counts=True)
    test = planted_modalities(40, counts=True, seed=1)
    model = block_pca(width=4, modality="rna").fit(train)
    alone = dataclasses.replace(train, x={"rna": train.x["rna"]}, present={})
    pca = PCA(4, svd_solver="full").fit(scaled(alone, alone))
    assert_same_up_to_sign(model.transform(test), pca.transform(scaled(alone, test)))
    assert list(model.reconstruct(test)) == ["rna"]
    other = dataclasses.replace(test, x={**test.x, "protein": test.x["protein"] * 9})
    np.testing.assert_array_equal(model.transform(other), model.transform(test))
    steps = {"rna": "normalize,log1p", "protein": "clr"}
    model = block_pca(modality="protein", preprocess=steps).fit(train)
    assert model.preprocess == steps
    assert model.inputs_ == {"protein": (12,)}
    assert np.isfinite(model.transform(test)).all()
    with pytest.raises(InputError, match="no view 'atac'"):
        block_pca(modality="atac").fit(train)


def test_more_components_than_there_can_be():
    bags = planted_modalities(30, features=(5, 3))
    assert block_pca(width=64).fit_transform(bags).shape == (30, 8)
    few = planted_modalities(4, features=(5, 3))
    assert np.isfinite(block_pca(width=8).fit_transform(few)).all()
    rng = np.random.default_rng(0)
    wide = {"a": rng.random((9, 25_001), np.float32), "b": np.ones((9, 1), np.float32)}
    codes = block_pca(width=20).fit_transform(wide)
    assert codes[:, :8].std(0).min() > 0.1
    assert np.abs(codes[:, 8:]).max() < 1e-3  # nine cells have eight components
