"""Write the licences and sizes of docs/dependencies.md, as what is installed here says them.

    python tools/dependencies.py

Reasons are written by hand. What is not installed keeps what was written. Sizes are those of files
as installed, without compiled caches.
"""

from __future__ import annotations

import importlib.metadata
import re
import tomllib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "dependencies.md"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DEVELOPERS = ("test", "mutants", "check", "docs", "release")  # extras of who works on smalti
_COPYLEFT = re.compile(r"\b(A|L)?GPL|General Public")


def extras() -> dict[str, list[str]]:
    """Requirements of each extra that a user may want, but those of ``all``."""
    return {name: wanted for name, wanted in PROJECT["optional-dependencies"].items()
            if name not in (*DEVELOPERS, "all")}  # fmt: skip


@cache
def found(name: str) -> importlib.metadata.Distribution | None:
    """The installed distribution, None where there is none."""
    try:
        return importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def brought(requirements: Iterable[str]) -> dict[str, importlib.metadata.Distribution | None]:
    """All that comes with these, by name; of smalti's own extras, as pyproject.toml has them."""
    seen: dict[str, importlib.metadata.Distribution | None] = {}
    done: set[tuple[str, str]] = set()
    todo = [Requirement(r) for r in requirements]
    while todo:
        asked = todo.pop()
        name = canonicalize_name(asked.name)
        for extra in ("", *asked.extras):
            if (name, extra) in done:
                continue
            done.add((name, extra))
            if name == "smalti":
                todo += map(Requirement, PROJECT["optional-dependencies"].get(extra, ()))
                continue
            seen[name] = found(name)
            todo += [r for r in _requires(seen[name])
                     if r.marker is None or r.marker.evaluate({"extra": extra})]  # fmt: skip
    return seen


def _requires(package: importlib.metadata.Distribution | None) -> list[Requirement]:
    return [Requirement(r) for r in (package.requires or [] if package else [])]


def licence(package: importlib.metadata.Distribution) -> str | None:
    """As its metadata say: the expression, else classifiers, else the first line; None if none."""
    said = {key: (package.metadata.get_all(key) or [""]) for key in
            ("License-Expression", "Classifier", "License")}  # fmt: skip
    classes = [str(c).rpartition(" :: ")[2] for c in said["Classifier"]
               if c.startswith("License :: OSI Approved :: ")]  # fmt: skip
    line = said["License"][0].strip().partition("\n")[0]
    return said["License-Expression"][0] or "; ".join(classes) or (
        line if line not in ("", "UNKNOWN") else None)  # fmt: skip


def copyleft(package: importlib.metadata.Distribution) -> bool:
    """Whether its metadata name a GPL that no other licence stands in for."""
    said = licence(package) or ""
    whole = [part for part in re.split(r" AND ", said) if " OR " not in part]
    # several classifiers are several licences to choose from (docutils)
    return bool(_COPYLEFT.search(" ".join(whole))) and not re.search(r"BSD License;", said)


def megabytes(packages: Iterable[importlib.metadata.Distribution | None]) -> float:
    """MiB of their files."""
    sizes = (Path(str(file.locate())).stat().st_size
             for package in packages if package for file in package.files or ()
             if Path(str(file.locate())).is_file() and file.suffix != ".pyc")  # fmt: skip
    return sum(sizes) / 2**20


def _size(packages: dict[str, importlib.metadata.Distribution | None]) -> str:
    if None in packages.values():
        return ""  # not installed: what was written stays
    if not packages:
        return "0"
    size = megabytes(packages.values())
    return f"{size:,.0f}" if size >= 1 else "< 1"


def _base_row(cells: list[str]) -> list[str]:
    """Package, reason, licence, MiB of its own, MiB that would not be there without it."""
    all_of, name = PROJECT["dependencies"], canonicalize_name(cells[0])
    others = [r for r in all_of if canonicalize_name(Requirement(r).name) != name]
    kept = brought(others)
    own = {n: d for n, d in brought(all_of).items() if n not in kept}
    alone = _size({name: found(name)})
    return [*cells[:2], _licence(name, cells[2]), alone or cells[3], _size(own) or cells[4]]


def _extra_row(cells: list[str]) -> list[str]:
    """Extra, package, reason, licence."""
    return [*cells[:3], _licence(cells[1], cells[3])]


def _sum_row(cells: list[str]) -> list[str]:
    """Extra, packages, MiB on top of the base; of the base itself, all of it."""
    base = brought(PROJECT["dependencies"])
    more = base if cells[0] == "no extra" else {
        n: d for n, d in brought([f"smalti[{cells[0]}]"]).items() if n not in base}  # fmt: skip
    return [cells[0], str(len(more)) if None not in more.values() else cells[1],
            _size(more) or cells[2]]  # fmt: skip


def _licence(name: str, written: str) -> str:
    package = found(canonicalize_name(name))
    said = licence(package) if package else None
    if said is None:
        return written
    return f"**{said}**" if package and copyleft(package) else said


_TABLES = {"package": _base_row, "extra": _extra_row, "with": _sum_row}


def _cells(line: str) -> list[str]:
    """Of a line of a table, "---" for each where it is ruled; none of another line."""
    return [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []


def written(page: str) -> str:
    """The page with licences and sizes of what is installed here."""
    lines, head = [], ""
    for line in page.splitlines():
        cells = _cells(line)
        if not cells:
            head = ""
        elif not head:
            head = cells[0]
        elif head in _TABLES and set(cells) != {"---"}:
            line = f"| {' | '.join(_TABLES[head](cells))} |"
        lines.append(line)
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text()))
