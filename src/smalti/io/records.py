"""What a file says of how an array came to be: by smalti, or by tools that keep their settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from smalti.io.open import AnyTable
from smalti.io.tables import Table


def fitted_on(table: AnyTable, keys: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """View -> ``method`` of smalti that wrote it, and digests of the ``donors`` that it knows.

    Parameters
    ----------
    table
        Where the views are.
    keys
        View -> its key, "obsm/X_umint" or "X_umint".
    """
    found: dict[str, Any] = {}
    top = table if isinstance(table, Table) else table.top
    for name in top.noted():
        if "fitted_on" not in top.noted(name):
            continue
        told = {k: top.note(name, "fitted_on", k) for k in ("method", "keys", "donors")}
        there = [str(k) for k in _listed(told["keys"])]
        note = {"method": str(told["method"]), "donors": [str(d) for d in _listed(told["donors"])]}
        found |= {view: note for view, key in keys.items()
                  if {key, f"obsm/{key}", f"layers/{key}"} & set(there)}  # fmt: skip
    return found


def recorded(table: AnyTable, keys: Mapping[str, str]) -> dict[str, str]:
    """View -> the entry of ``uns`` by which scanpy's tools say that it is an embedding.

    They keep the settings of a step under the name of what it made, and of neighbours the key that
    they were taken of, ``use_rep``.
    """
    top = table if isinstance(table, Table) else table.top
    wanted = {key.removeprefix("obsm/"): view for view, key in keys.items()
              if "/" not in key.removeprefix("obsm/") and key != "X"}  # fmt: skip
    found = {}
    for name in top.noted() if wanted else ():
        if "params" not in top.noted(name):
            continue
        used = top.note(name, "params", "use_rep") if "use_rep" in top.noted(name, "params") else ""
        for key in {name, str(used)} & set(wanted):
            found[wanted[key]] = name
    return found


def _listed(values: Any) -> list[Any]:
    """Texts of a note, which a file gives back as an array; of one, perhaps as itself."""
    return [] if values is None else [values] if isinstance(values, str) else list(values)
