"""The command line for genes that were never measured: vectors, fit, predict, compare."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import smalti as sm
from smalti.cli import app
from smalti.datasets.programmes import planted_programmes
from smalti.genes import read_vectors

N = 24  # genes


def run(*words):
    return CliRunner().invoke(app, [str(w) for w in words])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Spots of four slides with their features, vectors of their genes and of more."""
    root = tmp_path_factory.mktemp("unseen")
    bags, vectors = planted_programmes(4, 25, n_genes=N + 6, donors=2)
    obs = bags.instance[["x_px", "y_px", "x_um", "y_um"]].copy()
    obs["slide"] = np.repeat([f"S{s}" for s in range(4)], 25)
    obs["patient"] = np.repeat(["P0", "P1", "P0", "P1"], 25)
    names = list(vectors.names)
    table = ad.AnnData(
        bags.x["counts"][:, :N], obs=obs, var=pd.DataFrame(index=names[:N]),
        obsm={"X_planted": bags.table("X_planted")},
    )  # fmt: skip
    table.write_h5ad(root / "spots.h5ad")
    vectors.save(root / "v.safetensors")
    (root / "new.txt").write_text("\n".join(names[N:]) + "\n\n")
    lines = [f"SET{k}\tx\t" + "\t".join(names[10 * k : 10 * k + 11]) for k in range(2)]
    (root / "sets.gmt").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture(scope="module")
def where(folder):
    return (folder / "spots.h5ad", "--slide", "slide", "--donor", "patient")


QUICK = ("--set", "alpha=10", "--set", "beta=1", "--set", "level=1")


@pytest.fixture(scope="module")
def model(folder, where):
    done = run("expression", "fit", "bilinear", *where, "--x", "X_planted", "--vectors",
               folder / "v.safetensors", *QUICK, "--unseen", "random", "--n-unseen", 5,
               "--out", folder / "m")  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "5 genes were hidden" in done.output
    assert f"{N - 5} genes" in done.output
    return folder / "m"


def test_vectors_of_what_is_written(tmp_path):
    table = tmp_path / "text.csv"
    table.write_text("symbol,summary\n" + "".join(
        f"GENE{i},{t}\n" for i, t in enumerate(
            ["collagen of the matrix", "matrix collagen chain", "keratin of skin", "skin keratin",
             "immune cell receptor", "receptor of immune cells"])))  # fmt: skip
    out = tmp_path / "v.safetensors"
    done = run("genes", "vectors", "--text", table, "--out", out, "--width", 3)
    assert done.exit_code == 0, done.output
    found = read_vectors(out)
    assert found.names == tuple(f"GENE{i}" for i in range(6))
    assert found.tokens is None
    x = found.x / np.linalg.norm(found.x, axis=1, keepdims=True)
    alike = x @ x.T - 2 * np.eye(6)
    np.testing.assert_array_equal(alike.argmax(1), [1, 0, 3, 2, 5, 4])
    done = run("genes", "vectors", "--text", table, "--out", out, "--width", 3, "--words",
               "--genes", "GENE4,GENE1", "--overwrite")  # fmt: skip
    assert done.exit_code == 0, done.output
    found = read_vectors(out)
    assert found.names == ("GENE4", "GENE1")
    assert found.tokens is not None


def test_fit_hides_genes_and_predicts_them(folder, where, model, tmp_path):
    hidden = (model / "unseen.txt").read_text().split()
    back = sm.load(model)
    assert len(hidden) == 5
    assert not set(hidden) & set(back.genes_)
    assert set(hidden) | set(back.genes_) == {f"G{i}" for i in range(N)}
    done = run("expression", "predict", model, *where, "--genes", model / "unseen.txt",
               "--out", tmp_path / "p.h5ad")  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "scores on them say nothing" not in done.output
    table = ad.read_h5ad(tmp_path / "p.h5ad")
    assert list(table.var_names) == hidden
    r = [np.corrcoef(table.layers["predicted"][:, g], table.layers["measured"][:, g])[0, 1]
         for g in range(5)]  # fmt: skip
    assert np.mean(r) > 0.4


