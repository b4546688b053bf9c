"""One version everywhere, and a recipe for conda that asks for what pyproject.toml does."""

import importlib.util
import re
import tomllib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CONDA = {"torch": "pytorch", "matplotlib": "matplotlib-base"}


@cache
def tool(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_version_is_the_same_everywhere():
    assert tool("release").disagreements(None) == []


def test_another_tag_and_an_open_changelog_are_seen(monkeypatch, tmp_path):
    release = tool("release")
    (tmp_path / "src/smalti").mkdir(parents=True)
    (tmp_path / "recipe").mkdir()
    (tmp_path / "src/smalti/_version.py").write_text('__version__ = "0.2.0"\n')
    (tmp_path / "CITATION.cff").write_text("version: 0.1.0\n")
    (tmp_path / "recipe/recipe.yaml").write_text('context:\n  version: "0.2.0"\n')
    (tmp_path / "CHANGELOG.md").write_text("# Changes\n\n## 0.2.0 (unreleased)\n\n## 0.1.0\n")
    monkeypatch.setattr(release, "ROOT", tmp_path)
    assert release.disagreements("v0.1.0") == [
        "CITATION.cff says ['0.1.0'], _version.py 0.2.0",
        "the tag is v0.1.0, _version.py says 0.2.0",
        "CHANGELOG.md begins with 0.2.0 (unreleased): give it a date",
    ]


@pytest.mark.parametrize("name", ["smalti/__pycache__/a.py", "smalti/a.pyc", "tests/a.py"])
def test_what_does_not_belong_into_a_wheel_is_seen(name):
    assert tool("release").strays(["smalti/a.py", name], ("smalti/",)) == [name]


def test_the_recipe_asks_for_what_pyproject_does():
    text = (ROOT / "recipe" / "recipe.yaml").read_text(encoding="utf-8")
    asked = re.findall(r"^    - (\S+) >=([\d.]+)$", text.partition("  run:\n")[2], re.MULTILINE)
    wanted = [r.split(">=") for r in tool("dependencies").PROJECT["dependencies"]]
    assert asked == [(CONDA.get(name, name), version) for name, version in wanted]


def test_on_an_index_links_of_the_readme_lead_to_the_repository():
    """By the rules of the build: every link is whole, and there is what it names."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    hook = project["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]
    text = (ROOT / "README.md").read_text("utf-8")
    for rule in hook["substitutions"]:
        text = re.sub(rule["pattern"], rule["replacement"], text)
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    assert len(links) > 20
    assert [link for link in links if not link.startswith("https://")] == []
    own = [link.partition("/v$HFPR_VERSION/")[2].partition("#")[0] for link in links]
    assert [path for path in own if path and not (ROOT / path).exists()] == []
    assert sum(path.endswith(".png") for path in own) == 2
