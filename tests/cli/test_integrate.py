"""``smalti integrate`` and ``smalti compare --integrate``, on a small file."""

import json

import numpy as np
import pandas as pd
import pytest
import ten_x as x10
from typer.testing import CliRunner

import smalti as sm
from smalti.cli import app
from smalti.datasets.modalities import planted_modalities

TINY = ["--epochs", "2", "--set", "width=8", "--set", "progress=false", "--set", "accelerator=cpu"]
N = 80

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning:mudata")


def run(*args):
    return CliRunner().invoke(app, [str(a) for a in args])


def fails(*args):
    """The message of a run that must fail as one line with exit code 2."""
    result = run(*args)
    assert result.exit_code == 2, result.output
    lines = [line for line in result.stderr.splitlines() if not line.startswith("note: ")]
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    return lines[0]


def works(*args):
    result = run(*args)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


@pytest.fixture(scope="module")
def bags():
    return planted_modalities(N, counts=True, effect=8.0)


@pytest.fixture(scope="module")
def obs(bags):
    kinds = {"kind": bags.instance["kind"].to_numpy(), "patient": np.arange(N) % 8}
    return pd.DataFrame(kinds, index=[f"cell{i}" for i in range(N)]).astype(str)


def part(bags, name, obs):
    import anndata

    var = pd.DataFrame(index=list(bags.features[name]))
    return anndata.AnnData(bags.x[name], obs=pd.DataFrame(index=obs.index), var=var)


@pytest.fixture(scope="module")
def h5mu(bags, obs, tmp_path_factory):
    mudata = pytest.importorskip("mudata")
    data = mudata.MuData({k: part(bags, k, obs) for k in bags.x})
    data.obs[list(obs)] = obs
    path = tmp_path_factory.mktemp("mu") / "x.h5mu"
    data.write(path)
    return path


@pytest.fixture(scope="module")
def h5ad(bags, obs, tmp_path_factory):
    data = part(bags, "rna", obs)
    data.obs = obs.copy()
    data.obsm["protein_expression"] = pd.DataFrame(
        bags.x["protein"], index=obs.index, columns=bags.features["protein"]
    )
    path = tmp_path_factory.mktemp("ad") / "x.h5ad"
    data.write_h5ad(path)
    return path


# ---------------------------------------------------------------- embed


@pytest.mark.slow  # the next test does the quick half
def test_embedding_layers_and_model(h5mu, bags, tmp_path):
    mudata = pytest.importorskip("mudata")
    before, out, model = h5mu.read_bytes(), tmp_path / "y.h5mu", tmp_path / "m"
    told = works("integrate", "umint:fast", h5mu, "--out", out, "--layers", "--model", model, *TINY)
    assert "umint: " in told
    assert f"written to {out}" in told.replace("\n", "")
    back = mudata.read_h5mu(out)
    assert back.obsm["X_umint"].shape == (N, 8)
    assert back.obs["kind"].tolist() == bags.instance["kind"].tolist()  # the rest is still there
    for name in bags.x:
        assert back.mod[name].layers["umint"].shape == bags.x[name].shape
        np.testing.assert_array_equal(np.asarray(back.mod[name].X), bags.x[name])
    note = json.loads((model / "model.json").read_text())
    preset = sm.make("umint:fast").get_params()
    assert note["settings"]["batch_size"] == preset["batch_size"]
    assert note["settings"]["lr"] == preset["lr"]
    assert note["settings"]["epochs"] == 2  # but for what was said
    loaded = sm.load(model)
    np.testing.assert_array_equal(loaded.transform(h5mu), back.obsm["X_umint"])
    np.testing.assert_array_equal(loaded.transform(bags), back.obsm["X_umint"])
    assert h5mu.read_bytes() == before


