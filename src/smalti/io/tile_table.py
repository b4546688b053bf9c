"""The table of the tiles of many slides, whose columns are made when they are asked for.

A cohort has 10,000 slides of 10,000 tiles. What is known of a tile is its corner, 8 bytes, and of
which slide it is; names, pixels and µm follow from numbers of the slide. To the outside this is a
data frame like any other: one column is made alone, and whatever else is done to it makes all.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from smalti.views import Picked


@dataclasses.dataclass(frozen=True)
class OfCorner:
    """(corner along an axis + shift) * factor: two numbers for each slide, (n_slides,) each."""

    axis: int
    shift: np.ndarray
    factor: np.ndarray


Column: TypeAlias = OfCorner | Any
"""Of corners, or an array with one value for each slide, (n_slides,)."""


@dataclasses.dataclass(frozen=True)
class Tiles:
    """All that the columns are made of.

    Attributes
    ----------
    corners
        (n_tiles, 2) of all slides, as stored.
    offsets
        (n_slides + 1,) tiles of the slides.
    columns
        Name -> what it is made of.
    picked
        Which of the tiles are the rows, in order.
    """

    corners: np.ndarray
    offsets: np.ndarray
    columns: Mapping[str, Column]
    picked: Picked

    def index(self) -> pd.Index:
        """Positions among all tiles."""
        if len(self.picked.starts) == 1:
            first = int(self.picked.starts[0])
            return pd.RangeIndex(first, first + len(self.picked))
        return pd.Index(self.picked.rows)

    def slides(self) -> np.ndarray:
        """(n,) the slide of each row."""
        parts = [np.zeros(0, np.int32)]
        for low, high, _ in self.picked.runs():
            first = int(np.searchsorted(self.offsets, low, side="right")) - 1
            last = int(np.searchsorted(self.offsets, high, side="left"))
            cuts = self.offsets[first : last + 1].clip(low, high)
            parts.append(np.repeat(np.arange(first, last, dtype=np.int32), np.diff(cuts)))
        return np.concatenate(parts)

    def column(self, name: str) -> Any:
        """(n,) values of a column."""
        made, slides = self.columns[name], self.slides()
        if not isinstance(made, OfCorner):
            return made[slides]
        values = self.picked.of_array(self.corners[:, made.axis]).astype(np.float64)
        values += made.shift[slides]
        values *= made.factor[slides]
        return values


class TileTable(pd.DataFrame):
    """A data frame of :class:`Tiles`."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """An empty one, as pickle asks for; see :meth:`of`."""
        return super().__new__(cls)

    @classmethod
    def of(cls, tiles: Tiles) -> TileTable:
        """The table, of which nothing is made yet."""
        table = cls.__new__(cls)
        for name, value in (("_tiles", tiles), ("_made", None), ("_item_cache", {}),
                            ("_attrs", {})):  # fmt: skip
            object.__setattr__(table, name, value)
        object.__setattr__(table, "_flags", pd.Flags(table, allows_duplicate_labels=True))
        return table

    @property
    def tiles(self) -> Tiles:
        """What it was to be made of."""
        return self._tiles

    @property
    def _mgr(self) -> Any:
        """Where pandas keeps the values of a data frame: whoever reads it has all of them made."""
        if self._made is None:
            tiles = self._tiles
            values = {name: tiles.column(name) for name in tiles.columns}
            object.__setattr__(self, "_made", pd.DataFrame(values, index=tiles.index())._mgr)
        return self._made

    @_mgr.setter
    def _mgr(self, value: Any) -> None:
        object.__setattr__(self, "_made", value)

    @property
    def _constructor(self) -> Any:
        return pd.DataFrame

    def __reduce__(self) -> Any:
        if self._made is None:
            return TileTable.of, (self._tiles,)
        return pd.DataFrame, (pd.DataFrame(self),)

    def __len__(self) -> int:
        return len(self._tiles.picked) if self._made is None else super().__len__()

    def __contains__(self, key: Any) -> bool:
        return key in self._tiles.columns if self._made is None else super().__contains__(key)

    def __getitem__(self, key: Any) -> Any:
        """One column or several are made alone."""
        tiles = self._tiles
        names = [key] if isinstance(key, str) else key
        if self._made is not None or not isinstance(names, list) or \
                not all(isinstance(k, str) and k in tiles.columns for k in names):  # fmt: skip
            return super().__getitem__(key)
        index = tiles.index()
        if isinstance(key, str):
            return pd.Series(tiles.column(key), index=index, name=key)
        return pd.DataFrame({k: tiles.column(k) for k in names}, index=index)[names]

    @property
    def columns(self) -> pd.Index:
        """Names of the columns."""
        if self._made is None:
            return pd.Index(list(self._tiles.columns))
        return pd.DataFrame.columns.__get__(self, type(self))

    @columns.setter
    def columns(self, value: Any) -> None:
        pd.DataFrame.columns.__set__(self, value)

    @property
    def iloc(self) -> Any:
        """Rows by position; of a slice the values are not made."""
        return _Places(self) if self._made is None else super().iloc

    def picked(self, picked: Picked) -> pd.DataFrame:
        """Some of the rows, which are not made for that."""
        if self._made is not None:
            return super().iloc[picked.rows]
        return self.remade(picked=self._tiles.picked.take(picked))

    def remade(self, **changes: Any) -> TileTable:
        """The table of other :class:`Tiles`."""
        return TileTable.of(dataclasses.replace(self._tiles, **changes))


class _Places:
    """``iloc`` of a table that is not made."""

    def __init__(self, table: TileTable) -> None:
        self.table = table

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice) and key.step in (None, 1):
            start, stop, _ = key.indices(len(self.table))
            n = max(0, stop - start)
            return self.table.picked(Picked(np.array([start])[: min(n, 1)], np.array([n])[: n > 0]))
        if isinstance(key, np.ndarray) and key.ndim == 1 and key.dtype.kind in "iu" and \
                (key >= 0).all():  # fmt: skip
            return self.table.picked(Picked.of(key))
        return pd.DataFrame.iloc.__get__(self.table)[key]  # makes all

    def __setitem__(self, key: Any, value: Any) -> None:
        pd.DataFrame.iloc.__get__(self.table)[key] = value


def narrow(corners: np.ndarray) -> np.ndarray:
    """(n, 2) corners in as few bytes as hold them exactly; one NaN where all are."""
    if not len(corners) or np.isnan(corners).all():
        return np.broadcast_to(np.float32(np.nan), corners.shape)
    for dtype in (np.int32, np.float32):
        with np.errstate(invalid="ignore", over="ignore"):
            less = corners.astype(dtype)
        if np.array_equal(less.astype(corners.dtype), corners):
            return less
    return corners.astype(np.float64, copy=False)


def tile_table(corners: Sequence[np.ndarray], columns: Mapping[str, Column]) -> TileTable:
    """Of the (n, 2) corners of each slide."""
    offsets = np.concatenate([[0], np.cumsum([len(c) for c in corners])]).astype(np.int64)
    whole = np.empty((int(offsets[-1]), 2), np.result_type(*{c.dtype for c in corners}))
    if all(c.strides == (0, 0) for c in corners):  # no slide has any
        whole = np.broadcast_to(np.float32(np.nan), whole.shape)
    else:
        for start, part in zip(offsets, corners, strict=False):
            whole[start : start + len(part)] = part
    every = Picked(np.zeros(1, np.int64), offsets[-1:])
    return TileTable.of(Tiles(whole, offsets, dict(columns), every))
