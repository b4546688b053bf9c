"""Files of nuclei as others write them: QuPath, StarDist, HoVer-Net, CellViT, Cellpose, HEST."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from smalti.errors import InputError
from smalti.io.annotations import read_annotations
from smalti.io.pictures import slide_name
from smalti.system.arrays import read_npz
from smalti.system.extras import need
from smalti.system.reading import check_text, read_json, reading
from smalti.system.tables import numbers, read_parquet

OUTLINES = (".parquet", ".geojson", ".json", ".npz", ".txt")
"""Endings of files that hold outlines; label images have others."""


@dataclasses.dataclass(frozen=True)
class Found:
    """Nuclei of one slide.

    Attributes
    ----------
    xy
        (n, 2) centres in pixels of the slide.
    area
        (n,) in pixels of the slide, squared.
    eccentricity
        (n,) of the ellipse with the same second moments.
    """

    xy: np.ndarray
    area: np.ndarray
    eccentricity: np.ndarray


def read_outlines(path: str | Path, scale: float = 1.0) -> Found:
    """Nuclei of a file of outlines.

    Parameters
    ----------
    path
        GeoJSON of QuPath (detections, or cells, whose nucleus is taken) or CellViT (annotations of
        many pieces, each a nucleus), .parquet of geometries (cellvit_seg/ of HEST), .json of
        HoVer-Net (``nuc``) or CellViT (``cells``), .npz or .json of StarDist (``coord``, the
        details that it returns with the labels), or outlines of Cellpose (``_cp_outlines.txt``).
    scale
        Pixels of the picture that they were found in, per pixel of the slide; those of GeoJSON and
        .parquet are pixels of the slide always.

    Returns
    -------
    Found
        In pixels of the slide.

    Raises
    ------
    InputError
        If the file is damaged, or none of these.
    """
    path = Path(path)
    ending = path.suffix.lower()
    if ending == ".txt":
        return _measured(_of_text(path), scale, str(path))
    if ending == ".npz":
        return _measured(_of_stardist(read_npz(path, ("coord",)), path), scale, str(path))
    if ending == ".parquet":
        return _measured(_of_parquet(path), 1.0, str(path))
    held = read_json(path)
    for key, way in (("coord", _of_stardist), ("nuc", _of_contours), ("cells", _of_contours)):
        if isinstance(held, Mapping) and key in held:
            return _measured(way(held, path), scale, str(path))
    rings: list[np.ndarray] = []
    for found in read_annotations(path):
        polygons = found.nucleus or found.polygons
        if found.kind == "annotation":  # CellViT: one of each class, a piece for each nucleus
            rings += [polygon[0] for polygon in polygons]
        else:  # an object is a nucleus, in pieces or not
            rings.append(max(polygons, key=lambda p: abs(_moments(p[0])[0]))[0])
    return _measured(rings, 1.0, str(path))


def _of_parquet(path: Path) -> list[np.ndarray]:
    table = read_parquet(path)
    if "geometry" not in table:
        raise InputError(f"{path} has no column geometry of outlines; there are "
                         f"{', '.join(map(str, table))}.")  # fmt: skip
    shapely = need("shapely", extra="spatialdata")
    with reading(path, "geometry", "write it again with geopandas"):
        stored = table["geometry"].dropna().to_numpy()
        try:
            shapes = shapely.get_parts(shapely.from_wkb(stored))
        except shapely.errors.ShapelyError as error:
            raise ValueError(error) from error
        rings = shapely.get_exterior_ring(shapes)  # None of points and lines
        xy, of = shapely.get_coordinates(rings, return_index=True)
    return np.split(xy, np.flatnonzero(np.diff(of)) + 1) if len(xy) else []


def _of_stardist(held: Mapping[str, Any], path: Path) -> list[np.ndarray]:
    if "coord" not in held:
        raise InputError(
            f"{path} has no array coord, which StarDist gives with the labels: save the details of "
            "predict_instances, np.savez(FILE, **details)."
        )
    with reading(path, "coord", "save the details of predict_instances: coord is (n, 2, rays)"):
        coord = np.asarray(held["coord"], dtype=np.float64)
    if coord.ndim != 3 or coord.shape[1] != 2:
        raise InputError(f"{path}: coord is {coord.shape}, expected (n, 2, rays) of rows and "
                         "columns, as StarDist gives them.")  # fmt: skip
    return [ring[::-1].T + 0.5 for ring in coord]  # its 0 is the centre of the first pixel


def _of_contours(held: Mapping[str, Any], path: Path) -> list[np.ndarray]:
    cells = held.get("nuc", held.get("cells"))
    with reading(path, "contour", "export it again"):
        cells = list(cells.values() if isinstance(cells, Mapping) else cells)
        return [np.asarray(cell["contour"], dtype=np.float64).reshape(-1, 2) + 0.5
                for cell in cells]  # fmt: skip


def _of_text(path: Path) -> list[np.ndarray]:
    check_text(path)
    with reading(path, mend="export the outlines of Cellpose again, x,y,x,y a line"):
        lines = path.read_text(encoding="utf-8-sig").split("\n")
        return [np.array(line.split(","), dtype=np.float64).reshape(-1, 2) + 0.5
                for line in lines if line.strip()]  # fmt: skip


def _measured(rings: Sequence[np.ndarray], scale: float, where: str) -> Found:
    """Centres, areas and eccentricities; rings of no area are passed over."""
    if not all(ring.shape[1] == 2 and np.isfinite(ring).all() for ring in rings):
        raise InputError(f"{where}: a place is no finite number: export it again.")
    each = np.array([_moments(ring) for ring in rings if len(ring) > 2]).reshape(-1, 4)
    each = each[each[:, 0] > 0]
    if not len(each):
        raise InputError(f"{where} holds no outline of a nucleus: export it again.")
    return Found(each[:, 1:3] / scale, each[:, 0] / scale**2, each[:, 3])


def _moments(ring: np.ndarray) -> tuple[float, float, float, float]:
    """Area, centre x and y, and eccentricity of a ring (n, 2), by Green's theorem."""
    corner = ring.mean(0)
    x, y = (ring - corner).T  # about its middle: places far from 0 lose no digits
    u, v = np.roll(x, -1), np.roll(y, -1)
    cross = x * v - u * y
    area = cross.sum() / 2
    if abs(area) < 1e-9:
        return 0.0, *corner, 0.0
    cx, cy = ((x + u) @ cross / (6 * area), (y + v) @ cross / (6 * area))
    xx = (x * x + x * u + u * u) @ cross / (12 * area) - cx**2
    yy = (y * y + y * v + v * v) @ cross / (12 * area) - cy**2
    xy = (x * v + 2 * x * y + 2 * u * v + u * y) @ cross / (24 * area) - cx * cy
    root = np.sqrt((xx - yy) ** 2 + 4 * xy**2)
    eccentricity = np.sqrt(np.clip(2 * root / max(xx + yy + root, 1e-12), 0, 1))
    return abs(area), corner[0] + cx, corner[1] + cy, float(eccentricity)