def test_into_the_data_itself(h5mu, tmp_path):
    mudata = pytest.importorskip("mudata")
    path = tmp_path / "mine.h5mu"
    path.write_bytes(h5mu.read_bytes())
    works("integrate", "block_pca", path, "--out", path, "--set", "width=4")
    assert mudata.read_h5mu(path).obsm["X_block_pca"].shape == (N, 4)
    works("integrate", "umint", path, "--out", path, *TINY)
    assert {"X_umint", "X_block_pca"} <= set(mudata.read_h5mu(path).obsm)


def test_proteins_in_obsm_of_anndata(h5ad, tmp_path):
    import anndata

    out = tmp_path / "y.h5ad"
    works("integrate", "umint", h5ad, "--x", "X, obsm/protein_expression", "--out", out,
          "--layers", "--preprocess",
          '{"X": "normalize,log1p,genes=20", "protein_expression": "clr"}', *TINY)  # fmt: skip
    back = anndata.read_h5ad(out)
    assert back.obsm["X_umint"].shape == (N, 8)
    assert "umint" not in back.layers
    assert back.obsm["umint_X"].shape == (N, 20)  # of the genes that were kept
    assert back.obsm["umint_protein_expression"].shape == (N, 12)
    assert "genes=20" in back.uns["umint"]["settings"]["preprocess"]


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet"])
def test_a_table_of_the_embedding(h5mu, tmp_path, ending):
    out = tmp_path / f"z.{ending}"
    works("integrate", "umint", h5mu, "--out", out, "--model", tmp_path / "m", *TINY)
    read = {"csv": pd.read_csv, "tsv": lambda p: pd.read_csv(p, sep="\t"),
            "parquet": pd.read_parquet}[ending]  # fmt: skip
    table = read(out)
    assert list(table) == ["cell", *(f"umint_{i}" for i in range(8))]
    assert table["cell"].tolist() == [f"cell{i}" for i in range(N)]
    codes = sm.load(tmp_path / "m").transform(h5mu)
    np.testing.assert_allclose(table.iloc[:, 1:].to_numpy(), codes, rtol=1e-5, atol=1e-7)


def test_cells_that_a_modality_lacks(h5mu, tmp_path):
    mudata = pytest.importorskip("mudata")
    whole = mudata.read_h5mu(h5mu)
    parts = {"rna": whole["rna"].copy(), "protein": whole["protein"][20:].copy()}
    path = tmp_path / "gaps.h5mu"
    mudata.MuData(parts).write(path)
    for cells, n in (("intersection", 60), ("union", 80)):
        out = tmp_path / f"{cells}.csv"
        works("integrate", "umint", path, "--cells", cells, "--out", out, *TINY)
        assert len(pd.read_csv(out)) == n
    assert "cells" in fails("integrate", "umint", path, "--out", tmp_path / "o.csv", *TINY)


def test_the_seed_is_the_same_seed(h5mu, tmp_path):
    tables = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        out = tmp_path / f"{name}.csv"
        works("integrate", "umint", h5mu, "--seed", seed, "--out", out, *TINY)
        tables.append(pd.read_csv(out))
    pd.testing.assert_frame_equal(tables[0], tables[1])
    assert not tables[0].equals(tables[2])


def test_a_fitted_model_embeds_again(h5mu, tmp_path):
    first, again, model = tmp_path / "a.csv", tmp_path / "b.csv", tmp_path / "m"
    works("integrate", "umint", h5mu, "--out", first, "--model", model, *TINY)
    works("integrate", model, h5mu, "--out", again)
    pd.testing.assert_frame_equal(pd.read_csv(again), pd.read_csv(first))
    assert "is fitted already" in fails("integrate", model, h5mu, "--out", again, "--epochs", 3)


