"""``smalti expression``: fit, predict, compare, and what it refuses."""

import re

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from smalti.cli import app
from smalti.datasets import planted_slides


def run(*words):
    return CliRunner().invoke(app, [str(w) for w in words])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four slides as pictures with a table of spots."""
    from PIL import Image

    root = tmp_path_factory.mktemp("slides")
    bags = planted_slides(4, 9, n_genes=12, images=True, size=64)
    for s in range(4):
        own = bags[[s]]
        whole = np.full((500, 500, 3), 240, np.uint8)
        for tile, (x, y) in zip(own.x["tile"], own.instance[["x_px", "y_px"]].to_numpy(int),
                                strict=True):  # fmt: skip
            whole[y - 32 : y + 32, x - 32 : x + 32] = tile.transpose(1, 2, 0)
        Image.fromarray(whole).save(root / f"S{s}.png", compress_level=1)
    obs = bags.instance[["x_px", "y_px"]].copy()
    obs["slide"] = np.repeat([f"S{s}" for s in range(4)], 9)
    obs["patient"] = np.repeat(["P0", "P1", "P0", "P1"], 9)
    table = ad.AnnData(bags.x["counts"], obs=obs,
                       var=pd.DataFrame(index=list(bags.features["counts"])))  # fmt: skip
    table.write_h5ad(root / "spots.h5ad")
    return root


READ = ("--slide", "slide", "--donor", "patient", "--um-per-px", 1, "--tile-px", 64)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.slow  # test_expression_unseen fits and predicts by the same verbs
def test_fit_then_predict(folder, tmp_path):
    fitted = run("expression", "fit", "ridge", folder / "spots.h5ad", "--images", folder, *READ,
                 "--genes", 5, "--out", tmp_path / "m", "--cache", tmp_path / "c")  # fmt: skip
    assert fitted.exit_code == 0, fitted.output
    assert "5 genes" in fitted.output
    done = run("expression", "predict", tmp_path / "m", folder / "spots.h5ad", "--images", folder,
               "--slide", "slide", "--donor", "patient", "--out", tmp_path / "p.h5ad")  # fmt: skip
    assert done.exit_code == 0, done.output
    table = ad.read_h5ad(tmp_path / "p.h5ad")
    assert table.shape == (36, 5)
    assert {"predicted", "measured"} <= set(table.layers)
    bare = run("expression", "predict", tmp_path / "m", folder, "--um-per-px", 1,
               "--features", "--out", tmp_path / "q.h5ad")  # fmt: skip
    assert bare.exit_code == 0, bare.output  # pictures without expression
    table = ad.read_h5ad(tmp_path / "q.h5ad")
    assert "measured" not in table.layers
    assert table.n_obs > 0
    # on to a phenotype, of features and of predicted genes
    labels = pd.DataFrame({"slide": table.obs["slide"].unique()})
    labels["state"] = np.arange(len(labels)) % 2
    labels.to_csv(tmp_path / "labels.csv", index=False)
    [view] = [k for k in table.obsm if k.startswith("X_")]
    for x in (view, "layers/predicted"):
        done = run("fit", "bag_mean", tmp_path / "q.h5ad", "--sample", "slide", "--labels",
                   tmp_path / "labels.csv", "--label", "state", "--donor", "bag", "--x", x,
                   "--out", tmp_path / f"phenotype {x[:2]}")  # fmt: skip
        assert done.exit_code == 0, done.output


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.slow  # test_expression_unseen compares by the same verb
def test_compare(folder, tmp_path):
    genes = tmp_path / "genes.txt"
    genes.write_text("AAA1\nBBB1\nCCC1\n")
    done = run("expression", "compare", folder / "spots.h5ad", "--images", folder, *READ,
               "--methods", "knn,mlp:team", "--epochs", 2, "--seeds", 1, "--genes", genes,
               "--out", tmp_path / "run")  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "mlp:team" in done.output
    assert (tmp_path / "run" / "report.html").exists()
    folds = pd.read_csv(tmp_path / "run" / "folds.csv")
    assert set(folds["fold"]) == {0, 1}


def test_features_that_are_there_already(folder, tmp_path):
    table = ad.read_h5ad(folder / "spots.h5ad")
    table.obsm["X_mine"] = np.log1p(np.asarray(table.X.todense())[:, :4])
    table.write_h5ad(tmp_path / "f.h5ad")
    where = (tmp_path / "f.h5ad", "--slide", "slide", "--donor", "patient")
    fitted = run("expression", "fit", "ridge", *where, "--x", "X_mine", "--out", tmp_path / "m")
    assert fitted.exit_code == 0, fitted.output
    done = run("expression", "predict", tmp_path / "m", *where, "--out", tmp_path / "p.h5ad")
    assert done.exit_code == 0, done.output
    assert ad.read_h5ad(tmp_path / "p.h5ad").shape == (36, 12)


def test_it_is_in_the_list_of_methods():
    text = run("methods").output
    assert "Tiles to genes" in text
    assert "mlp:team" in text


@pytest.mark.parametrize(
    ("words", "says"),
    [(("fit", "ridge", "nope.h5ad", "--out", "m"), "nope.h5ad"),
     (("fit", "abmil", "{spots}", "--out", "m"), "does not predict expression"),
     (("fit", "ridge", "{spots}", "--images", "{root}", "--out", "m"), "--slide ..."),
     (("fit", "ridge", "{spots}", "--images", "{root}", "--slide", "slide", "--um-per-px", "1",
       "--tile-px", "64", "--genes", "NOPE1,AAA1", "--out", "m"), "NOPE1"),
     (("fit", "ridge", "{spots}", "--out", "m", "--genes", "none.txt"), "none.txt"),
     (("predict", "{root}", "{spots}", "--out", "p.h5ad"), "not a smalti model"),
     (("predict", "{root}", "{spots}", "--out", "p.csv"), ".h5ad"),
     (("compare", "{spots}", "--methods", "umint", "--out", "r"), "does not predict expression")],
)  # fmt: skip
def test_what_cannot_work_is_one_red_line(folder, tmp_path, monkeypatch, words, says):
    monkeypatch.chdir(tmp_path)
    filled = [w.format(root=folder, spots=folder / "spots.h5ad") for w in words]
    out = run("expression", *filled)
    assert out.exit_code == 2, out.output
    assert says in out.output
    assert "Traceback" not in out.output
    assert not (tmp_path / "m").exists()


TARGETS = {"label", "kind", "positive", "order"}
OTHERS = {"source", "images", "slide", "donor", "site", "table", "tissue", "quality", "progress"}


def test_a_recipe_holds_all_that_is_said_of_tiles():
    """Else what a model keeps would cut other tiles; test_words looks for the options."""
    import inspect

    import smalti as sm
    from smalti.cli.slides import CUT, READY

    assert set(inspect.signature(sm.read_slides).parameters) - TARGETS - OTHERS == set(CUT)
    ready = set(inspect.signature(sm.read_tiles).parameters) - TARGETS - OTHERS - {"folder"}
    assert ready == set(READY)


@pytest.fixture(scope="module")
def small(folder, tmp_path_factory):
    """A model fitted on two slides at 1 µm per pixel, of tiles of 64 px."""
    root = tmp_path_factory.mktemp("small")
    table = ad.read_h5ad(folder / "spots.h5ad")
    table = table[table.obs["slide"].isin(["S0", "S1"])].copy()
    table.obsm["spatial"] = table.obs[["x_px", "y_px"]].to_numpy() / 7  # of another picture
    table.layers["more"] = table.X * 2
    table.write_h5ad(root / "spots.h5ad")
    fitted = run("expression", "fit", "fine_tune", root / "spots.h5ad", "--images", folder, *READ,
                 "--xy", "x_px, y_px", "--counts", "layers/more", "--edge", "drop", "--pitch-um",
                 "100", "--tissue-min", "0", "--unlisted", "error", "--tiles", "spots",
                 "--size", "32", "--epochs", "1", "--set", "width=8", "--genes", "3",
                 "--out", root / "m")  # fmt: skip
    assert fitted.exit_code == 0, fitted.output
    return root


@pytest.mark.slow
def test_a_gene_that_is_not_there_is_said_before_features_are_made(folder, tmp_path, monkeypatch):
    def too_late(*_, **__):
        raise AssertionError("features were made")

    monkeypatch.setattr("smalti.features.extract", too_late)
    for verb in (("fit", "ridge"), ("compare",), ("predictable",), ("screen",)):
        out = run("expression", *verb, folder / "spots.h5ad", "--images", folder, *READ, "--genes",
                  "AAA1,NOPE1", "--out", tmp_path / "out")  # fmt: skip
        assert out.exit_code == 2, out.output
        assert "NOPE1" in out.output


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "says"),
    [((), "how long these tiles are is not known"),
     (("--um-per-px", "1", "--edge", "pad"), None),
     (("--um-per-px", "2", "--pitch-um", "200"), "are cut anew to match")],
)  # fmt: skip
def test_a_pixel_is_a_length(folder, small, tmp_path, more, says):
    done = run("expression", "predict", small / "m", small / "spots.h5ad", "--images", folder,
               "--slide", "slide", *more, "--out", tmp_path / "p.h5ad")  # fmt: skip
    assert done.exit_code == 0, done.output
    notes = [line for line in done.output.splitlines() if "was fitted on tiles of 64 µm" in line]
    assert len(notes) == (says is not None)
    assert says is None or says in notes[0]
    table = ad.read_h5ad(tmp_path / "p.h5ad")
    twice = ad.read_h5ad(small / "spots.h5ad")[table.obs_names, table.var_names].layers["more"]
    assert (table.layers["measured"] > 0).sum() == twice.nnz
    assert "64 µm" in table.uns["fine_tune"]["tiles"]


def test_positions_that_disagree_need_xy(folder, small, tmp_path):
    words = ("expression", "fit", "ridge", small / "spots.h5ad", "--images", folder, *READ)
    done = run(*words, "--out", tmp_path / "m")
    assert done.exit_code == 2
    assert "--xy x_px,y_px or --xy spatial" in " ".join(done.output.split())
    done = run(*words, "--out", tmp_path / "m", "--xy", "nowhere")
    assert done.exit_code == 2
    assert "obsm['nowhere']" in done.output


@pytest.mark.parametrize(
    ("words", "says"),
    [(("fit", "ridge", "{spots}"), "no images: give --images"),
     (("fit", "ridge", "{spots}", "--images", "S0=gone.png"),
      "1 image files are missing: gone.png"),
     (("fit", "ridge", "{spots}", "--images", "{root}/S0.png"), "--images S1=FILE"),
     (("fit", "ridge", "{spots}", "--images", "{root}"), "give --um-per-px ..., or the size of "
      "tiles in pixels, --tile-px ..."),
     (("fit", "ridge", "{spots}", "--images", "{root}", "--um-per-px", "x"), "no column 'x'"),
     (("fit", "ridge", "{spots}", "--images", "{root}", "--um-per-px", "S0=a"), "SLIDE=NUMBER"),
     (("fit", "ridge", "{spots}", "--images", "{root}", "--um-per-px", "1", "--tile-px", "400"),
      "say --edge drop or --edge pad"),
     (("fit", "ridge", "{spots}", "--columns", "a"), "--columns is not used, for spots.h5ad is no"),
     (("fit", "ridge", "{ready}", "--slide", "slide"), "name it in --columns."),
     (("fit", "ridge", "{ready}", "--edge", "pad"), "--edge is not used, for the tiles of"),
     (("fit", "ridge", "{ready}", "--stain", "macenko"), "--stain is not used, for the tiles of"),
     (("fit", "ridge", "{spots}", "--stain", "gcn"), "--stain gcn is not one of macenko"),
     (("fit", "ridge", "{spots}", "--stain-target", "a.png"), "is used with --stain macenko"),
     (("fit", "ridge", "{ready}", "--id", "nope"), "no column 'nope'"),
     (("fit", "mlp", "{ready}", "--slide", "slide", "--columns", "who", "--set",
       "flips=true"), "extract features with --flips all"),
     (("fit", "ridge", "{ready}", "--slide", "slide", "--columns", "who", "--flips", "some"),
      "--flips some is not one of none, mean, all"),
     (("compare", "{ready}", "--slide", "slide", "--donor", "bag", "--columns", "who",
       "--nan", "ten"), "--nan ten is not one of drop"),
     (("compare", "{ready}", "--slide", "slide", "--donor", "bag", "--columns", "who",
       "--folds", "3"), "--folds 3: there are 2 donors"),
     (("compare", "{ready}", "--columns", "who,slide", "--donor", "bag"),
      "Try --by tile")],
    ids=lambda v: " ".join(v[2:]) if isinstance(v, tuple) else "",
)  # fmt: skip
def test_what_an_error_recommends_is_an_option(folder, ready, tmp_path, monkeypatch, words, says):
    monkeypatch.chdir(tmp_path)
    slide = ("--slide", "slide") if "{spots}" in words else ()
    filled = [w.format(root=folder, spots=folder / "spots.h5ad", ready=ready)
              for w in words]  # fmt: skip
    done = run("expression", *filled, *slide, "--out", "m")
    assert done.exit_code == 2, done.output
    assert says in " ".join(done.output.split())
    assert not (tmp_path / "m").exists()


@pytest.fixture(scope="module")
def ready(folder):
    """A table of tiles that are cut already, with a column of text that is no gene."""
    from PIL import Image

    place, rng = folder / "ready", np.random.default_rng(0)
    place.mkdir()
    for i in range(4):
        tile = rng.integers(0, 255, (16, 16, 3), np.uint8)
        Image.fromarray(tile).save(place / f"tile{i}.jpg")
    table = pd.DataFrame({"ID": list("abcd"), "path": [f"tile{i}.jpg" for i in range(4)],
                          "slide": ["A", "A", "B", "B"], "who": list("wxyz"),
                          "G1": [1.0, 2, 3, 4], "G2": [2.0, 1, 4, 3]})  # fmt: skip
    table.to_csv(place / "tiles.csv", index=False)
    return place / "tiles.csv"


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.slow  # a fit and a prediction
def test_colours_go_with_the_model(folder, tmp_path):
    """What a slide is brought to is kept as numbers: the target need not be there any more."""
    import shutil

    target = shutil.copy(folder / "S0.png", tmp_path / "target.png")
    ask = ("expression", "fit", "ridge", folder / "spots.h5ad", "--images", folder, *READ,
           "--encoder", "morphology", "--genes", 3, "--stain", "reinhard")  # fmt: skip
    refused = run(*ask, "--out", tmp_path / "m")
    assert refused.exit_code == 2
    assert "give a training slide, --stain-target ..." in " ".join(refused.output.split())
    values = []
    for name, more in (("m", (*ask[-2:], "--stain-target", target)), ("plain", ())):
        fitted = run(*ask[:-2], *more, "--out", tmp_path / name)
        assert fitted.exit_code == 0, fitted.output
        target_gone = tmp_path / "target.png"
        target_gone.unlink(missing_ok=True)
        done = run("expression", "predict", tmp_path / name, folder / "S2.png", "--um-per-px", 1,
                   "--tissue-min", 0, "--out", tmp_path / f"{name}.h5ad")  # fmt: skip
        assert done.exit_code == 0, done.output
        values.append(ad.read_h5ad(tmp_path / f"{name}.h5ad").layers["predicted"])
    assert not np.allclose(*values, rtol=1e-3)


@pytest.mark.slow
def test_flips_go_all_the_way(folder, ready, tmp_path):
    done = run("expression", "fit", "mlp", ready, "--slide", "slide", "--donor", "bag", "--columns",
               "who", "--flips", "all", "--set", "flips=true", "--set", "units=given", "--set",
               "progress=false", "--epochs", 1, "--um-per-px", 0.5,
               "--out", tmp_path / "m")  # fmt: skip
    assert done.exit_code == 0, done.output
    done = run("expression", "predict", tmp_path / "m", ready, "--slide", "slide", "--um-per-px",
               0.5, "--out", tmp_path / "p.h5ad")  # fmt: skip
    assert done.exit_code == 0, done.output
    assert ad.read_h5ad(tmp_path / "p.h5ad").shape == (4, 2)


def test_features_that_are_lacking(folder, tmp_path):
    table = ad.read_h5ad(folder / "spots.h5ad")
    x = pd.DataFrame(np.log1p(table.X[:, :4].toarray()), index=table.obs_names,
                     columns=list("abcd"))  # fmt: skip
    for name, part in (("all", x), ("few", x[list("abc")])):
        table.obsm["X_mine"] = part
        table.write_h5ad(tmp_path / f"{name}.h5ad")
    where = ("--slide", "slide", "--donor", "patient")
    done = run("expression", "fit", "ridge", tmp_path / "all.h5ad", *where, "--x", "X_mine",
               "--out", tmp_path / "m")  # fmt: skip
    assert done.exit_code == 0, done.output
    asked = ("expression", "predict", tmp_path / "m", tmp_path / "few.h5ad", *where, "--out",
             tmp_path / "p.h5ad")  # fmt: skip
    done = run(*asked)
    assert done.exit_code == 2
    assert "--missing zero or --missing mean" in " ".join(done.output.split())
    done = run(*asked, "--missing", "mean")
    assert done.exit_code == 0, done.output
    note = ad.read_h5ad(tmp_path / "p.h5ad").uns["ridge"]["missing"][0]
    assert "1 of the 4 features that the model reads" in note


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_bins_and_names_of_slides(tmp_path):
    """A model keeps the width of the bins, and not which slides it was fitted on."""
    import json

    import layouts

    pytest.importorskip("pyarrow")
    root = tmp_path / "hd"
    for name in "AB":
        layouts.hd(root / name, (8, 16))
    asked = ("--bins", 16, "--only", "A", "--tile-px", 40, "--size", 16, "--donor", "bag")
    fitted = run("expression", "fit", "ridge", root / "A", *asked, "--out", tmp_path / "m")
    assert fitted.exit_code == 0, fitted.output
    kept = json.loads((tmp_path / "m" / "model.json").read_text())["origin"]["tiles"]
    assert kept["bins"] == "16"
    done = run("expression", "predict", tmp_path / "m", root / "B", "--out", tmp_path / "p.h5ad")
    assert done.exit_code == 0, done.output
    table = ad.read_h5ad(tmp_path / "p.h5ad")
    assert table.obs["n_bins"].max() <= 9  # of 16 px in tiles of 40 px
    assert list(table.uns["spatial"]) == ["B"]
    for wrong, words in [
        (("--only", "C"), "--only C: no slide 'C'; there are A"),
        (("--bins", 2), "--bins 2.0: "),
    ]:
        lost = run("expression", "fit", "ridge", root / "A", *wrong, "--out", tmp_path / "n")
        assert words in " ".join(lost.output.split()), lost.output


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_what_features_know_before_any_fit(tmp_path):
    bags = planted_slides(4, 36, n_genes=12)
    table = ad.AnnData(bags.x["counts"], obs=bags.instance.assign(
        slide=np.asarray(bags.bag.index)[bags.index], patient=np.asarray(bags.donors)[bags.index]),
        var=pd.DataFrame(index=list(bags.features["counts"])))  # fmt: skip
    table.obsm["X_a"] = bags.table("X_planted")
    table.obsm["X_b"] = np.random.default_rng(0).normal(size=(144, 4))
    table.write_h5ad(tmp_path / "spots.h5ad")
    read = (tmp_path / "spots.h5ad", "--x", "X_b,X_a", "--slide", "slide", "--donor", "patient")
    done = run("expression", "predictable", *read, "--out", tmp_path / "p", "--shuffles", 20)
    assert done.exit_code == 0, done.output
    assert re.search(r"X_a: mean score 0\.\d+ of 12 genes, .* beyond the depth", done.stdout)
    assert "p and fdr of the table are a guide" in done.stderr
    assert len(pd.read_csv(tmp_path / "p" / "predictable.csv")) == 24
    done = run("expression", "screen", *read, "--out", tmp_path / "s")
    assert done.exit_code == 0, done.output
    assert done.stdout.index("X_a: 0.") < done.stdout.index("X_b: ")
    assert "behind by" in done.stdout
    assert "each donor left out in turn" in (tmp_path / "s" / "report.html").read_text("utf-8")
    for out, says in [(tmp_path / "s", "other files"), (tmp_path / "s.csv", "name a folder")]:
        again = run("expression", "screen", *read, "--out", out)
        assert again.exit_code == 2
        assert says in " ".join(again.output.split())
    before = ("--before", tmp_path / "p", "--before", tmp_path / "s")
    compared = run("expression", "compare", *read[:1], "--x", "X_a", *read[3:], *before, "--genes",
                   3, "--methods", "knn", "--seeds", 1, "--out", tmp_path / "run")  # fmt: skip
    assert compared.exit_code == 0, compared.output
    page = (tmp_path / "run" / "report.html").read_text("utf-8")
    assert page.count(">Before the fit: which ") == 4  # in the contents too
    none = run("expression", "compare", *read, "--before", tmp_path, "--out", tmp_path / "no")
    assert none.exit_code == 2
    assert "holds no finding.json" in " ".join(none.output.split())


@pytest.mark.slow  # cuts tiles, and times a fit of each method
def test_a_dry_run_of_a_comparison_writes_nothing(folder, tmp_path):
    done = run("expression", "compare", folder / "spots.h5ad", "--images", folder, *READ,
               "--methods", "gene_mean", "--splits", "leave-one-donor-out", "--genes", 5,
               "--cache", tmp_path / "c", "--dry-run", "--out", tmp_path / "out")  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "left out in turn: leave-one-donor-out" in done.output
    assert "a quarter of the training tiles" in done.output
    assert not (tmp_path / "out").exists()
