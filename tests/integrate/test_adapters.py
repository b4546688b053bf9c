import dataclasses
import importlib
import sys
import types

import numpy as np
import pytest
import scipy.sparse as sp
import torch

import smalti
from smalti.core.load import load
from smalti.datasets.modalities import planted_modalities
from smalti.errors import InputError
from smalti.integrate import MOFA, WNN, Multigrate, TotalVI
from smalti.integrate.wnn import spectral, unit_components
from smalti.system.extras import calling

pytestmark = pytest.mark.filterwarnings(
    "ignore::UserWarning", "ignore::FutureWarning", "ignore::DeprecationWarning"
)


def lacking(bags, name):
    """The same cells, none of them measured in a view."""
    views = {k: np.zeros_like(v) if k == name else v for k, v in bags.x.items()}
    gone = {name: np.zeros(bags.n_instances, dtype=bool)}
    return dataclasses.replace(bags, x=views, present={**bags.present, **gone})


# ------------------------------------------------------------------------------- MOFA


@pytest.mark.slow
@pytest.mark.parametrize("missing", [pytest.param(0.0, marks=pytest.mark.slow), 0.3])
@pytest.mark.parametrize("scale_views", [pytest.param(False, marks=pytest.mark.slow), True])
def test_mofa_projects_where_mofapy2_put_the_cells(monkeypatch, missing, scale_views):
    module = pytest.importorskip("mofapy2.run.entry_point")
    kept = []
    run = module.entry_point.run
    monkeypatch.setattr(module.entry_point, "run", lambda self: (run(self), kept.append(self))[0])
    bags = planted_modalities(200, counts=True, missing=missing)
    model = MOFA(width=3, convergence="slow", scale_views=scale_views, accelerator="cpu").fit(bags)
    theirs = kept[0].model.getExpectations(only_first_moments=True)["Z"]
    ours = model.transform(bags)
    # mofapy2 moves z one factor at a time, and W after it: they meet where both have come to rest
    assert np.abs(ours - theirs).max() < 1e-4 * theirs.std()


@pytest.fixture(scope="module")
def mofa():
    pytest.importorskip("mofapy2")
    bags = planted_modalities(150, counts=True)
    return MOFA(width=3, iterations=50, accelerator="cpu").fit(bags), bags


def test_mofa_decodes_linearly(mofa):
    model, bags = mofa
    z, net = torch.as_tensor(model.transform(bags)), model.network_
    rows = z @ net.weight.t() + net.intercept
    sizes = net.blocks.sizes
    for i, part in enumerate(model.reconstruct(bags).values()):
        mean, sd = getattr(net.blocks, f"mean_{i}"), getattr(net.blocks, f"sd_{i}")
        np.testing.assert_allclose(part, rows.split(sizes, 1)[i] * sd + mean, atol=1e-5)


def test_mofa_embeds_a_cell_without_a_view_by_the_posterior_of_the_rest(mofa):
    model, bags = mofa
    net, d = model.network_, model.network_.blocks.sizes[0]
    x = torch.as_tensor(np.asarray(model.inputs(bags)["rna"]))
    x = ((x - net.blocks.mean_0) / net.blocks.sd_0).clamp(-10, 10) - net.intercept[:d]
    want = torch.linalg.solve(torch.eye(3) + net.gram[0], (x @ net.project[:d]).t()).t()
    np.testing.assert_allclose(model.transform(lacking(bags, "protein")), want, atol=1e-4)


def test_mofa_keeps_dropped_factors_as_zeros(mofa):
    model, bags = mofa
    net = model.network(model.shape_)
    rng = np.random.default_rng(0)
    mean = rng.normal(size=(12, 2))
    net.set_view(1, np.arange(12), mean, mean**2 + 0.1, np.ones(12), np.zeros(12), 1.0)
    other = MOFA(width=3, accelerator="cpu")
    other.__dict__.update(vars(model) | {"network_": net})
    codes = other.transform(bags)
    assert np.abs(codes[:, :2]).max() > 0
    assert (codes[:, 2] == 0).all()