def test_genes_that_new_cells_lack(h5mu, tmp_path):
    mudata = pytest.importorskip("mudata")
    model, out, few = tmp_path / "m", tmp_path / "z.csv", tmp_path / "few.h5mu"
    works("integrate", "umint", h5mu, "--out", out, "--model", model, "--preprocess",
          '{"rna": "log1p,genes=20", "protein": "clr"}', *TINY)  # fmt: skip
    whole, read = mudata.read_h5mu(h5mu), sm.load(model).reads().read["rna"]
    lost = np.flatnonzero(read)[:1]
    for gone, needs in ((~read, False), (np.isin(np.arange(len(read)), lost), True)):
        rna = whole["rna"][:, ~gone].copy()
        mudata.MuData({"rna": rna, "protein": whole["protein"].copy()}).write(few)
        if needs:
            words = "1 of the 20 features that the model reads are not in view 'rna'"
            assert words in fails("integrate", model, few, "--out", out, "--overwrite")
            works("integrate", model, few, "--out", out, "--missing", "zero", "--overwrite")
            copy = tmp_path / "copy.h5mu"
            works("integrate", model, few, "--out", copy, "--missing", "mean")
            assert words in mudata.read_h5mu(copy).uns["umint"]["missing"][0]
        else:  # of those that were dropped nothing was made
            before = pd.read_csv(out)
            works("integrate", model, few, "--out", out, "--force")  # the same word
            pd.testing.assert_frame_equal(pd.read_csv(out), before)


def test_a_file_of_several_feature_types_is_split_and_told(bags, obs, tmp_path):
    """As Cell Ranger writes genes and proteins into one matrix."""
    import anndata

    types = {"rna": "Gene Expression", "protein": "Antibody Capture"}
    data = anndata.concat([part(bags, k, obs) for k in bags.x], axis=1)
    data.obs = obs.copy()
    data.var["feature_types"] = [types[k] for k in bags.x for _ in bags.features[k]]
    path, out = tmp_path / "x.h5ad", tmp_path / "y.h5ad"
    data.write_h5ad(path)
    told = works("integrate", "umint", path, "--out", out, "--layers", *TINY)
    assert "rna (40 features): taken for RNA, by its name; normalize,log1p,genes=2000" in told
    assert "protein (12 features): taken for protein, by its name; clr" in told
    assert np.isfinite(anndata.read_h5ad(out).layers["umint"]).all()
    told = works(
        "integrate", "umint", path, "--out", out, "--kinds", "rna=other", "--overwrite", *TINY
    )
    assert "rna (40 features): taken for what needs no steps, as --kinds says; as it stands" in told
    assert "one was read, 'X'" in fails(
        "integrate", "umint", path, "--x", "X", "--out", out, "--force"
    )


# ---------------------------------------------------------------- compare, methods


@pytest.mark.slow  # test_cli compares by the same verb
def test_compare_integrate(h5mu, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "smalti.comparison.page.embeddings.absent", lambda name, _: name
    )  # maps take long
    out, cache = tmp_path / "run", tmp_path / "cache"
    asked = ["compare", h5mu, "--integrate", "--methods", "umint,block_pca", "--label", "kind",
             "--seeds", 1, "--cache", cache, "--out", out, *TINY]  # fmt: skip
    told = works(*asked)
    assert "protein alone" in told
    assert "report.html" in told
    assert {"folds.csv", "summary.csv", "report.html", "cells.csv"} <= {
        p.name for p in out.iterdir()}  # fmt: skip
    folds = pd.read_csv(out / "folds.csv")
    assert set(folds["method"]) == {
        "umint",
        "block_pca",
        "block_pca (default)",
        "rna alone",
        "protein alone",
    }
    assert {"ari_kmeans", "ari_ward", "ors"} <= set(folds["metric"])
    settings = json.loads((out / "split.json").read_text())["settings"]
    assert settings["umint"]["epochs"] == 2
    assert settings["block_pca"]["width"] == 8
    works(*asked)  # from the cache, over what it wrote before
    pd.testing.assert_frame_equal(pd.read_csv(out / "folds.csv"), folds)


