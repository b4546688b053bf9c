"""Genes are called by symbols where a column of var has them beside Ensembl ids."""

import anndata
import layouts
import numpy as np
import pandas as pd
import pytest

import smalti as sm
from smalti.genes.units import measured
from smalti.io.symbols import feature_names

IDS = layouts.IDS


def var(column="gene_symbols", symbols=layouts.GENES, index=IDS):
    return pd.DataFrame({column: pd.Series(list(symbols), dtype=object).to_numpy()}, index=index)


@pytest.mark.parametrize("column", ["gene_symbols", "gene_name", "feature_name", "symbol"])
def test_a_column_of_symbols(column):
    names, notes = feature_names(var(column), "it")
    assert names == tuple(layouts.GENES)
    assert notes == [f"genes of it are called by the symbols of var[{column!r}]."]
    named = var(column).astype("category")
    assert feature_names(named, "it")[0] == names


@pytest.mark.parametrize(
    "frame",
    [
        var(index=layouts.GENES, symbols=IDS),  # scanpy's gene_ids the other way round
        var("gene_ids", layouts.GENES),  # no column of that meaning
        var(symbols=IDS),
        var(symbols=[None] * 6),
        var(symbols=range(6)),
        pd.DataFrame(index=IDS),
    ],
)
def test_names_that_stay(frame):
    assert feature_names(frame, "it") == (tuple(frame.index), [])


def test_shared_and_missing_symbols_keep_the_id():
    names, notes = feature_names(var(symbols=["A", "B", "A", None, "", IDS[0]]), "it")
    assert names == (IDS[0], "B", IDS[2], IDS[3], IDS[4], IDS[5])
    assert "1 symbols in var['gene_symbols'] of it are of several genes (A)" in notes[1]
    turned = var(symbols=["A", "B", "A"], index=IDS[:3])[::-1]
    assert feature_names(turned, "it")[0] == (IDS[2], "B", IDS[0])  # whatever their order


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_every_job_calls_them_so(tmp_path):
    pytest.importorskip("skimage")
    table = layouts.spots_table(picture=True, donor="d")
    table.var = var()
    table.write_h5ad(tmp_path / "t.h5ad")
    for source in (table, tmp_path / "t.h5ad"):
        cells = sm.read(source, sample="donor")
        assert cells.features["X"] == tuple(layouts.GENES)
        assert any("called by the symbols" in note for note in cells.notes)
        slides = sm.read_slides(source, tile_px=24, size=8, progress=False)
        assert slides.features["counts"] == tuple(layouts.GENES)
    assert measured(slides, genes=["G4", "G1"]).shape == (12, 2)


@pytest.mark.filterwarnings("ignore")
def test_reconstructions_find_their_genes_again():
    from smalti.io.write import write

    data = anndata.AnnData(np.ones((3, 6), np.float32), var=var())
    found = np.arange(6, dtype=np.float32).reshape(3, 2)
    write(data, obs={}, obsm={}, uns={"m": {"model": "1"}},
          layers={"X": (found, ("G5", "G2"))}, origin={"keys": {"X": "X"}})  # fmt: skip
    got = data.layers["m"] if "m" in data.layers else data.obsm["m_X"][["G5", "G2"]]
    columns = [5, 2] if "m" in data.layers else [0, 1]
    np.testing.assert_array_equal(np.asarray(got)[:, columns], found)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["h5ad", "mudata"])
def test_a_model_of_the_ids_finds_them(tmp_path, kind):
    """It was fitted before symbols were read, or on data that have none; steps are in its names."""
    rng = np.random.default_rng(0)
    obs = pd.DataFrame({"patient": np.repeat(list("abcd"), 8), "state": np.repeat([0, 1, 0, 1], 8)},
                       index=[f"c{i}" for i in range(32)])  # fmt: skip
    plain = anndata.AnnData(rng.poisson(3, (32, 6)).astype("f4"), obs, pd.DataFrame(index=IDS))
    ask = dict(sample="patient", label="state", donor="patient")
    model = sm.mil.BagMean(preprocess="log1p", progress=False).fit(sm.read(plain, x="X", **ask))
    both = plain[:, ::-1].copy()
    both.var = var().iloc[::-1]
    x = {"x": "X"}
    if kind == "mudata":
        mudata = pytest.importorskip("mudata")
        both, x = mudata.MuData({"rna": both}), {"x": "rna"}
        both.obs = obs
    bags = sm.read(both, x=x, **ask)
    assert set(bags.features["x"]) == set(layouts.GENES)
    want = model.predict_proba(sm.read(plain, x="X", **ask))
    np.testing.assert_allclose(model.predict_proba(bags), want, rtol=1e-5)
    np.testing.assert_allclose(model.predict_proba(bags[[2, 0]]), want[[2, 0]], rtol=1e-5)