def test_mofa_errors(mofa):
    _, bags = mofa
    with pytest.raises(InputError, match="need more than 150 cells"):
        MOFA(width=150, accelerator="cpu").fit(bags)
    with pytest.raises(InputError, match="'quick' should be"):
        MOFA(convergence="quick", accelerator="cpu").fit(bags)
    flat = dataclasses.replace(bags, x={**bags.x, "protein": np.ones_like(bags.x["protein"])})
    with pytest.raises(InputError, match="no feature of view 'protein' varies"):
        MOFA(preprocess=None, accelerator="cpu").fit(flat)


# ------------------------------------------------------------------------------- totalVI


@pytest.fixture(scope="module")
def totalvi():
    pytest.importorskip("scvi")
    bags = planted_modalities(200, counts=True)
    return TotalVI(width=5, epochs=5, batch_size=64, accelerator="cpu").fit(bags), bags


@pytest.mark.slow  # scvi-tools takes seconds to be imported
def test_totalvi_embeds_as_scvi_tools_does(totalvi):
    import anndata
    import scvi

    model, bags = totalvi
    rows = model.inputs(bags)
    data = anndata.AnnData(np.asarray(rows["rna"]))
    data.obs_names = [str(i) for i in range(len(data))]
    data.obsm["protein"] = np.asarray(rows["protein"])
    scvi.model.TOTALVI.setup_anndata(data, protein_expression_obsm_key="protein")
    with torch.random.fork_rng(devices=[]):
        theirs = scvi.model.TOTALVI(data, n_latent=5, override_missing_proteins=True)
        theirs.module.load_state_dict(model.network_.module.state_dict())
        theirs.is_trained_ = True
        theirs.module.eval()
        want = theirs.get_latent_representation(give_mean=True)
    np.testing.assert_allclose(model.transform(bags), want, atol=1e-5)


@pytest.mark.slow
def test_totalvi_decodes_the_mean_of_what_scvi_tools_draws(totalvi):
    model, bags = totalvi
    net = model.network_.eval()
    z = torch.as_tensor(model.transform(bags)[:10])
    out = model.reconstruct(bags)
    assert {k: v.shape for k, v in out.items()} == {"rna": (200, 40), "protein": (200, 12)}
    assert all((v >= 0).all() for v in out.values())
    batch = torch.zeros(10, 1, dtype=torch.long)
    total = 0
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        for _ in range(2000):
            drawn = net.module.generative(z, net.library.expand(10, 1), batch, batch[:, 0])["py_"]
            share = torch.sigmoid(drawn["mixing"])
            total = total + share * drawn["rate_back"] + (1 - share) * drawn["rate_fore"]
        rna = net.module.generative(z, net.library.expand(10, 1), batch, batch[:, 0])["px_"]["rate"]
    np.testing.assert_allclose(out["protein"][:10], total / 2000, rtol=0.15)
    np.testing.assert_allclose(out["rna"][:10], rna, rtol=1e-4)


@pytest.mark.slow  # scvi-tools takes seconds to be imported
def test_totalvi_refuses_scaled_values(totalvi):
    model, bags = totalvi
    scaled = dataclasses.replace(bags, x={k: np.log1p(v) for k, v in bags.x.items()})
    with pytest.raises(InputError, match=r"models raw counts, and view 'rna' holds none"):
        model.transform(scaled)
    with pytest.raises(InputError, match=r"models raw counts"):
        TotalVI(accelerator="cpu").fit(scaled)


def test_totalvi_asks_which_view_is_which():
    views = {"a": (40,), "b": (12,)}
    with pytest.raises(InputError, match=r"which of \['a', 'b'\] is the protein\?"):
        TotalVI().views_of(views)
    assert TotalVI(rna="a").views_of(views) == TotalVI(protein="b").views_of(views) == ("a", "b")
    assert TotalVI().views_of({"ADT": (12,), "gex": (40,)}) == ("gex", "ADT")
    with pytest.raises(InputError, match="'c' is no view"):
        TotalVI(rna="c").views_of(views)
    with pytest.raises(InputError, match="both 'a'"):
        TotalVI(rna="a", protein="a").views_of(views)
    with pytest.raises(InputError, match="takes two views"):
        TotalVI().views_of({"rna": (40,)})


