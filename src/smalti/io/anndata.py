"""Bags from AnnData and MuData: in memory, or only the parts needed of a file."""

from __future__ import annotations

import dataclasses
import difflib
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from smalti.bags import Bags
from smalti.errors import InputError
from smalti.preprocess import cells_per_bag_note, count_problem

if TYPE_CHECKING:
    from smalti.io.mudata import MuTable

_FITTED = ("pca", "umap", "tsne", "scvi", "harmony", "scanvi", "mofa", "totalvi", "umint", "lsi")
_PROTEINS = ("prot", "adt", "antibod")


def read(
    data: Any,
    *,
    sample: str | None = None,
    x: str | Sequence[str] | Mapping[str, str] | None = None,
    label: str | Sequence[str] | None = None,
    donor: str | None = None,
    kind: str | None = None,
    cell_type: str | None = None,
    columns: Sequence[str] | None = None,
    bag_columns: Sequence[str] = (),
    cells: str | None = None,
) -> Bags:
    """Read cells as instances and samples as bags.

    Parameters
    ----------
    data
        AnnData or MuData; or the path of an ``.h5ad``, ``.h5mu`` or ``.zarr``, of which only the
        named parts are read.
    sample
        Column of ``obs`` with the bag of each cell. When left out every cell is a bag of its own,
        named as in ``obs_names``; so integration reads them.
    x
        Features. Of AnnData: "X", "layers/NAME", or a key of ``obsm`` ("X_pca" or "obsm/X_pca").
        Of MuData: a modality ("rna": its X), "rna/layers/NAME", "rna/obsm/NAME", or a key of the
        global ``obsm``. Several make several views. A mapping gives the views names of your own.
        When left out: the X of every modality; of AnnData "X", and where ``sample`` is left out
        too and ``obsm`` holds proteins (a key with "prot", "adt" or "antibod") the two views
        "rna" and that key.
    label
        Column of ``obs`` to predict, constant in each sample; several columns: multi-label.
    donor
        Column of ``obs``; samples of one donor never part in a split. "bag": each its own donor.
    kind
        Kind of the target; inferred when left out.
    cell_type
        Column of ``obs`` with the type of each cell (or its cluster, or region), where it has
        another name than "cell_type", the column that methods look for.
    columns
        Columns of ``obs`` to keep for the instances, besides those named above; all when left out.
    bag_columns
        More columns of ``obs`` that are constant in each sample (age, batch), for the bag table.
    cells
        Which cells to keep where the views have different ones: "intersection", those that were
        measured in all; "union", those in any, with rows of zeros and :attr:`Bags.present` where
        a view lacks them. When left out, modalities with different cells are an error.

    Returns
    -------
    Bags
        With the columns of ``obs`` as instance columns. ``Bags.rows`` are positions in ``obs``, of
        MuData in the global one.

    Raises
    ------
    InputError
        For a file that is missing or damaged, a key or column that is not there, cells without
        sample, samples without label, a sample with two values of a bag's column, or modalities
        with different cells.

    Warns
    -----
    UserWarning
        Where ``x`` is an embedding that may have been fitted on the whole cohort, test samples
        included; where samples have fewer than 10 cells; where rows of a view are NaN throughout
        and so count as not measured; where cells are in none of the views and so left out.

    Notes
    -----
    Columns of MuData are looked for in the global ``obs``, then in those of the modalities:
    "rna:cell_type", or "cell_type" where only one modality has it.
    """
    origin = {"sample": sample, "x": x, "label": label, "donor": donor, "kind": kind,
              "cell_type": cell_type, "bag_columns": list(bag_columns), "cells": cells}  # fmt: skip
    if cells not in (None, "intersection", "union"):
        raise InputError(f"cells={cells!r} is neither 'intersection' nor 'union'.")
    table = open_table(data)
    labels = [] if label is None else [label] if isinstance(label, str) else list(label)
    of_sample = [] if sample is None else [sample]
    of_donor = [] if donor in (None, "bag") else [str(donor)]
    of_type = [] if cell_type is None else [cell_type]
    needed = [*of_sample, *labels, *of_donor, *of_type, *bag_columns]
    for column in [*needed, *(columns or ())]:
        table.find(column)
    keys = table.defaults(sample) if x is None else _keys(x, table.view_name)
    keep, views, features, present, gaps = _views(table, keys, cells)
    wanted = None if columns is None else list(dict.fromkeys([*needed, *columns]))
    obs = table.columns(keep, wanted)
    if cell_type is not None:
        obs = obs.assign(cell_type=obs[cell_type])
    ids = _bag_ids(table, obs, sample)
    _check_labels(table, obs, ids, labels)
    notes = [
        f"{name} is an embedding: where it was fitted on the whole cohort it has seen the "
        "test samples, and scores may be too good."
        for name in views
        if any(word in name.lower() for word in _FITTED)
    ]
    bags = Bags.from_rows(
        views, ids, target=tuple(dict.fromkeys([*labels, *bag_columns])), kind=kind, donor=donor,
        instance=obs, features=features, present=present,
    )  # fmt: skip
    target = label if label is None or isinstance(label, str) else tuple(labels)
    tiny = None if sample is None else cells_per_bag_note(bags)
    notes += [*gaps, *([tiny] if tiny else [])]
    for note in notes:
        warnings.warn(note, UserWarning, stacklevel=2)
    return dataclasses.replace(
        bags, target=target, origin=origin, notes=tuple(notes), rows=keep[bags.rows]
    )


