"""Samples of a donor against each other, from the command line."""

import numpy as np
import pandas as pd
from typer.testing import CliRunner

from smalti.cli import app
from smalti.datasets import planted_pairs


def test_pairs_go_from_the_command_line_to_the_page(tmp_path, one_penalty):
    bags = planted_pairs(5, alone=1, effect=6.0, n_features=4, seed=0)
    names = bags.bag.index.to_numpy().astype(str)
    label = bags.labels.astype(str)
    np.savez(tmp_path / "bags.npz", x=bags.table(), bag=names[bags.index], label=label,
             donor=bags.bag["donor"].to_numpy())  # fmt: skip
    out = tmp_path / "run"
    asked = ["compare", tmp_path / "bags.npz", "--out", out, "--methods", "bag_mean"]
    asked += ["--folds", 4, "--contrast", "donor", "--jobs", 1]
    done = CliRunner().invoke(app, list(map(str, asked)))
    assert done.exit_code == 0, done.output
    assert "no p can be below 0.12" in " ".join(done.output.split())
    found = pd.read_csv(out / "within_donors.csv").set_index("method")
    assert found.loc["bag_mean", ["donors", "least"]].tolist() == [4, 0.125]
    assert "1 of 5 donors are left out of the contrast" in (out / "report.html").read_text("utf-8")
