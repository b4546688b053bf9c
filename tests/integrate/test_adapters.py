import dataclasses
import importlib
import sys
import types

import numpy as np
import pytest
import torch

import smalti
from smalti.datasets.modalities import planted_modalities
from smalti.errors import InputError
from smalti.integrate import MOFA, Multigrate, MultiVI, TotalVI
from smalti.system.extras import calling, need

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
    if TotalVI.unavailable():
        pytest.skip("scvi-tools is not installed")
    need("scvi")  # with a torchvision that does not fit, where there is one
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


def in_batches(bags):
    """The same cells, of three batches by a column that is not sorted, and its codes."""
    names = np.resize(["late", "early", "middle"], bags.n_instances)
    codes = np.unique(names, return_inverse=True)[1]
    return dataclasses.replace(bags, instance=bags.instance.assign(lane=names)), codes


@pytest.mark.slow  # scvi-tools takes seconds to be imported
def test_totalvi_with_batches_is_that_of_scvi_tools(tmp_path):
    import anndata

    if TotalVI.unavailable():
        pytest.skip("scvi-tools is not installed")
    scvi = need("scvi")
    bags, codes = in_batches(planted_modalities(150, counts=True))
    model = TotalVI(width=5, epochs=5, batch_size=64, accelerator="cpu", batch="lane").fit(bags)
    data = anndata.AnnData(np.asarray(model.inputs(bags)["rna"]))
    data.obsm["protein"] = np.asarray(model.inputs(bags)["protein"])
    data.obs["lane"] = bags.instance["lane"].to_numpy()
    scvi.model.TOTALVI.setup_anndata(data, protein_expression_obsm_key="protein", batch_key="lane")
    with torch.random.fork_rng(devices=[]):
        theirs = scvi.model.TOTALVI(data, n_latent=5, override_missing_proteins=True)
        theirs.module.load_state_dict(model.network_.module.state_dict())
        theirs.is_trained_ = True
        theirs.module.eval()
        want = theirs.get_latent_representation(give_mean=True)
    got = model.transform(bags)
    np.testing.assert_allclose(got, want, atol=1e-5)
    own, one = model.reconstruct(bags), model.reconstruct(bags, as_batch="early")
    for name, values in own.items():
        np.testing.assert_array_equal(one[name][codes == 0], values[codes == 0])
        assert not np.allclose(one[name][codes > 0], values[codes > 0])
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(smalti.load(tmp_path / "model").transform(bags), got)
    new = dataclasses.replace(bags, instance=bags.instance.assign(lane="later"))
    with pytest.raises(InputError, match=r"of batch 'later'.*fit it with cells of theirs"):
        model.transform(new)


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


# ------------------------------------------------------------------------------- MultiVI


@pytest.mark.slow  # scvi-tools takes seconds to be imported
@pytest.mark.parametrize("batch", [None, "lane"])
def test_multivi_embeds_whole_and_half_cells_as_scvi_tools_does(batch):
    import anndata
    import mudata

    if MultiVI.unavailable():
        pytest.skip("scvi-tools is not installed")
    scvi = need("scvi")
    bags, codes = in_batches(planted_modalities(150, counts=True, missing=0.3))
    model = MultiVI.example().set_params(epochs=2, accelerator="cpu", batch=batch).fit(bags)
    tables = {}
    for key, name in (("rna", "rna"), ("atac", "protein")):
        tables[key] = anndata.AnnData(np.asarray(bags.x[name]))
        tables[key].var_names = [f"{key}_{i}" for i in range(tables[key].n_vars)]
    data = mudata.MuData(tables)
    data.obs["lane"] = bags.instance["lane"].to_numpy()
    names = {"rna_layer": "rna", "atac_layer": "atac"}
    scvi.model.MULTIVI.setup_mudata(data, modalities=names, batch_key=batch)
    with torch.random.fork_rng(devices=[]):
        theirs = scvi.model.MULTIVI(data, n_latent=8, n_hidden=32)
        theirs.module.load_state_dict(model.network_.module.state_dict())
        theirs.is_trained_ = True
        theirs.module.eval()
        want = theirs.get_latent_representation()
    np.testing.assert_allclose(model.transform(bags), want, atol=1e-5)
    assert theirs.module.n_batch == (1 if batch is None else len(np.unique(codes)))


def test_multivi_asks_which_view_holds_the_peaks():
    views = {"a": (40,), "b": (12,)}
    with pytest.raises(InputError, match=r"which of \['a', 'b'\] holds the peaks\?"):
        MultiVI().views_of(views)
    assert MultiVI(peaks="a").views_of(views) == ("b", "a")
    assert MultiVI().views_of({"peaks": (12,), "gex": (40,)}) == ("gex", "peaks")
    with pytest.raises(InputError, match="'c' is no view"):
        MultiVI(peaks="c").views_of(views)


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
        (TotalVI, "scvi", "scvi-tools", 'pip install "smalti[scvi]"'),
        (MultiVI, "scvi", "scvi-tools", 'pip install "smalti[scvi]"'),
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
        method.example().set_params(accelerator="cpu").fit(planted_modalities(60, counts=True))
    assert str(error.value) == f"{said}."


def test_adapters_are_found_by_name():
    assert {"mofa", "totalvi", "multivi", "wnn", "multigrate"} <= set(smalti.methods("integrate"))


def test_a_package_that_dies_is_named():
    with pytest.raises(RuntimeError, match=r"muon failed \(AttributeError: no getnnz\)"), \
         calling("muon"):  # fmt: skip
        raise AttributeError("no getnnz")
    with pytest.raises(InputError, match="mend this"), calling("muon"):
        raise InputError("mend this")
