"""Bags from AnnData: an object in memory, or only the parts needed of an .h5ad or .zarr."""

from __future__ import annotations

import dataclasses
import difflib
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import scipy.sparse as sp

from smalti.bags import Bags
from smalti.errors import InputError
from smalti.preprocess import cells_per_bag_note

_FITTED = ("pca", "umap", "tsne", "scvi", "harmony", "scanvi", "mofa", "totalvi", "umint", "lsi")


def read(
    data: Any,
    *,
    sample: str,
    x: str | Sequence[str] | Mapping[str, str] = "X",
    label: str | Sequence[str] | None = None,
    donor: str | None = None,
    kind: str | None = None,
    cell_type: str | None = None,
    columns: Sequence[str] | None = None,
    bag_columns: Sequence[str] = (),
) -> Bags:
    """Read cells as instances and samples as bags.

    Parameters
    ----------
    data
        AnnData, or the path of an ``.h5ad`` or ``.zarr``, of which only the named parts are read.
    sample
        Column of ``obs`` with the bag of each cell.
    x
        Features: "X", "layers/NAME", or a key of ``obsm`` ("X_pca" or "obsm/X_pca"); several make
        several views. A mapping gives the views names of your own.
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

    Returns
    -------
    Bags
        With the columns of ``obs`` as instance columns.

    Raises
    ------
    InputError
        For a file that is missing or damaged, a key or column that is not there, cells without
        sample, samples without label, or a sample with two values of a bag's column.

    Warns
    -----
    UserWarning
        Where ``x`` is an embedding that may have been fitted on the whole cohort, test samples
        included; where samples have fewer than 10 cells.
    """
    origin = {"sample": sample, "x": x, "label": label, "donor": donor, "kind": kind,
              "cell_type": cell_type, "bag_columns": list(bag_columns)}  # fmt: skip
    table = _Table.open(data)
    labels = [] if label is None else [label] if isinstance(label, str) else list(label)
    of_donor = [] if donor in (None, "bag") else [str(donor)]
    of_type = [] if cell_type is None else [cell_type]
    obs = _obs(table, sample, [*labels, *of_donor, *of_type, *bag_columns], columns)
    if cell_type is not None:
        obs = obs.assign(cell_type=obs[cell_type])
    _check_labels(table, obs, sample, labels)
    views, features = _views(table, x)
    notes = [
        f"{name} is an embedding: where it was fitted on the whole cohort it has seen the "
        "test samples, and scores may be too good."
        for name in views
        if any(word in name.lower() for word in _FITTED)
    ]
    bags = Bags.from_rows(
        views, obs[sample].astype(object).to_numpy(),
        target=tuple(dict.fromkeys([*labels, *bag_columns])),
        kind=kind, donor=donor, instance=obs, features=features, notes=notes,
    )  # fmt: skip
    target = label if label is None or isinstance(label, str) else tuple(labels)
    tiny = cells_per_bag_note(bags)
    notes += [tiny] if tiny else []
    for note in notes:
        warnings.warn(note, UserWarning, stacklevel=2)
    return dataclasses.replace(bags, target=target, origin=origin, notes=tuple(notes))


def _obs(
    table: _Table, sample: str, needed: Sequence[str], columns: Sequence[str] | None
) -> pd.DataFrame:
    """The columns asked for, all of which must be there; every cell must have a sample."""
    obs = table.obs()
    for column in [sample, *needed, *(columns or ())]:
        if column not in obs:
            near = difflib.get_close_matches(str(column), list(map(str, obs.columns)), 3)
            hint = f" Did you mean {', '.join(near)}?" if near else ""
            raise InputError(
                f"no column {column!r} in obs of {table.name}; there are "
                f"{', '.join(map(str, obs.columns))}.{hint}"
            )
    absent = obs[sample].isna()
    if absent.any():
        raise InputError(
            f"{int(absent.sum())} cells of {table.name} have no {sample!r} (first: "
            f"{obs.index[absent][0]!r}): drop these cells or fill the column in."
        )
    return obs if columns is None else obs[list(dict.fromkeys([sample, *needed, *columns]))]


