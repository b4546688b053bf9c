"""Bags from folders of tile features, one .h5 per slide: CLAM, TRIDENT and STAMP layouts."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from smalti.bags import Bags
from smalti.errors import InputError
from smalti.io.table import read_table

FEATURES = ("features", "feats", "patch_embeddings")  # CLAM and TRIDENT; STAMP; STAMP 2
_IDS = ("slide_id", "slide", "filename", "sample", "id")


class H5View:
    """Rows of many h5 files as one table that stays on disk.

    Attributes
    ----------
    shape, dtype
        Of the whole table.
    """

    def __init__(self, parts: list[tuple[Path, str, int]], width: int, dtype: Any) -> None:
        self.parts = parts  # file, data set, rows
        self.offsets = np.concatenate([[0], np.cumsum([n for *_, n in parts])]).astype(np.int64)
        self.shape = (int(self.offsets[-1]), width)
        self.dtype = np.dtype(dtype)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Rows ``start:stop``, (stop - start, width)."""
        out = np.empty((stop - start, self.shape[1]), self.dtype)
        first = int(np.searchsorted(self.offsets, start, side="right")) - 1
        for i in range(first, len(self.parts)):
            low, high = max(start, self.offsets[i]), min(stop, self.offsets[i + 1])
            if low >= stop:
                break
            path, key, _ = self.parts[i]
            with _open(path) as file:
                data = file[key]
                rows = slice(int(low - self.offsets[i]), int(high - self.offsets[i]))
                out[low - start : high - start] = data[0, rows] if data.ndim == 3 else data[rows]
        return out

    def digest(self) -> str:
        """Of names, sizes and times of the files; the rows are not read."""
        sha = hashlib.sha256()
        for path, key, n in self.parts:
            stat = path.stat()
            sha.update(f"{path.name} {key} {n} {stat.st_size} {stat.st_mtime_ns}".encode())
        return sha.hexdigest()


def read_features(
    folder: str | Path,
    labels: str | Path | pd.DataFrame,
    *,
    label: str | None = None,
    id: str | None = None,
    sample: str | None = None,
    donor: str | None = None,
    kind: str | None = None,
    in_memory: bool = False,
) -> Bags:
    """Read tiles as instances and slides (or samples of several slides) as bags.

    Parameters
    ----------
    folder
        One ``.h5`` per slide with ``features`` (CLAM, TRIDENT), ``feats`` or ``patch_embeddings``
        (STAMP), (n_tiles, width) or (1, n_tiles, width); ``coords`` (n_tiles, 2) if known.
    labels
        Table (.csv, .tsv, .parquet or data frame) with one row per slide.
    label, donor
        Columns of that table. donor="bag": each bag is its own donor.
    id
        Its column of slide names, without ending; found when it is called slide_id, slide,
        filename, sample or id.
    sample
        Column that puts several slides into one bag.
    kind
        Kind of the target; inferred when left out.
    in_memory
        Read all features now. Otherwise they stay on disk and are read bag by bag.

    Returns
    -------
    Bags
        View "features"; instance columns ``slide``, ``x``, ``y`` (pixels, as stored).

    Raises
    ------
    InputError
        For a slide without file, a damaged or empty file, or widths that differ.

    Warns
    -----
    UserWarning
        For files that the table does not name; they are left out.
    """
    folder = Path(folder)
    files = {p.stem: p for p in sorted(folder.glob("*.h5"))}
    if not files:
        raise InputError(f"no .h5 files in {folder}: give the folder that holds one per slide.")
    table = labels.copy() if isinstance(labels, pd.DataFrame) else read_table(labels)
    id = id or next((c for c in _IDS if c in table), None)
    if id is None or id not in table:
        raise InputError(f"no slide column {id or _IDS} in the labels; there are {list(table)}.")
    for column in (label, sample, donor if donor != "bag" else None):
        if column is not None and column not in table:
            raise InputError(f"no column {column!r} in the labels; there are {list(table)}.")
    names = table[id].astype(str).str.replace(r"\.(h5|svs|tiff?|ndpi|mrxs)$", "", regex=True)
    absent = [n for n in names if n not in files]
    if absent:
        raise InputError(
            f"{len(absent)} slides of the labels have no file in {folder}: {absent[:3]}. Add them, "
            "or drop these rows."
        )
    extra = sorted(set(files) - set(names))
    if extra:
        warnings.warn(f"{len(extra)} files have no label and are left out: {extra[:3]}",
                      UserWarning, stacklevel=2)  # fmt: skip
    parts, coords, width, dtype = [], [], None, np.dtype(np.float32)
    for name in names:
        key, n, w, dtype, xy = _inspect(files[name])
        if width not in (None, w):
            raise InputError(f"{files[name]} has {w} features, the files before {width}.")
        width = w
        parts.append((files[name], key, n))
        coords.append(xy)
    lengths = [n for *_, n in parts]
    view: Any = H5View(parts, width or 0, dtype)
    if in_memory:
        view = view.read(0, view.shape[0])
    xy = np.concatenate(coords)
    instance = pd.DataFrame(
        {"slide": np.repeat(names.to_numpy(), lengths), "x": xy[:, 0], "y": xy[:, 1]}
    )
    bag_of = (table[sample] if sample else names).to_numpy()
    columns = {c: np.repeat(table[c].to_numpy(), lengths) for c in table.columns if c != id}
    instance = instance.assign(**{k: v for k, v in columns.items() if k not in instance})
    return Bags.from_rows(
        {"features": view}, np.repeat(bag_of, lengths), target=label, donor=donor, kind=kind,
        instance=instance,
    )  # fmt: skip


def _open(path: Path) -> Any:
    import h5py

    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise InputError(f"{path} is damaged or not HDF5 ({error}): make it again.") from error


def _inspect(path: Path) -> tuple[str, int, int, np.dtype[Any], np.ndarray]:
    """Data set, rows, width, type and coordinates of a file."""
    with _open(path) as file:
        key = next((k for k in FEATURES if k in file), None)
        if key is None:
            raise InputError(f"{path} has none of {FEATURES}; it has {list(file)}.")
        data = file[key]
        shape = data.shape[1:] if data.ndim == 3 and data.shape[0] == 1 else data.shape
        if len(shape) != 2 or not shape[0]:
            raise InputError(f"{path}: {key} has shape {data.shape}: expected (tiles, features).")
        xy = np.full((shape[0], 2), np.nan)
        if "coords" in file:
            stored = np.asarray(file["coords"]).reshape(-1, file["coords"].shape[-1])[:, :2]
            if len(stored) != len(xy):
                raise InputError(f"{path}: {len(stored)} coords for {len(xy)} tiles.")
            xy[:] = stored
        return key, shape[0], shape[1], data.dtype, xy
