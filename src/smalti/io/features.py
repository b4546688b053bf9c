"""Bags from folders of tile features, one .h5 per slide: CLAM, TRIDENT and STAMP layouts."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from smalti.bags import Bags
from smalti.errors import InputError
from smalti.io.h5 import H5View, inspect
from smalti.labels import missing, missing_words
from smalti.system.reading import about
from smalti.system.tables import read_table

_IDS = ("slide_id", "slide", "filename", "sample", "id")


def read_features(
    folder: str | Path,
    labels: str | Path | pd.DataFrame,
    *,
    label: str | Sequence[str] | None = None,
    id: str | None = None,
    sample: str | None = None,
    donor: str | None = None,
    kind: str | None = None,
    positive: Any = None,
    order: Sequence[Any] | None = None,
    key: str | None = None,
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
        Columns of that table; several labels: multi-label. donor="bag": each bag is its own donor.
    id
        Its column of slide names, without ending; found when it is called slide_id, slide,
        filename, sample or id.
    sample
        Column that puts several slides into one bag.
    kind
        Kind of the target; inferred when left out.
    positive, order
        The positive one of two labels, or the labels from the least to the most, as in
        :func:`smalti.read`.
    key
        Name of the data set of features, where it is another one.
    in_memory
        Read all features now. Otherwise they stay on disk and are read bag by bag.

    Returns
    -------
    Bags
        View "features"; instance columns ``slide``, ``x``, ``y`` (in the unit of the file: pixels
        at CLAM and TRIDENT) and ``patch_size`` (same unit) where the files tell it. Columns of
        the labels are bag columns; those that differ between slides of a sample are instance
        columns.

    Raises
    ------
    InputError
        For a slide without file or named twice, a damaged or empty file, or widths that differ.

    Warns
    -----
    UserWarning
        For files that the table does not name; they are left out.

    Examples
    --------
    >>> import smalti as sm
    >>> import numpy as np
    >>> import h5py
    >>> import pandas as pd
    >>> from pathlib import Path
    >>> Path("features").mkdir()
    >>> for slide, n in {"S1": 30, "S2": 20}.items():
    ...     with h5py.File(f"features/{slide}.h5", "w") as file:
    ...         file["features"] = np.zeros((n, 16), dtype=np.float32)
    >>> labels = pd.DataFrame({"slide": ["S1", "S2"], "lymph": ["N1", "N0"]})  # or a .csv
    >>> sm.read_features("features", labels, label="lymph", donor="bag")
    Bags: 2 bags of 20-30 instances, features 16, 2 donors; lymph: binary (1 N0, 1 N1; positive: N1)
    """
    files = {p.stem: p for p in sorted(Path(folder).glob("*.h5"))}
    if not files:
        raise InputError(f"no .h5 files in {folder}: give the folder that holds one per slide.")
    of_bag = [] if label is None else [label] if isinstance(label, str) else list(label)
    of_bag += [] if donor in (None, "bag") else [str(donor)]
    with about(labels):
        table = _slides(labels, id, [*of_bag, *([sample] if sample else [])])
        extra = _match(list(table.index), files, Path(folder))
        bag_of = (table[sample] if sample else table.index).to_numpy()
        bag, others = _bag_table(table, bag_of, of_bag)
    if extra:
        warnings.warn(f"{len(extra)} files have no label and are left out: {extra[:3]}",
                      UserWarning, stacklevel=2)  # fmt: skip
    slides = [inspect(files[name], key) for name in table.index]
    for slide in slides:
        if slide.width != slides[0].width:
            raise InputError(
                f"{slide.path} has {slide.width} features, the files before {slides[0].width}: "
                "all must come from one encoder."
            )
    view: Any = H5View(
        [(s.path, s.key, len(s.place)) for s in slides], slides[0].width,
        np.result_type(*(s.dtype for s in slides)),
    )  # fmt: skip
    place = np.concatenate([s.place for s in slides])
    which = np.repeat(np.arange(len(slides)), [len(s.place) for s in slides])
    instance = pd.DataFrame(
        {"slide": table.index.to_numpy()[which], "x": place[:, 0], "y": place[:, 1]}
    )
    if any(s.patch_size is not None for s in slides):
        instance["patch_size"] = np.array([s.patch_size for s in slides], float)[which]
    for column in others:
        if column not in instance:
            instance[column] = table[column].array[which]
    x = view.read(0, view.shape[0]) if in_memory else view
    target = label if label is None or isinstance(label, str) else tuple(label)
    with about(labels):
        return Bags.from_rows(
            {"features": x}, bag_of[which], target=target, donor=donor, kind=kind,
            positive=positive, order=order, instance=instance, bag=bag,
        )  # fmt: skip


def _slides(labels: str | Path | pd.DataFrame, id: str | None, needed: list[str]) -> pd.DataFrame:
    """The table of slides, by slide name."""
    if isinstance(labels, pd.DataFrame):
        table = labels
    else:
        table = read_table(labels, text=_IDS if id is None else [id])
    if not len(table):
        raise InputError("the labels have no rows: one is a slide.")
    id = id or next((c for c in _IDS if c in table), None)
    if id is None or id not in table:
        raise InputError(f"no slide column {id or _IDS} in the labels; there are {list(table)}.")
    for column in [id, *needed]:
        if column not in table:
            raise InputError(f"no column {column!r} in the labels; there are {list(table)}.")
        absent = missing(table[column])
        if absent.any():
            who = table[id][absent].astype(str).tolist()
            raise InputError(
                f"{column!r} is missing for {len(who)} of {len(table)} slides (written "
                f"{missing_words(table[column])}): {who[:3]}. Fill it in, or drop these rows."
            )
    names = table[id].astype(str).str.replace(r"\.(h5|svs|tiff?|ndpi|mrxs)$", "", regex=True)
    twice = names[names.duplicated()].unique().tolist()
    if twice:
        raise InputError(
            f"slides named twice in column {id!r} of the labels: {twice[:3]}. Keep one row each."
        )
    return table.set_index(pd.Index(names, name="slide"), drop=False)


def _match(names: list[str], files: dict[str, Path], folder: Path) -> list[str]:
    """Every slide must have a file; files of no slide."""
    absent = [n for n in names if n not in files]
    if absent:
        raise InputError(
            f"{len(absent)} slides of the labels have no file in {folder}: {absent[:3]}. Add them, "
            "or drop these rows."
        )
    return sorted(set(files) - set(names))


def _bag_table(
    table: pd.DataFrame, bag_of: np.ndarray, needed: list[str]
) -> tuple[pd.DataFrame, list[str]]:
    """Columns that are constant in each bag as one row per bag, and the names of the others."""
    kinds = table.groupby(bag_of, sort=False).nunique(dropna=False)
    others = [c for c in table if (kinds[c] > 1).any()]
    for column in needed:
        if column in others:
            wrong = kinds.index[kinds[column] > 1].tolist()[0]
            raise InputError(
                f"bag {wrong!r} has two values of {column!r}: a bag has one. Mend the column, or "
                "use a sample column that parts them."
            )
    first = ~pd.Series(bag_of).duplicated().to_numpy()
    bag = table.loc[first].drop(columns=others)
    return bag.set_axis(pd.Index(bag_of[first], name="bag")), others
