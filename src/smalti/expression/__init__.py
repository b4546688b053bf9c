"""Tiles to genes: one file per method; a class in a file of this folder is a method.

Nothing is listed here. ``smalti.expression.Ridge`` looks through the files of the folder.
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    if name.startswith("_"):
        raise AttributeError(name)
    from smalti.registry import find

    return find("expression", name)


def __dir__() -> list[str]:
    from smalti.registry import methods

    return sorted(cls.__name__ for cls in methods("expression").values())
