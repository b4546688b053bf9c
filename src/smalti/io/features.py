"""Bags from folders of tile features, one .h5 per slide: CLAM, TRIDENT and STAMP layouts."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from smalti.bags import Bags
from smalti.errors import InputError
from smalti.io.feature_slides import join, named_pictures
from smalti.io.h5 import H5View, Slide, inspect
from smalti.io.pictures import slide_name
from smalti.labels import missing, missing_words
from smalti.left import Left, vanished
from smalti.names import meant
from smalti.system.reading import about
from smalti.system.tables import read_table
from smalti.views import Picked, len_, take

_IDS = ("slide_id", "slide", "filename", "sample", "id")
_SAME = 1.01  # lengths of slides of one bag that are the same


def read_features(
    folder: str | Path,
    labels: str | Path | pd.DataFrame,
    *,
    label: str | Sequence[str] | None = None,
    id: str | None = None,
    sample: str | None = None,
    donor: str | None = None,
    site: str | None = None,
    kind: str | None = None,
    positive: Any = None,
    order: Sequence[Any] | None = None,
    key: str | None = None,
    slides: Any = None,
    patches: str | Path | None = None,
    tile_px: float | None = None,
    um_per_px: float | str | Mapping[str, float] | None = None,
    absent: str = "error",
    in_memory: bool = False,
) -> Bags:
    """Read tiles as instances and slides (or samples of several slides) as bags.

    Parameters
    ----------
    folder
        One ``.h5`` per slide, as :func:`smalti.features.write` makes them, or with ``features``
        (CLAM, TRIDENT), ``feats`` or ``patch_embeddings`` (STAMP), (n_tiles, width) or
        (1, n_tiles, width); ``coords`` (n_tiles, 2) if known. Or one such file.
    labels
        Table (.csv, .tsv, .parquet or data frame) with one row per slide.
    label, donor, site
        Columns of that table; several labels: multi-label. donor="bag": each bag is its own donor.
        Site: where a slide comes from (hospital, scanner).
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
    slides
        Pictures of the slides, for heat maps: a folder of files named as the slides are (.svs,
        .tif, .jpg, ...), a mapping from slide to file, or a column of the labels that names the
        file. A smaller copy will do where the file says how large the slide is (TRIDENT, CLAM).
    patches
        Folder of the *patches* files of CLAM, which alone say how long its tiles are.
    tile_px
        Edge of a tile in pixels of the full slide, where no file says it.
    um_per_px
        µm per pixel of the full slide: a number, a column of the labels ("um_per_px" if there is
        one), or by slide; where its picture does not say it. Coordinates of STAMP are in µm, so
        pixels need it.
    absent
        What to do with slides of the labels that have no file: "error", or "drop" with a warning.
    in_memory
        Read all features now. Otherwise they stay on disk and are read bag by bag.

    Returns
    -------
    Bags
        View "features" (of files of :func:`smalti.features.write` ``X_NAME``, as
        :func:`smalti.features.extract` calls it), and "tile" (cut from the pictures when it is
        read) with ``slides``. Instance columns ``slide``; ``x``, ``y`` (upper left corner, as it
        stands in the file); ``x_px``, ``y_px`` (centre, pixels of the full slide), ``x_um``,
        ``y_um``, ``tile_px`` (edge, pixels of the full slide), where files tell them (NaN for those
        that do not). Bag columns um_per_px, tile_um and tile_um_per_px, as of
        :func:`smalti.read_slides`, and columns of the labels; those that differ between slides of a
        sample are instance columns.

    Raises
    ------
    InputError
        For a slide without file or named twice, a damaged or empty file, widths that differ, or
        tiles that cannot be placed in the picture of their slide.

    Warns
    -----
    UserWarning
        For files that the table does not name, and slides without file with absent="drop"; they
        are left out, and ``notes`` say so.

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
    if absent not in ("error", "drop"):
        raise InputError(f"absent={absent!r} is neither 'error' nor 'drop'.")
    files = feature_files(folder)
    notes: list[str] = []
    of_bag = [] if label is None else [label] if isinstance(label, str) else list(label)
    of_bag += [] if donor in (None, "bag") else [str(donor)]
    of_bag += [] if site is None else [site]
    with about(labels):
        table = _slides(labels, id, [*of_bag, *([sample] if sample else [])])
        table = _match(table, files, Path(folder), absent, notes, sample, donor)
        bag_of = (table[sample] if sample else table.index).to_numpy()
        bag, others = _bag_table(table, bag_of, of_bag)
        um_per_px = _numbers(table, um_per_px)
        pictures = named_pictures(slides, table, labels)
    found = _inspected([files[name] for name in table.index], key)
    joined = join(found, list(table.index), pictures=pictures, patches=patches, tile_px=tile_px,
                  um_per_px=um_per_px, notes=notes)  # fmt: skip
    for note in notes:
        warnings.warn(note, UserWarning, stacklevel=2)
    first, n_slides = found[0], len(found)
    view: Any = H5View(
        [(s.path, s.key, len(s.places.corner)) for s in found], found[0].width,
        np.result_type(*(s.dtype for s in found)), [s.lying for s in found],
    )  # fmt: skip
    del found  # with the corners of each slide: the table has them all
    columns = {"slide": table.index.to_numpy(), **joined.instance.tiles.columns}
    columns |= {c: table[c].array for c in others if c not in columns}
    made = first.made
    name = "features" if made is None else made.view
    target = label if label is None or isinstance(label, str) else tuple(label)
    with about(labels):
        # of slides first: whatever is to be said of them, no tile is needed for
        slides_of = Bags.from_rows(
            {name: np.zeros((n_slides, first.width), np.uint8)}, bag_of, target=target,
            donor=donor, site=site, kind=kind, positive=positive, order=order,
            instance=table[others].reset_index(drop=True),
            bag=_with_lengths(bag, joined.lengths, bag_of),
            features={name: first.names} if first.names else None, notes=notes,
        )  # fmt: skip
    n, at = np.diff(view.offsets), slides_of.rows
    picked, rows = Picked(view.offsets[at], n[at]), np.arange(len_(view), dtype=np.int32)
    views = {name: view} if joined.view is None else {name: view, "tile": joined.view}
    views = {k: take(v, picked) for k, v in views.items()}
    if in_memory:
        views[name] = views[name].read(0, view.shape[0])
    bags = dataclasses.replace(
        slides_of, x=views, instance=joined.instance.remade(columns=columns).picked(picked),
        rows=rows if len(picked.starts) == 1 else picked.of_array(rows),  # no copy of all
        offsets=np.concatenate([[0], n[at].cumsum()])[slides_of.offsets],
    )  # fmt: skip
    if made is None:
        return bags
    return dataclasses.replace(bags, origin={"made": {name: dict(made.how)}})


