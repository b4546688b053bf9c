"""From what stands on the command line to ``Bags``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from smalti.errors import InputError

if TYPE_CHECKING:
    from smalti.bags import Bags


def open_bags(
    path: Path,
    *,
    sample: str | None = None,
    label: str | None = None,
    donor: str | None = None,
    x: Any = None,
    labels: Path | None = None,
    kind: str | None = None,
    positive: str | None = None,
    order: str | None = None,
    cell_type: str | None = None,
    covariates: list[str] | None = None,
    cells: str | None = None,
) -> Bags:
    """Read bags from AnnData or MuData on disk, a folder of feature files, or an .npz.

    Raises
    ------
    InputError
        If the file is not there, is of another kind, or lacks what was named.
    """
    from smalti.cli.options import order_of, views_of

    said: dict[str, Any] = {"kind": kind, "positive": positive, "order": order_of(order)}
    if not path.exists():
        raise InputError(f"no file or folder {path}: check the path.")
    if path.suffix in (".h5ad", ".h5mu", ".zarr"):
        from smalti.io.anndata import read

        if sample is None:
            raise InputError(f"{path.name}: name the column that holds the samples, --sample NAME.")
        return read(path, sample=sample, label=label, donor=donor, x=views_of(x), **said,
                    cell_type=cell_type, bag_columns=covariates or (), cells=cells)  # fmt: skip
    if cell_type is not None:
        raise InputError(f"--cell-type is a column of .h5ad, .h5mu or .zarr, not of {path.name}.")
    if path.suffix == ".npz":
        return _npz(path, label, donor, said)
    if path.is_dir():
        return _folder(path, labels, label, donor, sample, said)
    raise InputError(
        f"{path} is not .h5ad, .h5mu, .zarr, .npz or a folder of .h5 feature files: convert it "
        "first."
    )


def _folder(
    path: Path,
    labels: Path | None,
    label: str | None,
    donor: str | None,
    sample: str | None,
    said: dict[str, Any],
) -> Bags:
    import pandas as pd

    from smalti.io.features import read_features

    table: Any = labels
    if labels is None:
        if label is not None:
            raise InputError(f"{path}: give the table that holds {label!r}, --labels TABLE.csv.")
        table = pd.DataFrame({"slide_id": sorted(p.stem for p in path.glob("*.h5"))})
        if table.empty:
            raise InputError(f"{path} holds no .h5 files: give a folder of feature files.")
    return read_features(path, table, label=label, donor=donor, sample=sample, **said)


def _npz(path: Path, label: str | None, donor: str | None, said: dict[str, Any]) -> Bags:
    import zipfile

    import numpy as np

    from smalti.bags import Bags

    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {k: file[k] for k in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} cannot be read ({error}): save it with numpy.savez, as numbers "
                         "and text, not objects.") from error  # fmt: skip

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

    label = "label" if label is None and "label" in arrays else label
    donor = "donor" if donor is None and "donor" in arrays else donor
    return Bags.from_rows(
        pick("x"), pick("bag"), y=by_row(label) if label else None, donor=by_row(donor), **said
    )
