"""Writing results back into the user's AnnData or MuData."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from smalti.errors import InputError
from smalti.io.counts import unique_names
from smalti.io.mudata import rows_of
from smalti.io.open import holds_mudata
from smalti.io.tables import Table
from smalti.system.files import atomic_folder, atomic_write

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
) -> None:
    """Add columns, matrices, reconstructions and notes.

    Parameters
    ----------
    data
        AnnData or MuData, changed in place; or the path of an ``.h5ad``, ``.h5mu`` or ``.zarr``.
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
        came from X or a layer (of its modality), NaN in features that are not among the names;
        into ``obsm["NAME_VIEW"]`` where it came from ``obsm`` or has other features than X. A
        modality gets the rows of its own cells.
    origin
        ``Bags.origin``, which says where each view came from. Arrays that end before the last cell,
        as ``Bags.scatter`` gives them where the last cells are in no bag, are then filled up with
        NaN.
    overwrite
        Replace what another model, or somebody else, has written under these names. What the same
        model wrote (``uns[NAME]["model"]``) is always replaced.

    Raises
    ------
    InputError
        If the file is missing or damaged, lengths disagree, a name is taken, the folder cannot be
        written to, or reconstructions take more than 4 GiB; no file is then changed.
    """
    path = Path(data) if isinstance(data, (str, Path)) else None
    target = Path(out) if out is not None else path
    if target is not None and target.suffix not in (".h5ad", ".h5mu", ".zarr"):
        raise InputError(f"{target} is neither .h5ad nor .zarr nor .h5mu.")
    many = hasattr(data, "mod") if path is None else holds_mudata(path)
    if target is not None and target.suffix != ".zarr" and (target.suffix == ".h5mu") != many:
        own = ("MuData", ".h5mu") if many else ("AnnData", ".h5ad")
        raise InputError(f"{target} cannot hold {own[0]}: name it {own[1]} or .zarr.")
    table = data if path is None else _whole(path, many)
    if origin is not None:
        obsm = {k: _padded(v, table.n_obs) for k, v in obsm.items()}
        layers = {k: (_padded(v, table.n_obs), names) for k, (v, names) in (layers or {}).items()}
    tables = {k: v for k, (v, _) in (layers or {}).items()}
    for name, values in [*obs.items(), *obsm.items(), *tables.items()]:
        if len(values) != table.n_obs:
            raise InputError(f"{name!r} has {len(values)} rows, the table {table.n_obs} cells.")
    plan = list(_plan(table, layers or {}, origin or {}, many))
    _check_size(plan)
    for key, note in uns.items() if not overwrite else ():
        refuse_taken(table.uns, key, note, [
            *(f"obs[{n!r}]" for n in obs if n in table.obs),
            *(f"obsm[{n!r}]" for n in obsm if n in table.obsm), *_layers_there(table, plan, key),
        ])  # fmt: skip
    for name, values in obs.items():
        # by position: the index of a Series would be matched with the names of the cells
        table.obs[name] = values.array if isinstance(values, pd.Series) else values
    for name, values in obsm.items():
        if isinstance(values, pd.DataFrame):
            values = values.set_axis(table.obs_names)
        table.obsm[name] = values
    _add_layers(table, plan, layers or {}, list(uns))
    for name, note in uns.items():
        table.uns[name] = note
    if target is None:
        return
    if target.suffix == ".zarr":
        with atomic_folder(target) as temporary:
            shutil.rmtree(temporary)  # zarr makes its own folder
            with _as_it_is(many):
                table.write_zarr(temporary)
    else:
        with atomic_write(target) as temporary, _as_it_is(many):
            (table.write_h5mu if many else table.write_h5ad)(temporary)


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


def _layers_there(table: Any, plan: list[Place], key: str) -> list[str]:
    """Layers of that name in the tables that reconstructions go to."""
    parts = [table if modality is None else table.mod[modality]
             for _, modality, at, _ in plan if at is not None]  # fmt: skip
    return [f"layers[{key!r}]" for part in parts if key in part.layers]


def samples(
    x: np.ndarray, obs: pd.DataFrame, obsm: Mapping[str, Any], uns: Mapping[str, Any]
) -> Any:
    """AnnData with one row per bag; ``x`` is (n_bags, width)."""
    from anndata import AnnData

    obs = obs.set_axis(obs.index.astype(str))
    return AnnData(np.asarray(x), obs=obs, obsm=dict(obsm), uns=dict(uns))


# ---------------------------------------------------------------- reconstructions


def _plan(table: Any, layers: Layers, origin: Mapping[str, Any], many: bool) -> Iterator[Place]:
    """Where each view goes."""
    for view, (values, names) in layers.items():
        key = origin.get("keys", {}).get(view) or _key(view, origin.get("x"), many)
        first, _, rest = key.partition("/")
        part, at, inner = None, None, key
        if many and first in table.mod and rest.partition("/")[0] in ("", "X", "layers"):
            part, inner = table.mod[first], rest or "X"
        elif not many and first in ("X", "layers"):
            part = table
        if part is not None:
            at = _columns(Table("the data", part).columns_of(inner), part, values.shape[1], names)
        if part is None or at is None:
            yield view, None, None, 4 * values.size
        else:
            yield view, first if many else None, at, 4 * part.n_obs * part.n_vars


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
    of_key: np.ndarray, part: Any, width: int, names: tuple[str, ...] | None
) -> np.ndarray | None:
    """(width,) column of each feature in X; None where X has not all of them.

    ``of_key`` (n,) are the columns that the view was read from.
    """
    there = pd.Index(unique_names(part.var_names[of_key]))  # as they were read
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


def _add_layers(table: Any, plan: list[Place], layers: Layers, uns: list[str]) -> None:
    if plan and len(uns) != 1:
        raise InputError(f"layers go under one name of uns, not {uns}.")
    taken: dict[str | None, np.ndarray] = {}  # columns that the layer of each table has
    for view, modality, at, _ in plan:
        values, names = layers[view]
        values = values.astype(np.float32, copy=False)
        long = f"{uns[0]}_{view.replace('/', '_')}"  # a slash would nest it in the file
        if at is None:
            table.obsm[long] = (
                values
                if names is None
                else pd.DataFrame(values, index=table.obs_names, columns=list(names))
            )
            continue
        part, rows = table, np.arange(table.n_obs)
        if modality is not None:
            part = table.mod[modality]
            rows = rows_of(table.obs_names, part.obs_names, modality)
        others = taken.get(modality, np.arange(0))
        name = long if np.isin(at, others).any() else uns[0]  # X and a layer of one table
        out = part.layers[name] if name == uns[0] and modality in taken else \
            np.full(part.shape, np.nan, dtype=np.float32)  # fmt: skip
        out[:, at] = values[rows]
        taken[modality] = np.union1d(others, at)
        part.layers[name] = out


def _padded(values: Any, n: int) -> Any:
    """An array filled up with rows of NaN."""
    if not isinstance(values, np.ndarray) or len(values) >= n:
        return values
    kind = np.result_type(values.dtype, np.float32)
    return np.concatenate([values, np.full((n - len(values), *values.shape[1:]), np.nan, kind)])


def _whole(path: Path, many: bool) -> Any:
    """A whole AnnData or MuData."""
    try:
        if many:
            return _mudata(path)
        from anndata import io

        return io.read_h5ad(path) if path.suffix == ".h5ad" else io.read_zarr(path)
    # damage makes h5py, zarr, anndata and mudata raise nearly every kind of error
    except Exception as error:
        if isinstance(error, (InputError, MemoryError, ImportError)):
            raise
        raise InputError(
            f"{path} is damaged or not {'a MuData' if many else 'an AnnData'} file "
            f"({type(error).__name__}): download or write it again."
        ) from error


def _mudata(path: Path) -> Any:
    try:
        import mudata
    except ImportError as error:
        raise InputError(f"{path} needs mudata: pip install mudata.") from error
    with _as_it_is(True):
        return mudata.read_h5mu(path) if path.suffix == ".h5mu" else mudata.read_zarr(path)


def _as_it_is(many: bool) -> Any:
    """Keep mudata from copying columns of modalities into the global obs, and warning of it."""
    if not many:
        return nullcontext()
    import mudata

    return mudata.set_options(pull_on_update=False)
