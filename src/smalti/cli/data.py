"""From what stands on the command line to ``Bags``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from smalti.cli.options import kinds_of, listed, views_of
from smalti.errors import InputError

if TYPE_CHECKING:
    from smalti.bags import Bags


TABLES = (".h5ad", ".h5mu", ".zarr")
_OF_TABLES = ("sample", "x", "cell_type", "covariates", "cells", "kinds", "labels", "id", "obs",
              "runs", "backed")  # fmt: skip
_OF_FOLDERS = ("sample", "labels", "id", "key", "absent", "slides", "patches", "tile_px",
               "um_per_px")  # fmt: skip


def open_bags(data: Any, **asked: Any) -> Bags:
    """Read bags from tables of cells, a folder of feature files, or an .npz.

    Parameters
    ----------
    data
        As of :func:`smalti.cli.given.data_of`.
    asked
        The options of a verb that are about reading, as :mod:`smalti.cli.options` has them.

    Raises
    ------
    InputError
        If the file is not there, is of another kind, lacks what was named, or has no use for it.
    """
    if isinstance(data, Path) and not data.exists():
        raise InputError(f"no file or folder {data}: check the path.")
    asked = {name: value for name, value in asked.items() if value or value is False}
    asked |= {name: listed(asked[name]) for name in ("label", "order") if name in asked}
    if len(asked.get("label", ())) == 1:
        asked["label"] = asked["label"][0]
    if holds_cells(data):
        name = data.name if isinstance(data, Path) else "DATA"
        return _table(data, name, **_only(asked, _OF_TABLES, name))
    path: Path = data
    if path.suffix == ".npz":
        return _npz(path, **_only(asked, (), path.name))
    if path.is_dir():
        return _folder(path, **_only(asked, _OF_FOLDERS, path.name))
    raise InputError(
        f"{path} is not .h5ad, .h5mu, .zarr, .npz, an .h5, .mtx or folder of Cell Ranger, nor a "
        "folder of .h5 feature files: convert it first."
    )


def holds_cells(data: Any) -> bool:
    """Whether data are tables of cells, as :func:`smalti.read` takes them."""
    from smalti.io.cell_files import runs_in

    if not isinstance(data, Path):
        return True
    if data.suffix == ".zarr" or not data.is_dir():
        return data.suffix in (*TABLES, ".h5") or ".mtx" in data.suffixes
    return bool(runs_in(data))


def _only(asked: dict[str, Any], used: tuple[str, ...], data: str) -> dict[str, Any]:
    """What was asked, if data of this kind have a use for all of it."""
    everywhere = ("label", "donor", "site", "kind", "positive", "order", "fold")
    idle = [name for name in asked if name not in (*used, *everywhere)]
    if idle:
        raise InputError(f"{data} is of a kind that has no use for {idle[0]}=: leave it out.")
    return asked


def _table(data: Any, name: str, **asked: Any) -> Bags:
    from smalti.io.anndata import read

    if "sample" not in asked:
        raise InputError(f"{name}: name the column that holds the samples, --sample NAME.")
    views, kinds = views_of(asked.pop("x", None)), kinds_of(asked.pop("kinds", None))
    columns = [*asked.pop("covariates", ()), *([asked.pop("fold")] if "fold" in asked else [])]
    return read(data, x=views, kinds=kinds or None, bag_columns=columns,
                runs=listed(asked.pop("runs", None)), **asked)  # fmt: skip


def _folder(path: Path, labels: Path | None = None, fold: str | None = None, **asked: Any) -> Bags:
    import pandas as pd

    from smalti.io.features import read_features

    table: Any = labels
    if labels is None:
        if "label" in asked:
            named = asked["label"]
            raise InputError(f"{path}: give the table that holds {named!r}, --labels TABLE.csv.")
        table = pd.DataFrame({"slide_id": sorted(p.stem for p in path.glob("*.h5"))})
        if table.empty:
            raise InputError(f"{path} holds no .h5 files: give a folder of feature files.")
    if "um_per_px" in asked:
        from smalti.cli.slides import number_of

        asked["um_per_px"] = number_of(asked["um_per_px"], "--um-per-px", "COLUMN or SLIDE=NUMBER")
    return read_features(path, table, **asked)


def _npz(
    path: Path, label: str | None = None, donor: str | None = None, site: str | None = None,
    fold: str | None = None, **said: Any,
) -> Bags:  # fmt: skip
    import pandas as pd

    from smalti.bags import Bags
    from smalti.system.arrays import read_npz

    arrays = read_npz(path)

    def pick(key: str) -> Any:
        if key not in arrays:
            raise InputError(f"{path.name} has no array {key!r}; there are {sorted(arrays)}.")
        return arrays[key]

    def by_row(key: str | None) -> Any:
        """One value per row, from one value per row or per bag (in order of appearance)."""
        if key is None or key == "bag":
            return key
        values = pick(key)
        bag = pick("bag")
        order = list(dict.fromkeys(bag.tolist()))
        if len(values) == len(order) != len(bag):
            place = {b: i for i, b in enumerate(order)}
            return values[[place[b] for b in bag.tolist()]]
        return values

    def folds_of(key: str | None) -> Any:
        if key is None:
            return None
        rows = pd.Series(by_row(key), index=pick("bag"), name=key)
        if rows.reset_index().drop_duplicates().iloc[:, 0].duplicated().any():
            raise InputError(f"{path.name}: a bag has several values of {key!r}, a fold is one.")
        return rows[~rows.index.duplicated()].to_frame()

    label = "label" if label is None and "label" in arrays else label
    donor = "donor" if donor is None and "donor" in arrays else donor
    return Bags.from_rows(
        pick("x"), pick("bag"), y=by_row(label) if label else None, donor=by_row(donor),
        site=by_row(site), bag=folds_of(fold), **said
    )  # fmt: skip
