"""The examples of the docstrings run, each as a user would type it, and none is passed over."""

import ast
import doctest
import importlib
from pathlib import Path

import pytest

import smalti
from smalti.core import registry

ROOT = Path(smalti.__file__).parent
NEEDS = {"features.extraction": "skimage", "io.slides": "skimage"}  # extras of some examples


def documented(module):
    """Dotted names of what has an example in a module's source, the module itself included."""
    path = ROOT.joinpath(*module.split(".")).with_suffix(".py")
    found = []

    def look(node, name):
        if ">>>" in (ast.get_docstring(node) or ""):
            found.append(name)
        for part in node.body:
            if isinstance(part, (ast.FunctionDef, ast.ClassDef)):
                look(part, f"{name}.{part.name}")

    look(ast.parse(path.read_text("utf-8")), f"smalti.{module}")
    return found


MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in ROOT.rglob("*.py")
    if path.name != "__init__.py" and ">>>" in path.read_text("utf-8")
)
# comparisons of six methods, or a search: other tests hold them too
SLOW = {
    "comparison.donor_table",
    "comparison.phenotype",
    "comparison.phenotype_table",
    "comparison.probability_table",
    "comparison.search.own",
    "comparison.table",
    "features.screen",
    "plot.scores",
    "scores.table",
}
RUN = [pytest.param(m, marks=pytest.mark.slow) if m in SLOW else m for m in MODULES]
NAMES = {module: documented(module) for module in MODULES}


@pytest.fixture
def clean(tmp_path, monkeypatch):
    """A folder to write into, and no method registered afterwards that was not before."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_session", dict(registry._session))


def examples(module):
    """The examples of a module; they see nothing but what they import."""
    loaded = importlib.import_module(f"smalti.{module}")
    finder = doctest.DocTestFinder(exclude_empty=True)
    tests = finder.find(loaded, f"smalti.{module}", globs={"__name__": "__main__"})
    return [test for test in tests if test.examples]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("module", RUN)
def test_examples_run(module, clean):
    if module in NEEDS:
        pytest.importorskip(NEEDS[module])
    tests = examples(module)
    # what doctest does not look into, such as a method behind a descriptor, would rot unseen
    assert sorted(test.name for test in tests) == sorted(NAMES[module])
    said = []
    runner = doctest.DocTestRunner(verbose=False, optionflags=doctest.NORMALIZE_WHITESPACE)
    for test in tests:
        runner.run(test, out=said.append)
    assert not runner.failures, "".join(said)


@pytest.mark.parametrize("module", MODULES)
def test_examples_begin_as_a_user_does(module):
    for test in examples(module):
        assert test.examples[0].source == "import smalti as sm\n", test.name


def test_the_names_that_users_type_first_have_an_example():
    public = [name for names in NAMES.values() for name in names
              if not any(part.startswith("_") for part in name.split("."))]  # fmt: skip
    assert len(public) >= 30


def test_an_example_that_lies_is_seen():
    lie = doctest.DocTestParser().get_doctest(">>> 1 + 1\n3\n", {}, "lie", None, 0)
    runner = doctest.DocTestRunner(verbose=False)
    runner.run(lie, out=lambda text: None)
    assert runner.failures == 1
