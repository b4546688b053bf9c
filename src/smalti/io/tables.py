"""The parts of an AnnData, in memory or on disk, each read when it is asked for."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from smalti.counts import count_problem
from smalti.errors import InputError

if TYPE_CHECKING:
    pass

_PROTEINS = ("prot", "adt", "antibod")


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
        """Ask the open file something; any damage becomes one error.

        Raises
        ------
        InputError
            If the file is damaged, or not what it should be.
        """
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
        """One row per cell.

        Raises
        ------
        InputError
            If there are none.
        """
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
        return self.ask(at, lambda group: list(group[at]) if at in group else [])

    def view_name(self, key: str) -> str:
        """What the view of a key is called: "layers/norm" is "norm"."""
        return key.split("/", 1)[-1]

    def defaults(self, sample: str | None) -> dict[str, str]:
        """What ``x=None`` means: X, and for loose cells their proteins too.

        Raises
        ------
        InputError
            If several tables could be the proteins.
        """
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
        """Rows of a key, and the names of its columns where it has any.

        Raises
        ------
        InputError
            If there is no such key, or it has no names of columns where it should.
        """
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
            source = self.source
            values = getattr(source, "X", None) if where == "X" else getattr(source, where)[name]
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


# ---------------------------------------------------------------- rows


def rows_at(values: Any, at: np.ndarray) -> Any:
    """Rows ``at`` (k,) of a view, (k, ...), zeros where it says -1.

    A sparse view becomes CSR and stays sparse.
    """
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
