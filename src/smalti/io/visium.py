"""Sections from the output folder of Space Ranger."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from smalti.errors import InputError
from smalti.io.counts import checked_counts, told_apart
from smalti.io.matrix_10x import counts_file, read_counts
from smalti.io.pictures import opened, picture_files
from smalti.io.sections import Section
from smalti.io.spots import stated
from smalti.system.reading import read_json, reading
from smalti.system.tables import numbers, read_parquet, read_text

_PITCH = 100.0  # µm between the centres of neighbouring Visium spots
_SPOT = 55.0  # µm across
_COLUMNS = ["barcode", "in_tissue", "array_row", "array_col", "pxl_row_in_fullres",
            "pxl_col_in_fullres"]  # fmt: skip


def is_visium(path: Path) -> bool:
    """Whether a folder is the output of Space Ranger."""
    path = _outs(path)
    return (path / "spatial").is_dir() and counts_file(path) is not None


def _outs(path: Path) -> Path:
    """Where the files of a run are: in its folder "outs", if that was kept."""
    return path / "outs" if (path / "outs" / "spatial").is_dir() else path


def visium_section(
    path: Path, *, name: str, image: Any, um_per_px: Any, pitch_um: float | None, notes: list[str]
) -> Section:
    """One section.

    Parameters
    ----------
    path
        Folder with filtered_feature_bc_matrix (.h5, or a folder of .mtx) and spatial/.
    name
        Of the slide.
    image
        Full-resolution picture; None: the high-resolution one of spatial/, with its scale.
    um_per_px, pitch_um
        Of the full-resolution picture, and of the spots, where the user says so. Else what
        scalefactors_json.json says (Visium HD), else 100 µm from spot to spot.
    notes
        Gets warnings.

    Raises
    ------
    InputError
        If a file is missing, no spot lies under tissue, or spots and counts have no barcode in
        common; with names.
    """
    path = _outs(path)
    spots = _positions(path)
    file = counts_file(path)
    if file is None:
        raise InputError(
            f"{path} has no filtered_feature_bc_matrix (.h5 or folder): copy it there."
        )
    matrix, genes, barcodes = read_counts(file)
    spots = _measured(path, spots, barcodes, file.name.startswith("raw_"), name, notes)
    rows = pd.Index(barcodes).get_indexer(spots.index)
    counts, unique = checked_counts(matrix[rows], genes, list(spots.index), str(path))
    notes += told_apart(genes, f"slide {name!r}")
    xy = spots[["pxl_col_in_fullres", "pxl_row_in_fullres"]].to_numpy(float)
    picture, scale = _picture(path, image, notes, name)
    factors = path / "spatial" / "scalefactors_json.json"
    said = stated(um_per_px, name) or _factor(factors, "microns_per_pixel")
    pitch = pitch_um or _factor(factors, "bin_size_um") or _PITCH
    return Section(
        name, picture, xy * scale, spots.drop(columns=_COLUMNS[4:]), counts, unique,
        None if said is None else said / scale, pitch,
    )  # fmt: skip


def _measured(
    path: Path, spots: pd.DataFrame, barcodes: list[str], raw: bool, name: str, notes: list[str]
) -> pd.DataFrame:
    """The spots that have counts and lie under tissue; what is left out is noted."""
    there = spots.index.intersection(barcodes, sort=False)
    if not len(there):
        raise InputError(
            f"{path}: no barcode of the counts (such as {barcodes[0]}) is among the positions "
            f"(such as {spots.index[0]}): are the two of one section?"
        )
    lost = [b for b in barcodes if b not in spots.index]
    if lost:
        notes.append(f"slide {name!r}: {len(lost)} spots with counts have no position (first: "
                     f"{lost[0]}) and are left out.")  # fmt: skip
    spots = spots.loc[there]
    bare = spots.index[spots["in_tissue"] != 1]
    if len(bare) == len(spots):
        raise InputError(
            f"{path}: none of the {len(spots)} spots with counts lies under tissue (in_tissue is 1 "
            "in the table of positions): mend that column."
        )
    if len(bare) and not raw:  # a raw matrix holds all spots, also where there is no tissue
        notes.append(
            f"slide {name!r}: {len(bare)} of {len(spots)} spots with counts do not lie under "
            f"tissue (first: {bare[0]}; in_tissue is 0) and are left out."
        )
    return spots.drop(index=bare)


def _positions(path: Path) -> pd.DataFrame:
    """All spots by barcode."""
    folder = path / "spatial"
    for name in ("tissue_positions.parquet", "tissue_positions.csv", "tissue_positions_list.csv"):
        file = folder / name
        if not file.exists():
            continue
        if file.suffix == ".parquet":
            table = read_parquet(file)
        else:
            headed = "barcode" in read_text(file, header=None, nrows=1).iloc[0].tolist()
            table = read_text(file, header=0 if headed else None)
            if not headed:
                table = table.set_axis(_COLUMNS[: table.shape[1]], axis=1)
        absent = [c for c in _COLUMNS if c not in table]
        if absent:
            raise InputError(f"{file} lacks {', '.join(absent)}: it is no table of Space Ranger.")
        if not len(table):
            raise InputError(f"{file} has no spots: copy it again.")
        return _placed(table, file).set_index("barcode")
    raise InputError(f"{folder} has no tissue_positions (.csv or .parquet): copy it there.")


def _placed(table: pd.DataFrame, file: Path) -> pd.DataFrame:
    """The table, if every spot has a barcode of its own and whole numbers for a place."""
    names = table["barcode"].astype(str)
    if table["barcode"].isna().any() or names.duplicated().any():
        at = int(np.argmax(table["barcode"].isna() | names.duplicated()))
        raise InputError(f"{file}, spot {at + 1}: the barcode {table['barcode'].iloc[at]!r} is "
                         "empty or there twice: copy it again.")  # fmt: skip
    numbers(table, _COLUMNS[1:], file)
    return table.assign(barcode=names)


def _picture(path: Path, image: Any, notes: list[str], name: str) -> tuple[Any, float]:
    """The picture, and its pixels per pixel at full resolution."""
    if image is not None:
        found = picture_files(image)
        file = found.get(name) or (next(iter(found.values())) if len(found) == 1 else None)
        if file is None:
            raise InputError(f"slide {name!r} has no image; there are {', '.join(sorted(found))}.")
        return opened(file), 1.0
    scales = path / "spatial" / "scalefactors_json.json"
    for kind in ("hires", "lowres"):
        for suffix in (".png", ".jpg", ".jpeg"):
            file = path / "spatial" / f"tissue_{kind}_image{suffix}"
            if file.exists() and scales.exists():
                scale = _factor(scales, f"tissue_{kind}_scalef")
                if scale is None or scale > 1:
                    raise InputError(
                        f"{scales} gives no tissue_{kind}_scalef of at most 1 ({scale}): copy it "
                        "again."
                    )
                notes.append(
                    f"slide {name!r}: cut from {file.name}, a small version of the slide (1 of "
                    f"{1 / scale:.3g} pixels): give the full-resolution image, images=..."
                )
                return opened(file), scale
    raise InputError(
        f"{path / 'spatial'} has no tissue_hires_image.png with scalefactors_json.json, and no "
        "image was given: images=FILE."
    )


def _factor(file: Path, name: str) -> float | None:
    """A number of scalefactors_json.json; None where that is not there, or does not name it."""
    if not file.exists():
        return None
    said = read_json(file)
    with reading(file, name):
        value = said.get(name)
        number = None if value is None else float(value)
    if number is not None and not 0 < number < np.inf:
        raise InputError(f"{file} gives {name}={number}: expected over 0.")
    return number
