"""``smalti audit`` says in its own words what is found, and writes it."""

import json

import anndata
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from smalti.cli import app
from smalti.datasets import planted_bags, planted_modalities

pytestmark = pytest.mark.slow  # whole comparisons; each number has a quick test of its own


@pytest.fixture(scope="module")
def cells(tmp_path_factory):
    """Cells of sixteen people under 32 names, with a PCA of all of them."""
    bags = planted_bags(32, n_features=6, seed=0)
    place, x = bags.index, bags.table()
    person = np.array([f"P{i // 2}" if i % 2 else f"p{i // 2}" for i in range(32)])
    obs = pd.DataFrame({"sample": bags.bag.index.to_numpy()[place], "donor": person[place],
                        "disease": np.array(["healthy", "ill"])[bags.labels[place]]},
                       index=[f"c{i}" for i in range(len(x))])  # fmt: skip
    path = tmp_path_factory.mktemp("audit") / "cells.h5ad"
    shown = anndata.AnnData(x, obs=obs)
    shown.obsm["X_mine"] = x - x.mean(0)
    shown.write_h5ad(path)
    return path


def run(*args):
    return CliRunner().invoke(app, [str(a) for a in args])


def test_what_is_found_is_said_and_written(cells, tmp_path):
    out = tmp_path / "audit.json"
    asked = ["audit", cells, "--sample", "sample", "--donor", "donor", "--label", "disease"]
    done = run(*asked, "--x", "X_mine", "--out", out)
    assert done.exit_code == 0, done.output
    told = " ".join(done.output.split())
    assert "leak (fitted on the cohort): 'X_mine' was fitted on the whole cohort" in told
    assert "--preprocess pca=50" in told
    assert "doubt (donor names): 16 donors may stand under two names" in told
    note = json.loads(out.read_text())
    kinds = [f["kind"] for f in note["findings"]]
    assert kinds == ["fitted on the cohort", "donor names"]
    assert set(kinds) < set(note["checks"])
    again = run(*asked, "--out", out)
    assert again.exit_code == 2
    assert "--overwrite" in again.stderr


def test_nothing_is_found(cells):
    done = run("audit", cells, "--sample", "sample", "--donor", "sample", "--label", "disease")
    assert "no finding, which is no proof" in " ".join(done.output.split())


def test_modalities(tmp_path):
    cells = planted_modalities(600, effect=2.0, n_bags=6, seed=0)
    shown = anndata.AnnData(cells.table("m0"), obs=pd.DataFrame({
        "kind": np.where(cells.table("m1")[:, 3] > 0, "high", "low"), "run": ["r"] * 600,
    }, index=[f"c{i}" for i in range(600)]))  # fmt: skip
    shown.obsm["marker"] = cells.table("m1")
    shown.write_h5ad(tmp_path / "cells.h5ad")
    asked = ["audit", tmp_path / "cells.h5ad", "--x", "X,obsm/marker", "--label", "kind"]
    done = run(*asked, "--integrate", "--leave-out", "other")
    told = " ".join(done.output.split())
    assert done.exit_code == 0, told
    assert "'kind' parts 'low' and 'high' at a sharp border" in told
    wrong = run(*asked, "--integrate", "--cell-type", "kind")
    assert wrong.exit_code == 2
    assert "--integrate does not use --cell-type" in " ".join(wrong.stderr.split())
    wrong = run(*asked, "--sample", "run", "--batch", "run")
    assert "--batch is for --integrate" in " ".join(wrong.stderr.split())