def feature_files(folder: str | Path) -> dict[str, Path]:
    """The feature files of a folder by slide; or one file.

    Raises
    ------
    InputError
        If there is none; where there are pickles or a folder of them inside, what to do.
    """
    folder = Path(folder)
    if folder.suffix == ".h5" and folder.is_file():
        return {folder.stem: folder}
    files = {p.stem: p for p in sorted(folder.glob("*.h5"))}
    if files:
        return files
    if (folder / "h5_files").is_dir():
        raise InputError(f"no .h5 files in {folder}: give {folder / 'h5_files'}, which CLAM wrote.")
    if any(folder.glob("*.pt")) or any(folder.glob("pt_files/*.pt")):
        raise InputError(
            f"{folder} holds .pt files and no .h5: a .pt is a pickle, which may run anything and "
            "is never opened. CLAM writes the same beside them, with coordinates, in h5_files; "
            "else save them where they were made: h5py.File(name)['features'] = tensor.numpy()."
        )
    raise InputError(f"no .h5 files in {folder}: give the folder that holds one per slide.")


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
            raise InputError(f"no column {column!r} in the labels; there are {list(table)}."
                             f"{meant(column, table)}")  # fmt: skip
        absent = missing(table[column])
        if absent.any():
            who = table[id][absent].astype(str).tolist()
            raise InputError(
                f"{column!r} is missing for {len(who)} of {len(table)} slides (written "
                f"{missing_words(table[column])}): {who[:3]}. Fill it in, or drop these rows."
            )
    names = table[id].astype(str).map(_name)
    twice = names[names.duplicated()].unique().tolist()
    if twice:
        raise InputError(
            f"slides named twice in column {id!r} of the labels: {twice[:3]}. Keep one row each."
        )
    return table.set_index(pd.Index(names, name="slide"), drop=False)


