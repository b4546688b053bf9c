"""The parts of a MuData: modalities that may hold different cells, and what is global to them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from smalti.errors import InputError
from smalti.io.stored import members
from smalti.io.tables import Table, no_column
from smalti.names import meant
from smalti.preprocess import kind_of


class MuTable:
    """The parts of a MuData, wherever it is; as :class:`smalti.io.tables.Table` has them.

    Parameters
    ----------
    top
        Its root: global ``obs`` and ``obsm``.

    Raises
    ------
    InputError
        If there is no modality.
    """

    def __init__(self, top: Table) -> None:
        self.top, self.name = top, top.name
        self.notes, self.gone = top.notes, top.gone
        if top.on_disk:
            found = top.ask("mod", lambda file: _modalities(file, top.source))
            inside = {k: (top.source, f"mod/{k}/") for k in found}
        else:
            inside = {k: (part, "") for k, part in top.source.mod.items()}
        if not inside:
            raise InputError(f"{self.name} has no modalities: it is not MuData.")
        self.parts = {
            k: type(top)(f"modality {k!r} of {top.name}", source, root, top.kind)
            for k, (source, root) in inside.items()
        }

    @property
    def names(self) -> pd.Index:
        """Names of the cells of all modalities."""
        return self.top.names

    @property
    def index(self) -> pd.Index:
        """The same."""
        return self.top.names

    # ---------------------------------------------------------------- features

    def view_name(self, key: str) -> str:
        """What the view of a key is called: as the user wrote it."""
        return key

    def defaults(self, sample: str | None) -> tuple[dict[str, str], list[str]]:
        """What ``x=None`` means: X of every modality but tags of samples; and notes."""
        tags = [k for k in self.parts if kind_of(k) == "tags"]
        if not tags or len(tags) == len(self.parts):
            return {k: k for k in self.parts}, []
        note = (
            f"{', '.join(map(repr, tags))} of {self.name} is left out: by its name it holds tags "
            "of samples or guides, no measurement of a cell's state. To read it name it in x=."
        )
        return {k: k for k in self.parts if k not in tags}, [note]

    def types(self, key: str) -> dict[str, int]:
        """Feature types of X or a layer of a modality -> how many; empty: not said."""
        modality, inner = self._split(key)
        return {} if modality is None else self.parts[modality].types(inner)

    def called(self, key: str) -> list[str]:
        """Notes of what the columns of a key are called by, where it is not the index of var."""
        modality, inner = self._split(key)
        return [] if modality is None else self.parts[modality].called(inner)

    def ids(self, key: str) -> dict[str, str]:
        """Of the columns of a key those that have an id beside their name: id -> name."""
        modality, inner = self._split(key)
        return {} if modality is None else self.parts[modality].ids(inner)

    def holds(self, key: str) -> bool:
        """Whether there is such a key."""
        first, _, rest = key.partition("/")
        if first in self.parts:
            return self.parts[first].holds(rest or "X")
        return (rest if first == "obsm" else key) in self._global()

    def _split(self, key: str) -> tuple[str | None, str]:
        """Modality and key in it; no modality for a key of the global ``obsm``."""
        first, _, rest = key.partition("/")
        if first in self.parts:
            return first, rest or "X"
        name = rest if first == "obsm" else key
        if name in self._global():
            return None, f"obsm/{name}"
        there = ", ".join(self.there())
        raise InputError(
            f"no features {key!r} in {self.name}; there are {there}.{meant(key, self.there())}"
        )

    def there(self) -> list[str]:
        """Keys that ``x`` may name."""
        inner = [f"{m}/{k}" if k == "X" or "/" in k else f"{m}/obsm/{k}"
                 for m, part in self.parts.items() for k in part.there()]  # fmt: skip
        return [*inner, *(f"obsm/{k}" for k in self._global())]

    def _global(self) -> list[str]:
        # mudata keeps under the name of a modality which cells it has
        return [k for k in self.top.keys("obsm") if k not in self.parts]

    def place(self, key: str) -> np.ndarray:
        """(n_cells,) row of each cell in a view, -1 where the modality lacks it."""
        modality, _ = self._split(key)
        return np.arange(len(self.names)) if modality is None else self._places[modality]

    @cached_property
    def _places(self) -> _Places:
        return _Places(self)

    def matrix(self, key: str) -> tuple[Any, tuple[str, ...] | None]:
        """Rows of a key in the modality's own order, and the names of its columns."""
        modality, inner = self._split(key)
        return (self.top if modality is None else self.parts[modality]).matrix(inner)

    # ---------------------------------------------------------------- columns

    def find(self, column: str) -> tuple[str | None, str]:
        """Modality of a column and its name there; no modality where it is global.

        Raises
        ------
        InputError
            If there is no such column, or several modalities have it.
        """
        # before the global obs, where mudata leaves copies in memory that may be out of date
        prefix, _, rest = str(column).partition(":")
        if prefix in self.parts and rest in self.parts[prefix].obs:
            return prefix, rest
        if column in self.top.obs:
            return None, column
        owners = [m for m, part in self.parts.items() if column in part.obs]
        if len(owners) > 1:
            raise InputError(
                f"column {column!r} is in several modalities of {self.name}: say "
                f"{' or '.join(repr(f'{m}:{column}') for m in owners)}."
            )
        if not owners:
            raise no_column(self.name, column, self._all())
        return owners[0], column

    def _all(self) -> list[str]:
        """Every column once: those of one modality by their own names, others with a prefix."""
        each = {(m, c): f"{m}:{c}" for m, part in self.parts.items() for c in part.obs}
        copies = set(each.values())  # mudata copies columns of modalities, in memory only
        names = [c for c in self.top.obs if c not in copies]
        count = pd.Series([c for _, c in each], dtype=object).value_counts()
        for (_, column), long in each.items():
            own = count[column] == 1 and column not in self.top.obs
            names.append(column if own else long)
        return list(dict.fromkeys(names))

    def has(self, column: str) -> bool:
        """Whether the global ``obs`` has such a column, or a modality."""
        inner = str(column).partition(":")[2]
        named = [column in part.obs or inner in part.obs for part in self.parts.values()]
        return column in self.top.obs or any(named)

    def columns(
        self, keep: np.ndarray, needed: Sequence[str], more: Sequence[str] | None
    ) -> pd.DataFrame:
        """Columns of some cells: those needed, as they were named, and ``more``, or all.

        ``keep`` is (k,) int64 positions of the cells.
        """
        names = [*self._all(), *needed] if more is None else [*needed, *more]
        out = {c: self._column(c, keep) for c in dict.fromkeys(names)}
        return pd.DataFrame(out, index=self.names[keep])

    def _column(self, column: str, keep: np.ndarray) -> Any:
        modality, name = self.find(column)
        if modality is None:
            return self.top.obs[name].iloc[keep].array
        at = self._places[modality][keep]
        values = self.parts[modality].obs[name]
        if (at >= 0).all():
            return values.iloc[at].array
        return values.reset_index(drop=True).reindex(at).array  # no row -1: missing


