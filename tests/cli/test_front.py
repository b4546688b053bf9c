"""What every verb has: how much is said, JSON, completion, the nearest name, exit statuses."""

import importlib
import json
import logging
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import anndata
import numpy as np
import pandas as pd
import pytest
import yaml
from typer.main import get_command
from typer.testing import CliRunner

import smalti as sm
from smalti.cli import app, complete, known
from smalti.cli.methods import FOR
from smalti.cli.say import plain
from smalti.datasets import planted_bags
from smalti.system.progress import Progress

doctor = importlib.import_module("smalti.cli.doctor")  # the verb has its name
ROOT = Path(__file__).parents[2]
TINY = ["--epochs", "3", "--set", "widths=[8]"]


def leaves(group, names=()):
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from leaves(command, (*names, name))
        else:
            yield (*names, name)


VERBS = list(leaves(get_command(app)))


def run(*args, **more):
    return CliRunner().invoke(app, [str(a) for a in args], **more)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    bags = planted_bags(12, n_features=4, seed=0)
    path = tmp_path_factory.mktemp("front") / "bags.npz"
    names = bags.bag.index.to_numpy().astype(str)
    np.savez(path, x=bags.table(), bag=names[bags.index], label=bags.labels,
             donor=bags.bag["donor"].to_numpy())  # fmt: skip
    return path


# ---------------------------------------------------------------- options of all verbs


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_short_help_quiet_and_verbose_are_everywhere(verb):
    told = run(*verb, "-h", env={"COLUMNS": "100"})
    assert told.exit_code == 0
    assert told.output.startswith("\n Usage") or "Usage" in told.output
    for option in ("--quiet", "-q", "--verbose", "-v"):
        assert option in told.output


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_bad_input_ends_with_2_and_no_traceback(verb):
    done = run(*verb, "--nonsense")
    assert done.exit_code == 2
    assert "No option --nonsense." in done.stderr
    assert "Traceback" not in done.output


@pytest.mark.parametrize(
    ("words", "meant"),
    [(["comapre"], "No verb 'comapre'. Did you mean 'compare'?"),
     (["expression", "ft"], "No verb 'ft'. Did you mean 'fit'?"),
     (["--verison"], "No option --verison. Did you mean '--version'?"),
     (["fit", "abmil", "x", "--out", "z", "--lable", "y"],
      "No option --lable. Did you mean '--label'?"),
     (["fit", "--method", "abmil", "cells.h5ad"],
      "No option --method: write its value alone, where the usage has it."),
     (["fit", "abml", "x.npz", "--out", "z"], "Did you mean 'abmil'?"),
     (["fit", "abmil", "x.npz", "--out", "z", "--set", "gatd=true"], "Did you mean 'gated'?"),
     (["integrate", "umint:fsat", "x.h5mu", "--out", "z.h5mu"], "Did you mean 'fast'?"),
     (["compare", "x.npz", "--methods", "abmil", "--out", "z", "--set", "gatd=true"],
      "Did you mean 'gated'?"),
     (["methods", "--for", "bag"], "Did you mean 'bags'?"),
     (["methods", "abmli"], "Did you mean 'abmil'?")],
)  # fmt: skip
def test_a_wrong_name_is_answered_by_the_nearest(words, meant):
    done = run(*words)
    assert done.exit_code == 2
    assert meant in " ".join(re.sub("[│╭╮╰╯─]", "", done.stderr).split())


def test_a_wrong_column_is_answered_by_the_nearest(tmp_path):
    obs = pd.DataFrame({"sample": ["a", "b"], "donor": ["a", "b"]}, index=["c1", "c2"])
    anndata.AnnData(np.ones((2, 2), dtype=np.float32), obs=obs).write_h5ad(tmp_path / "c.h5ad")
    done = run("fit", "abmil", tmp_path / "c.h5ad", "--sample", "smaple", "--out", tmp_path / "m")
    assert done.exit_code == 2
    assert "Did you mean 'sample'?" in done.stderr


# ---------------------------------------------------------------- how much is said