def of_qupath(table: pd.DataFrame, um: Mapping[str, float], where: str) -> pd.DataFrame:
    """A table of measurements of QuPath in our columns.

    Parameters
    ----------
    table
        As "Export measurements" writes it: Image, Centroid X µm (or px), Nucleus: Area µm^2, ...
    um
        Slide -> µm of a pixel.
    where
        The table, for errors.

    Returns
    -------
    DataFrame
        slide, x_px, y_px, and area_um2 and eccentricity where the table has them. Its haematoxylin
        is in other units than ours, and left out.

    Raises
    ------
    InputError
        If a place is no number.
    """
    table = table.rename(columns=lambda c: str(c).replace("\u03bc", "\u00b5").replace("um", "µm"))
    if "Object type" in table:  # annotations are in the same table
        table = table[table["Object type"].isin(["Detection", "Cell"])].reset_index(drop=True)
    out = pd.DataFrame(index=table.index)
    pixel: Any = next(iter(um.values()))
    if "Image" in table:
        names = {k: slide_name(Path(str(k).split(" - ")[0])) for k in table["Image"].unique()}
        out["slide"] = table["Image"].map(names)
        pixel = out["slide"].map(um).to_numpy(float)  # NaN of slides that are not asked for
    for axis in "XY":
        column = next((c for c in (f"Centroid {axis} px", f"Centroid {axis} µm") if c in table), "")
        place = numbers(table, (column,), where)[:, 0]
        out[f"{axis.lower()}_px"] = place / (pixel if column.endswith("µm") else 1.0)
    area = next(
        (c for c in ("Nucleus: Area µm^2", "Nucleus: Area", "Area µm^2") if c in table), None
    )
    if area:
        out["area_um2"] = numbers(table, (area,), where)[:, 0]
    out = _with_eccentricity(out, table, where)
    if "slide" in out:
        out = out[out["slide"].isin(list(um))].reset_index(drop=True)
    return out


def _with_eccentricity(out: pd.DataFrame, table: pd.DataFrame, where: str) -> pd.DataFrame:
    for prefix in ("Nucleus: ", ""):
        said = f"{prefix}Eccentricity"
        pair = tuple(f"{prefix}{which} diameter µm" for which in ("Min", "Max"))
        if said in table:
            return out.assign(eccentricity=numbers(table, (said,), where)[:, 0])
        if set(pair) <= set(table.columns):
            low, high = numbers(table, pair, where).T
            return out.assign(eccentricity=np.sqrt(1 - (low / np.maximum(high, 1e-9)) ** 2))
    return out


def is_qupath(table: pd.DataFrame) -> bool:
    """Whether a table is one of measurements of QuPath."""
    return any(str(c).startswith("Centroid X ") for c in table.columns)