# ------------------------------------------------------------------------------- WNN


@pytest.fixture(scope="module")
def wnn():
    pytest.importorskip("muon")
    module, kept = importlib.import_module("smalti.integrate.wnn"), {}
    graph = module.weighted_graph
    bags = planted_modalities(90, counts=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "weighted_graph", lambda p, *a: kept.update(p) or graph(p, *a))
        model = WNN(components=6, neighbors=10, width=5, accelerator="cpu").fit(bags)
    model.points = kept  # what muon was given
    return model, bags


@pytest.mark.slow
def test_wnn_is_what_muon_makes_of_the_same_components(wnn, tmp_path):
    import anndata
    import muon
    import scanpy

    model, bags = wnn
    tables = {}
    for name, view in model.inputs(bags).items():
        view, points = np.asarray(view), model.points[name]
        # equal, but not to the last bit, which decides between neighbours that are equally near
        expected = unit_components((view - view.mean(0)) / view.std(0), 6, 0)
        np.testing.assert_allclose(points, expected, atol=1e-4)
        np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1, atol=1e-5)
        tables[name] = anndata.AnnData(points.astype(np.float32))
        # the same exact search: distances by another formula round otherwise on some processors
        scanpy.pp.neighbors(tables[name], n_neighbors=10, use_rep="X", random_state=0,
                            transformer="sklearn")  # fmt: skip
    cells = muon.MuData(tables)
    muon.pp.neighbors(
        cells, n_neighbors=10, n_bandwidth_neighbors=10, n_multineighbors=88, random_state=0
    )
    np.testing.assert_allclose(
        model.graph_.toarray(), cells.obsp["connectivities"].toarray(), atol=1e-4
    )
    weights = model.modality_weights_
    assert list(weights) == ["rna", "protein"]
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(weights["rna"], cells.obs["rna:mod_weight"], atol=1e-4)
    assert model.transform(bags).shape == (90, 5)
    model.save(tmp_path / "model")
    back = load(tmp_path / "model")
    assert (back.graph_ != model.graph_).nnz == 0
    assert back.modality_weights_.equals(weights)


@pytest.fixture(scope="module")
def given_graph():
    """A fit whose graph is given: muon compiles its distance in every fit, some 15 s."""
    module = importlib.import_module("smalti.integrate.wnn")
    seen = {}

    def graph(points, neighbors, seed):
        near = sum(rows @ rows.T for rows in points.values())
        order = np.argsort(-near, axis=1)[:, :neighbors]
        made = np.zeros_like(near)
        np.put_along_axis(made, order, 0.5, axis=1)
        weights = np.random.default_rng(seed).dirichlet([1, 1], size=len(near))
        seen.update(graph=np.maximum(made, made.T), weights=weights, neighbors=neighbors)
        return sp.csr_matrix(seen["graph"]), weights

    bags = planted_modalities(90, counts=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "weighted_graph", graph)
        patch.setattr(WNN, "unavailable", classmethod(lambda cls: None))
        model = WNN(components=6, neighbors=10, width=5, accelerator="cpu").fit(bags)
    return model, bags, seen


def test_wnn_keeps_the_graph_and_the_weights_that_it_was_given(given_graph, tmp_path):
    model, bags, seen = given_graph
    assert seen["neighbors"] == 10
    np.testing.assert_allclose(model.graph_.toarray(), seen["graph"], atol=1e-6)
    np.testing.assert_allclose(model.modality_weights_, seen["weights"], atol=1e-6)
    assert list(model.modality_weights_) == ["rna", "protein"]
    codes = model.transform(bags)
    np.testing.assert_allclose(codes, spectral(model.graph_, 5), atol=1e-5)
    model.save(tmp_path / "model")
    back = load(tmp_path / "model")
    assert (back.graph_ != model.graph_).nnz == 0
    np.testing.assert_array_equal(back.transform(bags), codes)


