"""Folders of tiles that are cut already, with a table."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from smalti.bags import Bags
from smalti.errors import InputError
from smalti.io.counts import named_as_written, told_apart, unique_names
from smalti.system.extras import need
from smalti.system.tables import read_text
from smalti.tiles.image import resize
from smalti.tiles.open import open_image
from smalti.tiles.ranges import Range


class FileTiles:
    """Tiles that are a file each, as a backed view.

    Parameters
    ----------
    files
        One picture per tile.
    size
        Pixels of a tile's edge as it is read.
    width
        Pixels of the edge of every file, where it must be one: a pixel has a length then.
    """

    def __init__(self, files: Sequence[Path], size: int, width: int | None = None) -> None:
        self.files, self.size, self.width = list(files), size, width
        self.shape = (len(self.files), 3, size, size)
        self.dtype: np.dtype[Any] = np.dtype(np.uint8)

    @cached_property
    def range(self) -> Range:
        """Of all tiles: alone, a dark one would be taken for one of fewer bits."""
        return max((open_image(file).range for file in self.files), key=lambda r: r.full)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Tiles ``start:stop``, (stop - start, 3, size, size) uint8 RGB."""
        files = self.files[start:stop]
        if not files:
            return np.empty((0, *self.shape[1:]), np.uint8)
        need("PIL.Image", extra="slides")  # here, as the first import must not be in four threads
        with ThreadPoolExecutor(4) as pool:  # decoding lets go of the interpreter
            return np.stack(list(pool.map(self._one, files)))

    def _one(self, file: Path) -> np.ndarray:
        image = open_image(file)
        if image.width != image.height:
            raise InputError(
                f"{file} has {image.width} x {image.height} px: ready tiles are square."
            )
        if self.width not in (None, image.width):
            raise InputError(
                f"{file} has {image.width} px, others {self.width}: with one um_per_px= all tiles "
                "have as many."
            )
        if not image.whole_bytes:
            image.range = self.range
        return resize(image.whole(), (self.size, self.size)).transpose(2, 0, 1)

    def digest(self) -> str:
        """Of the files' names, sizes and times."""
        sha = hashlib.sha256(str(self.size).encode())
        for file in self.files:
            stat = file.stat()
            sha.update(f"{file.name} {stat.st_size} {stat.st_mtime_ns}".encode())
        return sha.hexdigest()


