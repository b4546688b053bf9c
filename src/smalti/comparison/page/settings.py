"""Section: what each method has otherwise than by default, and all of its settings below."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from smalti.core.registry import make
from smalti.errors import InputError
from smalti.report.section import Facts, Folded, Section, Table

_RUN = {"method", "progress", "n_jobs", "seed", "device"}  # how a fit is run, not what is fitted
_MOST = 8  # values of one setting that are written out


def settings(table: Any) -> Section:
    """Settings of each method."""
    rows = []
    for label, own in table.settings.items():
        other = changed(own)
        if label in table.baselines and not {*own} - {"method"} <= {*(_usual(own) or ())}:
            other = {}  # a baseline of this kind of comparison alone, which nobody can set
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
    usual = _usual(settings)
    if usual is None:
        return None
    return {k: v for k, v in settings.items() if k not in _RUN and v != usual.get(k)}


def _usual(settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """The defaults of the method of that name; None where there is none."""
    try:
        usual = make(str(settings["method"])).get_params(deep=False)
    except (InputError, KeyError):
        return None
    return usual | {"preprocess": usual["preprocess"] or ""}  # a table has steps as text


def _listed(settings: Mapping[str, Any]) -> str:
    return ", ".join(f"{k}={_plain(v)}" for k, v in settings.items())


def _plain(value: Any) -> str:
    if isinstance(value, (list, tuple)) and len(value) > _MOST:
        ends = (_plain(value[0]), _plain(value[1]), "…", _plain(value[-1]))
        return f"({', '.join(ends)}; {len(value)} in all)"
    return f"{value:g}" if isinstance(value, float) else str(value)