def _name(text: str) -> str:
    """A slide's name without the ending of a picture or feature file; other dots stay."""
    return slide_name(Path(text.removesuffix(".h5")))


def _match(
    table: pd.DataFrame, files: dict[str, Path], folder: Path, absent: str, notes: list[str],
    sample: str | None, donor: str | None,
) -> pd.DataFrame:  # fmt: skip
    """The slides that have a file.

    Raises
    ------
    InputError
        If one has none, or with absent="drop" all.
    """
    gone = ~table.index.isin(list(files))
    without = list(table.index[gone])
    if len(without) == len(table) or (without and absent == "error"):
        mend = f"Files are called {', '.join(list(files)[:3])}" if len(without) == len(table) else \
            "Add them, drop these rows, or leave such slides out, absent='drop'"  # fmt: skip
        raise InputError(
            f"{len(without)} slides of the labels have no file in {folder}: {without[:3]}. {mend}."
        )
    if without:
        bags = vanished(table[sample] if sample else table.index, gone, ~gone)
        known = None if donor is None else bags if donor == "bag" else \
            vanished(table[donor], gone, ~gone)  # fmt: skip
        notes.append(Left(f"{len(without)} of {len(table)} slides of the labels have no file in "
                          f"{folder} and are left out: {without[:3]}.", instances=None, bags=bags,
                          donors=known))  # fmt: skip
    extra = sorted(set(files) - set(table.index))
    if extra:
        notes.append(Left(
            f"{len(extra)} files have no label and are left out: {extra[:3]}", instances=None,
            bags=None if sample else len(extra), donors=None,
        ))  # fmt: skip
    return table[~gone]


def _inspected(files: Sequence[Path], key: str | None) -> list[Slide]:
    """What the files hold.

    Raises
    ------
    InputError
        If one is damaged or empty, or they are of several encoders.
    """
    found = [inspect(file, key) for file in files]
    for slide in found:
        if slide.width != found[0].width:
            raise InputError(
                f"{slide.path} has {slide.width} features, the files before {found[0].width}: "
                "all must come from one encoder."
            )
        if _made(slide) != _made(found[0]):
            raise InputError(
                f"the features of {slide.path} were made in another way than those of "
                f"{found[0].path}: all must come from one encoder."
            )
    return found


def _made(slide: Slide) -> Any:
    return None if slide.made is None else (slide.made.view, slide.made.how)


def _numbers(table: pd.DataFrame, column: Any) -> Any:
    """µm per pixel by slide, of a column; what is no column stays as it is.

    Raises
    ------
    InputError
        If there is no such column, or it holds no numbers.
    """
    if column is None and "um_per_px" in table:
        column = "um_per_px"
    if not isinstance(column, str):
        return column
    if column not in table:
        raise InputError(f"no column {column!r} in the labels; there are {list(table)}."
                         f"{meant(column, table)}")  # fmt: skip
    values = pd.to_numeric(table[column], errors="coerce")
    if values.isna().any():
        raise InputError(f"{column!r} is no number for slide {table.index[values.isna()][0]!r}: "
                         "fill it in.")  # fmt: skip
    return {str(k): float(v) for k, v in values.items()}


def _with_lengths(bag: pd.DataFrame, lengths: pd.DataFrame, bag_of: np.ndarray) -> pd.DataFrame:
    """Columns of how long a pixel and a tile are; NaN where slides of a bag differ."""
    known = lengths.dropna(axis=1, how="all")
    spread = known.groupby(bag_of, sort=False)
    alike = spread.max() <= _SAME * spread.min()
    middle = spread.mean().where(alike)
    return bag.assign(**{c: middle.loc[bag.index, c] for c in known if c not in bag})


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
