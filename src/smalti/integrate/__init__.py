"""Modalities to an embedding: one file per method; a class in a file of this folder is a method.

No method is listed here: ``smalti.integrate.UMINT`` looks through the files of the folder.
The list in ``__init__.pyi`` is for type checkers only, and made by ``make stubs``.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

# public classes that are no method themselves: class -> its module
_SHARED = {
    "Annotator": "annotator",
    "Embed": "embed",
    "Integration": "base",
    "NetworkIntegration": "network",
}


def __getattr__(name: str) -> Any:
    if name in _SHARED:
        return getattr(import_module(f"{__name__}.{_SHARED[name]}"), name)
    if not name[:1].isupper():  # a module of this folder, or nothing: methods are classes
        raise AttributeError(f"module 'smalti.integrate' has no attribute {name!r}")
    from smalti.core.registry import find

    return find("integrate", name)


def __dir__() -> list[str]:
    from smalti.core.registry import own

    return sorted([*_SHARED, *(cls.__name__ for cls in own("integrate").values())])
