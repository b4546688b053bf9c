"""Fill in the sizes of docs/install.md: what each extra adds to the base, in this environment.

    python tools/install_sizes.py

The size is that of the files of a package and of all that it needs, on disk, without bytecode. A
row stays empty where a package of the extra is not installed here.
"""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "install.md"


def needs(requirements: list[str]) -> set[str]:
    """Names of these packages and of all that they bring, with their extras."""
    found: set[tuple[str, str]] = set()  # a package, and an extra of it or ""
    todo = [Requirement(text) for text in requirements]
    while todo:
        wanted = todo.pop()
        name = canonicalize_name(wanted.name)
        if wanted.marker and not wanted.marker.evaluate({"extra": ""}):
            continue
        for extra in {"", *wanted.extras} - {e for n, e in found if n == name}:
            found.add((name, extra))
            for text in distribution(name).requires or []:
                inner = Requirement(text)
                if inner.marker is None or inner.marker.evaluate({"extra": extra}):
                    inner.marker = None
                    todo.append(inner)
    return {name for name, _ in found}


def megabytes(names: set[str]) -> float:
    """Of all files of these packages."""
    files = (Path(str(f.locate())) for n in names for f in distribution(n).files or [])
    return sum(file.stat().st_size for file in files if file.exists()) / 1e6


def extra(name: str, extras: dict[str, list[str]]) -> list[str]:
    """What an extra asks for, with the extras of ours that it names."""
    found: list[str] = []
    for text in extras[name]:
        own = re.fullmatch(r"smalti\[(.*)\]", text)
        found += [r for e in own[1].split(",") for r in extra(e, extras)] if own else [text]
    return found


def main() -> None:
    """Write the last column of the table."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    base, extras = needs(project["dependencies"]), project["optional-dependencies"]

    def cell(name: str) -> str:
        if name == "(base)":
            return f"{megabytes(base):,.0f}, of which torch {megabytes({'torch'}):,.0f}"
        try:
            return f"{megabytes(needs(extra(name, extras)) - base):,.0f}"
        except PackageNotFoundError:
            return ""

    rows = re.compile(r"^\| `?([\w()]+)`? \| (.+?) \|[^|\n]*\|$", re.M)
    text = PAGE.read_text("utf-8")
    head, table = text.split("|---|---|---|\n", 1)
    table, rest = table.split("\n\n", 1)
    table = rows.sub(lambda m: f"{m[0].rsplit('|', 2)[0]}| {cell(m[1])} |", table)
    PAGE.write_text(f"{head}|---|---|---|\n{table}\n\n{rest}", "utf-8")


if __name__ == "__main__":
    main()