@pytest.mark.slow  # a whole run and its page
def test_compare_predict(h5mu, tmp_path):
    out = tmp_path / "run"
    asked = ["compare", h5mu, "--integrate", "--predict", "protein", "--methods", "block_pca",
             "--seeds", 1, "--out", out, "--set", "width=4"]  # fmt: skip
    told = works(*asked)
    assert "ridge" in told
    assert "Prediction of protein" in (out / "report.html").read_text()
    assert set(pd.read_csv(out / "features.csv")["method"]) == {"block_pca", "mean", "ridge", "knn"}
    assert "--predict does not use --label" in fails(*asked, "--label", "kind")
    assert "--predict is for --integrate" in fails(
        "compare", h5mu, "--predict", "protein", "--label", "kind", "--out", out
    )


def test_contributions_into_obs(h5mu, tmp_path):
    mudata = pytest.importorskip("mudata")
    works("integrate", "umint", h5mu, "--out", tmp_path / "o.h5mu", "--contributions", *TINY)
    obs = mudata.read_h5mu(tmp_path / "o.h5mu").obs
    shares = obs[["umint_adds_rna", "umint_adds_protein"]]
    np.testing.assert_allclose(shares.sum(1), 1, rtol=1e-5)
    assert "--contributions needs a copy" in fails(
        "integrate", "umint", h5mu, "--out", tmp_path / "t.csv", "--contributions"
    )


def test_methods_lists_both_rooms():
    told = run("methods").output
    assert "smalti integrate" in told
    for name in ("umint", "block_pca", "dae", "sae", "abmil"):
        assert name in told
    assert "umint:fast" in told


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["umint", "DATA", "--out", "z.txt"], "z.txt is none of .h5mu, .h5ad, .zarr, .csv"),
        (["umint", "x.loom", "--out", "z.csv"], "no file x.loom: check the path"),
        (["umint", "none.h5mu", "--out", "z.csv"], "none.h5mu"),
        (["umint", "DATA", "--out", "z.csv", "--layers"], "--layers needs a copy of the data"),
        (["umint", "DATA", "--out", "z.h5ad"], "must end in .h5mu or .zarr"),
        (["abmil", "DATA", "--out", "z.csv"], "abmil does not integrate modalities"),
        (["umnt", "DATA", "--out", "z.csv"], "no method 'umnt'"),
        (["umint:slow", "DATA", "--out", "z.csv"], "umint has no preset 'slow'"),
        (["umint", "DATA", "--out", "z.csv", "--preprocess", '{"rna": '], "is no JSON"),
        (["umint", "DATA", "--out", "z.csv", "--preprocess", '{"rna": "logg"}'], "no step 'logg'"),
        (["umint", "DATA", "--out", "z.csv", "--preprocess", '{"rns": "log1p"}'], "no view 'rns'"),
        (["umint", "DATA", "--out", "z.csv", "--x", "rna,atac"], "atac"),
        (["umint", "DATA", "--out", "z.csv", "--cells", "some"], "cells"),
        (["umint", "DATA", "--out", "z.csv", "--x", "rna"], "name them, such as --x X,obsm/KEY"),
        (["umint", "DATA", "--out", "z.csv", "--kinds", "rna"], "not of the form VIEW=KIND"),
        (["umint", "DATA", "--out", "z.csv", "--kinds", "x=rna"], "names 'x', which is no view"),
        (["umint", "DATA", "--out", "z.csv", "--set", "widht=3"], "no setting 'widht'"),
        (["umint", "DATA", "--out", "z.csv", "--set", "width=wide"], "should be a whole number"),
        (["umint", "DATA", "--out", "z.csv", "--set", "widths=[8]"], "one value for each of 2"),
        (["umint", "DATA", "--out", "z.csv", "--set", "widths=8"], "should be several values"),
        (["block_pca", "DATA", "--out", "z.csv", "--epochs", "2"], "no setting 'epochs'"),
    ],
)
def test_what_can_be_mended_is_one_line(args, words, h5mu, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert words in fails("integrate", *(h5mu if a == "DATA" else a for a in args))
    assert not list(tmp_path.iterdir())  # nothing is left behind


def test_a_package_that_is_not_installed(h5mu, tmp_path, monkeypatch):
    from smalti.integrate.umint import UMINT

    say = 'x is not installed: pip install "smalti[integrate]"'
    monkeypatch.setattr(UMINT, "unavailable", classmethod(lambda cls: say))
    assert say in fails("integrate", "umint", h5mu, "--out", tmp_path / "z.csv")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ([], "name the column of known groups to score by, --label NAME"),
        (["--label", "cell_type"], "no column 'cell_type'"),
        (["--label", "kind", "--methods", "abmil"], "is no method of smalti.integrate"),
        (["--label", "kind", "--methods", ","], "--methods is empty"),
        (["--label", "kind", "--x", "rna"], "name them, such as --x X,obsm/KEY; there are rna/X"),
        (["--label", "kind", "--kinds", "rna=dna"], "'rna' is 'dna', which is none of tags, rna"),
        (["--label", "kind", "--preprocess", "{rna"], "is no JSON"),
        (["--label", "kind", "--set", "widht=3"], "has a setting 'widht'"),
    ],
)
def test_compare_errors_are_one_line(more, words, h5mu, tmp_path):
    out = tmp_path / "run"
    assert words in fails("compare", h5mu, "--integrate", "--out", out, *more)
    assert not out.exists()


