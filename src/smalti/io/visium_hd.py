"""Sections of Visium HD: bins of one width, or the cells that newer Space Rangers segment."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from smalti.errors import InputError
from smalti.io.counts import checked_counts, told_apart
from smalti.io.matrix_10x import read_counts
from smalti.io.runs import Run
from smalti.io.sections import Ask, Section
from smalti.io.visium import factor, run_picture, visium_section
from smalti.left import Left
from smalti.system.reading import read_json, reading

CELLS = "cells"  # what ``bins`` calls them
_WIDTH = 8.0  # µm of the bins that Space Ranger itself looks at
_MATRIX = ("filtered_feature_cell_matrix.h5", "filtered_feature_cell_matrix")
_OUTLINES = ("cell_segmentations.geojson", "graphclust_annotated_cell_segmentations.geojson")


def is_hd(folder: Path) -> bool:
    """Whether a folder is a run of Visium HD, with or without its outs/."""
    top = _top(folder)
    return bool(_widths(top)) or (top / "segmented_outputs").is_dir() or (
        not (top / "spatial" / "tissue_positions.csv").exists()
        and any(top.glob("*binned_outputs*")))  # fmt: skip


def hd_run(folder: Path) -> Path | None:
    """The run that a folder of bins of one width is a part of."""
    if re.fullmatch(r"square_\d+um", folder.name) and folder.parent.name == "binned_outputs":
        return folder.parent.parent
    return None


def run_name(folder: Path) -> str:
    """What the slide of a run is called."""
    return folder.resolve().parent.name if folder.name == "outs" else folder.name


def hd_section(folder: Path, ask: Ask, notes: list[str]) -> Section:
    """The section of a run.

    Parameters
    ----------
    folder
        With binned_outputs/ or segmented_outputs/ in it.
    ask
        ``bins`` is their width in µm, 8 where there are such, or "cells".
    notes
        Gets warnings.

    Raises
    ------
    InputError
        If there are no such bins or cells, or a file is missing or damaged; with names.
    """
    top = _top(folder)
    name, widths = run_name(top), _widths(top)
    segmented = top / "segmented_outputs"
    if ask.bins == CELLS or (ask.bins is None and not widths and segmented.is_dir()):
        if not segmented.is_dir():
            raise InputError(f"{top} has no segmented_outputs/, so no cells: ask for bins=8, or "
                             "run a newer Space Ranger.")  # fmt: skip
        return _cells(Run(segmented, name, beside=(top,)), ask, notes)
    if not widths:
        raise InputError(f"{top} has no binned_outputs/ with square_008um or others: unpack them "
                         "there, where they are packed (.tar.gz).")  # fmt: skip
    width = ask.bins
    if width is None:
        width = min(widths, key=lambda w: abs(np.log2(w / _WIDTH)))
    if width not in widths:
        there = ", ".join(f"{w:g}" for w in widths)
        more = " or 'cells'" if segmented.is_dir() else ""
        raise InputError(f"bins={width!r}: {top} has bins of {there} µm{more}.")
    return visium_section(Run(widths[width], name, beside=(top,)), ask, notes)


def _top(folder: Path) -> Path:
    inside = folder / "outs"
    return inside if any((inside / part).is_dir() for part in _PARTS) else folder


_PARTS = ("binned_outputs", "segmented_outputs")


def _widths(top: Path) -> dict[Any, Path]:
    """Width of the bins in µm -> their folder."""
    found = {}
    for folder in sorted((top / "binned_outputs").glob("square_*um")):
        digits = re.fullmatch(r"square_(\d+)um", folder.name)
        if digits and folder.is_dir():
            found[float(digits.group(1))] = folder
    return found


def _cells(run: Run, ask: Ask, notes: list[str]) -> Section:
    """Cells as spots at their centroids."""
    matrix, outlines = run.needed(*_MATRIX), run.needed(*_OUTLINES)
    counts, genes, barcodes = read_counts(matrix)
    centers = centroids(outlines)
    at = centers.index.get_indexer([_number(barcode, matrix) for barcode in barcodes])
    if not (at >= 0).any():
        raise InputError(f"{outlines} has no outline of a cell of {matrix.name} (such as "
                         f"{barcodes[0]}): are the two of one run?")  # fmt: skip
    if (at < 0).any():
        first = barcodes[int(np.argmax(at < 0))]
        less = int((at < 0).sum())
        notes.append(Left(f"slide {run.name!r}: {less} cells with counts have no outline (first: "
                          f"{first}) and are left out.", instances=less))  # fmt: skip
    rows = np.flatnonzero(at >= 0)
    obs = pd.DataFrame({"area_px": centers["area"].to_numpy()[at[rows]]},
                       index=pd.Index([barcodes[i] for i in rows], dtype=object))  # fmt: skip
    table, unique = checked_counts(counts[rows], genes, list(obs.index), str(matrix))
    notes += told_apart(genes, f"slide {run.name!r}")
    picture, scale = run_picture(run, ask.images, notes)
    um = ask.um_of(run.name) or factor(run, "microns_per_pixel")
    xy = centers[["x", "y"]].to_numpy()[at[rows]] * scale
    return Section(run.name, picture, xy, obs, table, unique, None if um is None else um / scale,
                   unit="cells")  # fmt: skip


def _number(barcode: str, file: Path) -> int:
    """1 of cellid_000000001-1."""
    found = re.fullmatch(r"(?:cellid_)?(\d+)(?:-\d+)?", barcode)
    if found is None:
        raise InputError(f"{file}: {barcode!r} is no name of a cell (cellid_000000001-1): copy it "
                         "again.")  # fmt: skip
    return int(found.group(1))


def centroids(file: Path) -> pd.DataFrame:
    """Centre and area of each outline of a .geojson, by its number.

    Parameters
    ----------
    file
        FeatureCollection of polygons with a property ``cell_id``, in pixels at full resolution.

    Returns
    -------
    DataFrame
        Columns x, y and area, in pixels; the index is ``cell_id``.

    Raises
    ------
    InputError
        If it is no such file, or a cell is there twice.
    """
    said = read_json(file)
    with reading(file, "features"):
        found = list(_outlines(said["features"]))
        table = pd.DataFrame(found, columns=["cell_id", "x", "y", "area"]).set_index("cell_id")
    if not np.isfinite(table.to_numpy(float)).all() or not table.index.is_unique:
        raise InputError(f"{file}: an outline has no place, or a cell is there twice: copy it "
                         "again.")  # fmt: skip
    return table


def _outlines(features: Any) -> Iterator[tuple[int, float, float, float]]:
    for feature in features:
        shape = feature["geometry"]
        parts = [shape["coordinates"]] if shape["type"] == "Polygon" else shape["coordinates"]
        sums = np.sum([_moments(np.asarray(part[0], dtype=float)) for part in parts], axis=0)
        area, x, y = sums
        yield int(feature["properties"]["cell_id"]), x / area, y / area, area


def _moments(ring: np.ndarray) -> np.ndarray:
    """Area of a ring, (n, 2), and area times its centroid; of one without area its mean."""
    start = ring[0]
    x, y = (ring - start).T  # from its own corner: far from 0 the sums lose digits
    u, v = np.roll(x, -1), np.roll(y, -1)
    cross = x * v - u * y
    area = cross.sum() / 2
    if abs(area) < 1e-9:
        return 1e-9 * np.array([1.0, *ring.mean(0)])
    center = start + np.array([((x + u) * cross).sum(), ((y + v) * cross).sum()]) / (6 * area)
    return abs(area) * np.array([1.0, *center])