def test_genes_that_were_never_measured(folder, where, model, tmp_path):
    done = run("expression", "predict", model, *where, "--genes", folder / "new.txt",
               "--confidence", tmp_path / "c.csv", "--out", tmp_path / "p.h5ad")  # fmt: skip
    assert done.exit_code == 0, done.output
    new = [f"G{i}" for i in range(N, N + 6)]
    table, told = ad.read_h5ad(tmp_path / "p.h5ad"), pd.read_csv(tmp_path / "c.csv")
    assert list(table.var_names) == new
    assert "measured" not in table.layers
    assert told["gene"].tolist() == new
    assert not told["seen"].any()
    back = sm.load(model)
    bags, _ = planted_programmes(4, 25, n_genes=N + 6, donors=2)
    np.testing.assert_allclose(table.layers["predicted"], back.predict(bags, new), atol=1e-5)
    pd.testing.assert_frame_equal(
        told[["nearest", "similarity"]], back.nearness(new)[["nearest", "similarity"]],
        check_dtype=False, atol=1e-5,
    )  # fmt: skip


def test_ensemble(folder, where, tmp_path):
    done = run("expression", "fit", "bilinear", *where, "--x", "X_planted", "--vectors",
               folder / "v.safetensors", *QUICK, "--ensemble", 3, "--unseen", "G1,G2,G3",
               "--seed", 5, "--set", "accelerator=cpu", "--out", tmp_path / "m")  # fmt: skip
    assert done.exit_code == 0, done.output
    back = sm.load(tmp_path / "m")
    assert (back.name, back.parts, back.seed, back.accelerator) == ("gene_ensemble", 3, 5, "cpu")
    assert len(back.genes_) == N - 3
    assert len(back.network_.members) == 3
    assert (tmp_path / "m" / "unseen.txt").read_text().split() == ["G1", "G2", "G3"]
    words = ("expression", "predict", tmp_path / "m", *where, "--genes", tmp_path / "m/unseen.txt",
             "--confidence", tmp_path / "c.csv", "--out", tmp_path / "p.h5ad")  # fmt: skip
    done = run(*words)
    assert done.exit_code == 0, done.output
    told = pd.read_csv(tmp_path / "c.csv")
    assert {"agreement", "expected_pcc", "expected_sd", "shared"} <= set(told)
    # an expectation alone leaves nothing out
    assert np.isfinite(ad.read_h5ad(tmp_path / "p.h5ad").layers["predicted"]).all()
    assert "not predicted" not in done.output
    # two seen genes, which are predicted whatever is expected, and three that were hidden
    seen = ",".join([*back.genes_[:2], "G1", "G2", "G3"])
    assert run(*words).exit_code == 2  # both files are there
    done = run(
        *words, "--overwrite", "--genes", seen, "--abstain", told["expected_pcc"].max() + 0.01
    )
    assert done.exit_code == 0, done.output
    blank = np.isnan(ad.read_h5ad(tmp_path / "p.h5ad").layers["predicted"]).all(0)
    np.testing.assert_array_equal(blank, [False, False, True, True, True])
    np.testing.assert_array_equal(pd.read_csv(tmp_path / "c.csv")["abstain"], blank)
    assert "3 genes are not predicted" in done.output
    assert "2 of the genes were in training" in done.output


@pytest.mark.slow
@pytest.mark.parametrize(
    ("unseen", "n"),
    [(("blocks", "--n-unseen", 5, "--sets", "{root}/sets.gmt"), 11),
     # of the words alone: what they hide is in tests/comparison
     pytest.param(("random", "--n-unseen", 4), 4, marks=pytest.mark.slow),
     pytest.param(("G1,G2",), 2, marks=pytest.mark.slow)],
    ids=str,
)  # fmt: skip
def test_compare(folder, where, tmp_path, unseen, n):
    unseen = [str(w).format(root=folder) for w in unseen]
    done = run("expression", "compare", *where, "--x", "X_planted", "--vectors",
               folder / "v.safetensors", "--methods", "nearest_gene,knn", "--seeds", 1,
               "--unseen", *unseen, "--out", tmp_path / "run")  # fmt: skip
    assert done.exit_code == 0, done.output
    hidden = pd.read_csv(tmp_path / "run" / "unseen.csv")
    assert hidden.groupby("fold").size().tolist() == [n, n]
    methods = set(pd.read_csv(tmp_path / "run" / "folds.csv")["method"])
    assert {"bilinear", "bilinear, random vectors", "nearest_gene", "all seen genes",
            "knn, trained on them (oracle)", "total_count (oracle)"} <= methods  # fmt: skip
    page = (tmp_path / "run" / "report.html").read_text()
    assert "genes hidden from training, and scored" in page
    assert "trained on them (oracle)" in done.output


V = ("--vectors", "{root}/v.safetensors")


