"""Sections of Xenium: cells at their centroids, on an H&E picture that was aligned to them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from smalti.errors import InputError
from smalti.io.counts import checked_counts, told_apart
from smalti.io.matrix_10x import read_counts
from smalti.io.pictures import match_pictures
from smalti.io.runs import Run
from smalti.io.sections import Ask, Section
from smalti.io.visium_hd import run_name
from smalti.left import Left
from smalti.system.reading import read_json, reading
from smalti.system.tables import numbers, read_parquet, read_text
from smalti.tiles.image import SUFFIXES, SlideImage, ending

_SPECS = "experiment.xenium"
_CELLS = ("cells.parquet", "cells.csv")
_MATRIX = ("cell_feature_matrix.h5", "cell_feature_matrix")
_PLACE = ("x_centroid", "y_centroid")
_OWN = "morphology"  # morphology_focus.ome.tif, morphology_focus/ch0000_dapi.ome.tif
_ENDING = "alignment.csv"  # NAME_he_imagealignment.csv, as Xenium Explorer writes it


def is_xenium(folder: Path) -> bool:
    """Whether a folder is the output of a Xenium run, with or without its outs/."""
    return (_top(folder) / _SPECS).exists()


def _top(folder: Path) -> Path:
    return folder / "outs" if (folder / "outs" / _SPECS).exists() else folder


def xenium_section(folder: Path, ask: Ask, notes: list[str]) -> Section:
    """The cells of a run.

    Parameters
    ----------
    folder
        With cells.parquet or cells.csv.gz, cell_feature_matrix and experiment.xenium.
    ask
        ``images`` is the H&E picture, or one in the folder is (NAME_he_image.ome.tif); its
        alignment lies beside it, or in the folder. Or a picture of the run itself, which needs none
        (morphology_focus.ome.tif).
    notes
        Gets warnings.

    Raises
    ------
    InputError
        If a file is missing or damaged, or it is not known where the picture lies.
    """
    top = _top(folder)
    run = Run(top, run_name(top))
    table, matrix = run.needed(*_CELLS), run.needed(*_MATRIX)
    images = _own_picture(top) if ask.images is None else ask.images
    picture = match_pictures([run.name], images, notes)[run.name]
    moved = _alignment(top, picture)
    pixel = _pixel_um(top / _SPECS)
    cells = _cells(table)
    counts, genes, barcodes = read_counts(matrix)
    at = cells.index.get_indexer(barcodes)
    rows = np.flatnonzero(at >= 0)
    if not len(rows):
        raise InputError(f"{table} has no cell of {matrix} (such as {barcodes[0]} and "
                         f"{cells.index[0]}): are the two of one run?")  # fmt: skip
    if len(rows) < len(barcodes):
        less = len(barcodes) - len(rows)
        notes.append(Left(f"slide {run.name!r}: {less} cells with counts have no place and are "
                          "left out.", instances=less))  # fmt: skip
    cells = cells.iloc[at[rows]]
    sums, unique = checked_counts(counts[rows], genes, list(cells.index), str(matrix))
    notes += told_apart(genes, f"slide {run.name!r}")
    # the alignment takes pixels of the H&E picture to pixels of the morphology picture
    place = np.column_stack([cells[list(_PLACE)].to_numpy(float) / pixel, np.ones(len(cells))])
    xy = (place @ np.linalg.inv(moved).T)[:, :2]
    um = ask.um_of(run.name) or pixel * float(np.sqrt(abs(np.linalg.det(moved[:2, :2]))))
    return Section(run.name, picture, xy, cells.drop(columns=list(_PLACE)), sums, unique, um,
                   unit="cells")  # fmt: skip


def _own_picture(top: Path) -> Path:
    """The H&E picture that lies with the run, as 10x Genomics names it."""
    found = sorted(p for p in top.glob("*he_image*") if ending(p) in SUFFIXES)
    if len(found) == 1:
        return found[0]
    raise InputError(
        f"{top} is of Xenium, whose own pictures are fluorescence, and holds "
        f"{len(found) or 'no'} H&E pictures (NAME_he_image.ome.tif): give that of the section, "
        "images=FILE, with its alignment (NAME_he_imagealignment.csv) beside it."
    )


def _cells(file: Path) -> pd.DataFrame:
    """One row a cell, by its name."""
    table = read_parquet(file) if file.suffix == ".parquet" else read_text(file)
    absent = [c for c in ("cell_id", *_PLACE) if c not in table]
    if absent or not len(table):
        raise InputError(f"{file} {'lacks ' + ', '.join(absent) if absent else 'has no cells'}: "
                         "it is no table of Xenium.")  # fmt: skip
    numbers(table, _PLACE, file)
    names = table["cell_id"].map(lambda v: v.decode() if isinstance(v, bytes) else str(v))
    if names.duplicated().any():
        raise InputError(f"{file} has cell {names[names.duplicated()].iloc[0]!r} twice: copy it "
                         "again.")  # fmt: skip
    plain = table.drop(columns="cell_id").select_dtypes(["number", "bool", "object", "string"])
    return plain.set_axis(pd.Index(names, dtype=object))


def _pixel_um(file: Path) -> float:
    """µm of a pixel of the morphology picture."""
    with reading(file, "pixel_size"):
        value = float(read_json(file)["pixel_size"])
    if not 0 < value < np.inf:
        raise InputError(f"{file} says a pixel_size of {value}: expected over 0.")
    return value


def _alignment(top: Path, picture: SlideImage) -> np.ndarray:
    """(3, 3) from pixels of the picture to pixels of the morphology picture."""
    image = Path(picture.path)
    if any(part.startswith(_OWN) for part in (image.name, image.parent.name)):
        return np.eye(3)  # fluorescence of the run itself
    stem = image.name.partition(".")[0]
    found = [p for p in (image.with_name(f"{stem}{_ENDING}"), image.with_name(f"{stem}_{_ENDING}"))
             if p.exists()] or sorted(top.glob(f"*{_ENDING}"))  # fmt: skip
    if len(found) != 1:
        what = "several alignments" if found else "no alignment"
        raise InputError(
            f"{what} of {image.name} to the cells: put the matrix that Xenium Explorer writes "
            f"beside the picture, as {stem}{_ENDING}."
        )
    table = read_text(found[0], header=None)
    matrix = numbers(table, list(table.columns), found[0])
    if matrix.shape != (3, 3) or abs(np.linalg.det(matrix)) < 1e-12 \
            or not np.allclose(matrix[2], [0, 0, 1]):  # fmt: skip
        raise InputError(f"{found[0]} is no alignment: expected 3 x 3 numbers, the last row 0, 0, "
                         "1.")  # fmt: skip
    return matrix