def _bag_ids(table: Table | MuTable, obs: pd.DataFrame, sample: str | None) -> np.ndarray:
    """The bag of each cell; every cell must have one."""
    if sample is None:
        twice = obs.index.duplicated()
        if twice.any():
            raise InputError(
                f"{int(twice.sum()):,} cells of {table.name} have a name that another has (first: "
                f"{obs.index[twice][0]!r}): call obs_names_make_unique(), or name the column that "
                "holds the samples, sample=..."
            )
        return obs.index.astype(object).to_numpy()
    absent = obs[sample].isna()
    if absent.any():
        raise InputError(
            f"{int(absent.sum())} cells of {table.name} have no {sample!r} (first: "
            f"{obs.index[absent][0]!r}): drop these cells or fill the column in."
        )
    return obs[sample].astype(object).to_numpy()


def _check_labels(
    table: Table | MuTable, obs: pd.DataFrame, ids: np.ndarray, labels: Sequence[str]
) -> None:
    for label in labels:
        absent = obs[label].isna().to_numpy()
        if absent.any():
            names = pd.Series(ids).astype(str)
            who = names[absent].unique()
            raise InputError(
                f"label {label!r} is missing for {len(who)} of {names.nunique()} bags of "
                f"{table.name} (first: {who[0]!r}): drop their cells or fill the column in; to "
                "read bags without target leave label out."
            )


def _keys(
    x: str | Sequence[str] | Mapping[str, str], view_name: Callable[[str], str]
) -> dict[str, str]:
    """View name -> key."""
    if isinstance(x, Mapping):
        return dict(x)
    keys: dict[str, str] = {}
    for key in [x] if isinstance(x, str) else x:
        name = view_name(key)
        if name in keys:
            raise InputError(
                f"{keys[name]!r} and {key!r} would both be the view {name!r}: name them, "
                f"x={{'one': {keys[name]!r}, 'two': {key!r}}}."
            )
        keys[name] = key
    return keys


# ---------------------------------------------------------------- which cells, and their rows


def _views(
    table: Table | MuTable, keys: Mapping[str, str], cells: str | None
) -> tuple[
    np.ndarray, dict[str, Any], dict[str, tuple[str, ...]], dict[str, np.ndarray], list[str]
]:
    """Positions of the cells kept; of each view rows, feature names, mask; and notes."""
    place = {name: table.place(key) for name, key in keys.items()}
    keep, notes = _kept(table, keys, place, cells)
    views: dict[str, Any] = {}
    features: dict[str, tuple[str, ...]] = {}
    present: dict[str, np.ndarray] = {}
    for name, key in keys.items():
        values, columns = table.matrix(key)
        if columns is not None:
            features[name] = columns
        rows = int(place[name].max()) + 1
        if values.shape[0] != rows:
            raise InputError(
                f"{table.name} has {rows:,} cells but {values.shape[0]:,} rows of {key!r}: "
                "write it again."
            )
        at = place[name][keep]
        values, present[name] = _rows(values, at), at >= 0
        gone = _all_nan(values)
        if gone is not None:
            values = np.where(gone[:, None], values.dtype.type(0), values)
            present[name] &= ~gone
            if cells != "intersection":
                notes.append(
                    f"{int(gone.sum()):,} of {len(gone):,} rows of {name!r} are NaN throughout: "
                    "these cells count as not measured in it."
                )
        views[name] = values
    if cells == "intersection":
        both = np.logical_and.reduce(list(present.values()))
        if not both.any():
            raise InputError(
                f"no cell of {table.name} is measured in all of {', '.join(map(repr, keys))}: do "
                "their obs names agree?"
            )
        if not both.all():
            keep, views = keep[both], {k: v[both] for k, v in views.items()}
        present = {}
    return keep, views, features, {k: v for k, v in present.items() if not v.all()}, notes


