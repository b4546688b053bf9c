"""Rooms import downwards, and only the room that may knows what it knows."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import smalti

ROOT = Path(smalti.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
GROUND = {"segment", "bags", "views", "columns", "task", "batch", "errors", "_version"}
METHOD_ROOMS = {"mil", "integrate", "expression"}


def imports(path, *, top_only=False):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top_only else ast.walk(tree)
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{a.name}" for a in node.names} | {node.module}
    return found


def room(path):
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_rooms(path):
    here, names = room(path), imports(path)
    ours = {n.split(".")[1] for n in names if n and n.startswith("smalti.")}
    packages = {n.split(".")[0] for n in names if n}
    if here in GROUND:
        assert ours <= GROUND, f"the ground imports {ours - GROUND}"
    if here != "io":
        assert not packages & {"anndata", "mudata"}, "only io/ knows AnnData and MuData"
    if here not in ("training", "many"):
        assert "lightning_fabric" not in packages
        assert not any(n and n.startswith("torch.optim") for n in names)
    if here in METHOD_ROOMS and path.name != "__init__.py":
        rooms = {f"smalti.{r}" for r in METHOD_ROOMS}
        others = {n for n in names if n and ".".join(n.split(".")[:2]) in rooms}
        assert not others, f"a method imports {others}"
    assert not packages & {"pickle", "dill", "cloudpickle"}
    text = path.read_text(encoding="utf-8")
    assert "torch.load" not in text
    assert "allow_pickle=True" not in text


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_losses_live_in_task(path):
    names = ("cross_entropy", "mse_loss", "BCELoss", "CrossEntropyLoss", "MSELoss")
    if path.name != "task.py":
        assert not any(n in path.read_text(encoding="utf-8") for n in names)


def test_importing_smalti_loads_nothing_heavy():
    code = "import smalti, sys; print([m for m in ('torch','numpy','pandas','sklearn','anndata'," \
           "'matplotlib','lightning_fabric') if m in sys.modules])"  # fmt: skip
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_every_public_name_loads():
    for name in smalti.__all__:
        assert getattr(smalti, name) is not None
