"""The command line, on small simulated cohorts."""

import hashlib
import json
import re
import subprocess
import sys
import textwrap

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import smalti as sm
from smalti.cli import app
from smalti.datasets import planted_bags
from smalti.errors import InputError

pytestmark = pytest.mark.usefixtures("one_penalty")
TINY = ["--epochs", "3", "--set", "widths=[8]", "--set", "progress=false"]


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Planted bags as .npz: x, bag, label per bag, donor per bag."""
    bags = planted_bags(24, n_features=4, seed=0)
    path = tmp_path_factory.mktemp("cli") / "bags.npz"
    names = bags.bag.index.to_numpy().astype(str)
    np.savez(path, x=bags.table(), bag=names[bags.index], label=bags.labels,
             donor=bags.bag["donor"].to_numpy())  # fmt: skip
    return path


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    import anndata

    bags = planted_bags(16, n_features=4, seed=0)
    obs = pd.DataFrame({
        "sample": bags.bag.index.to_numpy()[bags.index],
        "donor": bags.bag["donor"].to_numpy()[bags.index].astype(str),
        "disease": np.array(["healthy", "ill"])[bags.labels[bags.index]],
        "leiden": bags.instance["cell_type"].to_numpy(),
        "age": np.arange(16.0)[bags.index],
    }, index=[f"cell{i}" for i in range(bags.n_instances)])  # fmt: skip
    path = tmp_path_factory.mktemp("cells") / "cells.h5ad"
    anndata.AnnData(bags.table(), obs=obs).write_h5ad(path)
    return path


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


@pytest.mark.slow  # a process is started
def test_help_imports_nothing_heavy():
    code = (
        "import sys, smalti.cli\n"
        "from typer.testing import CliRunner\n"
        "assert CliRunner().invoke(smalti.cli.app, ['--help']).exit_code == 0\n"
        "print([m for m in ('torch', 'numpy', 'pandas', 'sklearn', 'anndata', 'matplotlib')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_fit_then_predict(table, tmp_path):
    model, out, looked = tmp_path / "model", tmp_path / "p.csv", tmp_path / "a.csv"
    fitted = run("fit", "abmil", table, "--out", model, *TINY)
    assert fitted.exit_code == 0, fitted.output
    assert "24 bags" in fitted.output
    assert ", 3 epochs, training loss" in fitted.output  # the sweep of the scales is none
    settings = json.loads((model / "model.json").read_text())["settings"]
    assert settings["epochs"] == 3
    assert settings["widths"] == [8]
    done = run("predict", model, table, "--out", out, "--attribution", looked)
    assert done.exit_code == 0, done.output
    frame = pd.read_csv(out)
    assert len(frame) == 24
    np.testing.assert_allclose(frame["p_0"] + frame["p_1"], 1, atol=1e-5)
    assert (frame["prediction"] == (frame["p_1"] > 0.5)).all()
    attention = pd.read_csv(looked).groupby("bag")["attention"].sum()
    np.testing.assert_allclose(attention, 1, atol=1e-4)


def test_anndata_is_read_again_by_what_the_model_remembers(cells, tmp_path):
    import anndata

    model, copy = tmp_path / "model", tmp_path / "copy.h5ad"
    named = ["--sample", "sample", "--label", "disease", "--donor", "donor"]
    assert run("fit", "mean_pooling", cells, *named, "--out", model, *TINY).exit_code == 0
    done = run("predict", model, cells, "--out", tmp_path / "p.csv", "--write", copy)
    assert done.exit_code == 0, done.output
    assert set(pd.read_csv(tmp_path / "p.csv")["prediction"]) <= {"healthy", "ill"}
    assert "mean_pooling_contribution_ill" in anndata.read_h5ad(copy).obs


def test_genes_that_the_data_lack(cells, tmp_path):
    import anndata

    model, out, samples = tmp_path / "m", tmp_path / "p.csv", tmp_path / "s.h5ad"
    few, copy = tmp_path / "few.h5ad", tmp_path / "copy.h5ad"
    named = ["--sample", "sample", "--label", "disease", "--donor", "donor"]
    assert run("fit", "bag_mean", cells, *named, "--out", model).exit_code == 0
    anndata.read_h5ad(cells)[:, 1:].copy().write_h5ad(few)
    asked = ["predict", model, few, "--out", out]
    assert "1 of the 4 features that the model reads" in fails(*asked)
    assert not out.exists()
    told = run(*asked, "--missing", "mean", "--samples", samples, "--write", copy)
    assert told.exit_code == 0, told.output
    assert "they are taken for their mean in training" in " ".join(told.stderr.split())
    assert len(pd.read_csv(out)) == 16
    for path in (samples, copy):
        assert "1 of the 4 features" in anndata.read_h5ad(path).uns["bag_mean"]["missing"][0]
    assert "--missing nan is neither" in fails(*asked, "--missing", "nan", "--overwrite")


@pytest.mark.slow
def test_the_headline_is_on_the_terminal_and_on_the_page(table, majority_alone, tmp_path):
    """The words of the paired interval, wherever the means are shown."""
    done = run("compare", table, "--methods", "bag_mean", "--folds", 2, "--out", tmp_path / "run")
    assert done.exit_code == 0, done.output
    page = (tmp_path / "run" / "report.html").read_text()
    assert "No method but baselines." in done.output
    assert '<p class="answer">No method but baselines.</p>' in page


def test_compare_writes_tables_and_report(table, majority_alone, tmp_path):
    out = tmp_path / "run"
    names = "mean_pooling,bag_mean"
    done = run("compare", table, "--methods", names, "--folds", 2, "--out", out, *TINY)
    assert done.exit_code == 0, done.output
    assert "majority" in done.output
    assert {"folds.csv", "report.html", "split.json"} <= {p.name for p in out.iterdir()}
    methods = set(pd.read_csv(out / "folds.csv")["method"])
    assert {"mean_pooling", "bag_mean", "majority"} <= methods
    command = (out / "report_files" / "command.txt").read_text()  # as one may type it again
    assert command.startswith(f"smalti compare {table} --out {out} --methods {names}")
    digest = hashlib.sha256(table.read_bytes()).hexdigest()
    assert digest in (out / "report.html").read_text()


@pytest.mark.slow
def test_compare_says_whether_scores_mean_anything(table, majority_alone, tmp_path):
    out = tmp_path / "run"
    names = "mean_pooling"
    done = run("compare", table, "--methods", names, "--folds", 2, "--out", out, "--explain", *TINY)
    assert done.exit_code == 0, done.output
    assert "mean_pooling, contribution: its scores" in " ".join(done.output.split())
    written = pd.read_csv(out / "explanations.csv")
    assert written["seeds"].notna().all()
    assert "does it mean anything?" in (out / "report.html").read_text()


@pytest.mark.slow  # the three dearest verbs, each of which has a test below or above
def test_cell_types_covariates_and_steps_go_all_the_way(cells, tmp_path):
    asked = ["--sample", "sample", "--donor", "donor", "--label", "disease", "--cell-type",
             "leiden", "--covariate", "age", "--preprocess", "scale,pca=3"]  # fmt: skip
    result = run("compare", cells, "--methods", "hier_mil", *asked, *TINY, "--folds", 2,
                 "--out", tmp_path / "run")  # fmt: skip
    assert result.exit_code == 0, result.output
    table = pd.read_csv(tmp_path / "run" / "summary.csv")
    rows = {"hier_mil + covariates", "type_composition", "bag_mean", "bag_mean + covariates",
            "covariates"}  # fmt: skip
    assert rows <= set(table["method"])
    note = json.loads((tmp_path / "run" / "split.json").read_text())
    assert note["settings"]["hier_mil + covariates"]["covariates"] == ["age"]
    assert note["settings"]["bag_mean"]["preprocess"] == "scale,pca=3"
    result = run("fit", "hier_mil", cells, *asked, *TINY, "--out", tmp_path / "model")
    assert result.exit_code == 0, result.output
    result = run("predict", tmp_path / "model", cells, "--out", tmp_path / "p.csv",
                 "--samples", tmp_path / "s.h5ad", "--write", tmp_path / "w.h5ad")  # fmt: skip
    assert result.exit_code == 0, result.output
    import anndata

    rows = anndata.read_h5ad(tmp_path / "s.h5ad")
    assert rows.shape == (16, 8)
    assert {"prediction", "p_ill", "n_instances", "age"} <= set(rows.obs)
    np.testing.assert_allclose(rows.obsm["attention_by_group"].sum(axis=1), 1, rtol=1e-4)
    back = anndata.read_h5ad(tmp_path / "w.h5ad")
    assert {"hier_mil_attention", "hier_mil_contribution_ill"} <= set(back.obs)
    assert back.uns["hier_mil"]["settings"]["preprocess"] == "scale,pca=3"
    p = pd.read_csv(tmp_path / "p.csv", index_col=0)
    np.testing.assert_allclose(p["p_ill"], rows.obs["p_ill"], atol=1e-5)


def test_wrong_columns_and_steps(cells, tmp_path):
    asked = [
        "--sample",
        "sample",
        "--donor",
        "donor",
        "--label",
        "disease",
        "--out",
        tmp_path / "o",
    ]
    fit = ["fit", "hier_mil", cells, *asked, *TINY]
    assert "no instance column 'cell_type'" in fails(*fit)
    assert "no column 'leidn' in obs" in fails(*fit, "--cell-type", "leidn")
    assert "no step 'logg'" in fails(*fit, "--cell-type", "leiden", "--preprocess", "logg")
    assert "normalize needs raw counts: there are negative values" in fails(
        *fit, "--cell-type", "leiden", "--preprocess", "normalize"
    )
    assert not (tmp_path / "o").exists()


@pytest.mark.slow
def test_who_was_in_the_curve_and_the_cells_are_in_the_page(cells, majority_alone, tmp_path):
    out, asked = tmp_path / "run", ("--sample", "sample", "--donor", "bag", "--label", "disease")
    done = run("compare", cells, "--methods", "bag_mean", *asked, "--folds", 2, "--out", out,
               "--learning-curve", "--attributions")  # fmt: skip
    assert "Whether more donors would help" in " ".join(done.stdout.split())
    page = (out / "report.html").read_text()
    for name in ("cohort", "learning", "patients", "cells"):
        assert f'id="{name}"' in page
    assert {"flow.csv", "cohort.csv", "learning_curve.csv"} <= {p.name for p in out.iterdir()}


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["fit", "nosuch", "DATA", "--out", "OUT"], "no method 'nosuch'"),
        (["fit", "abmil", "none.h5ad", "--out", "OUT"], "no file or folder none.h5ad"),
        (["fit", "abmil", "DATA", "--out", "OUT", "--set", "widht=3"], "no setting 'widht'"),
        (["fit", "abmil", "DATA", "--out", "OUT", "--set", "epochs"], "name=value"),
        (["fit", "abmil", "DATA", "--out", "OUT", "--set", "lr=fast"], "should be a number"),
        (["fit", "abmil", "DATA", "--out", "OUT", "--label", "ill"], "no array 'ill'"),
        (["predict", "nomodel", "DATA", "--out", "p.csv"], "nomodel"),
        (["compare", "DATA", "--methods", "", "--out", "OUT"], "--methods is empty"),
    ],
)
def test_what_can_be_mended_is_one_line(args, words, table, tmp_path):
    place = {"DATA": table, "OUT": tmp_path / "out"}
    assert words in fails(*(place.get(a, a) for a in args))
    assert not (tmp_path / "out").exists()


def test_compare_refuses_without_donors(cells, tmp_path):
    named = ["--sample", "sample", "--label", "disease"]
    assert "--donor bag" in fails("compare", cells, *named, "--out", tmp_path / "run")


def test_damaged_npz_and_foreign_folder(table, tmp_path):
    broken = tmp_path / "broken.npz"
    broken.write_bytes(table.read_bytes()[:100])
    assert "broken.npz" in fails("fit", "abmil", broken, "--out", tmp_path / "m")
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years")
    assert "other files" in fails("fit", "abmil", table, "--out", mine, *TINY)
    assert (mine / "thesis.txt").read_text() == "years"


def test_a_bug_keeps_its_traceback(table, tmp_path, monkeypatch):
    from smalti.mil.abmil import ABMIL

    def broken(*_, **__):
        raise KeyError("bug")

    monkeypatch.setattr(ABMIL, "network", broken)
    result = run("fit", "abmil", table, "--out", tmp_path / "m", *TINY)
    assert isinstance(result.exception, KeyError)


def test_methods_and_doctor():
    listed = run("methods").output
    assert "abmil" in listed
    assert "baseline" in listed
    told = run("doctor").output
    assert re.search(r"torch +\d", told)
    assert re.search(r"torch +(CPU|CUDA|ROCm)", told)


@pytest.mark.slow
def test_demo(tmp_path):
    done = run("demo", "--quick", "--out", tmp_path / "demo")
    assert done.exit_code == 0, done.output
    assert {"report.html", "attention.png"} <= {p.name for p in (tmp_path / "demo").iterdir()}


def test_cite_prints_bibtex_of_names_and_models(table, tmp_path, monkeypatch):
    from smalti.core.citation import entries

    assert run("fit", "bag_mean", table, "--out", tmp_path / "model").exit_code == 0
    out = run("cite", "abmil", tmp_path / "model")
    assert out.exit_code == 0, out.output
    assert list(entries(out.stdout, "stdout")) == ["smalti", "ilse2018", "pedregosa2011"]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "abmil").mkdir()  # a folder that is no model is not taken for one
    assert "ilse2018" in run("cite", "abmil").stdout
    assert "no method 'nothing'" in fails("cite", "nothing")


def test_what_is_read_is_never_the_output(cells, tmp_path):
    """Neither itself nor in a folder that would be replaced, however it is asked for."""
    copy = tmp_path / "d" / "cells.h5ad"
    copy.parent.mkdir()
    copy.write_bytes(cells.read_bytes())
    named = ["--sample", "sample", "--label", "disease", "--donor", "donor", "--force"]
    for verb in (["fit", "bag_mean"], ["compare"]):
        assert "so it cannot be the output" in fails(*verb, copy, *named, "--out", copy.parent)
    run_of = ["compare", copy, *named, "--out", tmp_path / "run"]
    assert "so it cannot be" in fails(*run_of, "--cache", tmp_path / "run" / "cache")
    assert copy.read_bytes() == cells.read_bytes()


@pytest.mark.slow
def test_the_positive_class_is_said_and_chosen(cells, majority_alone, tmp_path):
    named = ["--sample", "sample", "--label", "disease", "--donor", "donor"]
    fit = ["fit", "bag_mean", cells, *named, "--out", tmp_path / "model"]
    assert "positive: ill" in run(*fit).output
    done = run(*fit, "--positive", "healthy")
    assert "positive: healthy" in done.output
    task = json.loads((tmp_path / "model" / "model.json").read_text())["task"]
    assert task["classes"] == ["ill", "healthy"]
    run("predict", tmp_path / "model", cells, "--out", tmp_path / "p.csv")
    frame = pd.read_csv(tmp_path / "p.csv")
    assert list(frame)[-2:] == ["p_ill", "p_healthy"]
    assert ((frame["p_healthy"] > 0.5) == (frame["prediction"] == "healthy")).all()
    done = run("compare", cells, "--methods", "bag_mean", *named, "--folds", 2, "--positive",
               "healthy", "--out", tmp_path / "run")  # fmt: skip
    assert "positive: healthy" in done.output, done.output
    assert "--positive helthy is no label" in fails(*fit, "--positive", "helthy")


def test_errors_name_options_and_what_they_recommend_works(cells, tmp_path):
    named = ["--sample", "sample", "--donor", "donor", "--out", tmp_path / "model"]
    fit = ["fit", "bag_mean", cells, *named]
    assert "--kind ordnal is not one of" in fails(*fit, "--label", "disease", "--kind", "ordnal")
    said = fails(*fit, "--label", "disease", "--kind", "ordinal")
    assert "--order healthy,ill" in said
    done = run(*fit, "--label", "disease", "--kind", "ordinal", "--order", "healthy,ill")
    assert "8 healthy < 8 ill" in done.output
    said = fails(*fit, "--label", "age", "--kind", "binomial", "--positive", "3")
    assert "--positive 3: target 'age' is binomial" in said
    said = fails(*fit, "--label", "disease", "--order", "healthy,ill,dead")
    assert "--order healthy,ill,dead names 'dead'" in said


def test_whole_numbers_say_both_ways_out(cells, tmp_path):
    fit = ["fit", "bag_mean", cells, "--sample", "sample", "--donor", "donor", "--label", "age",
           "--out", tmp_path / "model"]  # fmt: skip
    said = fails(*fit)
    assert "--kind regression" in said
    assert "--kind multiclass" in said
    assert "regression (0 to 15)" in run(*fit, "--kind", "regression").output


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["fit", "hier_mil", "CELLS", "--label", "disease"], "Name one with --cell-type ..."),
        (["fit", "bag_mean", "CELLS", "--label", "disease,age"], "Several at once are --kind mult"),
        (["fit", "bag_mean", "CELLS", "--label", "disease", "--kinds", "Y=rna"],
         "--kinds names 'Y'"),
        (["fit", "abmil", "CELLS", "--label", "disease", "--set", "dropout=7"],
         "--set dropout=7 should be below 1"),
        (["fit", "bag_mean", "CELLS", "--label", "disease", "--id", "a"],
         "--id a is a column of the labels: give them too, --labels ..."),
        (["fit", "bag_mean", "CELLS", "--label", "disease", "--key", "a"],
         "has no use for --key: leave it out"),
        (["fit", "bag_mean", "TABLE", "--x", "X_pca"], "has no use for --x: leave it out"),
        (["compare", "TABLE", "--methods", "bag_mean", "--jobs", "0"], "--jobs 0: a number of"),
        (["compare", "TABLE", "--methods", "bag_mean", "--folds", "13"], "use --folds 12"),
        (["compare", "TABLE", "--batch", "b", "--by", "kmeans"],
         "--batch, --by is for --integrate"),
        (["compare", "TABLE", "--splits", "f.csv", "--folds", "3"], "leave --folds out"),
        (["compare", "TABLE", "--splits", "gone.csv"], "no file gone.csv"),
        (["compare", "CELLS", "--integrate", "--label", "disease", "--order", "a,b"],
         "--integrate does not use --order: leave it out"),
    ],
    ids=lambda v: " ".join(v[3:]) if isinstance(v, list) else "",
)  # fmt: skip
def test_what_an_error_recommends_is_an_option(args, words, cells, table, tmp_path):
    named = ["--sample", "sample", "--donor", "donor"] if "CELLS" in args else []
    place = {"CELLS": cells, "TABLE": table}
    told = fails(*(place.get(a, a) for a in args), *named, "--out", tmp_path / "out")
    assert words in told
    assert not (tmp_path / "out").exists()


def test_notes_name_options_too(table, tmp_path):
    done = run("fit", "abmil", table, "--out", tmp_path / "m", "--set", "lr=0.02", *TINY)
    assert "more --epochs, or a higher learning rate --set lr=..., may" in done.stderr


@pytest.mark.slow  # a comparison
def test_notes_of_a_comparison_name_options(table, tmp_path):
    done = run("compare", table, "--methods", "abmil", "--folds", 2, "--jobs", 1, "--out",
               tmp_path / "run", "--set", "lr=0.02", *TINY)  # fmt: skip
    told = " ".join(done.output.split())
    assert "more --epochs or a higher --set lr=... may change its scores" in told


@pytest.mark.slow  # two comparisons; test_own_splits of comparison/ does the quick half
def test_own_splits(table, tmp_path):
    first, again = tmp_path / "first", tmp_path / "again"
    asked = ["compare", table, "--methods", "bag_mean", "--jobs", 1]
    assert run(*asked, "--folds", 3, "--out", first).exit_code == 0
    done = run(*asked, "--splits", first / "predictions.csv", "--out", again)
    assert done.exit_code == 0, done.output
    one, two = (json.loads((out / "split.json").read_text()) for out in (first, again))
    assert one["digest"] == two["digest"]
    scores = [pd.read_csv(out / "folds.csv").drop(columns="seconds", errors="ignore")
              for out in (first, again)]  # fmt: skip
    pd.testing.assert_frame_equal(*scores)


def other(path, bags, **more):
    names = np.array([f"{path.stem}{i}" for i in range(len(bags))])
    np.savez(path, x=bags.table(), bag=names[bags.index], label=bags.labels, donor=names, **more)
    return path


@pytest.mark.slow  # three comparisons with pages
def test_protocols_by_name(majority_alone, tmp_path):
    bags = planted_bags(12, n_features=4, seed=0)
    data = other(tmp_path / "a.npz", bags, hospital=np.arange(12) % 3, part=np.arange(12) // 6)
    asked = ["compare", data, "--methods", "majority", "--jobs", 1, "--site", "hospital"]
    fits = {}
    for name in ("leave-one-donor-out", "leave-one-site-out", "part"):
        done = run(*asked, "--splits", name, "--out", tmp_path / name)
        assert done.exit_code == 0, done.output
        folds = pd.read_csv(tmp_path / name / "folds.csv").query("method == 'majority'")
        fits[name] = folds["fold"].nunique()
    assert fits == {"leave-one-donor-out": 12, "leave-one-site-out": 3, "part": 2}
    assert "site alone" in (tmp_path / "part" / "folds.csv").read_text()
    said = fails(*asked, "--splits", "parts", "--out", tmp_path / "no")
    assert "no array 'parts'" in said


def test_a_dry_run_writes_nothing(table, majority_alone, tmp_path):
    done = run("compare", table, "--methods", "majority", "--folds", 3, "--out", tmp_path / "run",
               "--cache", tmp_path / "cache", "--dry-run")  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "3 fits, one after another" in done.output
    assert f"would be written: {tmp_path / 'run'}" in done.output.replace("\n", "")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow  # a comparison with its page; test_protocols of comparison/ does the quick half
def test_another_file_is_tested(majority_alone, tmp_path):
    first, second = (other(tmp_path / f"{n}.npz", planted_bags(12, n_features=4, seed=i))
                     for i, n in enumerate("ab"))  # fmt: skip
    asked = ["compare", first, "--methods", "majority", "--jobs", 1, "--test"]
    assert run(*asked, second, "--out", tmp_path / "run").exit_code == 0
    tested = pd.read_csv(tmp_path / "run" / "predictions.csv")["donor"]
    assert set(tested) == {f"b{i}" for i in range(12)}
    said = fails(*asked, first, "--out", tmp_path / "no")
    assert "donors are in training and in test: a0, a1" in said
    said = fails(*asked, second, "--folds", 3, "--out", tmp_path / "no")
    assert "--test is fitted and scored once: leave --folds out" in said


def test_the_test_side_takes_what_the_training_side_takes(tmp_path):
    """Several runs with a table of their cells, on both sides."""
    import ten_x as x10

    files, tables = [], []
    for k, names in enumerate(["ab", "cd"]):
        files += [x10.h5(tmp_path / n / "outs" / "filtered_feature_bc_matrix.h5",
                         x10.features("rna"), seed=k) for n in names]  # fmt: skip
        cells = pd.DataFrame({"barcode": x10.barcodes() * 2, "run": np.repeat(list(names), x10.N)})
        cells["state"] = np.where(cells["run"].isin(["a", "c"]), "ill", "healthy")
        tables.append(tmp_path / f"{names}.csv")
        cells.to_csv(tables[-1], index=False)
    asked = ["compare", *files[:2], "--obs", tables[0], "--runs", "a,b", "--sample", "run",
             "--label", "state", "--donor", "bag", "--x", "X", "--methods", "majority",
             "--jobs", 1, "--dry-run", "--out", tmp_path / "run"]  # fmt: skip
    other = ["--test", files[2], "--test", files[3], "--test-obs", tables[1], "--test-runs"]
    done = run(*asked, *other, "c,d")
    assert done.exit_code == 0, done.output
    said = fails(*asked, *other, "c,d,e")
    assert "--test-runs c,d,e must be 2 names, one for each run" in said
    said = fails(*asked, *other[4:], "c,d")
    assert "--test-obs, --test-runs says what --test is: name that too" in said


def test_splits_that_lack_bags(table, tmp_path):
    pd.DataFrame({"bag": range(3), "fold": range(3)}).to_csv(tmp_path / "f.csv", index=False)
    said = fails("compare", table, "--methods", "bag_mean", "--splits", tmp_path / "f.csv",
                 "--out", tmp_path / "no")  # fmt: skip
    assert "f.csv (repeat 0) has no row of bags: " in said


def test_several_labels_and_named_views(cells, tmp_path):
    import anndata

    data = anndata.read_h5ad(cells)
    data.obs["mild"] = (data.obs["age"] % 2).astype(int)
    data.obs["ill"] = (data.obs["disease"] == "ill").astype(int)
    data.obsm["X_pca"] = data.X[:, :2].copy()
    data.write_h5ad(tmp_path / "two.h5ad")
    named = ["--sample", "sample", "--donor", "donor", "--label", "ill, mild"]
    done = run("fit", "bag_mean", tmp_path / "two.h5ad", *named, "--x", "all=X,few=obsm/X_pca",
               "--set", "preprocess=null", "--out", tmp_path / "m")  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "multilabel" in done.output
    assert "all 4" in done.output
    assert "few 2" in done.output
    done = run("predict", tmp_path / "m", tmp_path / "two.h5ad", "--out", tmp_path / "p.csv")
    assert done.exit_code == 0, done.output
    assert {"ill", "mild", "p_ill"} <= set(pd.read_csv(tmp_path / "p.csv"))


def test_a_folder_of_features(tmp_path):
    import h5py

    folder = tmp_path / "features"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(8):
        with h5py.File(folder / f"s{i}.h5", "w") as file:
            file["mine"] = rng.normal(size=(5, 4))
    names = pd.DataFrame({"file": [f"s{i}" for i in range(8)], "y": [0, 1] * 4})
    names.to_csv(tmp_path / "labels.csv", index=False)
    asked = ["fit", "bag_mean", folder, "--label", "y", "--labels", tmp_path / "labels.csv",
             "--donor", "bag", "--out", tmp_path / "m"]  # fmt: skip
    assert "no slide column" in fails(*asked)
    assert "name one with --key" in fails(*asked, "--id", "file")
    asked += ["--id", "file", "--key", "mine"]
    (folder / "s7.h5").unlink()
    assert "1 slides of the labels have no file" in fails(*asked)
    assert "or leave such slides out, --absent drop" in fails(*asked)
    done = run(*asked, "--absent", "drop")
    assert done.exit_code == 0, done.output
    assert "1 of 8 slides of the labels have no file" in done.stderr


@pytest.mark.slow
def test_a_second_model_needs_a_name_or_leave(cells, tmp_path):
    named = ["--sample", "sample", "--label", "disease", "--donor", "donor"]
    for seed in (0, 1):
        done = run("fit", "mean_pooling", cells, *named, "--seed", seed, *TINY, "--out",
                   tmp_path / f"m{seed}")  # fmt: skip
        assert done.exit_code == 0, done.output
    copy, out = tmp_path / "copy.h5ad", tmp_path / "p.csv"
    assert run("predict", tmp_path / "m0", cells, "--out", out, "--write", copy).exit_code == 0
    asked = ["predict", tmp_path / "m1", copy, "--out", out, "--write", tmp_path / "two.h5ad"]
    assert "p.csv is there already" in fails(*asked)
    out.unlink()
    assert "--key-added NAME, or replace it, --overwrite" in fails(*asked)
    out.unlink()  # written before what the data refused
    assert run(*asked, "--key-added", "second").exit_code == 0
    assert run(*asked, "--overwrite").exit_code == 0


def test_a_method_of_another_package_is_allowed_by_name(table, tmp_path, monkeypatch):
    import sys

    from smalti.core import registry

    monkeypatch.setattr(registry, "_session", {})
    (tmp_path / "ours.py").write_text(
        "from smalti.mil.bag_mean import BagMean\n"
        "class Ours(BagMean):\n    name, reference = 'ours', 'us'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    bags = planted_bags(24, n_features=4, seed=0)
    registry.register(__import__("ours").Ours)
    registry.make("ours").fit(bags).save(tmp_path / "m")
    registry._session.clear()
    monkeypatch.delitem(sys.modules, "ours")
    asked = ["predict", tmp_path / "m", table, "--out", tmp_path / "p.csv"]
    assert "or name it to sm.load, --allow ours:Ours." in fails(*asked)
    done = run(*asked, "--allow", "ours:Ours")
    assert done.exit_code == 0, done.output
    assert len(pd.read_csv(tmp_path / "p.csv")) == 24


@pytest.mark.parametrize("checkpoint", [True, False])
def test_ctrl_c_says_how_to_go_on(checkpoint, table, tmp_path, monkeypatch, caplog):
    import signal

    from smalti.core import training

    path = tmp_path / "fit"
    with monkeypatch.context() as patch:
        step = training.Runner.step
        patch.setattr(training.Runner, "step", lambda *a: (
            signal.raise_signal(signal.SIGINT), step(*a))[1])  # fmt: skip
        asked = ["--checkpoint", path] if checkpoint else []
        result = run("fit", "abmil", table, "--out", tmp_path / "model", *TINY, *asked)
    assert result.exit_code == 130
    lines = [line for line in result.stderr.splitlines() if not line.startswith("note: ")]
    told = [r.getMessage() for r in caplog.records]
    assert not (tmp_path / "model").exists()
    assert path.exists() == checkpoint
    if not checkpoint:
        assert (lines, told) == (["stopped"], [])
        return
    said = f"stopped; the same goes on from here when it is run again: --checkpoint {path}"
    assert (lines, told) == ([], [said])  # the log is shown, in a process of its own
    assert run("fit", "abmil", table, "--out", tmp_path / "model", *TINY, *asked).exit_code == 0
    assert not path.exists()


def test_what_could_not_be_saved_goes_on_from_its_end(table, tmp_path, monkeypatch):
    asked = ("fit", "abmil", table, "--out", tmp_path / "model", *TINY,
             "--checkpoint", tmp_path / "fit")  # fmt: skip
    with monkeypatch.context() as patch:
        patch.setattr(sm.mil.ABMIL, "save", refused)
        said = fails(*asked)
    assert said.endswith("the same goes on from its end when it is run again, "
                         f"--checkpoint {tmp_path / 'fit'}.")  # fmt: skip
    assert run(*asked).exit_code == 0
    assert not (tmp_path / "fit").exists()


def refused(*args, **settings):
    raise InputError("cannot write: No space left on device.")


KILLED = """
    import os, signal, sys
    from smalti.core import training
    from smalti.cli import main

    step, count, name = training.Runner.step, 0, sys.argv.pop()

    def signals(*args):
        global count
        count += 1
        if count == 2:
            os.kill(os.getpid(), getattr(signal, name))
        return step(*args)

    training.Runner.step = signals
    main()
"""


@pytest.mark.slow  # a process is started
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143)])
@pytest.mark.parametrize("checkpoint", [True, False])
def test_the_code_of_a_signal(name, code, checkpoint, table, tmp_path):
    asked = ["--checkpoint", tmp_path / "fit"] if checkpoint else []
    out = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), "fit", "abmil", table, "--out",
         tmp_path / "model", *TINY, *asked, name], capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert out.returncode == code, out.stderr
    assert out.stderr.count("--checkpoint") == out.stderr.count("stopped;") == int(checkpoint)
    assert "Traceback" not in out.stderr
