"""Modalities of the same cells, each an AnnData, as one MuData; and one of several types."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import pandas as pd

from smalti.errors import InputError
from smalti.io.cell_tables import alike
from smalti.io.tables import TYPES, Table
from smalti.io.whole import as_it_is
from smalti.preprocess import kind_of


def only(table: Any, key: str, notes: list[str]) -> Any:
    """The one modality of a table that a key names.

    Where the table has several, or several types of features, that which the key tells. ``notes``
    get a line where others are left.

    Raises
    ------
    InputError
        If the key tells none of several.
    """
    if hasattr(table, "mod"):
        if key in table.mod:
            return table.mod[key]
        raise InputError(f"{key}= names a MuData, which has the modalities "
                         f"{', '.join(table.mod)}: call it one of these.")  # fmt: skip
    reader = Table(f"{key}=", table)
    types = reader.types("X")
    if len(types) < 2:
        return table
    wanted = next((t for t in types if TYPES.get(t) == (kind_of(key) or key)), None)
    if wanted is None:
        raise InputError(
            f"{key}= names a file with features of several types ({', '.join(types)}), and the "
            f"name {key!r} tells none of them: call it rna, protein or atac."
        )
    others = ", ".join(f"{t} ({n:,})" for t, n in types.items() if t != wanted)
    notes.append(f"of the file of {key!r} only {wanted} is read, not {others}.")
    return table[:, reader.columns_of(f"X/{wanted}")].copy()


def join_modalities(parts: Mapping[str, Any]) -> tuple[Any, list[str]]:
    """MuData of modalities whose cells are known by their barcodes; and notes.

    Raises
    ------
    InputError
        If one names a barcode twice, or two have none in common.
    """
    names, notes = list(parts), []
    first = parts[names[0]]
    for key, part in parts.items():
        if not part.obs_names.is_unique:
            twice = part.obs_names[part.obs_names.duplicated()]
            raise InputError(f"{key!r} names {len(twice):,} barcodes twice (first: {twice[0]!r}).")
        own, more = alike(part.obs_names, first.obs_names, repr(key), repr(names[0]))
        if more:
            part.obs_names = own
            notes += more
        shared = int(part.obs_names.isin(first.obs_names).sum())
        if not shared:
            raise InputError(
                f"{names[0]!r} and {key!r} have no barcode in common: there are "
                f"{first.obs_names[0]!r} and {part.obs_names[0]!r}. Are they of the same run?"
            )
        if shared < max(len(part), len(first)):
            notes.append(f"{names[0]!r} has {len(first):,} cells and {key!r} {len(part):,}: "
                         f"{shared:,} barcodes are in both.")  # fmt: skip
    return as_mudata(dict(parts)), notes


def as_mudata(parts: dict[str, Any]) -> Any:
    """MuData of its modalities, with no columns of theirs copied."""
    import mudata

    with as_it_is(True), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of var names that two modalities share
        return mudata.MuData(parts)


def split_types(table: Any) -> Any:
    """MuData of an AnnData's types of features: rna, protein, atac, and others by their names.

    Columns of the cells are global then. An AnnData of one type, or MuData, stays as it is.
    """
    if hasattr(table, "mod"):
        return table
    reader = Table("the data", table)
    types = reader.types("X")
    if len(types) < 2:
        return table
    parts = {
        TYPES.get(kind, kind): table[:, reader.columns_of(f"X/{kind}")].copy() for kind in types
    }
    for part in parts.values():
        part.obs = pd.DataFrame(index=table.obs_names)
        part.obsm.clear()
        part.uns.clear()
    whole = as_mudata(parts)
    whole.obs = table.obs.copy()
    for name in table.obsm:
        whole.obsm[name] = table.obsm[name]
    whole.uns.update(table.uns)
    return whole