def test_wnn_refuses_other_cells(given_graph):
    model, *_ = given_graph
    with pytest.raises(InputError, match="embeds the cells that it was fitted on"):
        model.transform(planted_modalities(90, counts=True, seed=1))


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
    codes = spectral(graph, 4)
    root = np.sqrt(np.asarray(graph.sum(1)).reshape(-1))
    walk = graph.toarray() / root[:, None] / root
    values = np.linalg.norm(codes, axis=0) / np.sqrt(n)
    np.testing.assert_allclose(walk @ codes, codes * values, atol=1e-6 * np.sqrt(n))
    np.testing.assert_allclose(root @ codes, 0, atol=1e-6 * n)
    np.testing.assert_array_equal(codes, spectral(graph, 4))
    assert values[0] == pytest.approx(1)


# ------------------------------------------------------------------------------- Multigrate


def test_multigrate_embeds_by_the_mean_of_its_own_posterior():
    pytest.importorskip("multigrate")
    bags = planted_modalities(120, missing=0.3)  # normal values: half of them negative
    method = Multigrate(width=4, hidden=16, epochs=3, batch_size=32, accelerator="cpu")
    model = method.fit(bags)
    net = model.network_.eval()
    rows = []
    for i, (name, view) in enumerate(bags.x.items()):
        low = net.lowest.split(net.sizes)[i].numpy()
        rows.append((np.asarray(view) - low) * bags.present[name][:, None])
        np.testing.assert_allclose(low, np.minimum(view[bags.present[name]].min(0), 0), atol=1e-6)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        theirs = net.module.inference(torch.as_tensor(np.concatenate(rows, 1)).float())["mu"]
        back = net.module.generative(theirs)["rs"]
    np.testing.assert_allclose(model.transform(bags), theirs, atol=1e-5)
    for part, want, low in zip(
        model.reconstruct(bags).values(), back, net.lowest.split(net.sizes), strict=True
    ):
        np.testing.assert_allclose(part, want + low, atol=1e-5)


def test_multigrate_says_which_python_it_needs(monkeypatch):
    module = importlib.import_module("smalti.integrate.multigrate")
    monkeypatch.setattr(module, "sys", types.SimpleNamespace(version_info=(3, 11, 9)))
    said = "multigrate needs Python 3.12 or later, this is 3.11"
    assert Multigrate.unavailable() == said
    with pytest.raises(InputError, match=said):
        Multigrate(accelerator="cpu").fit(planted_modalities(30, counts=True))


# ------------------------------------------------------------------------------- all


@pytest.mark.parametrize(
    ("method", "package", "project", "command"),
    [
        (MOFA, "mofapy2", "mofapy2", 'pip install "smalti[integrate]"'),
        (TotalVI, "scvi", "scvi-tools", 'pip install "smalti[integrate]"'),
        (WNN, "muon", "muon", 'pip install "smalti[integrate]"'),
        (Multigrate, "multigrate", "multigrate", "pip install multigrate"),
    ],
)
def test_an_absent_package_is_asked_for_by_its_command(
    monkeypatch, method, package, project, command
):
    monkeypatch.setitem(sys.modules, package, None)
    module = importlib.import_module("smalti.integrate.multigrate")
    monkeypatch.setattr(module, "sys", types.SimpleNamespace(version_info=(3, 12, 1)))
    said = f"{project} is not installed: {command}"
    assert method.unavailable() == said
    with pytest.raises(InputError) as error:
        method(accelerator="cpu").fit(planted_modalities(60, counts=True))
    assert str(error.value) == f"{said}."


def test_adapters_are_found_by_name():
    assert {"mofa", "totalvi", "wnn", "multigrate"} <= set(smalti.methods("integrate"))


def test_a_package_that_dies_is_named():
    with pytest.raises(RuntimeError, match=r"muon failed \(AttributeError: no getnnz\)"), \
         calling("muon"):  # fmt: skip
        raise AttributeError("no getnnz")
    with pytest.raises(InputError, match="mend this"), calling("muon"):
        raise InputError("mend this")