@pytest.mark.slow
def test_what_an_error_recommends_is_an_option(h5mu, bags, tmp_path):
    mudata = pytest.importorskip("mudata")
    whole = mudata.read_h5mu(h5mu)
    gaps, out = tmp_path / "gaps.h5mu", tmp_path / "y.h5mu"
    mudata.MuData({"rna": whole["rna"].copy(), "protein": whole["protein"][20:].copy()}).write(gaps)
    said = fails("integrate", "umint", gaps, "--out", out, *TINY)
    assert "say --cells intersection to keep" in said
    assert "or --cells union to keep all" in said
    pca = ("integrate", "block_pca", "--set", "width=2")
    works(*pca, h5mu, "--out", out)
    works(*pca, out, "--out", out)  # the same model again
    asked = ("integrate", "block_pca", out, "--out", out, "--set", "width=3")
    assert "--key-added NAME, or replace it, --overwrite" in fails(*asked)
    works(*asked, "--overwrite")
    named = ("--x", "genes=rna,adt=protein", "--kinds", "genes=rna,adt=protein")
    told = works(*pca, h5mu, "--out", tmp_path / "z.csv", *named)
    assert "genes (40 features): taken for RNA, as --kinds says" in told
    told = works(*pca, h5mu, "--out", tmp_path / "y.csv", "--x", "blob=rna,protein=protein")
    assert "--kinds blob=protein tells" in told


@pytest.mark.parametrize(
    ("more", "words"),
    [(("--batch", "nope"), "no column 'nope' of the cells"),
     (("--by", "kmeans,ten"), "--by kmeans,ten, --n-clusters"),
     (("--n-clusters", "900"), "--n-clusters 900: there are"),
     (("--jobs", "0", "--by", "kmeans", "--seeds", "1"), "--jobs 0: a number of"),
     (("--leave-out", "ALL"), "has 1 labels: at least two are needed")],
)  # fmt: skip
def test_options_of_compare_integrate(h5mu, obs, tmp_path, more, words):
    out, every = tmp_path / "run", ",".join(obs["kind"].unique()[1:])
    more = [every if word == "ALL" else word for word in more]
    named = ("compare", h5mu, "--integrate", "--label", "kind", "--methods", "block_pca")
    assert words in fails(*named, "--out", out, *more)
    assert not out.exists()


@pytest.mark.slow  # reads a file, and times a fit of each method
def test_a_dry_run_of_a_comparison_writes_nothing(h5mu, tmp_path):
    done = run("compare", h5mu, "--integrate", "--label", "kind", "--methods", "block_pca",
               "--by", "kmeans", "--seeds", 2, "--dry-run", "--out", tmp_path / "out")  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "a quarter of the training cells" in done.output
    assert "would be written" in done.output
    assert not (tmp_path / "out").exists()