def read_tiles(
    folder: str | Path,
    table: Any,
    *,
    id: str = "ID",
    path: str = "path",
    slide: str | None = None,
    donor: str | None = None,
    site: str | None = None,
    label: str | Sequence[str] | None = None,
    kind: str | None = None,
    positive: Any = None,
    order: Sequence[Any] | None = None,
    columns: Sequence[str] = (),
    size: int | None = None,
    um_per_px: float | None = None,
) -> Bags:
    """Read tiles that are a file each, and a table with one row per tile.

    Parameters
    ----------
    folder
        Folder that the paths of the table start from.
    table
        .csv (or data frame): ``id``, ``path``, and one column per gene, as in the MAI competition;
        without genes for tiles to predict.
    id, path
        Columns with the tile's name and its file.
    slide
        Column of the slide; without one all tiles are one bag, "tiles".
    donor, site, label
        Columns of the slides.
    kind, positive, order
        Kind of the target, the positive one of two labels, or the labels from the least to the
        most, as in :func:`smalti.read`.
    columns
        Other columns that are no genes.
    size
        Pixels of a tile as it is read; those of the first file when left out.
    um_per_px
        µm of a pixel of the files.

    Returns
    -------
    Bags
        Views ``tile`` and, where there are genes, ``counts`` (float32, as they stand: fit with
        ``units="given"`` where they are normalised). Bag columns um_per_px, tile_um and
        tile_um_per_px, as of :func:`smalti.read_slides`.

    Raises
    ------
    InputError
        If a column or file is missing (with their names), a value is no number, or an id is there
        twice.

    Warns
    -----
    UserWarning
        A range of brightness that the values alone say, genes of one name; they stay in ``notes``.
    """
    folder = Path(folder)
    name = "the table" if isinstance(table, pd.DataFrame) else str(table)
    if not isinstance(table, pd.DataFrame):
        table = named_as_written(read_text(table), table)
    if not len(table):
        raise InputError(f"{name} has no rows: a tile is one.")
    labels = [label] if isinstance(label, str) else list(label or ())
    about = [c for c in (id, path, slide, donor, site, *labels, *columns) if c and c != "bag"]
    absent = [c for c in about if c not in table]
    if absent:
        raise InputError(f"{name} has no column {absent[0]!r}; it begins with "
                         f"{', '.join(map(str, table.columns[:5]))}.")  # fmt: skip
    twice = [c for c in about if list(table.columns).count(c) > 1]
    if twice:
        raise InputError(f"{name} has several columns {twice[0]!r}: keep one.")
    ids = table[id].astype(str)
    if ids.duplicated().any():
        raise InputError(f"{name} has tile {ids[ids.duplicated()].iloc[0]!r} twice.")
    files = [_file(folder, p) for p in table[path].astype(str)]
    gone = [str(f) for f in files if not f.is_file()]
    if gone:
        raise InputError(
            f"{len(gone)} of {len(files)} tiles of {name} have no file: {', '.join(gone[:3])}. "
            "Give the folder that its paths start from."
        )
    first = open_image(files[0])
    tiles = FileTiles(files, size or first.width, None if um_per_px is None else first.width)
    notes = []
    if not first.whole_bytes and tiles.range.note:
        notes.append(f"the tiles of {name}: {tiles.range.note}")
    values = table.loc[:, [c not in about and not str(c).startswith("Unnamed:")  # a written index
                           for c in table.columns]]  # fmt: skip
    views: dict[str, Any] = {"tile": tiles}
    features = {}
    if values.shape[1]:
        views["counts"], features["counts"] = _values(values, ids, name)
        notes += told_apart(list(map(str, values.columns)), name)
    for note in notes:
        warnings.warn(note, UserWarning, stacklevel=2)
    bag_id = np.full(len(table), "tiles") if slide is None else table[slide].astype(str).to_numpy()
    obs = table[[c for c in about if c not in (id, path)]].set_axis(ids.to_numpy())
    bag = pd.DataFrame(index=pd.Index(pd.unique(pd.Series(bag_id)), name="bag"))
    um = np.nan if um_per_px is None else float(um_per_px)
    wide = um * first.width
    bag = bag.assign(um_per_px=um, tile_um=wide, tile_um_per_px=wide / tiles.size)
    return Bags.from_rows(views, bag_id, donor=donor, site=site, target=label, kind=kind,
                          positive=positive, order=order, instance=obs, bag=bag, features=features,
                          notes=notes)  # fmt: skip


def _file(folder: Path, path: str) -> Path:
    """The file of a tile: from the folder, or from its own name there."""
    first = folder / path
    return first if first.is_file() else (folder / Path(path).name)


def _values(table: pd.DataFrame, ids: pd.Series, name: str) -> tuple[np.ndarray, tuple[str, ...]]:
    text = [c for c, t in table.dtypes.items() if not pd.api.types.is_numeric_dtype(t)]
    if text:
        raise InputError(
            f"column {text[0]!r} of {name} holds text, so it is no gene: name it in columns=."
        )
    values = table.to_numpy(np.float32)
    wrong = np.argwhere(~np.isfinite(values))
    if len(wrong):
        raise InputError(
            f"{name} has no number for gene {table.columns[wrong[0][1]]!r} of tile "
            f"{ids.iloc[wrong[0][0]]!r} ({len(wrong)} such)."
        )
    return values, unique_names(list(map(str, table.columns)))
