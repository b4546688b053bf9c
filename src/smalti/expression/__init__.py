"""Tiles to genes: one file per method; a class in a file of this folder is a method.

No method is listed here: ``smalti.expression.Ridge`` looks through the files of the folder.
The list in ``__init__.pyi`` is for type checkers only, and made by ``make stubs``.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

# public names that are no method themselves: name -> its module
_SHARED = {
    "ExpressionMethod": "base",
    "NetworkExpression": "network",
    "NetworkZeroShot": "zero_shot_network",
    "ZeroShotMethod": "zero_shot",
    "predictable": "before_fit",
}


def __getattr__(name: str) -> Any:
    if name in _SHARED:
        return getattr(import_module(f"{__name__}.{_SHARED[name]}"), name)
    if not name[:1].isupper():  # a module of this folder, or nothing: methods are classes
        raise AttributeError(f"module 'smalti.expression' has no attribute {name!r}")
    from smalti.core.registry import find

    return find("expression", name)


def __dir__() -> list[str]:
    from smalti.core.registry import own

    return sorted([*_SHARED, *(cls.__name__ for cls in own("expression").values())])