# ---------------------------------------------------------------- files of Cell Ranger


@pytest.fixture
def runs(tmp_path):
    kinds = ("rna", "protein")
    return [x10.h5(tmp_path / name / "outs" / "filtered_feature_bc_matrix.h5",
                   x10.features(*kinds, more=[("IgG1_control", "Antibody Capture")]), seed=k)
            for k, name in enumerate(("s1", "s2"))]  # fmt: skip


@pytest.mark.parametrize("ending", [".h5ad", ".h5mu"])
def test_runs_of_cell_ranger_with_a_table_of_cells(runs, ending, tmp_path):
    import anndata
    import mudata

    donors = pd.DataFrame({"barcode": x10.barcodes() * 2, "donor": list("ppppqqqqq") * 2,
                           "run": ["a"] * 9 + ["b"] * 9})[1:]  # fmt: skip
    donors.to_csv(tmp_path / "obs.csv", index=False)
    out = tmp_path / f"o{ending}"
    told = works("integrate", "block_pca", *runs, "--runs", "a,b", "--obs", tmp_path / "obs.csv",
                 "--out", out, "--set", "width=2")  # fmt: skip
    assert "1 controls by their names (IgG1_control) are set aside" in " ".join(told.split())
    back = (mudata.read_h5mu if ending == ".h5mu" else anndata.read_h5ad)(out)
    assert back.obsm["X_block_pca"].shape == (17, 2)
    assert back.obs["donor"].tolist() == list("pppqqqqqppppqqqqq")
    assert back.obs["run"].tolist() == ["a"] * 8 + ["b"] * 9
    # every verb takes the same
    told = works("audit", *runs, "--obs", tmp_path / "obs.csv", "--runs", "a,b", "--sample", "run",
                 "--donor", "bag")  # fmt: skip
    assert "2 bags of 8-9 instances, rna 5, protein 4" in " ".join(told.split())


def test_modalities_as_words(runs, tmp_path):
    words = [f"rna={runs[0]}", f"protein={runs[0]}", f"rna={runs[1]}", f"protein={runs[1]}"]
    told = works("integrate", "block_pca", *words[:2], "--out", tmp_path / "a.h5mu", *TINY[2:4])
    assert "Bags: 9 bags of one instance, rna 5, protein 4" in told
    told = works("integrate", "block_pca", *words, "--out", tmp_path / "b.csv", *TINY[2:4])
    assert "Bags: 18 bags" in told
    assert "is of no modality, and others are: write NAME=" in fails(
        "integrate", "block_pca", words[0], runs[1], "--out", tmp_path / "c.csv"
    )
    assert "so it cannot be the output" in fails(
        "integrate", "block_pca", *words[:2], "--out", tmp_path / "c.csv", "--force",
        "--model", runs[0].parent,
    )  # fmt: skip


def test_a_comparison_says_each_modality_once(runs, tmp_path):
    kinds = pd.DataFrame({"cell": x10.barcodes(), "kind": list("aaaabbbbb")})
    kinds.to_csv(tmp_path / "k.csv", index=False)
    told = works("compare", "--integrate", runs[0], "--obs", tmp_path / "k.csv", "--label", "kind",
                 "--dry-run", "--methods", "block_pca", "--out", tmp_path / "run")  # fmt: skip
    assert told.count("rna (5 features): taken for RNA, by its name") == 1


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["RUN", "--out", "o.h5mu", "--runs", "a,b"], "--runs a,b must be 1 names, one for each"),
        (["rna=RUN", "protein=RUN", "--out", "o.h5ad"], "--out o.h5ad must end in .h5mu or .zarr"),
        (["RUN", "RUN", "--out", "o.h5ad"], "several runs are called"),
    ],
)
def test_what_several_files_cannot_be(args, words, runs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert words in fails("integrate", "block_pca", *(a.replace("RUN", str(runs[0])) for a in args))
