"""``smalti cells``: runs of cells to one table, and a model of genes and picture from it."""

import json

import anndata
import layouts
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import smalti as sm
from smalti.cli import app

pytest.importorskip("skimage")
pytestmark = pytest.mark.slow  # tests/mil and tests/io have each step alone
STEPS = '{"counts": "normalize,log1p,pca=5", "look": "pca=5"}'


def run(*args):
    return CliRunner().invoke(app, [str(a) for a in args])


def does(*args):
    result = run(*args)
    assert result.exit_code == 0, result.output
    return result


def fails(*args):
    result = run(*args)
    assert result.exit_code == 2, result.output
    return result.stderr.strip().splitlines()[-1]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Cells of six runs of Xenium, as the verb writes them."""
    folder = tmp_path_factory.mktemp("cells")
    cells = sm.datasets.pictured_cells(6, 12, seed=0)
    layouts.cell_runs(folder / "runs", cells, "xenium").to_csv(folder / "t.csv", index=False)
    said = does("cells", folder / "runs", "--labels", folder / "t.csv", "--slide", "slide",
                "--tile-um", 16, "--size", 32, "--edge", "pad", "--encoder", "morphology",
                "--neighbours", 3,
                "--out", folder / "cells.h5ad").stdout  # fmt: skip
    assert "72 rows of 6 slides" in said
    return folder / "cells.h5ad"


FROM = ("--sample", "slide", "--donor", "donor", "--label", "state",
        "--x", "counts=X,look=X_morphology")  # fmt: skip


def test_fit_and_predict_over_genes_and_picture(table, tmp_path):
    made = anndata.read_h5ad(table)
    assert made.shape == (72, 40)
    assert made.obsm["counts_neighbours"].shape == (72, 40)
    assert set(made.uns["spatial"]) == {f"S{i}" for i in range(6)}
    does("fit", "abmil", table, *FROM, "--preprocess", STEPS, "--epochs", 2, "--out",
         tmp_path / "model")  # fmt: skip
    model = sm.load(tmp_path / "model")
    assert model.views == ("counts", "look")  # all of --x
    does("predict", tmp_path / "model", table, "--out", tmp_path / "p.csv",
         "--attribution", tmp_path / "a.csv", "--write", tmp_path / "scored.h5ad")  # fmt: skip
    cells = pd.read_csv(tmp_path / "a.csv")
    scored = anndata.read_h5ad(tmp_path / "scored.h5ad")
    np.testing.assert_allclose(scored.obs["abmil_attention"], cells["attention"], rtol=1e-4)
    assert {"x_um", "y_um"} <= set(scored.obs)
    does("heatmap", tmp_path / "model", table, "--formats", "geojson,png", "--spot-um", 8,
         "--images", f"S1={table.parent / 'runs' / 'S1' / 'outs' / 'S1_he_image.tif'}",
         "--out", tmp_path / "maps")  # fmt: skip
    objects = json.loads((tmp_path / "maps" / "S1.geojson").read_text())["features"]
    ring = np.array(objects[0]["geometry"]["coordinates"][0])
    place = scored.obs[scored.obs["slide"] == "S1"].iloc[0]
    np.testing.assert_allclose(ring[:4].mean(0), [place["x_px"], place["y_px"]], atol=0.01)
    np.testing.assert_allclose(np.ptp(ring, axis=0), 16)  # 8 µm of 0.5 µm
    own = cells.loc[cells["bag"] == "S1", "attention"].to_numpy()
    found = [o["measurements"]["attention"] for o in (f["properties"] for f in objects)]
    np.testing.assert_allclose(found, own, rtol=1e-4)
    assert "X_morphology" in scored.obsm


def test_compare_genes_picture_and_both(table, tmp_path):
    does("compare", table, *FROM, "--methods", "bag_mean", "--preprocess", STEPS, "--folds", 3,
         "--views", "counts", "--views", "look", "--views", "counts,look", "--jobs", 1,
         "--out", tmp_path / "run")  # fmt: skip
    found = set(pd.read_csv(tmp_path / "run" / "folds.csv")["method"])
    assert {"bag_mean counts", "bag_mean look", "bag_mean counts+look"} <= found


def test_what_cannot_be_asked(table, tmp_path):
    for args, match in (
        (("cells", table.parent / "runs", "--out", tmp_path / "c.csv"), "end the name in .h5ad"),
        (("fit", "abmil", table, *FROM, "--views", ",", "--out", tmp_path / "m"),
         "--views names none"),
        (("fit", "abmil", table, *FROM, "--views", "a", "--views", "b", "--out", tmp_path / "m"),
         "--views is given twice"),
        (("fit", "abmil", table, *FROM, "--views", "genes", "--out", tmp_path / "m"),
         "no view 'genes'; there are"),
        (("fit", "abmil", table, *FROM, "--preprocess", "{a", "--out", tmp_path / "m"),
         "is no JSON"),
        (("compare", table, "--integrate", "--views", "a", "--out", tmp_path / "r"),
         "--integrate does not use --views"),
    ):  # fmt: skip
        assert match in fails(*args), match
    assert not any(tmp_path.iterdir())
