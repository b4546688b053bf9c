"""What type checkers see: public names, settings, mistakes; and that stubs are up to date."""

import importlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import types
from pathlib import Path

import pytest

import smalti

ROOT = Path(__file__).parent.parent
SOURCE = Path(smalti.__file__).parent
ROOMS = (
    "comparison", "contract", "datasets", "explain", "expression", "features", "genes",
    "integrate", "mil", "nn", "plot", "preprocess", "report", "scores", "tiles",
)  # fmt: skip

USER = """\
import numpy as np

import smalti as sm

bags: sm.Bags = sm.datasets.planted_bags(30, seed=0)
own: sm.Bags = sm.Bags.from_list([np.zeros((3, 2)), np.ones((4, 2))], [0, 1], donor=[0, 1])
model: sm.mil.ABMIL = sm.mil.ABMIL(gated=True, seed=0).fit(bags)
p: np.ndarray = model.predict_proba(bags)
width: tuple[int, ...] = model.widths
base: sm.Method = model
net: sm.mil.NetworkMethod = model
again = sm.load("model")

table: sm.Comparison = sm.compare(["mean_pooling", model], bags, folds=5)
text: str = str(table)
scores: sm.scores.Scores = table
table.report("report.html", sections=table.sections())
sm.pl.plot_scores(table, ax=sm.plot.plot_roc(table.predictions))

cells: sm.Bags = sm.read("cells.h5mu", sample="sample", donor="donor", label="disease")
umint: sm.integrate.UMINT = sm.integrate.UMINT(width=8).fit(cells)
code: np.ndarray = umint.transform(cells)
integration: sm.Integration = umint
step = sm.integrate.Embed(umint)
run: sm.IntegrationComparison = sm.compare_integration(["umint:fast"], cells, label="cell_type")
sm.mil.BagMean(preprocess=step, seed=1)

slides: sm.Bags = sm.features.extract(sm.read_slides("spots.h5ad", images="images/"))
ridge: sm.expression.Ridge = sm.expression.Ridge().fit(slides)
expression: sm.ExpressionMethod = ridge
vectors: sm.genes.GeneVectors = sm.genes.gene_vectors(sm.genes.gene_text(sources=["sets.gmt"]))
bilinear = sm.expression.Bilinear(vectors=vectors).fit(slides)
found: np.ndarray = bilinear.predict(slides, genes=["LGR5", "OLFM4"])
last: sm.ExpressionComparison = sm.compare_expression(["mlp:team"], slides, genes=50)
split: list[sm.comparison.Split] = sm.comparison.donor_folds(bags, folds=5)
try:
    sm.make("umint", seed=3)
except sm.InputError:
    pass
"""

WRONG = """\
import smalti as sm

sm.mil.ABMILL()  # wrong: attr-defined
sm.mil.ABMIL(gatd=True)  # wrong: call-arg
sm.mil.ABMIL(True)  # wrong: call-arg misc
sm.mil.ABMIL(seed="one")  # wrong: arg-type
sm.integrate.UMINT(gated=True)  # wrong: call-arg
sm.expression.Rigde()  # wrong: attr-defined
sm.expression.Ridge().fit()  # wrong: call-arg
sm.compare(["abmil"])  # wrong: call-arg
sm.plot.plot_score  # wrong: attr-defined
sm.scores.Scores().sumary()  # wrong: attr-defined call-arg
sm.raed("cells.h5ad")  # wrong: attr-defined
"""


def public(package):
    names = package.__all__ if hasattr(package, "__all__") else dir(package)
    return [n for n in names if not n.startswith("__")]


def every_name():
    """A line for each public name: it is there for the type checker as it is for Python."""
    lines = ["import smalti", *(f"import smalti.{room}" for room in ROOMS)]
    for room in ("", *ROOMS):
        full = f"smalti.{room}" if room else "smalti"
        package = importlib.import_module(full)
        lines += [f"{full}.{n}" for n in public(package)
                  if not isinstance(getattr(package, n), types.ModuleType)]  # fmt: skip
    lines += [f"smalti.{n}" for n in smalti.__all__]
    return "\n".join([*lines, ""])


def mypy(folder, cache, *files):
    """Its answers as {(file, line): {code, ...}} and in words."""
    command = [
        sys.executable, "-m", "mypy", "--follow-imports=silent", "--ignore-missing-imports",
        "--no-error-summary", "--hide-error-context", "--python-version=3.11",
        f"--cache-dir={cache}", "--config-file=", *files,
    ]  # fmt: skip
    environment = os.environ | {"MYPYPATH": str(SOURCE.parent)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found = {}
    for file, line, code in re.findall(r"^(\w+\.py):(\d+): error: .*\[([\w-]+)\]$", done.stdout,
                                       re.M):  # fmt: skip
        found.setdefault((file, int(line)), set()).add(code)
    return found, done.stdout


@pytest.fixture(scope="module")
def answers(tmp_path_factory, request):
    pytest.importorskip("mypy", reason="mypy is not installed: pip install 'smalti[check]'")
    folder = tmp_path_factory.mktemp("user")
    (folder / "user.py").write_text(USER)
    (folder / "names.py").write_text(every_name())
    (folder / "wrong.py").write_text(WRONG)
    cache = request.config.cache.mkdir("mypy")
    return mypy(folder, cache, "user.py", "names.py", "wrong.py")


@pytest.mark.slow  # mypy reads the whole package, and make test has none
@pytest.mark.parametrize("file", ["user.py", "names.py"])
def test_a_type_checker_knows_every_public_name(answers, file):
    assert [line for line in answers[1].splitlines() if line.startswith(file)] == []


def mistakes():
    """Number of the line, and the errors of which one is expected."""
    for number, line in enumerate(WRONG.splitlines(), 1):
        call, _, comment = line.partition("  # wrong")
        if comment:
            yield pytest.param(number, comment.partition(": ")[2].split(), id=call)


@pytest.mark.slow  # as above
@pytest.mark.parametrize(("number", "wanted"), list(mistakes()))
def test_a_type_checker_sees_mistakes(answers, number, wanted):
    assert answers[0].get(("wrong.py", number), set()) & set(wanted), answers[1]


def test_types_of_the_package_are_for_users():
    assert (SOURCE / "py.typed").exists()


# ---------------------------------------------------------------- stubs that are made


@pytest.fixture(scope="module")
def stubs():
    spec = importlib.util.spec_from_file_location("stubs", ROOT / "tools" / "stubs.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("room", ["mil", "integrate", "expression"])
def test_stubs_are_up_to_date(stubs, room):
    written = stubs.path(room).read_text(encoding="utf-8")
    assert written == stubs.stub(room), "run `make stubs`"


@pytest.mark.slow
def test_a_new_method_needs_no_edit_by_hand(tmp_path):
    copy = tmp_path / "src" / "smalti"
    shutil.copytree(SOURCE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    method = (copy / "mil" / "majority.py").read_text(encoding="utf-8")
    method = method.replace("Majority", "Minority").replace('"majority"', '"minority"')
    (copy / "mil" / "minority.py").write_text(method, encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "src")}
    command = [sys.executable, str(ROOT / "tools" / "stubs.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["wrote", str(copy / "mil" / "__init__.pyi")]
    text = (copy / "mil" / "__init__.pyi").read_text(encoding="utf-8")
    assert "from .minority import Minority\n" in text
    assert '    "Minority",\n' in text