class _Places(dict[str, np.ndarray]):
    """Modality -> row of each global cell in it, found when asked for."""

    def __init__(self, table: MuTable) -> None:
        super().__init__()
        self.table = table

    def __missing__(self, modality: str) -> np.ndarray:
        inside = rows_of(self.table.names, self.table.parts[modality].names, modality)
        at = np.full(len(self.table.names), -1, dtype=np.int64)
        at[inside] = np.arange(len(inside))
        self[modality] = at
        return at


def rows_of(names: pd.Index, own: pd.Index, modality: str) -> np.ndarray:
    """(n_own,) position of each cell of a modality among all cells.

    Raises
    ------
    InputError
        If a name is not there, or stands for several cells.
    """
    if names.equals(own):
        return np.arange(len(names))
    for index, where in ((names, "the MuData"), (own, f"modality {modality!r}")):
        if not index.is_unique:
            raise InputError(
                f"{where} has several cells named {index[index.duplicated()][0]!r}: call "
                "obs_names_make_unique() of the MuData."
            )
    at = names.get_indexer(own)
    if (at < 0).any():
        raise InputError(
            f"{int((at < 0).sum()):,} cells of modality {modality!r} are not in the global obs "
            f"(first: {own[at < 0][0]!r}): call update() of the MuData, and write it again."
        )
    return at


def _modalities(file: Any, path: Path) -> list[str]:
    """Names of the modalities of an open file, in the user's order."""
    there = members(file, "mod", path)
    order = [str(k) for k in file["mod"].attrs.get("mod-order", ())] if there else []
    return order if sorted(order) == sorted(there) else there
