"""``--logger`` of the verbs that fit."""

import csv

import anndata
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import smalti as sm
from smalti.cli import app

COHORT = "--sample sample --label state"


def run(text):
    return CliRunner().invoke(app, text.split())


def logged(folder):
    with (folder / "version_0" / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(autouse=True)
def _cells(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    obs = pd.DataFrame({"sample": [f"s{i // 5}" for i in range(60)],
                        "state": [("ill", "well")[i // 5 % 2] for i in range(60)]},
                       index=[f"c{i}" for i in range(60)])  # fmt: skip
    x = rng.normal(size=(60, 4)).astype("float32")
    two = {"two": rng.normal(size=(60, 3)).astype("float32")}
    anndata.AnnData(x, obs=obs, obsm=two).write_h5ad("cells.h5ad")


def test_a_fit_is_logged(tmp_path):
    done = run(f"fit abmil cells.h5ad {COHORT} --out model --epochs 2 --logger csv --logger csv:me")
    assert done.exit_code == 0, done.output
    history = sm.load("model").history_
    for folder in ("logs", "me"):
        rows = logged(tmp_path / folder / "abmil")
        losses = [float(r["train/train_loss"]) for r in rows if r["train/train_loss"]]
        assert losses == history["train_loss"].dropna().tolist()


def test_what_is_no_logger_leaves_no_model(tmp_path):
    done = run(f"fit abmil cells.h5ad {COHORT} --out model --epochs 2 --logger tensorbord")
    assert done.exit_code == 2
    assert "no logger is called 'tensorbord'" in done.stderr
    assert "Did you mean 'tensorboard'?" in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["cells.h5ad"]


def test_an_integration_is_logged_and_a_reference_is_not(tmp_path):
    base = "integrate umint cells.h5ad --x one=X,two=obsm/two --out out.csv --epochs 2 --logger csv"
    done = run(f"{base} --label state --model model")
    assert done.exit_code == 2
    assert "--label takes several fits, and --logger logs one" in done.stderr
    done = run(base)
    assert done.exit_code == 0, done.output
    assert len(logged(tmp_path / "logs" / "umint")) >= 2
