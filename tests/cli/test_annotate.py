"""``smalti integrate --label`` makes a reference, ``smalti annotate`` labels new cells by it."""

import anndata
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import smalti as sm
from smalti.cli import app
from smalti.datasets.modalities import planted_modalities

TINY = ["--set", "width=6", "--set", "progress=false", "--set", "accelerator=cpu"]


def run(*args):
    return CliRunner().invoke(app, [str(a) for a in args])


def fails(*args):
    result = run(*args)
    assert result.exit_code == 2, result.output
    return next(line for line in result.stderr.splitlines() if line.startswith("error: "))


def works(*args):
    result = run(*args)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


def table(n, seed, protein=True):
    bags = planted_modalities(n, counts=True, effect=8.0, seed=seed)
    names = [f"c{seed}-{i}" for i in range(n)]
    obs = {"kind": bags.instance["kind"].to_numpy(), "who": np.arange(n) % 5, "same": "a"}
    data = anndata.AnnData(bags.x["rna"], obs=pd.DataFrame(obs, index=names).astype(str))
    data.var_names = bags.features["rna"]
    if protein:
        data.obsm["protein"] = pd.DataFrame(bags.x["protein"], names, bags.features["protein"])
    return data


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("annotate")
    table(400, 0).write_h5ad(path / "ref.h5ad")
    table(60, 1).write_h5ad(path / "new.h5ad")
    table(60, 1, protein=False).write_h5ad(path / "rna.h5ad")
    said = works("integrate", "block_pca", path / "ref.h5ad", "--label", "kind", "--donor", "who",
                 "--model", path / "ref", "--out", path / "z.csv", *TINY)  # fmt: skip
    assert "reference of 400 cells of 4 labels" in said
    assert "donors left out (5 in 3 turns)" in said
    return path


def test_a_table_of_labels(folder, tmp_path):
    said = works("annotate", folder / "ref", folder / "new.h5ad", "--out", tmp_path / "a.csv")
    assert "60 cells: " in said
    assert "mean confidence of the labelled" in said
    found = pd.read_csv(tmp_path / "a.csv", index_col="cell")
    new = sm.read(folder / "new.h5ad")
    mine = sm.load(folder / "ref").annotate(new)
    assert list(found["label"]) == list(mine["label"])
    assert list(found.index) == [f"c1-{i}" for i in range(60)]
    assert (found["nearest"].to_numpy() == new.instance["kind"].to_numpy()).mean() > 0.8
    fails("annotate", folder / "ref", folder / "new.h5ad", "--out", tmp_path / "a.csv")


def test_labels_in_a_copy_of_rna_alone_with_a_page(folder, tmp_path):
    works("annotate", folder / "ref", folder / "rna.h5ad", "--out", tmp_path / "a.h5ad",
          "--key-added", "mine", "--sample", "who", "--report", tmp_path / "a.html")  # fmt: skip
    data = anndata.read_h5ad(tmp_path / "a.h5ad")
    assert {"mine_label", "mine_confidence", "mine_unknown"} <= set(data.obs)
    assert data.uns["mine"]["calibrated_on"] == "donor"
    own = sm.load(folder / "ref").annotate(sm.read(folder / "rna.h5ad"))
    assert list(data.obs["mine_label"]) == list(own["label"])  # in the order of the file
    assert data.obs["mine_confidence"].mean() < 0.8  # one modality tells two of four kinds apart
    page = (tmp_path / "a.html").read_text("utf-8")
    for words in ("Sample by sample", "How sure are the labels?", "are unknown, where 5% would",
                  "donors left out"):  # fmt: skip
        assert words in page
    rows = pd.read_csv(tmp_path / "a_files" / "samples.csv")
    assert rows["cells"].sum() == 60


def test_a_reference_embeds_too(folder, tmp_path):
    works("integrate", folder / "ref", folder / "ref.h5ad", "--out", tmp_path / "z.csv")
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "z.csv"), pd.read_csv(folder / "z.csv"))


def test_what_cannot_work_is_said_in_options(folder, tmp_path):
    ref, out = folder / "ref.h5ad", ["--out", tmp_path / "z.csv"]
    fit = ["integrate", "block_pca", ref, *out, *TINY]
    model = ["--model", tmp_path / "m"]
    assert "--label makes a reference, and nothing says where to save it: --model" in fails(
        *fit, "--label", "kind"
    )
    assert "--donor is of a reference" in fails(*fit, "--donor", "who")
    assert "no column 'no such' of the cells" in fails(*fit, *model, "--label", "no such")
    alike = fails(*fit, *model, "--label", "kind", "--batch", "same")
    assert "one batch cannot be left out: name another column, or leave --batch out" in alike
    assert not (tmp_path / "m").exists()
    assert "holds a reference of cell types: smalti annotate" in fails(
        "predict", folder / "ref", ref, "--out", tmp_path / "p.csv"
    )
    works(*fit, *model)
    assert "knows no cell types: make a reference" in fails(
        "annotate", tmp_path / "m", ref, "--out", tmp_path / "a.csv"
    )


def test_a_page_that_is_there_is_refused_before_the_work(folder, tmp_path):
    page = tmp_path / "a.html"
    page.write_text("mine")
    said = fails("annotate", folder / "ref", folder / "new.h5ad", "--out", tmp_path / "a.csv",
                 "--report", page)  # fmt: skip
    assert "a.html" in said
    assert page.read_text() == "mine"
    assert not (tmp_path / "a.csv").exists()
