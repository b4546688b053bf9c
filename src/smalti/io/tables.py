"""The parts of an AnnData, in memory or on disk, each read when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from smalti.counts import count_problem
from smalti.errors import InputError
from smalti.io.elements import read_element
from smalti.io.sparse import checked_sparse
from smalti.io.stored import members, opened, within
from smalti.io.symbols import feature_names
from smalti.names import meant
from smalti.preprocess import is_hashtag, kind_of
from smalti.system.reading import DAMAGE, too_large
from smalti.views import take

# feature types of 10x -> the modality that they are; others are set apart
TYPES = {"Gene Expression": "rna", "Antibody Capture": "protein", "Peaks": "atac"}


def no_column(name: str, column: str, there: Iterable[Any]) -> InputError:
    """The error of a column that is not there."""
    known = list(map(str, there))
    return InputError(
        f"no column {column!r} in obs of {name}; there are {', '.join(known)}."
        f"{meant(column, known, 3)}"
    )


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
        self.notes: list[str] = []  # what opening it had to say
        self.gone: tuple[np.ndarray, str] | None = None  # (n_cells,) cells not to read, and why

    def ask(self, key: str, question: Callable[[Any], Any]) -> Any:
        """Ask the open file something; any damage becomes one error.

        Raises
        ------
        InputError
            If the file is damaged, or not what it should be.
        """
        try:
            with opened(self.source) as root:
                return question(root)
        except MemoryError as error:
            raise too_large(self.source, repr(key)) from error
        except InputError:
            raise
        except DAMAGE as error:
            detail = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            raise InputError(
                f"{self.source} is damaged or not {self.kind} file (element {key!r}: "
                f"{type(error).__name__}: {detail}): download or write it again."
            ) from error

    def encoding(self) -> str:
        """What the file says that it is: "anndata", "MuData"."""
        return self.ask("attributes", lambda root: str(root.attrs.get("encoding-type")))

    def _element(self, key: str) -> Any:
        """One element, read from disk; None where there is none."""
        key = self.root + key
        return self.ask(key, lambda group: read_element(group, key, self.source))

    @cached_property
    def obs(self) -> pd.DataFrame:
        """One row per cell.

        Raises
        ------
        InputError
            If there are none.
        """
        table = self._element("obs") if self.on_disk else _in_memory(self.source.obs)
        if table is None:
            raise InputError(f"{self.name} has no obs: it is not {self.kind} file.")
        return table

    @property
    def names(self) -> pd.Index:
        """Names of the cells."""
        return self.obs.index

    @property
    def index(self) -> pd.Index:
        """Names of the cells as they are written, also where ``names`` are positions."""
        return self.names

    def find(self, column: str) -> None:
        """Raise InputError where ``obs`` has no such column."""
        if column not in self.obs:
            raise no_column(self.name, column, self.obs.columns)

    def has(self, column: str) -> bool:
        """Whether ``obs`` has such a column."""
        return column in self.obs

    def columns(
        self, keep: np.ndarray, needed: Sequence[str], more: Sequence[str] | None
    ) -> pd.DataFrame:
        """Columns of some cells, (k,) int64 positions: those needed and ``more``, or all."""
        obs = self.obs if more is None else self.obs[list(dict.fromkeys([*needed, *more]))]
        return obs if len(keep) == len(obs) else obs.iloc[keep]

    def keys(self, where: str) -> list[str]:
        """Names in ``obsm`` or ``layers``."""
        if not self.on_disk:
            return list(getattr(self.source, where, ()))  # a MuData in a MuData has no layers
        at = self.root + where
        return self.ask(at, lambda group: members(group, at, self.source))

    def note(self, *keys: str) -> Any:
        """What is in ``uns`` under a key, or under keys in one another; None: nothing is there."""
        if self.on_disk:
            return self._element("/".join(("uns", *keys)))
        found: Any = self.source.uns
        for key in keys:
            found = found.get(key) if isinstance(found, Mapping) else None
        return found

    def noted(self, *keys: str) -> list[str]:
        """Names in ``uns`` under a key, or under keys in one another; none where nothing is."""
        if not self.on_disk:
            found = self.note(*keys)
            return list(found) if isinstance(found, Mapping) else []
        at = self.root + "/".join(("uns", *keys))

        def names(group: Any) -> list[str]:
            found = within(group, at, self.source)
            return [] if found is None or hasattr(found, "shape") else list(found)

        return self.ask(at, names)

    def view_name(self, key: str) -> str:
        """What the view of a key is called: "layers/norm" is "norm"."""
        return key.split("/", 1)[-1]

    def defaults(self, sample: str | None) -> tuple[dict[str, str], list[str]]:
        """What ``x=None`` means: X, or its types; for loose cells proteins too; and notes.

        Raises
        ------
        InputError
            If several tables could be the proteins.
        """
        types = self.types("X")
        if sample is not None and len(types) < 2:
            return {"X": "X"}, []
        if len(types) == 1 and next(iter(types)) in TYPES:
            view = TYPES[next(iter(types))]
            if view != "rna":
                return {view: "X"}, []
        keys = {view: f"X/{t}" for t, view in TYPES.items() if t in types}
        apart = [f"{t} ({n:,} features)" for t, n in types.items() if t not in TYPES]
        notes = [
            f"{', '.join(apart)} of {self.name} are left out, for they are no measurement of a "
            "cell's state: to read them name them in x=."
        ] if apart and keys else []  # fmt: skip
        if len(keys) > 1 or sample is not None:
            return keys or {"X": "X"}, notes
        rna = next(iter(keys.values())) if keys and apart else "X"
        found = self._proteins()
        if len(found) > 1:
            raise InputError(
                f"{self.name} has several tables of proteins ({', '.join(found)}): name one, "
                f"x={{'rna': 'X', 'protein': {f'obsm/{found[0]}'!r}}}."
            )
        if found:
            return {"rna": rna, found[0]: f"obsm/{found[0]}"}, notes
        return {"X": "X"} if rna == "X" else {"rna": rna}, notes

    def _proteins(self) -> list[str]:
        """Keys of ``obsm`` that may hold the proteins."""
        found = [k for k in self.keys("obsm")
                 if kind_of(k) == "protein" and not k.startswith("X_")]  # fmt: skip
        # "umint_protein" was made from "protein"
        found = [k for k in found if not any(k.endswith(f"_{other}") for other in found)]
        if len(found) > 1:
            found = [k for k in found if self._counts(k)] or found
        return found

    def types(self, key: str) -> dict[str, int]:
        """Feature types of X or a layer ("Gene Expression") -> how many; empty: not said."""
        where, _, kind = self._parts(key)
        types = None if where == "obsm" or kind else self._feature_types()
        return {} if types is None else {str(k): int(n) for k, n in types.value_counts().items()}

    def _feature_types(self) -> pd.Series | None:
        var = self.var
        column = next((c for c in ("feature_types", "feature_type") if c in var), None)
        if column is None:
            return None
        types = var[column].astype(str).reset_index(drop=True)
        tags = pd.Series([is_hashtag(name) for name in self.feature_names], dtype=bool)
        return types.mask((types == "Antibody Capture") & tags, "Hashtags")

    @cached_property
    def var(self) -> pd.DataFrame:
        """One row per feature.

        Raises
        ------
        InputError
            If there are none.
        """
        var = self._element("var") if self.on_disk else self.source.var
        if var is None:
            raise InputError(f"{self.name} has no var: write it again.")
        return var

    @cached_property
    def _called(self) -> tuple[tuple[str, ...], list[str]]:
        return feature_names(self.var, self.name)

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the columns of X: symbols of genes where there are such beside ids."""
        return self._called[0]

    def called(self, key: str) -> list[str]:
        """Notes of what the columns of a key are called by, where it is not the index of var."""
        return [] if self._parts(key)[0] == "obsm" else self._called[1]

    def ids(self, key: str) -> dict[str, str]:
        """Of the columns of a key those that have an id beside their name: id -> name."""
        if self._parts(key)[0] == "obsm":
            return {}
        index = map(str, self.var.index)
        if not self._called[1]:  # called by the index, beside which scanpy and 10x have ids
            index = map(str, self.var["gene_ids"]) if "gene_ids" in self.var else index
        return {i: n for i, n in zip(index, self.feature_names, strict=True) if i != n}

    def holds(self, key: str) -> bool:
        """Whether there is such a key."""
        where, name, kind = self._parts(key)
        there = where == "X" or name in self.keys(where)
        return there and (not kind or kind in self.types("X"))

    def _parts(self, key: str) -> tuple[str, str, str]:
        """Where a key is ("X", "layers", "obsm"), its name there, and its feature type or ""."""
        where, _, name = key.partition("/") if "/" in key else ("", "", key)
        if key == "X":
            return "X", "", ""
        if where == "X":
            return "X", "", name
        if where == "layers" and name not in self.keys("layers"):
            layer, _, kind = name.rpartition("/")
            if layer in self.keys("layers"):
                return "layers", layer, kind
        return where or "obsm", name, ""

    def columns_of(self, key: str) -> np.ndarray:
        """(n,) positions of the columns of X, or of a layer, that a key names.

        Raises
        ------
        InputError
            If no feature has its type.
        """
        kind, types = self._parts(key)[2], self._feature_types()
        if not kind:
            return np.arange(len(self.var))
        at = np.flatnonzero(types == kind) if types is not None else np.arange(0)
        if not len(at):
            there = ", ".join(self.types("X")) or "none"
            raise InputError(
                f"no features {key!r} in {self.name}: no feature is of the type {kind!r} (in var: "
                f"{there})."
            )
        return at

    def _counts(self, key: str) -> bool:
        values = self.matrix(f"obsm/{key}")[0]
        return count_problem(values if sp.issparse(values) else np.nan_to_num(values)) is None

    def place(self, key: str) -> np.ndarray:
        """(n_cells,) row of each cell in a view: all views of AnnData have all cells."""
        return np.arange(len(self.obs))

    def matrix(self, key: str) -> tuple[Any, tuple[str, ...] | None]:
        """Rows of a key, and the names of its columns where it has any.

        Raises
        ------
        InputError
            If there is no such key, or it has no names of columns where it should.
        """
        where, name, kind = self._parts(key)
        if where not in ("X", "obsm", "layers") or (where != "X" and name not in self.keys(where)):
            raise InputError(
                f"no features {key!r} in {self.name}; there are {', '.join(self.there())}."
                f"{meant(key.removeprefix('obsm/'), self.there())}"
            )
        values = self._values(where, name)
        if values is None:
            raise InputError(f"{self.name} has no X: name an obsm key or a layer.")
        if isinstance(values, pd.DataFrame):
            return values.to_numpy(), tuple(map(str, values.columns))
        if where == "obsm":
            return values, None
        names = self.feature_names
        if not kind:
            return values, names
        at = self.columns_of(key)
        values = sp.csr_matrix(values) if sp.issparse(values) else values
        part = values[:, at] if hasattr(values, "__getitem__") else values.of_columns(at)
        return part, tuple(names[i] for i in at)

    def _values(self, where: str, name: str) -> Any:
        """What is in X, or under a name in ``layers`` or ``obsm``; None: nothing."""
        if self.on_disk:
            return self._element("X" if where == "X" else f"{where}/{name}")
        source = self.source
        values = getattr(source, "X", None) if where == "X" else getattr(source, where)[name]
        values = _in_memory(values)
        if sp.issparse(values):
            values = checked_sparse(values, f"{where} of {self.name}")
        return values

    def there(self) -> list[str]:
        """Keys that ``x`` may name."""
        types = self.types("X")
        parts = [f"X/{kind}" for kind in types] if len(types) > 1 else []
        return ["X", *parts, *self.keys("obsm"), *(f"layers/{k}" for k in self.keys("layers"))]