def _kept(
    table: Table | MuTable,
    keys: Mapping[str, str],
    place: Mapping[str, np.ndarray],
    cells: str | None,
) -> tuple[np.ndarray, list[str]]:
    """Positions of the cells to read, before their values are looked at; and notes."""
    there = np.stack([at >= 0 for at in place.values()])
    some, every = there.any(0), there.all(0)
    odd = np.flatnonzero(some & ~every)
    n = int(some.sum())
    if len(odd) and cells is None:
        lacking = list(keys.values())[int(np.flatnonzero(~there[:, odd[0]])[0])]
        raise InputError(
            f"{len(odd):,} of {n:,} cells are not in every modality (first: "
            f"{table.names[odd[0]]!r} is not in {lacking.split('/')[0]!r}): say "
            f"cells='intersection' to keep the {n - len(odd):,} that all have, or cells='union' to "
            "keep all, which umint, ae, mofa and block_pca can embed."
        )
    notes = []
    if not some.any():
        raise InputError(f"{table.name} has no cells in {', '.join(map(repr, keys))}.")
    if not some.all():
        notes.append(
            f"{int((~some).sum()):,} of {len(some):,} cells are in none of "
            f"{', '.join(map(repr, keys))}: they are left out."
        )
    keep = every if cells == "intersection" and every.any() else some
    return np.flatnonzero(keep), notes


def _rows(values: Any, at: np.ndarray) -> Any:
    """Rows ``at`` of a view, zeros where it says -1; a sparse one becomes CSR and stays sparse."""
    if sp.issparse(values):
        values = sp.csr_matrix(values)
    if len(at) == values.shape[0] and (at == np.arange(len(at))).all():
        return values
    there = at >= 0
    some = values[at[there]]
    if there.all():
        return some
    if sp.issparse(some):
        lengths = np.zeros(len(at), dtype=some.indptr.dtype)
        lengths[there] = np.diff(some.indptr)
        indptr = np.concatenate([[0], lengths.cumsum()])
        return sp.csr_matrix((some.data, some.indices, indptr), shape=(len(at), values.shape[1]))
    out = np.zeros((len(at), *values.shape[1:]), dtype=values.dtype)
    out[there] = some
    return out


def _all_nan(values: Any) -> np.ndarray | None:
    """(n,) bool: rows of a dense view that are NaN throughout; None where there are none."""
    if not isinstance(values, np.ndarray) or values.dtype.kind != "f" or values.ndim != 2:
        return None
    if not values.shape[1]:
        return None
    gone = np.isnan(values[:, 0])  # most rows are told by their first value
    gone[gone] = np.isnan(values[gone]).all(1)
    return gone if gone.any() else None


# ---------------------------------------------------------------- tables


def open_table(data: Any) -> Table | MuTable:
    """The parts of an AnnData or MuData, in memory or on disk."""
    from smalti.io.mudata import MuTable

    if not isinstance(data, (str, Path)):
        if hasattr(data, "mod"):
            return MuTable(Table("the MuData", data))
        if not hasattr(data, "obsm"):
            raise InputError(f"expected AnnData, MuData or a path, got {type(data).__name__}.")
        return Table("the AnnData", data)
    path = Path(data)
    if holds_mudata(path):
        return MuTable(Table(str(path), path, kind="a MuData"))
    return Table(str(path), path)


def holds_mudata(path: Path) -> bool:
    """Whether a file is MuData rather than AnnData; one that is missing or neither is an error."""
    if not path.exists():
        raise InputError(f"no file {path}.")
    if path.suffix not in (".h5ad", ".h5mu", ".zarr"):
        raise InputError(f"{path} is neither .h5ad nor .zarr nor .h5mu.")
    if path.suffix != ".zarr":
        return path.suffix == ".h5mu"
    kind = Table(str(path), path).ask("attributes", lambda g: g.attrs.get("encoding-type"))
    return kind == "MuData"


def no_column(name: str, column: str, there: Iterable[Any]) -> InputError:
    """The error of a column that is not there."""
    known = list(map(str, there))
    near = difflib.get_close_matches(str(column), known, 3)
    hint = f" Did you mean {', '.join(near)}?" if near else ""
    return InputError(f"no column {column!r} in obs of {name}; there are {', '.join(known)}.{hint}")


