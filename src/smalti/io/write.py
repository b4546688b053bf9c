"""Writing results back into the user's AnnData or MuData."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd
import scipy.sparse as sp

from smalti.errors import InputError
from smalti.io.counts import unique_names
from smalti.io.mudata import rows_of
from smalti.io.open import AnyTable, holds_mudata, open_table
from smalti.io.tables import Table
from smalti.io.whole import as_it_is, whole_file
from smalti.io.writeback import Key, State, changed_copy, put, until_it_stays
from smalti.system.files import atomic_folder, atomic_write, check_free

if TYPE_CHECKING:
    from smalti.bags import Bags

_MOST = 2**32  # bytes of reconstructions, which are dense

Layers: TypeAlias = Mapping[str, tuple[np.ndarray, tuple[str, ...] | None]]
# view; modality whose layer it becomes (None: of AnnData); its columns (None: obsm); bytes
Place: TypeAlias = tuple[str, str | None, np.ndarray | None, int]


def write(
    data: Any,
    *,
    obs: Mapping[str, np.ndarray | pd.Series],
    obsm: Mapping[str, np.ndarray | pd.DataFrame],
    uns: Mapping[str, Any],
    out: str | Path | None = None,
    layers: Layers | None = None,
    origin: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    bags: Bags | None = None,
    obsp: Mapping[str, sp.csr_matrix] | None = None,
) -> None:
    """Add columns, matrices, reconstructions and notes.

    Parameters
    ----------
    data
        AnnData or MuData, changed in place where ``out`` is left out; or the path of an ``.h5ad``,
        ``.h5mu`` or ``.zarr``.
    obs, obsm
        Name -> one row per cell in the user's own order; NaN for cells in no bag. Of MuData, the
        global ones.
    uns
        Name -> nested settings.
    out
        Where to write; the same path when left out.
    layers
        View name -> (n_cells, n_features) floats in the user's own order, and feature names or
        None. Written as float32 under the one name of ``uns``: into ``layers[NAME]`` where the view
        came from X or a layer (of its modality) and has all of its features, by itself or with
        other views; else into ``obsm["NAME_VIEW"]``, for a layer would be mostly NaN. A modality
        gets the rows of its own cells.
    origin
        ``Bags.origin``, which says where each view came from. Arrays that end before the last cell,
        as ``Bags.scatter`` gives them where the last cells are in no bag, are then filled up with
        NaN.
    overwrite
        Replace what another model, or somebody else, has written under these names, and a file
        ``out`` that is there. What the same model wrote (``uns[NAME]["model"]``) is always
        replaced.
    bags
        What was read of the data: its rows are looked for by name before anything is written.
    obsp
        Name -> square graph of the instances of ``bags``; cells in no bag have no edge.

    Raises
    ------
    InputError
        If the file is missing or damaged, lengths or names disagree, a name is taken, the folder
        cannot be written to, or reconstructions take more than 4 GiB; no file is then changed.

    Notes
    -----
    A file keeps all that it has, its compression too: no matrix is decoded (see
    :mod:`smalti.io.writeback`). What another program adds in the meantime is kept.
    """
    wrong = next((n for n in (*obs, *obsm, *uns) if "/" in n), None)
    if wrong is not None:
        raise InputError(f"key_added={wrong!r} has a slash, which would nest it: choose another.")
    path = Path(data) if isinstance(data, (str, Path)) else None
    target = Path(out) if out is not None else path
    if target is not None and target.suffix not in (".h5ad", ".h5mu", ".zarr"):
        raise InputError(f"{target} is neither .h5ad nor .zarr nor .h5mu.")
    many = hasattr(data, "mod") if path is None else holds_mudata(path)
    if target is not None and target.suffix != ".zarr" and (target.suffix == ".h5mu") != many:
        own = ("MuData", ".h5mu") if many else ("AnnData", ".h5ad")
        raise InputError(f"{target} cannot hold {own[0]}: name it {own[1]} or .zarr.")

    def additions(table: AnyTable) -> dict[Key, Any]:
        if bags is not None:
            by_position = pd.api.types.is_integer_dtype(bags.instance.index)
            refuse_others(table.names if by_position else table.index, bags)
        n = len(table.names)
        graphs = {k: _placed(v, bags.rows, n) for k, v in (obsp or {}).items() if bags is not None}
        return _additions(table, obs, obsm, uns, layers or {}, origin, overwrite, graphs)

    if path is not None and target is not None and path.suffix == target.suffix:

        def attempt(before: State) -> None:
            found = additions(open_table(path, backed=True))
            with changed_copy(path, target, before, overwrite=overwrite) as root:
                put(root, found)

        return until_it_stays(path, attempt)
    if target is not None:
        check_free(target, overwrite=overwrite)
    whole = data if path is None else whole_file(path, many)
    found = additions(open_table(whole))
    with nullcontext() if target is None else _as_before(whole, found):
        for key, value in found.items():
            _holder(whole, key)[key[-1]] = value
        if target is not None:
            _write_whole(whole, target, many, overwrite)


def _additions(
    table: AnyTable, obs: Mapping[str, Any], obsm: Mapping[str, Any], uns: Mapping[str, Any],
    layers: Layers, origin: Mapping[str, Any] | None, overwrite: bool,
    graphs: Mapping[str, sp.csr_matrix],
) -> dict[Key, Any]:  # fmt: skip
    """Where each value goes in the table: ("obs", NAME), ("mod", "rna", "layers", NAME)."""
    top, n = table if isinstance(table, Table) else table.top, len(table.names)
    if origin is not None:
        obs = {k: _padded(v, n) for k, v in obs.items()}
        obsm = {k: _padded(v, n) for k, v in obsm.items()}
        layers = {k: (_padded(v, n), names) for k, (v, names) in layers.items()}
    tables = {k: v for k, (v, _) in layers.items()}
    for name, values in [*obs.items(), *obsm.items(), *tables.items()]:
        if len(values) != n:
            raise InputError(f"{name!r} has {len(values)} rows, the table {n} cells.")
    plan = list(_plan(table, layers, origin or {}))
    _check_size(plan)
    for key, note in uns.items() if not overwrite else ():
        refuse_taken({key: top.note(key)}, key, note, [
            *(f"obs[{n!r}]" for n in obs if top.has(n)),
            *(f"obsm[{n!r}]" for n in obsm if n in top.keys("obsm")),
            *(f"obsp[{n!r}]" for n in graphs if n in top.keys("obsp")),
            *_there(table, plan, key),
        ])  # fmt: skip
    # by position: the index of a Series would be matched with the names of the cells
    found: dict[Key, Any] = {
        ("obs", k): v.array if isinstance(v, pd.Series) else v for k, v in obs.items()
    }
    for name, values in obsm.items():
        frame = isinstance(values, pd.DataFrame)
        found["obsm", name] = values.set_axis(table.index) if frame else values
    found |= {("obsp", k): v for k, v in graphs.items()}
    found |= _layers_of(table, plan, layers, list(uns))
    return found | {("uns", k): v for k, v in uns.items()}


def _placed(graph: sp.csr_matrix, rows: np.ndarray, n: int) -> sp.csr_matrix:
    """(n, n) a graph of some rows of a table."""
    edges = graph.tocoo()
    return sp.csr_matrix((edges.data, (rows[edges.row], rows[edges.col])), shape=(n, n))


def _holder(whole: Any, key: Key) -> Any:
    """What a value is put into: ``obs``, ``obsm``, ... of AnnData or MuData in memory."""
    *parts, where, _ = key
    return getattr(whole.mod[parts[1]] if parts else whole, where)


@contextmanager
def _as_before(whole: Any, found: Iterable[Key]) -> Iterator[None]:
    """Leave a table in memory as it was: what is added goes into a file only."""
    kept = {key: _holder(whole, key)[key[-1]] for key in found if key[-1] in _holder(whole, key)}
    try:
        yield
    finally:
        for key in found:
            if key in kept:
                _holder(whole, key)[key[-1]] = kept[key]
            elif key[-1] in _holder(whole, key):
                del _holder(whole, key)[key[-1]]


def _write_whole(whole: Any, target: Path, many: bool, overwrite: bool) -> None:
    if target.suffix == ".zarr":
        with atomic_folder(target, overwrite=overwrite) as temporary, as_it_is(many):
            shutil.rmtree(temporary)  # zarr makes its own folder
            whole.write_zarr(temporary)
    else:
        with atomic_write(target, overwrite=overwrite) as temporary, as_it_is(many):
            (whole.write_h5mu if many else whole.write_h5ad)(temporary)


def refuse_others(names: pd.Index, bags: Bags) -> None:
    """Refuse a table whose rows are not those that bags (or tiles of slides) were read from.

    ``names`` are of all rows of the table.

    Raises
    ------
    InputError
        If a row has another name, or there are too few.
    """
    wrong = strange_rows(names, bags)
    if wrong:
        raise InputError(f"{wrong}: give the data that it was read from.")


def strange_rows(names: pd.Index, bags: Bags) -> str | None:
    """What shows that bags are not made of rows of a table; None where nothing does."""
    rows, index = bags.rows, bags.instance.index
    if len(rows) and rows.max() >= len(names):
        return f"row {int(rows.max())} was read, and the table has {len(names)} only"
    if pd.api.types.is_integer_dtype(index):  # rows without names
        return None
    for own, name in zip(index.astype(str), names[rows].astype(str), strict=True):
        if own != name and not own.endswith(f"_{name}"):
            return f"row {own!r} was read, and the table has {name!r} there"
    return None


def refuse_taken(uns: Any, key: str, note: Mapping[str, Any], taken: Sequence[str]) -> None:
    """Refuse names that are taken by what another model, or somebody else, wrote.

    Parameters
    ----------
    uns
        Notes of the user's table.
    key, note
        Where the note of the model that writes goes, and that note: ``note["model"]`` says which
        model it is. What the same model wrote before may be replaced.
    taken
        Names that are there already, as people know them: "obs['abmil_attention']".

    Raises
    ------
    InputError
        If a name is taken.
    """
    old = uns.get(key)
    if isinstance(old, Mapping) and old.get("model") == note["model"]:
        return
    names = [*taken, *([f"uns[{key!r}]"] if old is not None else [])]
    if names:
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        raise InputError(
            f"{names[0]}{more} is there already, and not of this model: write under a name of its "
            "own, key_added='NAME', or replace it, overwrite=True."
        )


def _there(table: AnyTable, plan: list[Place], key: str) -> list[str]:
    """Layers and tables that have the names of reconstructions."""
    top = table if isinstance(table, Table) else table.top
    parts = [part_of(table, modality) for _, modality, at, _ in plan if at is not None]
    longs = [_long(key, view) for view, _, at, _ in plan if at is None]
    return [*(f"layers[{key!r}]" for part in parts if key in part.keys("layers")),
            *(f"obsm[{name!r}]" for name in longs if name in top.keys("obsm"))]  # fmt: skip


def _long(key: str, view: str) -> str:
    """The name of a reconstruction beside others; a slash would nest it in the file."""
    return f"{key}_{view.replace('/', '_')}"


def part_of(table: AnyTable, modality: str | None) -> Table:
    """A modality of MuData; or AnnData itself."""
    return table if isinstance(table, Table) else table.parts[str(modality)]


def samples(
    x: np.ndarray, obs: pd.DataFrame, obsm: Mapping[str, Any], uns: Mapping[str, Any]
) -> Any:
    """AnnData with one row per bag; ``x`` is (n_bags, width)."""
    from anndata import AnnData

    obs = obs.set_axis(obs.index.astype(str))
    return AnnData(np.asarray(x), obs=obs, obsm=dict(obsm), uns=dict(uns))


# ---------------------------------------------------------------- reconstructions


def _plan(table: AnyTable, layers: Layers, origin: Mapping[str, Any]) -> Iterator[Place]:
    """Where each view goes: into a layer where that is then full."""
    wanted = list(_layer_plan(table, layers, origin))
    for view, modality, at, size in wanted:
        whole = at is not None and _covered(wanted, modality, part_of(table, modality))
        yield (view, modality, at, size) if whole else (view, None, None, 4 * layers[view][0].size)


def _covered(wanted: list[Place], modality: str | None, part: Table) -> bool:
    """Whether views have among them all columns of X."""
    columns = [at for _, other, at, _ in wanted if other == modality and at is not None]
    return len(np.unique(np.concatenate(columns))) == len(part.var)


def _layer_plan(table: AnyTable, layers: Layers, origin: Mapping[str, Any]) -> Iterator[Place]:
    """Which columns of X each view has, if it is made of them."""
    parts = {} if isinstance(table, Table) else table.parts
    for view, (values, names) in layers.items():
        key = origin.get("keys", {}).get(view) or _key(view, origin.get("x"), bool(parts))
        first, _, rest = key.partition("/")
        part, at, inner = None, None, key
        if first in parts and rest.partition("/")[0] in ("", "X", "layers"):
            part, inner = parts[first], rest or "X"
        elif isinstance(table, Table) and first in ("X", "layers"):
            part = table
        if part is not None:
            at = _columns(part.columns_of(inner), part, values.shape[1], names)
        if part is None or at is None:
            yield view, None, None, 4 * values.size
        else:
            yield view, first if parts else None, at, 4 * len(part.names) * len(part.var)


def _key(view: str, x: Any, many: bool) -> str:
    """Where a view was read from."""
    if isinstance(x, Mapping):
        return str(x.get(view, view))
    if many:
        return view
    for key in [x] if isinstance(x, str) else x or ():
        if key.split("/", 1)[-1] == view:
            return str(key)
    return "X" if x is None and view == "rna" else view


def _columns(
    of_key: np.ndarray, part: Table, width: int, names: tuple[str, ...] | None
) -> np.ndarray | None:
    """(width,) column of each feature in X; None where X has not all of them.

    ``of_key`` (n,) are the columns that the view was read from.
    """
    own = part.feature_names
    there = pd.Index(unique_names([own[i] for i in of_key]))  # as they were read
    if names is None or names == tuple(there):
        return of_key if width == len(there) else None
    at = there.get_indexer(list(names))
    return None if (at < 0).any() else of_key[at]


def _check_size(plan: list[Place]) -> None:
    size = sum(bytes_ for *_, bytes_ in plan)
    if size > _MOST:
        worst = max(plan, key=lambda p: p[-1])[0]
        raise InputError(
            f"reconstructions of all features would take {size / 2**30:.1f} GiB (the most: "
            f"{worst!r}), more than {_MOST / 2**30:.0f}: select genes before, or call "
            "reconstruct() and keep what you need."
        )


def _layers_of(
    table: AnyTable, plan: list[Place], layers: Layers, uns: list[str]
) -> dict[Key, Any]:
    """Reconstructions where they go: into layers, or obsm."""
    if plan and len(uns) != 1:
        raise InputError(f"layers go under one name of uns, not {uns}.")
    found: dict[Key, Any] = {}
    taken: dict[str | None, np.ndarray] = {}  # columns that the layer of each table has
    for view, modality, at, _ in plan:
        values, names = layers[view]
        values = values.astype(np.float32, copy=False)
        long = _long(uns[0], view)
        if at is None:
            found["obsm", long] = (
                values
                if names is None
                else pd.DataFrame(values, index=table.index, columns=list(names))
            )
            continue
        part, root = part_of(table, modality), () if modality is None else ("mod", modality)
        rows = np.arange(len(table.names))
        if modality is not None:
            rows = rows_of(table.names, part.names, modality)
        others = taken.get(modality, np.arange(0))
        name = long if np.isin(at, others).any() else uns[0]  # X and a layer of one table
        shape = len(part.names), len(part.var)
        out = found.get((*root, "layers", name), np.full(shape, np.nan, dtype=np.float32))
        out[:, at] = values[rows]
        taken[modality] = np.union1d(others, at)
        found[(*root, "layers", name)] = out
    return found


def _padded(values: Any, n: int) -> Any:
    """An array filled up with rows of NaN."""
    if not isinstance(values, np.ndarray) or len(values) >= n:
        return values
    kind = np.result_type(values.dtype, np.float32)
    return np.concatenate([values, np.full((n - len(values), *values.shape[1:]), np.nan, kind)])
