import dataclasses

import anndata
import numpy as np
import pytest
import scipy.sparse as sp
import torch
from sklearn.neighbors import KNeighborsClassifier

import smalti
from smalti.core.load import load
from smalti.datasets.modalities import planted_modalities
from smalti.errors import InputError
from smalti.integrate import WNN, Embed
from smalti.integrate.wnn import spectral


def method(**settings):
    return WNN(**{"components": 6, "neighbors": 10, "width": 5, "accelerator": "cpu"} | settings)


@pytest.fixture(scope="module")
def wnn():
    bags = planted_modalities(120, counts=True, effect=8.0)
    return method().fit(bags), bags


def test_codes_are_eigenvectors_of_the_graph(wnn):
    model, bags = wnn
    vectors, values = spectral(model.graph_, 5)
    np.testing.assert_allclose(model.transform(bags), vectors * values * np.sqrt(120), atol=1e-5)


def test_weights_are_of_each_cell_and_do_not_collapse(wnn):
    model, bags = wnn
    weights = model.modality_weights_
    assert list(weights) == ["rna", "protein"]
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)
    assert weights["rna"].max() - weights["rna"].min() > 0.2
    np.testing.assert_array_equal(model.modality_weights(bags), weights)


def test_training_cells_given_again_are_themselves_in_any_order(wnn):
    model, bags = wnn
    some = np.random.default_rng(0).permutation(120)[:50]
    part = bags[some]
    np.testing.assert_allclose(model.transform(part), model.transform(bags)[some], atol=1e-6)
    np.testing.assert_array_equal(model.modality_weights(part), model.modality_weights_.iloc[some])
    want = model.graph_.toarray()[np.ix_(some, some)]
    np.testing.assert_array_equal(model.graph(part).toarray(), want)


def test_new_cells_come_to_lie_among_their_kind(wnn):
    model, bags = wnn
    new = planted_modalities(60, counts=True, effect=8.0, seed=4)
    codes, known = model.transform(new), model.transform(bags)
    vote = KNeighborsClassifier(5).fit(known, bags.instance["kind"])
    assert vote.score(codes, new.instance["kind"]) > 0.9
    np.testing.assert_allclose(model.modality_weights(new).sum(axis=1), 1, atol=1e-6)
    both = model.graph(dataclasses.replace(bags, donor=None)[np.arange(120)])
    assert (both != model.graph_).nnz == 0
    assert model.graph(new).nnz == 0  # none of them knows another


def test_clusters_of_the_graph_are_the_kinds(wnn):
    pytest.importorskip("igraph")
    model, bags = wnn
    found = model.clusters(n_clusters=4)
    assert smalti.scores.cluster_scores(bags.instance["kind"], found)["ari"] > 0.7
    np.testing.assert_array_equal(model.clusters(bags, 4), found)
    assert len(set(model.clusters(resolution=3.0))) > len(set(model.clusters(resolution=0.1)))


def test_it_is_fitted_in_the_fold_as_a_step():
    cells = planted_modalities(80, counts=True, n_bags=8)
    bags = cells.with_target([0, 1] * 4)
    model = smalti.mil.BagMean(preprocess=Embed(method()), progress=False).fit(bags)
    assert np.isfinite(model.predict_proba(bags)).all()


def test_a_saved_model_places_cells_as_before_and_an_older_one_is_refused(wnn, tmp_path):
    model, _ = wnn
    new = planted_modalities(30, counts=True, effect=8.0, seed=4)
    model.save(tmp_path / "model")
    back = load(tmp_path / "model")
    assert (back.graph_ != model.graph_).nnz == 0
    np.testing.assert_array_equal(back.transform(new), model.transform(new))
    older = {"codes": torch.zeros(120, 5), "weights": torch.zeros(120, 2)}
    with pytest.raises(InputError, match="saved by an earlier smalti"):
        model.network_.load_state_dict(older)


def test_weights_and_graph_are_written_beside_the_codes(tmp_path):
    cells = planted_modalities(90, counts=True)
    table = anndata.AnnData(sp.csr_matrix(cells.x["rna"]), obsm={"protein": cells.x["protein"]})
    table.obs_names = [f"cell_{i}" for i in range(90)]
    table.var_names = cells.features["rna"]
    table.write_h5ad(tmp_path / "cells.h5ad")
    model = method().fit(smalti.read(table, x={"rna": "X", "protein": "obsm/protein"}))
    model.write(table)
    model.write(tmp_path / "cells.h5ad", key_added="both")
    back = anndata.read_h5ad(tmp_path / "cells.h5ad")
    assert (table.obsp["wnn_connectivities"] != back.obsp["both_connectivities"]).nnz == 0
    assert (table.obsp["wnn_connectivities"] != model.graph_).nnz == 0
    np.testing.assert_array_equal(
        back.obs["both_weight_protein"], model.modality_weights_["protein"]
    )


def test_wnn_errors():
    bags = planted_modalities(20, counts=True)
    with pytest.raises(InputError, match="neighbors=20 need more than 20 cells"):
        WNN(accelerator="cpu").fit(bags)
    alone = dataclasses.replace(bags, x={"rna": bags.x["rna"]})
    with pytest.raises(InputError, match="wnn integrates two modalities or more"):
        WNN(accelerator="cpu").fit(alone)


@pytest.mark.parametrize("n", [90, 700])
def test_spectral_codes_are_eigenvectors_and_tell_components_apart(n):
    rng = np.random.default_rng(0)
    near = np.abs(rng.normal(size=(n, 2))[:, None] - rng.normal(size=(n, 2))).sum(2) < 0.5
    near = (near | near.T) | np.eye(n, dtype=bool)
    near[: n // 3, n // 3 :] = near[n // 3 :, : n // 3] = False  # two graphs side by side
    graph = sp.csr_matrix(near.astype(np.float32))
    vectors, values = spectral(graph, 4)
    root = np.sqrt(np.asarray(graph.sum(1)).reshape(-1))
    walk = graph.toarray() / root[:, None] / root
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=0), 1)
    np.testing.assert_allclose(walk @ vectors, vectors * values, atol=1e-6)
    np.testing.assert_allclose(root @ vectors, 0, atol=1e-6 * np.sqrt(n))
    np.testing.assert_array_equal(vectors, spectral(graph, 4)[0])
    assert values[0] == pytest.approx(1)
