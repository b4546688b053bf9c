"""Bags from AnnData and MuData: in memory, or only the parts needed of a file."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from smalti.bags import Bags
from smalti.errors import InputError
from smalti.io.counts import told_apart, unique_names
from smalti.io.disk_runs import is_store
from smalti.io.open import AnyTable, open_table
from smalti.io.records import fitted_on, recorded
from smalti.io.samples import samples_of
from smalti.io.tables import all_nan, rows_at
from smalti.labels import missing, missing_words
from smalti.left import Left, vanished
from smalti.names import meant
from smalti.preprocess import cells_per_bag_note, check_kinds
from smalti.system.memory import room
from smalti.system.reading import about
from smalti.views import rows_read, stored_bytes, take


def read(
    data: Any,
    *,
    sample: str | None = None,
    x: str | Sequence[str] | Mapping[str, str] | None = None,
    layer: str | None = None,
    label: str | Sequence[str] | None = None,
    donor: str | None = None,
    site: str | None = None,
    labels: str | Path | pd.DataFrame | None = None,
    id: str | None = None,
    kind: str | None = None,
    positive: Any = None,
    order: Sequence[Any] | None = None,
    cell_type: str | None = None,
    columns: Sequence[str] | None = None,
    bag_columns: Sequence[str] = (),
    cells: str | None = None,
    kinds: Mapping[str, str] | None = None,
    obs: str | Path | pd.DataFrame | None = None,
    runs: Sequence[str] | None = None,
    backed: bool | None = None,
) -> Bags:
    """Read cells as instances and samples as bags.

    Parameters
    ----------
    data
        AnnData or MuData; or the path of an ``.h5ad``, ``.h5mu`` or ``.zarr``, of which only the
        named parts are read; or of Cell Ranger's ``.h5``, ``matrix.mtx`` or folder, of any version.
        A list of these: several runs, on the features that all have, with a column "run". A mapping
        from modality to one, ``{"rna": FILE, "atac": FILE}``: modalities of the same cells, joined
        by barcode. A list of such mappings: both.
    sample
        Column of ``obs`` with the bag of each cell. When left out every cell is a bag of its own,
        named as in ``obs_names``; so integration reads them.
    x
        Features. Of AnnData: "X", "layers/NAME", or a key of ``obsm`` ("X_pca" or "obsm/X_pca");
        of X or a layer the features of one type as ``var["feature_types"]`` has it, "X/Peaks".
        Of MuData: a modality ("rna": its X), "rna/layers/NAME", "rna/obsm/NAME", or a key of the
        global ``obsm``. Several make several views. A mapping gives the views names of your own.
        When left out: the X of every modality; of AnnData "X", or where it has several types of
        features its parts "rna", "protein" and "atac" (Gene Expression, Antibody Capture, Peaks);
        or where ``sample`` is left out and ``obsm`` holds proteins (a key such as "protein", "adt",
        "antibody", "surface") the two views "rna" and that key. Tags of samples and guides
        (Multiplexing Capture, CRISPR Guide Capture, and hashtags among the antibodies, which their
        names tell) are left out.
    layer
        Short for ``x="layers/NAME"``, as scanpy has it: the layer in the place of X.
    label
        Column of ``obs`` to predict, constant in each sample; several columns: multi-label.
    donor
        Column of ``obs``; samples of one donor never part in a split. "bag": each its own donor.
    site
        Column of ``obs`` that says where a sample comes from: hospital, scanner, batch.
    labels
        Table with one row per sample, or its .csv, .tsv or .parquet, where ``obs`` does not hold
        label, donor or covariates: what is not in ``obs`` is looked for there, and all its columns
        go into the bag table. Cells of samples that it does not name are left out, with a warning.
    id
        Its column that names the samples; called as ``sample`` when left out.
    kind
        Kind of the target; inferred when left out.
    positive
        The positive one of two labels. When left out the last of an ordered categorical, else the
        one that does not mean control ("healthy", "ctrl", "wild type", "no", ...); where none or
        both do, the last in sorted order.
    order
        Labels from the least to the most, of an ordinal target; an ordered categorical has them.
    cell_type
        Column of ``obs`` with the type of each cell (or its cluster, or region), where it has
        another name than "cell_type", the column that methods look for.
    columns
        Columns of ``obs`` to keep for the instances, besides those named above; all when left out.
    bag_columns
        More columns of ``obs`` that are constant in each sample (age, batch), for the bag table.
    cells
        Which cells to keep where the views have different ones: "intersection", those that were
        measured in all; "union", those in any, with rows of zeros and :attr:`Bags.present` where
        a view lacks them. When left out, modalities with different cells are an error.
    kinds
        View name -> what it holds, where its name does not tell or tells wrong: "rna", "protein",
        "atac" (peaks), "cytometry", "tags" (hashtags) or "other" (taken as it stands). Methods of
        integration choose their steps by it.
    obs
        Table with one row per cell, or its .csv, .tsv or .parquet (of demultiplexing, or of types):
        its columns are taken as those of the cells. A column "barcode", "cell", "cell_id" or the
        like names them, else the first; of several runs beside a column "run". Cells that it does
        not name are left out, with a warning.
    runs
        Names of several runs; when left out what tells their paths apart.
    backed
        True: matrices stay in the file (.h5ad, .h5mu or .zarr, several AnnData as a list, or an
        AnnData that is backed or of Dask arrays), and fits, predictions and steps read a part at a
        time; False: all is read now. When left out: True where matrices of files would take more
        than half of the memory that is free, which a note says. Of AnnData files cells are then
        known by their positions, and of ``obs`` only the columns that are named are read.

    Returns
    -------
    Bags
        With the columns of ``obs`` as instance columns. ``Bags.rows`` are positions in ``obs``, of
        MuData in the global one.

    Raises
    ------
    InputError
        For a file that is missing or damaged, a key or column that is not there, cells without
        sample, samples without label ("NA", "nan", "None" and "" count as none), a sample with two
        values of a bag's column, a positive class or order that the labels do not have, or
        modalities with different cells, or ``kinds`` that are not known or of no view; for runs or
        modalities that share no feature or barcode, and a matrix of all droplets.

    Warns
    -----
    UserWarning
        Where samples have fewer than 10 cells; where rows of a view are NaN throughout
        and so count as not measured; where cells are in none of the views and so left out; where
        several features have one name, or a table that is read whole holds several types of them.

    Notes
    -----
    Columns of MuData are looked for in the global ``obs``, then in those of the modalities:
    "rna:cell_type", or "cell_type" where only one modality has it.

    Where the names of ``var`` are Ensembl ids and a column of it has symbols (``gene_symbols``,
    ``feature_name``, ``gene_name``, ...), genes are called by their symbols; one without a symbol,
    or that shares it with another, keeps its id. ``notes`` say so.

    Of a file all is checked that its format lets one know: places and sizes, links that lead
    elsewhere, chunks of HDF5 that were never written. HDF5 and zarr keep no checksum by default: a
    changed number that is still a number is read as it stands. Zarr leaves out chunks of zeros:
    that one of a dense table was lost cannot be known. In an HDF5 file over 256 MiB a damaged heap
    of texts may keep the HDF5 library from coming to an end.

    Examples
    --------
    >>> import smalti as sm
    >>> import numpy as np
    >>> import pandas as pd
    >>> from anndata import AnnData
    >>> obs = pd.DataFrame({"sample": np.repeat(["a", "b", "c"], 20)}, index=map(str, range(60)))
    >>> obs["state"] = np.repeat(["ill", "healthy", "ill"], 20)
    >>> cells = AnnData(np.random.default_rng(0).normal(size=(60, 5)), obs=obs)  # or a path
    >>> sm.read(cells, sample="sample", donor="bag", label="state")
    Bags: 3 bags of 20-20 instances, X 5, 3 donors; state: binary (1 healthy, 2 ill; positive: ill)
    """
    if layer is not None:
        if x is not None:
            raise InputError(f"layer={layer!r} and x={x!r} both say what to read: leave one out.")
        x = f"layers/{layer}"
    origin = {"sample": sample, "x": x, "label": label, "donor": donor, "site": site, "kind": kind,
              "positive": positive, "order": order, "cell_type": cell_type,
              "bag_columns": list(bag_columns), "cells": cells,
              "kinds": dict(kinds or {}), "joined": obs is not None, "backed": backed}  # fmt: skip
    if cells not in (None, "intersection", "union"):
        raise InputError(f"cells={cells!r} is neither 'intersection' nor 'union'.")
    table, large = _opened(data, obs, runs, backed, x, sample)
    targets = [] if label is None else [label] if isinstance(label, str) else list(label)
    of_sample = [] if sample is None else [sample]
    of_donor = [] if donor in (None, "bag") else [str(donor)]
    of_type = [] if cell_type is None else [cell_type]
    of_site = [] if site is None else [site]
    of_bag = [*targets, *of_donor, *of_site, *bag_columns]
    for column in of_sample:
        table.find(column)
    here = [] if labels is None else [c for c in [*of_sample, *of_bag] if table.has(c)]
    every = table.columns(np.arange(len(table.names)), here, [])
    bag, among, more = samples_of(labels, id, sample, every, of_bag, table.name)
    of_bag = of_bag if bag is None else [column for column in of_bag if column not in bag]
    needed = [*of_sample, *of_bag, *of_type]
    for column in [*needed, *(columns or ())]:
        table.find(column)
    keys, left = table.defaults(sample) if x is None else (_keys(x, table.view_name), [])
    _check_views_of(kinds or {}, keys)
    with about(data):
        sieve = _Sieve(table, sample, donor)
        if table.gone is not None:
            sieve.leave(*table.gone, counted=True)
        if among is not None:
            sieve.leave(~among, *more)
        views, features, present, notes = _views(table, keys, cells, sieve)
        keep = np.flatnonzero(sieve.inside)
    instance = table.columns(keep, needed, columns)
    if cell_type is not None:
        instance = instance.assign(cell_type=instance[cell_type])
    ids = _bag_ids(table, instance, sample)
    _check_labels(table, instance, ids, [t for t in targets if t in of_bag])
    with about(data):
        bags = Bags.from_rows(
            views, ids, target=label, kind=kind, positive=positive, order=order, donor=donor,
            site=site, instance=instance, bag=bag, bag_columns=bag_columns, features=features,
            present=present, kinds=kinds,
        )  # fmt: skip
    tiny = None if sample is None else cells_per_bag_note(bags)
    notes = [*large, *table.notes, *left, *sieve.left, *notes, *([tiny] if tiny else []),
             *_scattered(views, bags)]  # fmt: skip
    for note in notes:
        if not (isinstance(note, Left) and note.asked):
            warnings.warn(note, UserWarning, stacklevel=2)
    if isinstance(x, Mapping) or keys == {"X": "X"}:  # so that no sample= means the same again
        origin["x"] = keys
    origin["keys"] = keys  # where each view came from, however x was said
    with about(data):
        origin |= {"fitted_on": fitted_on(table, keys), "recorded": recorded(table, keys)}
    named = {name: found for name, key in keys.items() if (found := table.ids(key))}
    return dataclasses.replace(bags, origin=origin, notes=tuple(notes), rows=keep[bags.rows],
                               ids=named)  # fmt: skip


def _opened(
    data: Any, obs: Any, runs: Any, backed: bool | None, x: Any, sample: str | None
) -> tuple[AnyTable, list[str]]:
    """The table, on disk where that is asked for or it is large; and a note of the latter."""
    free = room()
    size = _size(data, obs, runs, x, sample) if backed is None else 0
    if backed is not None or 2 * size <= free:
        return open_table(data, obs=obs, runs=runs, backed=bool(backed)), []
    table = open_table(data, obs=obs, runs=runs, backed=True)
    note = (
        f"{table.name}: its cells would take {size / 2**30:,.1f} GiB of memory and "
        f"{free / 2**30:,.1f} are free, so they are read from the file a part at a time, and "
        "called by their positions (say backed=False to read all of them)."
    )
    return table, [note]


def _size(data: Any, obs: Any, runs: Any, x: Any, sample: str | None) -> int:
    """Bytes that the matrices of files would take in memory; 0 where they cannot be left there."""
    several = isinstance(data, (list, tuple)) and obs is None and bool(data)
    if not all(map(is_store, data if several else [data])):
        return 0
    try:
        table = open_table(data, runs=runs, backed=True)
        keys = table.defaults(sample)[0] if x is None else _keys(x, table.view_name)
        return sum(stored_bytes(table.matrix(key)[0]) for key in keys.values())
    except InputError:  # said when it is read
        return 0


def _scattered(views: Mapping[str, Any], bags: Bags) -> list[str]:
    """A note where the cells of a sample lie far apart in a file: how much more is read then."""
    disk = [view for view in views.values() if not hasattr(view, "__getitem__")]
    if not disk or bags.lengths.max() == 1:
        return []
    some = np.unique(np.linspace(0, len(bags) - 1, 20).astype(int))
    parts = [bags.rows[bags.offsets[i] : bags.offsets[i + 1]] for i in some]
    times = max(sum(rows_read(view, part) for part in parts) / sum(map(len, parts))
                for view in disk)  # fmt: skip
    if times < 1.5:
        return []
    return [
        "The cells of a sample lie scattered in the file, so that every pass over the samples "
        f"reads it about {times:,.0f} times: sort them once by sample (smalti arrange)."
    ]


def _bag_ids(table: AnyTable, obs: pd.DataFrame, sample: str | None) -> np.ndarray:
    """The bag of each cell; every cell must have one."""
    if sample is None:
        twice = obs.index.duplicated()
        if twice.any():
            raise InputError(
                f"{int(twice.sum()):,} cells of {table.name} have a name that another has (first: "
                f"{obs.index[twice][0]!r}): call obs_names_make_unique(), or name the column that "
                "holds the samples, sample=..."
            )
        return obs.index.astype(object).to_numpy()
    absent = missing(obs[sample])
    if absent.any():
        raise InputError(
            f"{int(absent.sum())} cells of {table.name} have no {sample!r} (written "
            f"{missing_words(obs[sample])}; first: {obs.index[absent][0]!r}): drop these cells or "
            "fill the column in."
        )
    return obs[sample].astype(object).to_numpy()


def _check_labels(
    table: AnyTable, obs: pd.DataFrame, ids: np.ndarray, labels: Sequence[str]
) -> None:
    """Every bag must have every label."""
    for label in labels:
        absent = missing(obs[label])
        if absent.any():
            names = pd.Series(ids).astype(str)
            who = names[absent].unique()
            raise InputError(
                f"label {label!r} is missing for {len(who)} of {names.nunique()} bags of "
                f"{table.name} (written {missing_words(obs[label])}; first: {who[0]!r}): drop "
                "their cells or fill the column in; to read bags without target leave label= out."
            )


def _keys(
    x: str | Sequence[str] | Mapping[str, str], view_name: Callable[[str], str]
) -> dict[str, str]:
    """View name -> key."""
    each = [x] if isinstance(x, str) else list(x.values() if isinstance(x, Mapping) else x)
    if not each or not all(isinstance(key, str) for key in each):
        raise InputError(f"x={x!r} must name features: a key, several, or name -> key.")
    if isinstance(x, Mapping):
        return dict(x)
    keys: dict[str, str] = {}
    for key in each:
        name = view_name(key)
        if name in keys:
            raise InputError(
                f"{keys[name]!r} and {key!r} would both be the view {name!r}: name them, "
                f"x={{'one': {keys[name]!r}, 'two': {key!r}}}."
            )
        keys[name] = key
    return keys


# ---------------------------------------------------------------- which cells, and their rows


class _Sieve:
    """Cells that are still in, and what was left out so far.

    Parameters
    ----------
    table
        Of all cells.
    sample, donor
        Columns of it, where they are named; a donor may be elsewhere.
    """

    def __init__(self, table: AnyTable, sample: str | None, donor: str | None) -> None:
        self.table, self.sample, self.donor = table, sample, donor
        self.inside = np.ones(len(table.names), dtype=bool)  # (n_cells,)
        self.left: list[Left] = []

    def leave(
        self, gone: np.ndarray, why: str = "", *, counted: bool = False, asked: bool = False
    ) -> None:
        """Leave cells out, (n_cells,) bool, and why; ``counted`` puts their numbers before it."""
        gone = gone & self.inside
        n, there = int(gone.sum()), int(self.inside.sum())
        if not n:
            return
        self.inside = self.inside & ~gone
        bags = n if self.sample is None else self._vanished(self.sample, gone)
        donors: int | None = bags
        if bags and self.donor != "bag":
            known = self.donor is not None and self.table.has(self.donor)
            donors = self._vanished(str(self.donor), gone) if known else None
        text = f"{n:,} of {there:,} {why}" if counted else why
        self.left.append(Left(text, instances=n, bags=bags, donors=donors, asked=asked))

    def _vanished(self, column: str, gone: np.ndarray) -> int:
        """How many of its values no cell has any more."""
        values = self.table.columns(np.arange(len(self.table.names)), [column], [])[column]
        return vanished(values.to_numpy(), gone, self.inside)


def _views(
    table: AnyTable, keys: Mapping[str, str], cells: str | None, sieve: _Sieve
) -> tuple[dict[str, Any], dict[str, tuple[str, ...]], dict[str, np.ndarray], list[str]]:
    """Of each view rows of the cells that stay in, feature names, mask; and notes."""
    place = {name: table.place(key) for name, key in keys.items()}
    _sift(table, keys, place, cells, sieve)
    keep, notes = np.flatnonzero(sieve.inside), []
    views: dict[str, Any] = {}
    features: dict[str, tuple[str, ...]] = {}
    present: dict[str, np.ndarray] = {}
    for name, key in keys.items():
        values, columns = table.matrix(key)
        if columns is not None:
            features[name] = unique_names(columns)
            notes += [*table.called(key), *told_apart(columns, repr(name)),
                      *_mixed(name, key, table.types(key))]  # fmt: skip
        rows = int(place[name].max()) + 1
        if values.shape[0] != rows:
            raise InputError(
                f"{table.name} has {rows:,} cells but {values.shape[0]:,} rows of {key!r}: "
                "write it again."
            )
        at = place[name][keep]
        values, present[name] = rows_at(values, at), at >= 0
        gone = all_nan(values) if len(keys) > 1 else None  # one view: NaN is an error, not a gap
        if gone is not None:
            values = np.where(gone[:, None], values.dtype.type(0), values)
            present[name] &= ~gone
            if cells != "intersection":
                notes.append(
                    f"{int(gone.sum()):,} of {len(gone):,} rows of {name!r} are NaN throughout: "
                    "these cells count as not measured in it."
                )
        views[name] = values
    measured = np.stack(list(present.values()))
    stay = measured.all(0) if cells == "intersection" else measured.any(0)
    if not stay.all():
        if not stay.any():
            raise _nothing(table, keys, cells)
        bare = np.zeros(len(sieve.inside), dtype=bool)
        bare[keep[~stay]] = True
        _leave_unmeasured(sieve, bare, "are measured in", keys, cells)
        views = {k: take(v, np.flatnonzero(stay)) for k, v in views.items()}
        present = {k: v[stay] for k, v in present.items()}
    return views, features, {k: v for k, v in present.items() if not v.all()}, notes


def _leave_unmeasured(
    sieve: _Sieve, bare: np.ndarray, verb: str, keys: Mapping[str, str], cells: str | None
) -> None:
    """Leave out cells that views lack; ``bare`` (n_cells,) bool."""
    if cells == "intersection":
        why = f"cells are not in all of {_list(keys)}, and cells='intersection' leaves them out."
    else:
        why = f"cells {verb} none of {_list(keys)}: they are left out."
    sieve.leave(bare, why, counted=True, asked=cells == "intersection")


def _check_views_of(kinds: Mapping[str, str], keys: Mapping[str, str]) -> None:
    check_kinds(kinds)
    for view in kinds:
        if view not in keys:
            raise InputError(f"kinds= names {view!r}, which is no view; there are {_list(keys)}."
                             f"{meant(view, keys)}")  # fmt: skip


def _mixed(name: str, key: str, types: Mapping[str, int]) -> list[str]:
    """A note where one view holds several types of features."""
    if len(types) < 2:
        return []
    told = ", ".join(f"{kind} ({n:,})" for kind, n in types.items())
    table = key if "/" in key or key == "X" else f"{key}/X"  # of a modality
    return [
        f"{name!r} holds features of several types in one table: {told}. To read one type say "
        f"x='{table}/{next(iter(types))}'."
    ]


def _sift(
    table: AnyTable,
    keys: Mapping[str, str],
    place: Mapping[str, np.ndarray],
    cells: str | None,
    sieve: _Sieve,
) -> None:
    """Leave out the cells that views lack, before their values are looked at."""
    there: np.ndarray = np.stack([at >= 0 for at in place.values()])  # (n_views, n_cells)
    for key, cells_of in zip(keys.values(), there, strict=True):
        if len(keys) > 1 and not cells_of.any():
            raise InputError(f"{key!r} of {table.name} has no cells: name others in x=.")
    some, every = np.any(there, axis=0), np.all(there, axis=0)  # (n_cells,)
    odd = np.flatnonzero(some & ~every)
    n = int(some.sum())
    if len(odd) and cells is None:
        lacking = list(keys.values())[int(np.flatnonzero(~there[:, odd[0]])[0])]
        raise InputError(
            f"{len(odd):,} of {n:,} cells are not in every modality (first: "
            f"{table.names[odd[0]]!r} is not in {lacking.split('/')[0]!r}): say "
            f"cells='intersection' to keep the {n - len(odd):,} that all have, or cells='union' to "
            "keep all, which umint, ae, mofa and block_pca can embed."
        )
    if not (every if cells == "intersection" else some).any():
        raise _nothing(table, keys, cells)
    _leave_unmeasured(sieve, ~some, "are in", keys, None)
    if cells == "intersection":
        _leave_unmeasured(sieve, ~every, "are in", keys, cells)


def _nothing(table: AnyTable, keys: Mapping[str, str], cells: str | None) -> InputError:
    """The error of a table without a cell to read."""
    if cells != "intersection":
        return InputError(f"no cell of {table.name} is measured in {_list(keys)}: is it empty?")
    return InputError(
        f"no cell of {table.name} is measured in all of {_list(keys)}: do their obs names agree?"
    )


def _list(keys: Mapping[str, str]) -> str:
    return ", ".join(map(repr, keys))
