"""Features that were fitted on all donors, by what is in them, by name, or by who made them."""

import anndata
import numpy as np
import pandas as pd
import pytest

import smalti as sm
from smalti.core import seen


def pca(x):
    x = x - x.mean(0)
    return (x @ np.linalg.svd(x, full_matrices=False)[2][:8].T).astype(np.float32)


def turned(x):
    return pca(x) @ np.linalg.qr(np.random.default_rng(3).normal(size=(8, 8)))[0]


FITTED = {
    "components": pca,
    "turned": turned,
    "float16": lambda x: pca(x).astype(np.float16),
    "turned, float16": lambda x: turned(x).astype(np.float16),
    "scaled": lambda x: (x - x.mean(0)) / x.std(0),
    "scaled and cut": lambda x: ((x - x.mean(0)) / x.std(0)).clip(-2.5, 2.5),
    "centred": lambda x: x - x.mean(0),
    "ranged": lambda x: (x - x.min(0)) / (x.max(0) - x.min(0)),
}


@pytest.mark.parametrize("how", FITTED)
def test_what_was_fitted_on_all(clean, change, how):
    bags = clean(d=12)
    (found,) = sm.audit(change(bags, x=FITTED[how](bags.x["x"] + 3)))
    assert found.kind == "fitted on the cohort"
    assert "preprocess=" in found.mend


def test_components_of_which_cells_were_left_out(clean, change):
    bags = clean(d=12)
    x = bags.x["x"] * np.linspace(3, 1, 12, dtype=np.float32)
    (found,) = sm.audit(change(bags, x=pca(x))[np.arange(3, 24)])
    assert found.evidence["by"] in ("order of spreads", "means of zero")


@pytest.mark.parametrize("how", [
    lambda x, bags: x,
    lambda x, bags: x - np.repeat(
        np.add.reduceat(x, bags.offsets[:-1]) / bags.lengths[:, None], bags.lengths, axis=0),
    lambda x, bags: np.where(x > 0, 1, -1),
    lambda x, bags: 1 / (1 + np.exp(-x)),
], ids=["raw", "centred by donor", "two values", "shares"])  # fmt: skip
def test_what_was_not(clean, change, how):
    bags = clean(d=12)
    assert not len(sm.audit(change(bags, x=how(bags.x["x"], bags).astype(np.float32))))


def test_names_tell_where_numbers_do_not(clean):
    bags = clean()
    named = sm.Bags.from_rows({"X_umap": bags.x["x"]}, bags.index)
    (found,) = sm.audit(named)
    assert (found.severity, found.evidence["by"]) == ("doubt", "name")


def test_what_a_model_gave_out(clean):
    bags = clean()
    half, rest = bags[np.arange(12)], bags[np.arange(12, 24)]
    model = sm.mil.ABMIL(epochs=1, progress=False).fit(half)

    def embedded(of):
        rows = model.transform(of)
        return sm.Bags.from_list([row[None] for row in rows], of.labels, donor=of.bag["donor"])

    (found,) = [f for f in sm.audit(embedded(half)) if f.kind == "fitted by a model"]
    assert "what a fitted abmil gave out, and 12 of them" in found.words
    assert "fitted by a model" not in sm.audit(embedded(rest)).kinds  # of other donors


def test_what_an_integration_gave_out():
    cells = sm.datasets.planted_modalities(200, n_bags=20, seed=0)
    bags = cells.with_target([0, 1] * 10)
    model = sm.integrate.BlockPCA(width=4).fit(bags)
    seen.made.clear()
    assert "fitted by a model" in sm.audit(model.embed(bags)).kinds


def written(cells, path):
    """An embedding of half of the donors, written by smalti into the file of all."""
    half = cells.copy()[cells.obs["donor"].isin(["d0", "d1", "d2"])]
    x = {"m0": "X", "m1": "obsm/m1"}
    model = sm.integrate.BlockPCA(width=4).fit(sm.read(half, sample="donor", donor="donor", x=x))
    cells.write_h5ad(path)
    model.write(path, key_added="mine")
    seen.made.clear()  # another process knows nothing of this one
    return path


@pytest.fixture
def cells():
    bags = sm.datasets.planted_modalities(200, n_bags=6, seed=0)
    obs = pd.DataFrame({"donor": [f"d{i}" for i in bags.index]},
                       index=[f"c{i}" for i in range(200)])  # fmt: skip
    return anndata.AnnData(bags.table("m0"), obs=obs, obsm={"m1": bags.table("m1")})


def test_a_file_says_whom_an_embedding_knows(cells, tmp_path):
    path = written(cells, tmp_path / "cells.h5ad")
    read = sm.read(path, sample="donor", donor="donor", x="X_mine")
    (found,) = sm.audit(read)
    assert (found.kind, found.severity) == ("fitted by a model", "leak")
    assert "'X_mine' of 6 bags is what a fitted block_pca gave out, and 3 of them are of" in str(
        found
    )
    rest = np.flatnonzero(~read.bag["donor"].isin(["d0", "d1", "d2"]))
    assert not len(sm.audit(read[rest]))  # fitted on other donors, and known to be


@pytest.mark.parametrize("note", [
    {"mine": {"params": {"zero_center": True}}},
    {"neighbors": {"params": {"use_rep": "mine", "method": "umap"}}},
], ids=["of the step", "of neighbours"])  # fmt: skip
def test_records_of_scanpy_tell_under_any_name(cells, note, tmp_path):
    cells.obsm["mine"] = np.random.default_rng(0).normal(3, 1, size=(200, 4))
    cells.uns = note
    cells.write_h5ad(tmp_path / "cells.h5ad")
    for source in (cells, tmp_path / "cells.h5ad"):
        (found,) = sm.audit(sm.read(source, sample="donor", donor="donor", x="mine"))
        assert (found.severity, found.evidence["by"]) == ("doubt", "record")
        assert f"uns[{next(iter(note))!r}] says so" in found.words


def test_neighbours_of_counts_make_no_embedding(cells):
    cells.obsm["mine"] = np.random.default_rng(0).poisson(3, size=(200, 4))
    cells.uns = {"neighbors": {"params": {"use_rep": "mine"}}}
    assert not len(sm.audit(sm.read(cells, sample="donor", donor="donor", x="mine")))
