"""``--search``: settings that are chosen inside the folds, from the shell."""

import json

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import smalti as sm
from smalti.cli import app
from smalti.cli.search import space_of, spaces_of
from smalti.datasets import planted_bags
from smalti.errors import InputError


def run(*args):
    return CliRunner().invoke(app, [str(a) for a in args])


@pytest.fixture
def data(tmp_path):
    bags = planted_bags(16, bags_per_donor=2, effect=3.0, seed=0)
    donor = bags.bag["donor"].to_numpy()[bags.index].astype(str)
    np.savez(tmp_path / "b.npz", x=bags.table(), bag=bags.index, donor=donor,
             label=bags.labels[bags.index])  # fmt: skip
    return tmp_path / "b.npz"


@pytest.mark.parametrize(
    ("text", "space"),
    [
        ("lr=1e-4..1e-2 log", {"lr": (1e-4, 1e-2, "log")}),
        ("epochs=5..20; lr=0.1..1", {"epochs": (5, 20), "lr": (0.1, 1.0)}),
        ("widths=[32]|[64, 8];gated=true|False", {"widths": [(32,), (64, 8)],
                                                  "gated": [True, False]}),
        ("preprocess=scale,pca=2|pca=3", {"preprocess": ["scale,pca=2", "pca=3"]}),
        ("patience=None|3", {"patience": [None, 3]}),
    ],
)  # fmt: skip
def test_a_text_is_a_space(text, space):
    assert space_of(text) == space
    assert [type(v) for vs in space_of(text).values() for v in vs] == \
        [type(v) for vs in space.values() for v in vs]  # fmt: skip


def test_each_text_names_a_method():
    assert spaces_of(["abmil: lr=1|2", "mlp:team:lr=3"]) == {"abmil": "lr=1|2", "mlp:team": "lr=3"}
    assert spaces_of(None) == {}
    for texts, words in ((["lr=1|2"], "is not of the form"), (["abmil"], "is not of the form"),
                         (["a:b=1", "a: c=2"], "names a twice")):  # fmt: skip
        with pytest.raises(InputError, match=words):
            spaces_of(texts)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--trials", 3], 'error: --trials is of a search of settings: name one, --search '),
        (["--search", "mifv:comp=1|2"], "error: --search: mifv has no setting 'comp'; it has"),
        (["--search", "mifv:components="], "'components=' is not of the form NAME=VALUES"),
        (["--search", "mifv:components=1;components=2"], "--search names 'components' twice"),
        (["--search", "mifv:components=3..1"], "components from 3 to 1: the first must be the"),
        (["--search", "mifv:components=1..3", "--sampler", "grid"],
         "list them, or say --sampler random."),
        (["--search", "mifv:components=1|2", "--sampler", "grid", "--trials", 1],
         "--trials 1, and the grid has 2 settings: leave --trials out, or say --sampler random"),
        (["--integrate", "--search", "umint:lr=1|2"], "--integrate does not use --search"),
    ],
)  # fmt: skip
def test_mistakes_are_told_in_the_words_of_the_shell(data, options, words):
    done = run("compare", data, "--out", data.parent / "run", *options)
    assert done.exit_code
    told = " ".join(f"error: {done.exception} {done.output}".split())
    assert words in told
    assert not (data.parent / "run").exists()


@pytest.mark.slow  # a comparison and a fit, each with fits inside
def test_compare_and_fit_choose_settings_and_say_so(data, one_penalty, majority_alone):
    out = data.parent / "run"
    asked = ["compare", data, "--out", out, "--search", "mifv: components=1|2;variance=0.5..0.9",
             "--trials", 2, "--inner-folds", 2, "--folds", 2, "--jobs", 1]  # fmt: skip
    dry = run(*asked, "--dry-run")
    assert "and at most 8 within them to choose settings" in dry.output
    assert not out.exists()
    done = run(*asked)
    assert done.exit_code == 0, done.output
    assert "mifv searched: settings that had AUROC" in " ".join(done.output.split())
    table = pd.read_csv(out / "searches.csv")
    assert table["trials"].tolist() == [2, 2]
    assert set(pd.read_csv(out / "chosen.csv")["setting"]) == {"components", "variance"}
    assert "Settings chosen inside the folds" in (out / "report.html").read_text("utf-8")
    record = json.loads((out / "report.json").read_text("utf-8"))
    assert "search" in [section["name"] for section in record["sections"]]
    again = run("compare", "--config", out / "config.yaml", "--out", data.parent / "again")
    assert again.exit_code == 0, again.output
    kept = pd.read_csv(data.parent / "again" / "searches.csv")
    pd.testing.assert_frame_equal(kept, table)
    model = data.parent / "model"
    done = run("fit", "mifv", data, "--out", model, "--search", "components=1|2")
    assert done.exit_code == 0, done.output
    assert "chosen of 2 trials, 0 of them failed: components=" in done.output
    assert sm.load(model).components == sm.load(model).searched_["chosen"]["components"]
