"""A section of spots (or bins) from a run of Space Ranger."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from smalti.errors import InputError
from smalti.io.counts import checked_counts, told_apart
from smalti.io.matrix_10x import read_counts
from smalti.io.pictures import opened, picture_files, small_version
from smalti.io.runs import Run
from smalti.io.sections import PITCH, Ask, Section
from smalti.left import Left
from smalti.system.reading import read_json, reading
from smalti.system.tables import numbers, read_parquet, read_text
from smalti.tiles.image import SlideImage

SCALES = "scalefactors_json.json"
_COLUMNS = ["barcode", "in_tissue", "array_row", "array_col", "pxl_row_in_fullres",
            "pxl_col_in_fullres"]  # fmt: skip


def visium_section(run: Run, ask: Ask, notes: list[str]) -> Section:
    """One section.

    Parameters
    ----------
    run
        Its files: counts, positions, small pictures and their scales.
    ask
        ``images`` is the full-resolution picture; None: the high-resolution one of spatial/, with
        its scale. ``um_per_px`` and ``pitch_um`` are of the full-resolution picture and of the
        spots, where the user says so. Else what scalefactors_json.json says (Visium HD), else
        100 µm from spot to spot.
    notes
        Gets warnings.

    Raises
    ------
    InputError
        If a file is missing, no spot lies under tissue, or spots and counts have no barcode in
        common; with names.
    """
    file = run.counts
    if file is None:
        raise InputError(
            f"{run.folder} has no filtered_feature_bc_matrix (.h5 or folder): copy it there."
        )
    spots = _positions(run)
    matrix, genes, barcodes = read_counts(file)
    raw = "raw_feature_bc_matrix" in file.name
    spots = _measured(run, spots, barcodes, raw, notes)
    known = pd.Index(barcodes)
    if not known.is_unique:
        raise InputError(f"{file} has two spots of one barcode (first: "
                         f"{known[known.duplicated()][0]!r}): copy it again.")  # fmt: skip
    rows = known.get_indexer(spots.index)
    counts, unique = checked_counts(matrix[rows], genes, list(spots.index), str(file))
    notes += told_apart(genes, f"slide {run.name!r}")
    xy = spots[["pxl_col_in_fullres", "pxl_row_in_fullres"]].to_numpy(float)
    picture, scale = run_picture(run, ask.images, notes)
    said = ask.um_of(run.name) or factor(run, "microns_per_pixel")
    width = factor(run, "bin_size_um")
    return Section(
        run.name, picture, xy * scale, spots.drop(columns=_COLUMNS[4:]), counts, unique,
        None if said is None else said / scale, ask.pitch_um or width or PITCH,
        unit="spots" if width is None else "bins",
    )  # fmt: skip


def _measured(
    run: Run, spots: pd.DataFrame, barcodes: list[str], raw: bool, notes: list[str]
) -> pd.DataFrame:
    """The spots that have counts and lie under tissue; what is left out is noted."""
    name, there = run.name, spots.index.intersection(barcodes, sort=False)
    _one_library(run, spots.index, barcodes)
    if not len(there):
        raise InputError(
            f"{run.folder}: no barcode of the counts (such as {barcodes[0]}) is among the "
            f"positions (such as {spots.index[0]}): are the two of one section?"
        )
    known = set(spots.index)
    lost = [b for b in barcodes if b not in known]
    if lost:
        notes.append(Left(f"slide {name!r}: {len(lost)} spots with counts have no position (first: "
                          f"{lost[0]}) and are left out.", instances=len(lost)))  # fmt: skip
    spots = spots.loc[there]
    bare = spots.index[spots["in_tissue"] != 1]
    if len(bare) == len(spots):
        raise InputError(
            f"{run.folder}: none of the {len(spots)} spots with counts lies under tissue "
            "(in_tissue is 1 in the table of positions): mend that column."
        )
    if len(bare) and not raw:  # a raw matrix holds all spots, also where there is no tissue
        notes.append(Left(
            f"slide {name!r}: {len(bare)} of {len(spots)} spots with counts do not lie under "
            f"tissue (first: {bare[0]}; in_tissue is 0) and are left out.", instances=len(bare),
        ))  # fmt: skip
    return spots.drop(index=bare)


def _one_library(run: Run, spots: pd.Index, barcodes: list[str]) -> None:
    """Refuse counts of other libraries than the positions.

    All slides have the same barcodes but for the ending that aggregation gives (-1, -2): without
    it the spots of any section would fit.
    """
    ours, theirs = ({name.rpartition("-")[2] for name in names if "-" in name}
                    for names in (barcodes, spots))  # fmt: skip
    if ours and theirs and not ours <= theirs:
        first, other = (" and -".join(sorted(ends)[:3]) for ends in (ours, theirs))
        raise InputError(
            f"{run.folder}: barcodes of the counts end in -{first}, of the positions in -{other}. "
            "Where several runs are put together (aggr) the ending tells them apart, and without "
            "it the spots of any section fit: take counts and positions of one run."
        )


def _positions(run: Run) -> pd.DataFrame:
    """All spots by barcode."""
    file = run.positions
    if file is None:
        raise InputError(
            f"{run.folder / 'spatial'} has no tissue_positions (.csv or .parquet): copy it there."
        )
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


def _placed(table: pd.DataFrame, file: Path) -> pd.DataFrame:
    """The table, if every spot has a barcode of its own and whole numbers for a place."""
    names = table["barcode"].astype(str)
    if table["barcode"].isna().any() or names.duplicated().any():
        at = int(np.argmax(table["barcode"].isna() | names.duplicated()))
        raise InputError(f"{file}, spot {at + 1}: the barcode {table['barcode'].iloc[at]!r} is "
                         "empty or there twice: copy it again.")  # fmt: skip
    numbers(table, _COLUMNS[1:], file)
    return table.assign(barcode=names)


def run_picture(run: Run, image: Any, notes: list[str]) -> tuple[SlideImage, float]:
    """The picture, and its pixels per pixel at full resolution.

    Raises
    ------
    InputError
        If there is none, or its scale is not known.
    """
    name = run.name
    if image is not None:
        found = picture_files(image)
        file = found.get(name) or (next(iter(found.values())) if len(found) == 1 else None)
        if file is None:
            raise InputError(f"slide {name!r} has no image; there are {', '.join(sorted(found))}.")
        return opened(file), 1.0
    scales = run.file(SCALES)
    for kind in ("hires", "lowres"):
        small = run.file(*(f"tissue_{kind}_image{end}" for end in (".png", ".jpg", ".jpeg")))
        if small is None or scales is None:
            continue
        scale = factor(run, f"tissue_{kind}_scalef")
        if scale is None or scale > 1:
            raise InputError(
                f"{scales} gives no tissue_{kind}_scalef of at most 1 ({scale}): copy it again."
            )
        notes.append(small_version(name, small.name, scale))
        return opened(small), scale
    raise InputError(
        f"{run.folder / 'spatial'} has no tissue_hires_image.png with {SCALES}, and no image was "
        "given: images=FILE."
    )


def factor(run: Run, name: str) -> float | None:
    """A number of scalefactors_json.json; None where that is not there, or does not name it.

    Raises
    ------
    InputError
        If it is not over 0.
    """
    file = run.file(SCALES)
    if file is None:
        return None
    said = read_json(file)
    with reading(file, name):
        value = said.get(name)
        number = None if value is None else float(value)
    if number is not None and not 0 < number < np.inf:
        raise InputError(f"{file} gives {name}={number}: expected over 0.")
    return number
