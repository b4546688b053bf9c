"""Who takes part."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from smalti.errors import InputError


def new_label(label: str | None, method: Any, chosen: Mapping[str, Any]) -> str:
    """Name a method of a comparison: its own, with the settings that tell it from a namesake.

    Raises
    ------
    InputError
        If there is one of that name with the same settings.
    """
    label = label or method.name
    if label in chosen:  # the same method twice: say what differs
        changed = {k: v for k, v in method.get_params().items()
                   if v != chosen[label].get_params().get(k)}  # fmt: skip
        label = f"{label} {' '.join(f'{k}={v}' for k, v in changed.items())}".strip()
    if label in chosen:
        raise InputError(f"{label!r} is named twice with the same settings.")
    return label
