"""Several runs as one table: on the features that all have, cells named by run and barcode."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anndata
import pandas as pd
import scipy.sparse as sp

from smalti.errors import InputError
from smalti.io.modalities import as_mudata
from smalti.names import some

RUN = "run"  # the column of cells that says of which run they are


def stack(tables: Sequence[Any], names: Sequence[str]) -> tuple[Any, list[str]]:
    """One AnnData or MuData of several, and notes.

    Parameters
    ----------
    tables
        AnnData or MuData of each run, on features that are known by ``var["gene_ids"]`` where
        all have it, else by their names.
    names
        What the runs are called.

    Raises
    ------
    InputError
        If names are not one for each, some are MuData and others not, or no feature is in all.
    """
    twice = [n for n in names if list(names).count(n) > 1]
    if twice:
        raise InputError(f"several runs are called {twice[0]!r}: name them, runs=...")
    many = [hasattr(table, "mod") for table in tables]
    if not any(many):
        return _one([_named(t, n) for t, n in zip(tables, names, strict=True)], names, "")
    if not all(many):
        odd = names[many.index(False)]
        raise InputError(f"some runs have named modalities, and {odd!r} has none: name those of "
                         "each run, {'rna': FILE, 'atac': FILE}.")  # fmt: skip
    notes: list[str] = []
    parts = {}
    for key in dict.fromkeys(k for table in tables for k in table.mod):
        own = [(table.mod[key], n) for table, n in zip(tables, names, strict=True)
               if key in table.mod]  # fmt: skip
        if len(own) < len(tables):
            lack = [n for t, n in zip(tables, names, strict=True) if key not in t.mod]
            notes.append(f"{key!r} is not in {', '.join(lack)}: their cells lack it.")
        runs = [_named(table, n) for table, n in own]
        parts[key], more = _one(runs, [n for _, n in own], f" of {key!r}")
        notes += more
    whole = as_mudata(parts)
    obs = pd.concat([t.obs.set_axis([f"{n}_{b}" for b in t.obs_names]).assign(**{RUN: n})
                     for t, n in zip(tables, names, strict=True)])  # fmt: skip
    whole.obs = obs.reindex(whole.obs_names)
    for part in whole.mod.values():
        part.obs = part.obs.drop(columns=RUN)
    return whole, notes


def _named(table: Any, name: str) -> Any:
    """A run whose cells have its name before their barcodes."""
    own = table.copy()
    if not own.obs_names.is_unique:
        twice = own.obs_names[own.obs_names.duplicated()]
        raise InputError(f"run {name!r} names {len(twice):,} barcodes twice (first: {twice[0]!r}).")
    if RUN in own.obs:
        raise InputError(f"run {name!r} has a column {RUN!r} already: rename it.")
    own.obs_names = [f"{name}_{barcode}" for barcode in own.obs_names]
    own.obs[RUN] = name
    return own


def by_id(tables: Sequence[Any]) -> bool:
    """Whether features of several AnnData are known by their ids, and not by their names."""
    return all("gene_ids" in t.var and t.var["gene_ids"].is_unique for t in tables)


def _one(tables: list[Any], names: Sequence[str], where: str) -> tuple[Any, list[str]]:
    """AnnData of several, on the features of all; and notes with the numbers."""
    if len(tables) == 1:
        return tables[0], []
    called = tables[0].var_names
    known = by_id(tables)
    if known:
        called = pd.Series(called, index=tables[0].var["gene_ids"].astype(str))
        for table in tables:
            table.var_names = table.var["gene_ids"].astype(str)
    for table, name in zip(tables, names, strict=True):
        if not table.var_names.is_unique:
            twice = table.var_names[table.var_names.duplicated()]
            raise InputError(f"run {name!r} has several features named {twice[0]!r}{where}: call "
                             "var_names_make_unique().")  # fmt: skip
    notes = _features(tables, names, where)
    if len({sp.issparse(table.X) for table in tables}) > 1:
        for table in tables:
            table.X = sp.csr_matrix(table.X)
    # columns and layers that some runs lack: of cells they are kept, of tables left out
    whole = anndata.concat(tables, join="inner", merge="same")
    whole.obs = pd.concat([table.obs for table in tables])
    lost = {f"{w}[{k!r}]" for w in ("layers", "obsm") for t in tables for k in getattr(t, w)
            if k not in getattr(whole, w)}  # fmt: skip
    if lost:
        notes.append(f"{some(sorted(lost))} are not in all runs{where}, or of different widths, "
                     "and are left out.")  # fmt: skip
    if known:
        whole.var_names = called.loc[whole.var_names].to_numpy()
    return whole, notes


def _features(tables: list[Any], names: Sequence[str], where: str) -> list[str]:
    """A note on features that not all runs have, type by type.

    Raises
    ------
    InputError
        If no feature, or none of a type, is in all.
    """
    notes = []
    sets: dict[str, list[pd.Index]] = {}
    kinds = ["feature_types" in table.var for table in tables]
    for table in tables:
        types = table.var["feature_types"].astype(str) if all(kinds) else pd.Series(
            "", index=table.var_names)  # fmt: skip
        for kind, own in types.groupby(types.to_numpy()):
            sets.setdefault(str(kind), []).append(own.index)
    for kind, own in sets.items():
        what = f"features{where}" + (f" of the type {kind}" if kind else "")
        common = own[0]
        for other in own[1:]:
            common = common.intersection(other)
        if not len(common) or len(own) < len(tables):
            mend = "are they of one genome and one panel? Name them alike"
            if kind == "Peaks" or "atac" in where:
                mend = "count one list of peaks in all runs (cellranger-arc aggr)"
            raise InputError(f"no {what} are in all runs ({', '.join(names)}; such as "
                             f"{own[0][0]!r} and {own[-1][0]!r}): {mend}.")  # fmt: skip
        union = len(pd.Index([]).append(own).unique()) if len(own) > 1 else len(own[0])
        if union > len(common):
            notes.append(f"{len(common):,} {what} are in all runs, {union:,} in any: "
                         f"{union - len(common):,} are left out.")  # fmt: skip
    return notes
