"""A file of options says what the command line says, for every verb."""

import functools
import inspect
import json
import typing
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.main import get_command
from typer.testing import CliRunner

from smalti.cli import app
from smalti.cli.config import load
from smalti.cli.given import named
from smalti.datasets import planted_bags


def verbs(group, names=()):
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from verbs(command, (*names, name))
        elif any(p.expose_value for p in command.params):  # the others take nothing
            yield " ".join((*names, name)), command


VERBS = dict(verbs(get_command(app)))


def run(*args):
    return CliRunner().invoke(app, [str(a) for a in args])


def words(param, kind):
    """An option (or argument) of each kind, as it is typed."""
    name, kinds = param.opts[0], typing.get_args(kind) or (kind,)
    if bool in kinds:
        return [(param.secondary_opts or param.opts)[0]]
    value = "70" if int in kinds else "0.5" if float in kinds else "no"
    if not name.startswith("--"):
        return [value] if param.nargs == 1 else [value, "b c"]
    return [name, value, name, "k=1"] if param.multiple else [name, value]


def whole(value):
    """Arguments with whole paths."""
    if isinstance(value, dict):
        return {k: whole(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [whole(v) for v in value]
    if not isinstance(value, Path):
        return value
    name, path = named(value)
    return name, path.absolute()


@pytest.mark.parametrize("verb", VERBS)
def test_options_make_a_file_that_is_the_same_call(verb, tmp_path, monkeypatch, capsys):
    command, called = VERBS[verb], []
    kinds = typing.get_type_hints(inspect.unwrap(command.callback))
    asked = [word for p in command.params if p.expose_value for word in words(p, kinds[p.name])]
    callback = command.callback

    @functools.wraps(callback)
    def record(**given):
        called.append(given)

    monkeypatch.setattr(command, "callback", record)
    monkeypatch.chdir(tmp_path)  # beside the file, whose paths are seen from it
    command.invoke(command.make_context(verb, list(asked)))
    printed = command.make_context(verb, [*asked, "--print-config"])
    command.invoke(printed)
    assert len(called) == 1  # it did no more
    file = tmp_path / "run.yaml"
    file.write_text(capsys.readouterr().out, encoding="utf-8")
    command.invoke(command.make_context(verb, ["--config", str(file)]))
    assert whole(called[0]) == whole(called[1])
    assert len(called[0]) == len([p for p in command.params if p.expose_value])


@pytest.mark.parametrize(
    ("text", "says"),
    [("fold: 3", "run.yaml: no option 'fold' here; see --help. Did you mean 'folds'?"),
     ("xyzzy: 3", "run.yaml: no option 'xyzzy' here; see --help."),
     ("folds: many", "run.yaml: folds: Input should be a valid integer"),
     ("positive: no", "run.yaml: positive: Input should be a valid string, not False; write it as "
      "after --positive, a word such as no or a date in quotes"),
     ("folds: 1\nfolds: 2", "names 'folds' twice"),
     ("- folds", "must hold lines of the form NAME: VALUE"),
     ("a: [", "run.yaml is no YAML"),
     ("!!python/object/apply:os.system [exit]", "run.yaml is no YAML")],
)  # fmt: skip
def test_a_file_that_cannot_be_is_one_line(text, says, tmp_path):
    (tmp_path / "run.yaml").write_text(text)
    result = run("compare", "--config", tmp_path / "run.yaml")
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert says in line


def test_values_may_be_written_as_yaml_has_them(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("methods: [abmil, bag_mean]\nset: {lr: 0.1, widths: [8, 4], name: no way}\n"
                    "label: 1\ntest_labels: a.csv\ncovariate: age\n")  # fmt: skip
    assert load(VERBS["compare"], file) == {
        "methods": "abmil,bag_mean", "set_": ["lr=0.1", "widths=[8, 4]", 'name="no way"'],
        "label": "1", "test_labels": str(tmp_path / "a.csv"), "covariates": ["age"],
    }  # fmt: skip


def test_paths_of_a_file_are_seen_from_it_and_written_whole(tmp_path, monkeypatch):
    (tmp_path / "there").mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    file = tmp_path / "there" / "run.yaml"
    done = run("fit", "abmil", "rna=a.h5ad", "/data/b.h5ad", "--out", "model", "--label", "x",
               "--write-config", file)  # fmt: skip
    assert done.exit_code == 0, done.output
    assert done.output == ""
    assert yaml.safe_load(file.read_text()) == {
        "method": "abmil", "data": [f"rna={tmp_path / 'here' / 'a.h5ad'}", "/data/b.h5ad"],
        "out": str(tmp_path / "here" / "model"), "label": "x",
    }  # fmt: skip
    file.write_text("data: [rna=a.h5ad, ../b.h5ad]\nout: model\nlabel: x\n")
    assert load(VERBS["fit"], file) == {
        "data": [f"rna={tmp_path / 'there' / 'a.h5ad'}", str(tmp_path / "there" / "../b.h5ad")],
        "out": str(tmp_path / "there" / "model"), "label": "x",
    }  # fmt: skip
    again = run("fit", "abmil", "a.h5ad", "--out", "model", "--write-config", file)
    assert again.exit_code == 2
    assert "--overwrite" in again.stderr


@pytest.mark.slow  # three comparisons with pages
def test_the_command_line_wins_and_the_run_keeps_its_file(majority_alone, tmp_path):
    bags = planted_bags(12, n_features=4, seed=0)
    data = tmp_path / "bags.npz"
    np.savez(data, x=bags.table(), bag=bags.index, label=bags.labels, donor=np.arange(12))
    asked = ["compare", data, "--methods", "majority", "--jobs", 1, "--folds", 3]
    assert run(*asked, "--out", tmp_path / "one").exit_code == 0
    kept = tmp_path / "one" / "config.yaml"
    assert yaml.safe_load(kept.read_text())["folds"] == 3
    done = run("compare", "--config", kept, "--out", tmp_path / "two")
    assert done.exit_code == 0, done.output
    done = run("compare", "--config", kept, "--out", tmp_path / "three", "--folds", 2)
    assert done.exit_code == 0, done.output
    digests = [json.loads((tmp_path / n / "split.json").read_text())["digest"]
               for n in ("one", "two", "three")]  # fmt: skip
    assert digests[0] == digests[1] != digests[2]
    assert run("compare", "--config", kept).exit_code == 0  # a run over a run
    assert Path(kept).exists()
