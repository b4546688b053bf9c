"""Whether an attribution means something."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smalti.explain.groups import key_groups

_NAMES = {"key_groups": "groups"}
__all__ = ["key_groups"]


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module 'smalti.explain' has no attribute {name!r}")
    return getattr(importlib.import_module(f"smalti.explain.{_NAMES[name]}"), name)
