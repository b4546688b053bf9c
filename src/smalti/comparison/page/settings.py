"""Section: the settings of each method."""

from __future__ import annotations

from typing import Any

from smalti.report.section import Facts, Section


def settings(table: Any) -> Section:
    """Settings of each method, those that are None left out."""
    said = {
        method: ", ".join(f"{k}={_plain(v)}" for k, v in values.items() if v is not None)
        for method, values in table.settings.items()
    }
    return Section("settings", "Settings", (Facts(said, code=True),))


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