def _in_memory(values: Any) -> Any:
    """Rows of a backed or a lazy (Dask) AnnData, read now."""
    for name in ("to_memory", "compute"):
        if hasattr(values, name):
            return getattr(values, name)()
    return values


# ---------------------------------------------------------------- rows


def rows_at(values: Any, at: np.ndarray) -> Any:
    """Rows ``at`` (k,) of a view, (k, ...), zeros where it says -1.

    A sparse view becomes CSR and stays sparse; one that is on disk stays there.
    """
    if not hasattr(values, "__getitem__"):
        return take(values, at)
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


def all_nan(values: Any) -> np.ndarray | None:
    """(n,) bool: rows of a dense view that are NaN throughout; None where there are none."""
    if not isinstance(values, np.ndarray) or values.dtype.kind != "f" or values.ndim != 2:
        return None
    if not values.shape[1]:
        return None
    gone = np.isnan(values[:, 0])  # most rows are told by their first value
    gone[gone] = np.isnan(values[gone]).all(1)
    return gone if gone.any() else None


def plain_anndata(rows: Any, prefix: str = "") -> Any:
    """AnnData of an (n, d) table as another package takes it: names are positions."""
    from anndata import AnnData

    data = AnnData(rows)
    data.obs_names = [str(i) for i in range(rows.shape[0])]
    data.var_names = [f"{prefix}{j}" for j in range(rows.shape[1])]
    return data
