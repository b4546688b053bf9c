"""Features of tiles: without weights, of pretrained networks, or of a net trained on the tiles."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smalti.features.convnet import SelfSupervised
    from smalti.features.encoders import Encoder, make_encoder
    from smalti.features.extraction import extract
    from smalti.features.morphology import describe_tile
    from smalti.features.nuclei import NucleiMap
    from smalti.features.nuclei_given import nuclei_maps
    from smalti.features.pretrained import PRESETS, backbone

_NAMES = {
    "Encoder": "encoders", "NucleiMap": "nuclei", "PRESETS": "pretrained",
    "SelfSupervised": "convnet",
    "backbone": "pretrained", "describe_tile": "morphology", "extract": "extraction",
    "make_encoder": "encoders", "nuclei_maps": "nuclei_given",
}  # fmt: skip
__all__ = [
    "PRESETS",
    "Encoder",
    "NucleiMap",
    "SelfSupervised",
    "backbone",
    "describe_tile",
    "extract",
    "make_encoder",
    "nuclei_maps",
]


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module 'smalti.features' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"smalti.features.{_NAMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