@pytest.mark.parametrize(
    ("words", "says"),
    [(("fit", "ridge", "--unseen", "random", "--n-unseen", "3", "--out", "m"),
      "--unseen hides genes from ridge"),
     (("fit", "ridge", "--ensemble", "3", "--out", "m"), "ridge cannot predict"),
     (("fit", "ridge", *V, "--out", "m"), "vectors"),
     (("fit", "bilinear", "--out", "m"), "give --vectors"),
     (("fit", "bilinear", "--unseen", "random", "--out", "m"), "give --vectors"),
     (("fit", "bilinear", *V, "--unseen", "random", "--out", "m"), "--n-unseen 250"),
     (("fit", "bilinear", *V, "--unseen", "blocks", "--n-unseen", "3", "--out", "m"), "sets"),
     (("fit", "bilinear", *V, "--unseen", "G1,NOPE7", "--out", "m"), "NOPE7"),
     (("fit", "bilinear", *V, "--unseen", "gone.txt", "--out", "m"), "gone.txt"),
     (("fit", "bilinear", "--vectors", "gone.csv", "--out", "m"), "gone.csv"),
     (("fit", "bilinear", "--vectors", "{root}/bad.pkl", "--out", "m"), "never read"),
     (("fit", "bilinear", *V, "--ensemble", "40", "--out", "m"), "too few for 40"),
     (("predict", "{root}/m", "--genes", "G1,NOPE9", "--out", "p.h5ad"), "NOPE9"),
     (("predict", "{root}/m", "--genes", "empty.txt", "--out", "p.h5ad"), "names no gene"),
     (("predict", "{root}/m", "--out", "p.csv"), ".h5ad"),
     (("predict", "{root}/m", "--confidence", "c.xlsx", "--out", "p.h5ad"), "c.xlsx"),
     (("predict", "{root}/m", "--confidence", "c.csv", "--out", "p.zarr"), "--out"),
     (("predict", "{root}/plain", "--confidence", "c.csv", "--out", "p.h5ad"), "no confidence"),
     (("predict", "{root}/m", "--abstain", "0.5", "--out", "p.h5ad"), "--ensemble 5"),
     (("predict", "{root}/plain", "--genes", "G1,G29", "--out", "p.h5ad"), "not G29"),
     (("compare", "--methods", "bilinear", "--unseen", "random", "--n-unseen", "3", "--out", "r"),
      "needs vectors of the genes, --vectors"),
     (("compare", "--methods", "ridge", *V, "--unseen", "hard", "--out", "r"), "hard")],
    ids=lambda w: " ".join(w)[:60] if isinstance(w, tuple) else "",
)  # fmt: skip
def test_what_cannot_work_is_one_red_line(folder, where, model, tmp_path, monkeypatch, words, says):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.txt").write_text("\n\n")
    (folder / "bad.pkl").write_bytes(b"\x80\x04K\x01.")
    if "plain" in words[1] and not (folder / "plain").exists():
        done = run("expression", "fit", "ridge", *where, "--x", "X_planted", "--out",
                   folder / "plain")  # fmt: skip
        assert done.exit_code == 0, done.output
    verb, *rest = (w.format(root=folder) for w in words)
    first = [] if verb == "compare" else [rest.pop(0)]
    x = [] if verb == "predict" else ["--x", "X_planted"]
    out = run("expression", verb, *first, *where, *x, *rest)
    assert out.exit_code == 2, out.output
    assert says in " ".join(out.output.split())
    assert "Traceback" not in out.output
    for name in ("m", "p.h5ad", "p.csv", "r", "c.csv"):
        assert not (tmp_path / name).exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [(("--text", "{root}/sets.gmt", "--out", "v.csv"), ".safetensors"),
     (("--text", "gone.gmt", "--out", "v.safetensors"), "gone.gmt"),
     (("--text", "{root}/sets.gmt", "--encoder", "word2vec", "--out", "v.safetensors"),
      "word2vec"),
     (("--text", "{root}/sets.gmt", "--genes", "NOPE1,NOPE2", "--out", "v.safetensors"),
      "NOPE1")],
    ids=str,
)  # fmt: skip
def test_vectors_that_cannot_be_made(folder, tmp_path, monkeypatch, words, says):
    monkeypatch.chdir(tmp_path)
    out = run("genes", "vectors", *(w.format(root=folder) for w in words))
    assert out.exit_code == 2, out.output
    assert says in " ".join(out.output.split())
    assert not list(tmp_path.iterdir())
