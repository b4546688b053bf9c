"""What each modality adds to a code: planted truth, exact shares of a linear code, noise."""

import dataclasses

import anndata
import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

import smalti as sm
from smalti.bags import Bags
from smalti.datasets.modalities import planted_modalities
from smalti.errors import InputError
from smalti.integrate.block_pca import BlockPCA
from smalti.integrate.umint import UMINT


def parted(n=600, seed=0):
    """Kinds 0 and 1 differ in modality a alone, kinds 2 and 3 in b alone; and their kind."""
    rng, law = np.random.default_rng([seed, 1]), np.random.default_rng([seed, 2])
    kind = rng.integers(4, size=n)
    views = {}
    for name, d, states in (("a", 30, (0, 1)), ("b", 12, (2, 3))):
        profile = law.normal(size=d)
        state = np.select([kind == states[0], kind == states[1]], [-3.0, 3.0], 0.0)
        mean = state[:, None] * profile / np.linalg.norm(profile)
        views[name] = (mean + rng.normal(size=(n, d))).astype(np.float32)
    return Bags.from_rows(views, np.arange(n)), kind


@pytest.mark.parametrize("how", ["hidden", "gradient"])
@pytest.mark.parametrize("method", [
    BlockPCA(width=4), UMINT(width=8, epochs=12, batch_size=32, lr=3e-3),
], ids=["block_pca", "umint"])  # fmt: skip
def test_a_modality_counts_most_where_it_alone_tells_cells_apart(method, how):
    bags, kind = parted()
    model = method.set_params(accelerator="cpu", progress=False).fit(bags)
    shares = model.modality_contributions(bags, how)
    np.testing.assert_allclose(shares.sum(1), 1, atol=1e-6)
    assert roc_auc_score(kind < 2, shares["a"]) > 0.7


def test_gradient_shares_of_a_linear_code_by_hand():
    bags, _ = parted(100)
    model = BlockPCA(width=4, clip=None, accelerator="cpu", progress=False).fit(bags)
    net = model.network_
    x = {k: (v - v.mean(0)) / v.std(0) / v.shape[1] ** 0.5 for k, v in bags.x.items()}
    axes = dict(zip(x, np.split(net.axes.numpy(), [30]), strict=True))
    parts = {k: x[k] @ axes[k] for k in x}
    whole = sum(parts.values())
    expected = np.stack([(p * whole).sum(1) / (whole**2).sum(1) for p in parts.values()], 1)
    found = model.modality_contributions(bags, "gradient").to_numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_hidden_shares_by_hand_and_gaps():
    bags = planted_modalities(200, missing=0.4, tied=1.0)
    model = BlockPCA(width=4, accelerator="cpu", progress=False).fit(bags)
    shares = model.modality_contributions(bags).to_numpy()
    there = np.stack([bags.present[k] for k in bags.x], 1)
    np.testing.assert_array_equal(np.isnan(shares), ~there)
    assert (shares[there.sum(1) == 1][there[there.sum(1) == 1]] == 1).all()
    z = model.transform(bags)
    moved = []
    for name in bags.x:
        gone = {**bags.present, name: np.zeros(200, dtype=bool)}
        half = model.transform(dataclasses.replace(bags, present=gone))
        moved.append(np.linalg.norm(z - half, axis=1))
    whole, moved = there.all(1), np.stack(moved, 1)
    np.testing.assert_allclose(
        shares[whole], (moved / moved.sum(1, keepdims=True))[whole], rtol=1e-4
    )


def test_noise_moves_a_code_too():
    """What the documentation warns of: a share is no proof of meaning."""
    bags, _ = parted(300)
    noise = np.random.default_rng(5).normal(size=(300, 12)).astype(np.float32)
    three = dataclasses.replace(bags, x={**bags.x, "noise": noise})
    model = BlockPCA(width=30, accelerator="cpu", progress=False).fit(three)
    assert model.modality_contributions(three)["noise"].mean() > 0.15


def test_written_into_obs(tmp_path):
    bags = planted_modalities(60, counts=True, seed=0)
    data = anndata.AnnData(bags.table("rna"), obsm={"protein": bags.table("protein")})
    data.obs_names = [f"c{i}" for i in range(60)]
    read = sm.read(data, x={"rna": "X", "protein": "obsm/protein"})
    model = BlockPCA(width=4, accelerator="cpu", progress=False).fit(read)
    model.write(data, contributions=True)
    shares = model.modality_contributions(read)
    np.testing.assert_allclose(data.obs["block_pca_adds_rna"], shares["rna"], rtol=1e-5)
    plain = data.copy()
    del plain.obs["block_pca_adds_rna"]
    model.write(plain)
    assert "block_pca_adds_rna" not in plain.obs


def test_questions_that_have_no_answer(monkeypatch):
    bags, _ = parted(60)
    model = BlockPCA(width=4, accelerator="cpu", progress=False).fit(bags)
    with pytest.raises(InputError, match="how='shap': there are 'hidden' and 'gradient'"):
        model.modality_contributions(bags, "shap")
    monkeypatch.setattr(BlockPCA, "missing", False)
    with pytest.raises(InputError, match="none can be hidden: ask how='gradient'"):
        model.modality_contributions(bags)


def test_weights_of_a_graph_are_its_contributions(monkeypatch):
    bags, _ = parted(40)
    model = BlockPCA(width=4, accelerator="cpu", progress=False).fit(bags)
    weights = object()
    monkeypatch.setattr(BlockPCA, "modality_weights", lambda self, X: (weights, X), raising=False)
    assert model.modality_contributions(bags) == (weights, bags)
