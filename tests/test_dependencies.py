"""What is imported is declared, what is declared is imported, and licences are what we say."""

import ast
import importlib.util
import re
import sys
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, canonicalize_version

import smalti
from smalti.system import extras
from smalti.system.extras import _PROJECTS

ROOT = Path(__file__).resolve().parents[1]
SOURCE = Path(smalti.__file__).parent
# in no extra: too rare, or with demands of their own
BY_NAME = {"multigrate", "lpips"}
# imported as they are not called; what extras.py says of packages that are asked for by need()
CALLED = {**_PROJECTS, "sklearn": "scikit-learn", "yaml": "pyyaml"}
THERE = {"ipython"}  # asked only in a notebook, which it runs
# no import statement names them
UNSEEN = {"imagecodecs": "tifffile finds it", "tensorboard": "of Lightning's logger",
          "zarrs": "zarr is told of it by name",
          "openslide-bin": "openslide-python finds it"}  # fmt: skip

pytestmark = pytest.mark.skipif(
    not (ROOT / "pyproject.toml").exists(), reason="smalti is installed without its sources"
)


@cache
def tool():
    spec = importlib.util.spec_from_file_location("dependencies", ROOT / "tools/dependencies.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def asked(requirements):
    """Names of packages, without smalti's own extras."""
    return {canonicalize_name(Requirement(r).name) for r in requirements} - {"smalti"}


def with_inner(name):
    """Requirements of an extra and of those that it holds."""
    found = set()
    for wanted in map(Requirement, tool().extras()[name]):
        found |= set().union(*map(with_inner, wanted.extras)) if wanted.name == "smalti" else {
            canonicalize_name(wanted.name)}  # fmt: skip
    return found


def project(module):
    root = module.partition(".")[0]
    return canonicalize_name(CALLED.get(root, root))


def imports(text):
    """(package, extra) of each import: extra is "" of a statement, None where need() has none."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from ((project(a.name), "") for a in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield project(node.module), ""
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("need", "absent"):
            values = [*node.args, *(k.value for k in node.keywords)]
            name = values[0].values[0] if isinstance(values[0], ast.JoinedStr) else values[0]
            if isinstance(name, ast.Constant):  # else a class says package and extra
                yield project(name.value), values[1].value if len(values) > 1 else None


def breaches(text, base, extras_of):
    """What is imported and not declared where it should be."""
    ours = {canonicalize_name(m) for m in sys.stdlib_module_names} | {"smalti"}
    for package, extra in imports(text):
        if extra == "":
            guarded = any(package in held for held in extras_of.values())
            if package not in ours | base | THERE and not guarded:
                yield f"{package} is imported, and no dependency"
        elif extra is None:
            if package not in BY_NAME | base:
                yield f"{package} is needed without the extra that brings it"
        elif package not in extras_of.get(extra, ()):
            yield f"{package} is not in the extra {extra}"


def sources():
    return {path: path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.py")}


def test_every_import_is_declared():
    base = asked(tool().PROJECT["dependencies"])
    extras_of = {name: with_inner(name) for name in tool().extras()}
    found = [f"{path.relative_to(SOURCE)}: {breach}" for path, text in sources().items()
             for breach in breaches(text, base, extras_of)]  # fmt: skip
    assert found == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import requests", "requests is imported, and no dependency"),
        ("def f():\n    from dask.array import zeros", "dask is imported, and no dependency"),
        ('need("timm", "text")', "timm is not in the extra text"),
        ('absent("umap")', "umap-learn is needed without the extra that brings it"),
    ],
)
def test_an_undeclared_import_is_seen(text, said):
    extras_of = {name: with_inner(name) for name in tool().extras()}
    assert list(breaches(text, {"numpy"}, extras_of)) == [said]


def test_every_dependency_is_imported():
    seen = {package for text in sources().values() for package, _ in imports(text)}
    weights = {p for p in asked(tool().extras()["vision"] + tool().extras()["slides"])
               if p.startswith("efficientnet-")}  # fmt: skip
    classes = {"scanpy", "harmonypy"}  # of corrections that name package and extra
    text = (SOURCE / "preprocess" / "batches.py").read_text(encoding="utf-8")
    for name in classes:
        assert re.search(rf'package: ClassVar\[str\] = "{name}"', text)
    declared = asked(tool().PROJECT["dependencies"])
    declared |= set().union(*map(with_inner, tool().extras()))
    assert declared - seen - weights - classes == set(UNSEEN)


def test_corrections_name_the_extra_that_brings_their_package():
    from smalti.preprocess import batches

    named = {(c.package, c.extra) for c in batches._AtHand.__subclasses__()}
    assert named == {("harmonypy", "harmony"), ("scanpy", "batch")}
    assert all(package in with_inner(extra) for package, extra in named)


def test_all_is_every_extra():
    wanted = [Requirement(r) for r in tool().PROJECT["optional-dependencies"]["all"]]
    assert {r.name for r in wanted} == {"smalti"}
    assert sorted(e for r in wanted for e in r.extras) == sorted(tool().extras())


def test_cells_bring_no_vision_and_vision_nothing_for_cells():
    seen = {"torchvision", "timm", "imagecodecs", "openslide-python"}
    cells = {"scanpy", "scvi-tools", "mofapy2", "igraph", "harmonypy", "umap-learn", "goatools",
             "mygene", "spatialdata"}  # fmt: skip
    for name in tool().extras():
        brought = set(tool().brought([f"smalti[{name}]"]))
        assert not (brought & seen and brought & cells), name


def rows():
    """Cells of the tables of docs/dependencies.md, by the first word of the head."""
    tables, head = {}, ""
    for line in tool().PAGE.read_text(encoding="utf-8").splitlines():
        cells = tool()._cells(line)
        if not cells:
            head = ""
        elif not head:
            head = cells[0]
        elif set(cells) != {"---"}:
            tables.setdefault(head, []).append(cells)
    return tables


def test_every_dependency_has_its_line():
    page = rows()
    assert [r[0] for r in page["package"]] == sorted(asked(tool().PROJECT["dependencies"]))
    named = {(extra, name) for extra, wanted in tool().extras().items() for name in asked(wanted)}
    assert {(r[0], r[1]) for r in page["extra"]} == named
    assert {r[0] for r in page["with"]} == {*tool().extras(), "all", "no extra"}
    assert {r[0] for r in page["for"]} == set(tool().DEVELOPERS)


def test_copyleft_is_named_and_comes_with_nothing_else():
    wanted = [*tool().PROJECT["dependencies"], "smalti[all]"]
    installed = {n: d for n, d in tool().brought(wanted).items() if d is not None}
    found = {name for name, package in installed.items() if tool().copyleft(package)}
    known = {"igraph", "harmonypy", "mofapy2", "openslide-python", "openslide-bin"}
    assert found - {"crc32c"} == known & set(installed)  # LGPL, of older versions of zarr
    bold = {r[1] for r in rows()["extra"] if r[3].startswith("**")}
    assert bold == known


class Meta(dict):
    def get_all(self, name):
        found = self.get(name)
        return [found] if isinstance(found, str) else found


@pytest.mark.parametrize(
    ("meta", "said", "copyleft"),
    [
        ({"License-Expression": "MIT"}, "MIT", False),
        ({"License-Expression": "MIT AND (BSD-3-Clause OR GPL-2.0-only)"},
         "MIT AND (BSD-3-Clause OR GPL-2.0-only)", False),
        ({"License-Expression": "MIT AND LGPL-2.1-only"}, "MIT AND LGPL-2.1-only", True),
        ({"License": "GPLv3"}, "GPLv3", True),
        ({"License": "UNKNOWN"}, None, False),
        ({"Classifier": ["License :: OSI Approved :: GNU General Public License (GPL)"]},
         "GNU General Public License (GPL)", True),
    ],
)  # fmt: skip
def test_licences_are_read_from_metadata(meta, said, copyleft):
    package = type("Package", (), {"metadata": Meta(meta)})()
    assert tool().licence(package) == said
    assert tool().copyleft(package) is copyleft


def test_the_lowest_versions_are_those_that_are_allowed():
    lines = (ROOT / "constraints-lowest.txt").read_text(encoding="utf-8").splitlines()
    pinned = {r.name: str(r.specifier).removeprefix("==")
              for r in map(Requirement, (x for x in lines if not x.startswith("#")))}  # fmt: skip
    allowed = {r.name: str(r.specifier).removeprefix(">=")
               for r in map(Requirement, tool().PROJECT["dependencies"])}  # fmt: skip
    assert pinned.pop("torch") in (ROOT / "constraints.txt").read_text(encoding="utf-8")
    del allowed["torch"]
    assert {n: canonicalize_version(v) for n, v in pinned.items()} == {
        n: canonicalize_version(v) for n, v in allowed.items()}  # fmt: skip


def test_what_no_extra_brings_is_asked_for_by_its_name(monkeypatch):
    monkeypatch.setattr(extras.importlib.util, "find_spec", lambda name: None)
    assert extras.absent("lpips") == "lpips is not installed: pip install lpips"
    assert extras.absent("umap", "integrate") == (
        'umap-learn is not installed: pip install "smalti[integrate]"')  # fmt: skip