def _check_labels(table: _Table, obs: pd.DataFrame, sample: str, labels: Sequence[str]) -> None:
    for label in labels:
        absent = obs[label].isna()
        if absent.any():
            ids = obs[sample].astype(str)
            who = ids[absent].unique()
            raise InputError(
                f"label {label!r} is missing for {len(who)} of {ids.nunique()} bags of "
                f"{table.name} (first: {who[0]!r}): drop their cells or fill the column in; to "
                "read bags without target leave label out."
            )


def _views(
    table: _Table, x: str | Sequence[str] | Mapping[str, str]
) -> tuple[dict[str, Any], dict[str, tuple[str, ...]]]:
    """Rows and feature names of each view."""
    if isinstance(x, Mapping):
        keys = dict(x)
    else:
        keys = {}
        for key in [x] if isinstance(x, str) else x:
            name = key.split("/", 1)[-1]
            if name in keys:
                raise InputError(
                    f"{keys[name]!r} and {key!r} would both be the view {name!r}: name them, "
                    f"x={{'one': {keys[name]!r}, 'two': {key!r}}}."
                )
            keys[name] = key
    views, features = {}, {}
    for name, key in keys.items():
        views[name], columns = table.matrix(key)
        if columns is not None:
            features[name] = columns
    return views, features


class _Table:
    """The parts of an AnnData, wherever it is."""

    def __init__(self, name: str, source: Any, *, on_disk: bool) -> None:
        self.name, self.source, self.on_disk = name, source, on_disk

    @classmethod
    def open(cls, data: Any) -> _Table:
        if not isinstance(data, (str, Path)):
            if not hasattr(data, "obsm"):
                raise InputError(f"expected AnnData or a path, got {type(data).__name__}.")
            return cls("the AnnData", data, on_disk=False)
        path = Path(data)
        if not path.exists():
            raise InputError(f"no file {path}.")
        if path.suffix not in (".h5ad", ".zarr"):
            raise InputError(f"{path} is neither .h5ad nor .zarr.")
        return cls(str(path), path, on_disk=True)

    def _ask(self, key: str, question: Callable[[Any], Any]) -> Any:
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
                f"{self.source} is damaged or not an AnnData file (element {key!r}: "
                f"{type(error).__name__}: {detail}): download or write it again."
            ) from error

    def _element(self, key: str) -> Any:
        """One element, read from disk; None where there is none."""
        from anndata.io import read_elem

        def question(group: Any) -> Any:
            value: Any = read_elem(group[key]) if key in group else None
            if sp.issparse(value) and value.format in ("csr", "csc"):
                value.check_format(full_check=True)  # a wild index would end the process later
            return value

        return self._ask(key, question)

    def obs(self) -> pd.DataFrame:
        table = self._element("obs") if self.on_disk else self.source.obs
        if table is None:
            raise InputError(f"{self.name} has no obs: it is not an AnnData file.")
        return table

    def _keys(self, where: str) -> list[str]:
        if not self.on_disk:
            return list(getattr(self.source, where))
        return self._ask(where, lambda group: list(group[where]) if where in group else [])

    def matrix(self, key: str) -> tuple[Any, tuple[str, ...] | None]:
        """Rows of a key, and the names of its columns where it has any."""
        where, _, name = key.partition("/") if "/" in key else ("", "", key)
        if key == "X":
            where = "X"
        elif not where:
            where = "obsm"
        if where not in ("X", "obsm", "layers") or (where != "X" and name not in self._keys(where)):
            there = ["X", *self._keys("obsm"), *(f"layers/{k}" for k in self._keys("layers"))]
            raise InputError(f"no features {key!r} in {self.name}; there are {', '.join(there)}.")
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
        return values, tuple(map(str, var.index))


def _in_memory(values: Any) -> Any:
    """Rows of a backed or a lazy (Dask) AnnData, read now."""
    for name in ("to_memory", "compute"):
        if hasattr(values, name):
            return getattr(values, name)()
    return values
