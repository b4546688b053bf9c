"""Names of methods and their settings as their files write them, without importing any.

A shell waits for what it completes, and an import of methods takes seconds. What other packages
bring is not among them.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOMS = {"mil": "bags", "integrate": "modalities", "expression": "tiles"}
"""Folder of methods -> what they are for."""
_ROOT = Path(__file__).parents[1]
_TOOLS = re.compile(r"\s*#?\s*(noqa|fmt|type):.*$")  # what tools read of a comment
_NAME = re.compile(r'^    name: ClassVar\[str\] = "(\w+)"', re.MULTILINE)


class Setting(NamedTuple):
    """A setting of a method: its default and its meaning as the file has them."""

    name: str
    default: str
    meaning: str


@cache
def names(room: str) -> dict[str, Path]:
    """Name of each method of a room -> its file."""
    found: dict[str, Path] = {}
    for file in sorted((_ROOT / room).rglob("*.py")):
        text = file.read_text(encoding="utf-8")
        if "reference: ClassVar[str]" in text:  # a step has a name too, and none
            found |= dict.fromkeys(_NAME.findall(text), file)
    return dict(sorted(found.items()))


def settings(method: str) -> dict[str, Setting]:
    """The settings of a method by name, its own first; empty where no file names it."""
    name = method.partition(":")[0]
    file = next((there[name] for there in map(names, ROOMS) if name in there), None)
    if file is None:
        return {}
    for node in _tree(file).body:
        if isinstance(node, ast.ClassDef) and f'name: ClassVar[str] = "{name}"' in _text(
            file, node
        ):
            return _of(file, node)
    return {}


def _of(file: Path, node: ast.ClassDef) -> dict[str, Setting]:
    lines = file.read_text(encoding="utf-8").splitlines()
    found: dict[str, Setting] = {}
    for part in node.body:
        if not isinstance(part, ast.AnnAssign) or not isinstance(part.target, ast.Name):
            continue
        if "ClassVar" in ast.unparse(part.annotation) or part.target.id.startswith("_"):
            continue
        default = "" if part.value is None else ast.unparse(part.value)
        after = lines[(part.end_lineno or part.lineno) - 1][part.end_col_offset or 0 :]
        meaning = after.strip().removeprefix("#").strip() if "#" in after else ""
        found[part.target.id] = Setting(part.target.id, default, _TOOLS.sub("", meaning))
    for base in node.bases:
        there = _class(file, ast.unparse(base))
        if there is not None:
            for name, known in _of(*there).items():
                own = found.setdefault(name, known)
                if not own.meaning:  # another default, said of where it is first written
                    found[name] = own._replace(meaning=known.meaning)
    return found


def _class(file: Path, name: str) -> tuple[Path, ast.ClassDef] | None:
    """Where a class is written that a file names: in it, or in one of smalti's that it imports."""
    for node in _tree(file).body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return file, node
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("smalti."):
            if all((alias.asname or alias.name) != name for alias in node.names):
                continue
            path = _ROOT.joinpath(*str(node.module).split(".")[1:])
            other = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
            return _class(other, name) if other.exists() and other != file else None
    return None


@cache
def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def _text(file: Path, node: ast.ClassDef) -> str:
    lines = file.read_text(encoding="utf-8").splitlines()
    return "\n".join(lines[node.lineno - 1 : node.end_lineno])