@pytest.mark.parametrize("before", [True, False])
def test_quiet_says_warnings_alone_and_is_over_after(before, table, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(sm.mil.ABMIL, "network", _watched(sm.mil.ABMIL.network, seen))
    asked = ["fit", "abmil", table, "--out", tmp_path / "m", *TINY]
    loud = run(*asked)
    assert loud.exit_code == 0, loud.output
    assert "saved to" in loud.stdout
    quiet = run(*(["-q", *asked] if before else [*asked, "-q"]), "--overwrite")
    assert quiet.exit_code == 0, quiet.output
    assert quiet.stdout == ""
    assert quiet.stderr == ""
    assert seen[0] == (False, False)
    assert seen[-1] == (True, True)
    assert not Progress.silent
    assert logging.getLogger("smalti").level == logging.NOTSET


def _watched(network, seen):
    def watched(self, shape):
        level = logging.getLogger("smalti").level
        seen.append((Progress.silent, level == logging.WARNING))
        return network(self, shape)

    return watched


def test_verbose_logs_the_command(caplog):
    caplog.handler.setLevel(logging.DEBUG)  # the level of the logger is what -v sets
    done = run("cite", "abmil", "-v")
    assert done.exit_code == 0
    assert "smalti cite abmil" in [r.getMessage() for r in caplog.records]
    assert run("cite", "abmil", "-q").stdout == run("cite", "abmil").stdout != ""


def test_quiet_may_stand_between_a_group_and_its_verb():
    for words in (["expression", "-q", "fit", "-h"], ["-v", "genes", "-q", "vectors", "-h"]):
        assert run(*words).exit_code == 0


def test_a_model_keeps_the_options_of_its_fit(table, tmp_path):
    asked = ["fit", "bag_mean", table, "--out", tmp_path / "m", "--seed", 3]
    assert run(*asked).exit_code == 0
    kept = yaml.safe_load((tmp_path / "m" / "config.yaml").read_text())
    assert kept == {
        "method": "bag_mean", "data": [str(table)], "out": str(tmp_path / "m"), "seed": 3,
    }  # fmt: skip
    again = run("fit", "--config", tmp_path / "m" / "config.yaml")  # a model over a model
    assert again.exit_code == 0, again.output
    assert sm.load(tmp_path / "m").seed == 3


# ---------------------------------------------------------------- JSON


def test_json_is_all_that_is_on_standard_output(table, majority_alone, tmp_path):
    asked = ["compare", table, "--methods", "majority", "--folds", 2, "--jobs", 1]
    done = run(*asked, "--out", tmp_path / "run", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["report"] == str(tmp_path / "run" / "report.html")
    assert {row["method"] for row in found["summary"]} == {"majority"}
    assert "12 bags" in done.stderr  # what was read is said all the same
    planned = json.loads(run(*asked, "--out", tmp_path / "no", "--dry-run", "--json").stdout)
    assert [row["method"] for row in planned["fits"]] == ["majority"]


def test_json_of_an_audit_and_a_prediction(table, tmp_path):
    found = json.loads(run("audit", table, "--donor", "donor", "--json").stdout)
    assert found["data"].startswith("Bags: 12 bags")
    assert run("fit", "bag_mean", table, "--out", tmp_path / "m").exit_code == 0
    done = run("predict", tmp_path / "m", table, "--out", tmp_path / "p.csv", "--json")
    rows = json.loads(done.stdout)["predictions"]
    written = pd.read_csv(tmp_path / "p.csv")
    assert [row["bag"] for row in rows] == list(written["bag"])
    np.testing.assert_allclose([row["p_1"] for row in rows], written["p_1"], rtol=1e-5)


def test_json_says_an_error_on_the_other_stream():
    done = run("methods", "abmli", "--json")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "Did you mean" in done.stderr


def test_what_is_no_number_is_null():
    frame = pd.DataFrame({"a": [1, 2], "b": [np.nan, 0.5]})
    assert plain({"t": frame, "x": np.float32("inf"), "p": Path("a"), "n": np.arange(2)}) == {
        "t": [{"a": 1, "b": None}, {"a": 2, "b": 0.5}], "x": None, "p": "a", "n": [0, 1],
    }  # fmt: skip


# ---------------------------------------------------------------- methods


@pytest.mark.parametrize("what", [None, *FOR])
def test_methods_are_on_one_screen(what):
    told = run("methods", *(["--for", what] if what else []), env={"COLUMNS": "80"})
    lines = told.output.splitlines()
    assert told.exit_code == 0
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 80
    rooms = [FOR[what][0]] if what else ["mil", "integrate", "expression"]
    if what != "genes":
        for name in (n for room in rooms for n in sm.methods(room)):
            assert re.search(rf"\b{name}\b", told.output), name
    else:
        assert "bilinear" in told.output
        assert "ridge*" not in told.output


def test_the_page_of_a_method():
    page = json.loads(run("methods", "abmil", "--json").stdout)
    assert page["settings"]["attention_width"] == {
        "default": 64, "meaning": "L, rows of V; the paper has 64 for vectors, 128 for images",
    }  # fmt: skip
    assert page["settings"]["lr"]["default"] == 0.001
    assert page["targets"] == "all"
    assert page["reference"].startswith("Ilse")
    told = run("methods", "abmil", env={"COLUMNS": "80"}).output
    assert "learning rate" in told
    assert max(map(len, told.splitlines())) <= 80


@pytest.mark.parametrize("room", known.ROOMS)
def test_what_is_read_off_the_files_is_what_the_classes_have(room):
    there = sm.methods(room)
    assert set(known.names(room)) == set(there)
    for name, cls in there.items():
        settings = known.settings(name)
        assert set(settings) == set(cls().get_params(deep=False)), name
        assert [k for k, one in settings.items() if not one.meaning] == [], name


# ---------------------------------------------------------------- doctor


def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def requirements():
    """Those of pyproject as the metadata of the installed package has them."""
    own = project()
    extras = own["optional-dependencies"].items()
    return own["dependencies"] + [f'{r}; extra == "{e}"' for e, rs in extras for r in rs]


def test_the_doctor_knows_every_package_of_pyproject():
    found = doctor.examine(requirements())
    own = project()
    bare = {re.split(r"[<>=\[ ;]", r)[0] for r in own["dependencies"]}
    assert {p["package"] for p in found["needed"]} == bare
    wanted = set(own["optional-dependencies"]) - set(doctor.DEVELOPERS)
    assert set(found["extras"]) == wanted
    assert [name for name in wanted if name not in doctor.USES] == []
    for name in wanted:
        there = {p["package"] for p in found["extras"][name]["packages"]}
        asked = {re.split(r"[<>=\[ ;]", r)[0] for r in own["optional-dependencies"][name]}
        assert asked - {"smalti"} <= there
    slides = {p["package"] for p in found["extras"]["slides"]["packages"]}
    assert slides <= {p["package"] for p in found["extras"]["wsi"]["packages"]}


def test_the_doctor_tells_old_from_missing_and_ends_with_1_for_what_all_need(monkeypatch):
    asked = ["numpy>=999", "nowhere>=1", "pandas>=1", 'rich>=999; extra == "search"']
    monkeypatch.setattr("importlib.metadata.requires", lambda _: asked)
    done = run("doctor", "--json")
    assert done.exit_code == 1
    found = json.loads(done.stdout)
    assert [p["state"] for p in found["needed"]] == ["too old", "missing", "ok"]
    assert found["extras"]["search"]["ready"] is False
    told = run("doctor").output
    assert 'pip install -U "numpy>=999" "nowhere>=1"' in told
    assert 'pip install "smalti[search]"' in told
    monkeypatch.setattr("importlib.metadata.requires", lambda _: asked[2:])
    assert run("doctor").exit_code == 0  # an extra is not needed


def test_the_doctor_says_cores_memory_and_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("SMALTI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("smalti.system.workers.cores", lambda: 3)
    monkeypatch.setattr("smalti.system.memory.room", lambda: 5 * 2**30)
    found = json.loads(run("doctor", "--json").stdout)
    assert (found["machine"]["cores"], found["machine"]["memory_free"]) == (3, 5 * 2**30)
    assert found["cache"]["folder"] == str(tmp_path / "cache")
    assert found["cache"]["writable"]
    assert "cores       3, memory free 5.0 GiB" in run("doctor").output
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SMALTI_CACHE", str(tmp_path / "file"))
    done = run("doctor", "--json")
    assert json.loads(done.stdout)["cache"]["writable"] is False
    assert done.exit_code == 0


# ---------------------------------------------------------------- completion


def completed(words, incomplete=""):
    """What a shell is given for a command that is being typed."""
    env = {"_SMALTI_COMPLETE": "complete_bash", "COMP_WORDS": f"smalti {words} {incomplete}",
           "COMP_CWORD": str(len(words.split()) + 1)}  # fmt: skip
    done = CliRunner().invoke(app, [], env=env, prog_name="smalti")
    return done.stdout.split()


def test_a_shell_completes_verbs_methods_settings_and_columns(tmp_path):
    obs = pd.DataFrame({"sample": ["a"], "donor": ["a"], "dose": [1.0]}, index=["c1"])
    data = anndata.AnnData(np.ones((1, 2), dtype=np.float32), obs=obs)
    data.obsm["X_pca"] = np.ones((1, 2))
    data.layers["counts"] = np.ones((1, 2))
    file = tmp_path / "c.h5ad"
    data.write_h5ad(file)
    assert "compare" in completed("", "comp")
    assert completed("fit", "tra") == ["transmil"]
    assert "umint" in completed("integrate", "um")
    assert "gated=" in " ".join(completed(f"fit abmil {file} --set", "ga"))
    assert completed(f"fit abmil {file} --sample", "d") == ["donor", "dose"]
    assert completed(f"fit abmil {file} --x", "") == ["X", "X_pca", "layers/counts"]
    assert completed(f"fit abmil {tmp_path / 'none.h5ad'} --sample", "d") == []
    assert completed(f"compare {file} --methods", "abmil,tra") == ["abmil,transmil"]


@pytest.mark.slow  # a process is started
def test_completion_imports_no_method():
    code = (
        "import sys\n"
        "from smalti.cli import complete, known\n"
        "assert 'abmil' in complete.methods('ab')\n"
        "assert 'gated' in known.settings('abmil')\n"
        "print([m for m in ('torch', 'numpy', 'pandas', 'sklearn', 'h5py') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_damaged_file_offers_nothing(tmp_path):
    (tmp_path / "bad.h5ad").write_bytes(b"no HDF5")

    class Context:
        params = {"data": [tmp_path / "bad.h5ad"]}  # noqa: RUF012

    assert complete.columns(Context(), "") == []


# ---------------------------------------------------------------- the terminal


@pytest.mark.slow  # processes are started
def test_pipes_and_no_color_have_no_colours_and_80_columns():
    env = {k: v for k, v in os.environ.items() if k != "COLUMNS"}
    for words in (["fit", "--help"], ["fit", "abmil", "x", "--lable", "y"], ["fit", "a"]):
        done = subprocess.run(
            [sys.executable, "-m", "smalti.cli", *words],
            capture_output=True, text=True, env=env, check=False,
        )  # fmt: skip
        both = done.stdout + done.stderr
        assert "\x1b" not in both
        assert max(map(len, both.splitlines())) <= 80


def test_no_color_holds_on_a_terminal(monkeypatch):
    asked = ["fit", "abml", "x", "--out", "z"]
    assert "\x1b[31m" in run(*asked, color=True).stderr
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in run(*asked, color=True).stderr


def test_ctrl_c_ends_with_130_under_json_too(monkeypatch):
    def stopped(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(doctor, "examine", stopped)
    done = run("doctor", "--json")
    assert (done.exit_code, done.stdout) == (130, "")
    assert "Traceback" not in done.stderr


def test_the_page_of_a_preset_that_there_is_not_is_refused():
    done = run("methods", "umint:fsat")
    assert done.exit_code == 2
    assert "umint has no preset 'fsat'" in done.output.replace("\n", " ")
