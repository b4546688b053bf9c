"""Bags from AnnData: an object in memory, or only the parts needed of an .h5ad or .zarr."""

from __future__ import annotations

import dataclasses
import difflib
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from smalti.bags import Bags
from smalti.errors import InputError

_FITTED = ("pca", "umap", "tsne", "scvi", "harmony", "scanvi", "mofa", "totalvi", "umint", "lsi")


def read(
    data: Any,
    *,
    sample: str,
    x: str | Sequence[str] = "X",
    label: str | Sequence[str] | None = None,
    donor: str | None = None,
    kind: str | None = None,
) -> Bags:
    """Read cells as instances and samples as bags.

    Parameters
    ----------
    data
        AnnData, or the path of an ``.h5ad`` or ``.zarr``, of which only the named parts are read.
    sample
        Column of ``obs`` with the bag of each cell.
    x
        Features: "X", "layers/NAME", or a key of ``obsm``; several make several views.
    label
        Column of ``obs`` to predict, constant in each sample; several columns: multi-label.
    donor
        Column of ``obs``; samples of one donor never part in a split. "bag": each its own donor.
    kind
        Kind of the target; inferred when left out.

    Returns
    -------
    Bags
        With all columns of ``obs`` as instance columns.

    Raises
    ------
    InputError
        For a file that is missing or damaged, or a key or column that is not there.

    Warns
    -----
    UserWarning
        Where ``x`` is an embedding that may have been fitted on the whole cohort, test samples
        included.
    """
    origin = {"sample": sample, "x": x, "label": label, "donor": donor, "kind": kind}
    table = _Table.open(data)
    obs = table.obs()
    labels = [] if label is None else [label] if isinstance(label, str) else list(label)
    needed = [sample, *labels, *([donor] if donor not in (None, "bag") else [])]
    for column in needed:
        if column not in obs:
            near = difflib.get_close_matches(str(column), list(map(str, obs.columns)), 3)
            hint = f" Did you mean {', '.join(near)}?" if near else ""
            raise InputError(
                f"no column {column!r} in obs of {table.name}; there are "
                f"{', '.join(map(str, obs.columns))}.{hint}"
            )
    views, features, notes = {}, {}, []
    for key in [x] if isinstance(x, str) else x:
        name = key.split("/", 1)[-1]
        views[name], columns = table.matrix(key)
        if columns is not None:
            features[name] = columns
        if any(word in name.lower() for word in _FITTED):
            notes.append(
                f"{name} is an embedding: where it was fitted on the whole cohort it has seen the "
                "test samples, and scores may be too good."
            )
            warnings.warn(notes[-1], UserWarning, stacklevel=2)
    bags = Bags.from_rows(
        views, obs[sample].astype(object).to_numpy(),
        target=label if label is None or isinstance(label, str) else tuple(labels),
        kind=kind, donor=donor, instance=obs, features=features, notes=notes,
    )  # fmt: skip
    return dataclasses.replace(bags, origin=origin)


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

    def _element(self, key: str) -> Any:
        """One element, read from disk; any damage becomes one error."""
        import zlib

        from anndata.io import read_elem

        try:
            if self.source.suffix == ".zarr":
                import zarr

                group: Any = zarr.open_group(str(self.source), mode="r")
                return read_elem(group[key]) if key in group else None
            import h5py

            with h5py.File(self.source, "r") as file:
                return read_elem(file[key]) if key in file else None
        except Exception as error:
            if isinstance(error, MemoryError):
                raise
            detail = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
            wrong = "zlib" if isinstance(error, zlib.error) else type(error).__name__
            raise InputError(
                f"{self.source} is damaged or not an AnnData file (element {key!r}: {wrong}: "
                f"{detail}): download or write it again."
            ) from error

    def obs(self) -> pd.DataFrame:
        table = self._element("obs") if self.on_disk else self.source.obs
        if table is None:
            raise InputError(f"{self.name} has no obs: it is not an AnnData file.")
        return table

    def _keys(self, where: str) -> list[str]:
        if not self.on_disk:
            return list(getattr(self.source, where))
        if self.source.suffix == ".zarr":
            import zarr

            group: Any = zarr.open_group(str(self.source), mode="r")
            return list(group[where]) if where in group else []
        import h5py

        with h5py.File(self.source, "r") as file:
            return list(file[where]) if where in file else []

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
        if values is None:
            raise InputError(f"{self.name} has no X: name an obsm key or a layer.")
        if isinstance(values, pd.DataFrame):
            return values.to_numpy(), tuple(map(str, values.columns))
        if where == "obsm":
            return values, None
        var = self._element("var") if self.on_disk else self.source.var
        return values, tuple(map(str, var.index))
