"""Write what type checkers read of the rooms whose classes are found, not listed.

A method is found by its class when it is asked for, which no type checker can follow. So its
import is written down, in the ``__init__.pyi`` of its room: by this script, never by hand.

    python tools/stubs.py
"""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path

from smalti.core.registry import ROOMS

HEAD = "# Made by `make stubs` from the files of this folder; do not edit.\n"


def stub(room: str) -> str:
    """The text of ``__init__.pyi``: every public class of the room, from the file it is in."""
    package = importlib.import_module(f"smalti.{room}")
    folder = Path(str(package.__file__)).parent
    by_module: dict[str, list[str]] = {}
    for name in dir(package):
        cls = getattr(package, name)
        if Path(inspect.getfile(cls)).is_relative_to(folder):  # not what a user dropped in
            module = cls.__module__.removeprefix(f"smalti.{room}")
            by_module.setdefault(module, []).append(name)
    imports = [f"from {m} import {', '.join(_ordered(names))}" for m, names in by_module.items()]
    names = _ordered([n for found in by_module.values() for n in found])
    listed = [f'    "{name}",' for name in names]
    return HEAD + "\n".join(["", *sorted(imports), "", "__all__ = [", *listed, "]", ""])


def path(room: str) -> Path:
    """Where the stub of a room is."""
    return Path(str(importlib.import_module(f"smalti.{room}").__file__)).with_suffix(".pyi")


def _ordered(names: list[str]) -> list[str]:
    """As ruff sorts names: those in capitals first."""
    return sorted(names, key=lambda name: (not name.isupper(), name))


def main() -> None:
    """Write the stub of every room of methods, where it has changed."""
    for room in ROOMS:
        text, file = stub(room), path(room)
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")
            print(f"wrote {file}")


if __name__ == "__main__":
    main()
