"""Whether an attribution means something, where in a tile it lies, what an augmentation spoils."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

# at once, not when asked for: their modules bear the same names, and would take their places
from smalti.explain.gene_cam import gene_cam, gene_cam_faithfulness
from smalti.explain.grad_cam import cam_faithfulness, grad_cam

if TYPE_CHECKING:
    from smalti.explain.augmentation import Screening, screen_augmentations
    from smalti.explain.groups import key_groups

_NAMES = {
    "Screening": "augmentation",
    "key_groups": "groups",
    "screen_augmentations": "augmentation",
}

__all__ = [
    "Screening", "cam_faithfulness", "gene_cam", "gene_cam_faithfulness", "grad_cam", "key_groups",
    "screen_augmentations",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module 'smalti.explain' has no attribute {name!r}")
    return getattr(importlib.import_module(f"smalti.explain.{_NAMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