class Table:
    """The parts of an AnnData, wherever it is.

    Parameters
    ----------
    name
        What errors call it.
    source
        AnnData, or a path.
    root
        Where in the file it is: "mod/rna/" of a MuData.
    kind
        What the file is, for errors.
    """

    def __init__(self, name: str, source: Any, root: str = "", kind: str = "an AnnData") -> None:
        self.name, self.source, self.root, self.kind = name, source, root, kind
        self.on_disk = isinstance(source, Path)

    def ask(self, key: str, question: Callable[[Any], Any]) -> Any:
        """Ask the open file something; any damage becomes one error."""
        try:
            if self.source.suffix == ".zarr":
                import zarr

                return question(zarr.open_group(str(self.source), mode="r"))
            import h5py

            with h5py.File(self.source, "r") as file:
                return question(file)
        # a damaged file makes h5py, zarr and anndata raise nearly every kind of error
        except Exception as error:
            if isinstance(error, (MemoryError, ImportError)):
                raise
            detail = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            raise InputError(
                f"{self.source} is damaged or not {self.kind} file (element {key!r}: "
                f"{type(error).__name__}: {detail}): download or write it again."
            ) from error

    def _element(self, key: str) -> Any:
        """One element, read from disk; None where there is none."""
        from anndata.io import read_elem

        key = self.root + key

        def question(group: Any) -> Any:
            value: Any = read_elem(group[key]) if key in group else None
            if sp.issparse(value) and value.format in ("csr", "csc"):
                value.check_format(full_check=True)  # a wild index would end the process later
            return value

        return self.ask(key, question)

    @cached_property
    def obs(self) -> pd.DataFrame:
        """One row per cell."""
        table = self._element("obs") if self.on_disk else self.source.obs
        if table is None:
            raise InputError(f"{self.name} has no obs: it is not {self.kind} file.")
        return table

    @property
    def names(self) -> pd.Index:
        """Names of the cells."""
        return self.obs.index

    def find(self, column: str) -> None:
        """Raise InputError where ``obs`` has no such column."""
        if column not in self.obs:
            raise no_column(self.name, column, self.obs.columns)

    def columns(self, keep: np.ndarray, wanted: Sequence[str] | None) -> pd.DataFrame:
        """Columns of some cells; all columns when none are named."""
        obs = self.obs if wanted is None else self.obs[list(wanted)]
        return obs if len(keep) == len(obs) else obs.iloc[keep]

    def keys(self, where: str) -> list[str]:
        """Names in ``obsm`` or ``layers``."""
        if not self.on_disk:
            return list(getattr(self.source, where))
        at = self.root + where
        return self.ask(at, lambda group: list(group[at]) if at in group else [])

    def view_name(self, key: str) -> str:
        """What the view of a key is called: "layers/norm" is "norm"."""
        return key.split("/", 1)[-1]

    def defaults(self, sample: str | None) -> dict[str, str]:
        """What ``x=None`` means: X, and for loose cells their proteins too."""
        if sample is not None:
            return {"X": "X"}
        found = [k for k in self.keys("obsm")
                 if any(w in k.lower() for w in _PROTEINS) and not k.startswith("X_")]  # fmt: skip
        # "umint_protein" was made from "protein"
        found = [k for k in found if not any(k.endswith(f"_{other}") for other in found)]
        if len(found) > 1:
            found = [k for k in found if self._counts(k)] or found
        if len(found) > 1:
            raise InputError(
                f"{self.name} has several tables of proteins ({', '.join(found)}): name one, "
                f"x={{'rna': 'X', 'protein': {f'obsm/{found[0]}'!r}}}."
            )
        return {"rna": "X", found[0]: f"obsm/{found[0]}"} if found else {"X": "X"}

    def _counts(self, key: str) -> bool:
        values = self.matrix(f"obsm/{key}")[0]
        return count_problem(values if sp.issparse(values) else np.nan_to_num(values)) is None

    def place(self, key: str) -> np.ndarray:
        """(n_cells,) row of each cell in a view: all views of AnnData have all cells."""
        return np.arange(len(self.obs))

    def matrix(self, key: str) -> tuple[Any, tuple[str, ...] | None]:
        """Rows of a key, and the names of its columns where it has any."""
        where, _, name = key.partition("/") if "/" in key else ("", "", key)
        if key == "X":
            where = "X"
        elif not where:
            where = "obsm"
        if where not in ("X", "obsm", "layers") or (where != "X" and name not in self.keys(where)):
            raise InputError(
                f"no features {key!r} in {self.name}; there are {', '.join(self.there())}."
            )
        if self.on_disk:
            values = self._element("X" if where == "X" else f"{where}/{name}")
        else:
            values = self.source.X if where == "X" else getattr(self.source, where)[name]
            values = _in_memory(values)
        if values is None:
            raise InputError(f"{self.name} has no X: name an obsm key or a layer.")
        if isinstance(values, pd.DataFrame):
            return values.to_numpy(), tuple(map(str, values.columns))
        if where == "obsm":
            return values, None
        var = self._element("var") if self.on_disk else self.source.var
        if var is None:
            raise InputError(f"{self.name} has no var: write it again.")
        return values, tuple(map(str, var.index))

    def there(self) -> list[str]:
        """Keys that ``x`` may name."""
        return ["X", *self.keys("obsm"), *(f"layers/{k}" for k in self.keys("layers"))]


def _in_memory(values: Any) -> Any:
    """Rows of a backed or a lazy (Dask) AnnData, read now."""
    for name in ("to_memory", "compute"):
        if hasattr(values, name):
            return getattr(values, name)()
    return values
