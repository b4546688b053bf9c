"""Section: what each method has otherwise than by default, and all of its settings below."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from smalti.core.registry import make
from smalti.errors import InputError
from smalti.report.section import Facts, Folded, Section, Table

_RUN = {"method", "progress", "n_jobs", "seed", "device"}  # how a fit is run, not what is fitted


def settings(table: Any) -> Section:
    """Settings of each method."""
    rows = []
    for label, own in table.settings.items():
        other = changed(own)
        said = "not known here" if other is None else _listed(other) or "defaults"
        rows.append({"row": label, "method": own.get("method", ""), "other": said})
    whole = {label: _listed({k: v for k, v in own.items() if v is not None})
             for label, own in table.settings.items()}  # fmt: skip
    return Section("settings", "Settings", (
        Table("settings", pd.DataFrame(rows), "No data of this comparison chose the defaults.",
              heads={"row": "in the table", "other": "other than its defaults"}),
        Folded("All settings", (Facts(whole, code=True),)),
    ))  # fmt: skip


def changed(settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """Settings of one method that are not its defaults.

    None where its package is not installed here, as where a page is written of an old table.
    """
    try:
        usual = make(str(settings["method"])).get_params(deep=False)
    except (InputError, KeyError):
        return None
    usual["preprocess"] = usual["preprocess"] or ""  # a table has steps as text
    return {k: v for k, v in settings.items() if k not in _RUN and v != usual.get(k)}


def _listed(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{k}={_plain(v)}" for k, v in settings.items())


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
