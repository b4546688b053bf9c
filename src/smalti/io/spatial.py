"""Sections from SpatialData."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from smalti.errors import InputError
from smalti.io.counts import checked_counts, told_apart
from smalti.io.sections import Ask, Section
from smalti.io.sparse import checked_sparse
from smalti.io.stored import check_store
from smalti.io.symbols import feature_names
from smalti.system.extras import need
from smalti.system.reading import too_large
from smalti.tiles.formats import ArrayImage
from smalti.tiles.outline import Marked

_RGB = 3
_BINS = ("square_008um", "square_016um", "square_002um")  # tables of Visium HD, best first


def open_spatialdata(source: Any) -> Any:
    """A SpatialData, read where it is a path.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    if not isinstance(source, (str, Path)):
        return source
    library = need("spatialdata", extra="spatialdata")
    check_store(source)
    try:
        return library.read_zarr(source)
    except MemoryError as error:
        raise too_large(source) from error
    except Exception as error:  # zarr and its readers raise nearly every kind of error
        raise InputError(
            f"{source} is damaged or no SpatialData ({type(error).__name__}: {error}): write it "
            "again."
        ) from error


def spatialdata_sections(source: Any, ask: Ask, notes: list[str]) -> list[Section]:
    """One section per region that a table annotates.

    Parameters
    ----------
    source
        SpatialData or its .zarr.
    ask
        ``images`` is the name of an image element, or region -> name; None: one in the same
        coordinate system, the finest of those in colours. ``bins`` names a table of Visium HD;
        ``tissue`` a shapes element, or region -> name (what names none is left to others).
    notes
        Gets warnings.

    Raises
    ------
    InputError
        If there is no table of counts that annotates shapes, or no image fits a region.
    """
    data = open_spatialdata(source)
    key, table = _table(data, ask.bins)
    note = table.uns["spatialdata_attrs"]
    regions = table.obs[note["region_key"]].astype(str).to_numpy()
    genes, said = feature_names(table.var, f"table {key!r}")
    x = checked_sparse(table.X, f"table {key!r}") if sp.issparse(table.X) else table.X
    matrix, unique = checked_counts(x, genes, list(table.obs_names), f"table {key!r}")
    notes += [*said, *told_apart(genes, f"table {key!r}")]
    out = []
    for region in ask.wanted(list(dict.fromkeys(regions)), notes):
        rows = np.flatnonzero(regions == region)
        if region not in data.shapes and region not in data.labels:
            there = ", ".join([*data.shapes, *data.labels]) or "none"
            raise InputError(f"table {key!r} annotates {region!r}, which is no element of shapes "
                             f"or labels; there are {there}.")  # fmt: skip
        image, system = _image(data, region, ask.images)
        pixels = _level(data.images[image])
        xy = _pixels(data, region, image, system, table.obs[note["instance_key"]].to_numpy()[rows])
        picture = ArrayImage(pixels, image, ask.um_of(region))
        named = ask.tissue.get(region) if isinstance(ask.tissue, Mapping) else ask.tissue
        obs = table.obs.iloc[rows].drop(columns=[note["region_key"]])
        obs.index = obs.index.astype(str)
        out.append(Section(region, picture, xy, obs, matrix[rows], unique, ask.um_of(region),
                           ask.pitch_um, rows, _unit(data, region),
                           tissue=_tissue(data, named, image, system)))  # fmt: skip
    return out


def _unit(data: Any, region: str) -> str:
    """What a region holds: cells by its name or as a picture of labels; else spots."""
    return "cells" if region in data.labels or "cell" in region.lower() else "spots"


def _tissue(data: Any, name: Any, image: str, system: str) -> Marked | None:
    """Shapes that are tissue, in pixels of an image; None where nothing names an element."""
    if not isinstance(name, str) or (name not in data.shapes and Path(name).exists()):
        return None
    if name not in data.shapes:
        raise InputError(
            f"tissue={name!r} is no shapes element and no file; there are {', '.join(data.shapes)}."
        )
    get = need("spatialdata.transformations", extra="spatialdata").get_transformation
    shapes = data.shapes[name]
    if system not in get(shapes, get_all=True):
        raise InputError(f"tissue={name!r} is not in the coordinate system {system!r} of image "
                         f"{image!r}.")  # fmt: skip
    to_image = _to_image(data, name, image, system)
    areas = shapes.geometry.explode(ignore_index=True)
    if not (areas.geom_type == "Polygon").all():
        raise InputError(f"tissue={name!r} holds circles or points: tissue is polygons.")
    return Marked([[_moved(np.asarray(ring.coords)[:, :2], to_image)
                    for ring in (area.exterior, *area.interiors)] for area in areas])  # fmt: skip


def is_prediction(table: Any) -> bool:
    """Whether a table holds what a model of this package predicted, and nothing measured."""
    return any(isinstance(note, Mapping) and "training_digest" in note
               for note in table.uns.values())  # fmt: skip


def _table(data: Any, bins: float | str | None) -> tuple[str, Any]:
    """The table that is to be read: of Visium HD that of the bins that are asked for, or 8 µm."""
    found = {
        key: table
        for key, table in data.tables.items()
        if table.uns.get("spatialdata_attrs") is not None and not is_prediction(table)
    }
    ends: tuple[str, ...] = _BINS
    if bins is not None:
        ends = ("cell_segmentations" if bins == "cells" else f"square_{float(bins):03.0f}um",)
    key = next((k for end in ends for k in found if k.endswith(end)), None)
    if key is None and bins is not None:
        raise InputError(f"bins={bins!r}: no table of this SpatialData is of such bins; there are "
                         f"{', '.join(found) or 'none'}.")  # fmt: skip
    key = key or next(iter(found), None)
    if key is not None:
        return key, found[key]
    raise InputError(
        f"no table of this SpatialData annotates a shapes element (tables: "
        f"{', '.join(data.tables) or 'none'}): tiles need spots with positions."
    )


def _image(data: Any, region: str, images: Any) -> tuple[str, str]:
    """Name of the image of a region, and a coordinate system that both are in."""
    get = need("spatialdata.transformations", extra="spatialdata").get_transformation
    own = get(_element(data, region), get_all=True)
    chosen = images.get(region) if isinstance(images, dict) else images
    names = [chosen] if chosen else _best_first(data.images)
    for name in names:
        if name not in data.images:
            raise InputError(f"no image {name!r}; there are {', '.join(data.images) or 'none'}.")
        shared = [s for s in own if s in get(data.images[name], get_all=True)]
        if shared:
            return name, shared[0]
    raise InputError(
        f"no image shares a coordinate system with {region!r} (images: "
        f"{', '.join(data.images) or 'none'}; systems of the region: {', '.join(own)})."
    )


def _best_first(images: Mapping[str, Any]) -> list[str]:
    """Names of pictures: those of three colours before stains and markers, and the finest first."""
    shapes = {name: _level(image).shape for name, image in images.items()}
    return sorted(shapes, key=lambda k: (shapes[k][0] != _RGB, -shapes[k][1] * shapes[k][2]))


def _level(element: Any) -> Any:
    """(channels, height, width) of an image element at full resolution."""
    if hasattr(element, "children") and "scale0" in getattr(element, "children", {}):
        element = next(iter(element["scale0"].values()))
    return element.transpose("c", "y", "x").data


def _pixels(data: Any, region: str, image: str, system: str, ids: np.ndarray) -> np.ndarray:
    """(n, 2) centres of the spots in pixels of the image."""
    if region not in data.shapes:
        return _label_pixels(data, region, image, system, ids)
    shapes = data.shapes[region]
    missing = [i for i in ids if i not in shapes.index]
    if missing:
        raise InputError(f"{len(missing)} spots of the table are not in {region!r} (first: "
                         f"{missing[0]!r}).")  # fmt: skip
    centers = shapes.loc[ids].geometry.centroid
    return _moved(np.column_stack([centers.x, centers.y]), _to_image(data, region, image, system))


def _to_image(data: Any, shapes: str, image: str, system: str) -> np.ndarray:
    """(3, 3) from the numbers of a shapes element to pixels of an image."""
    get = need("spatialdata.transformations", extra="spatialdata").get_transformation
    axes = ("x", "y")
    own = get(data.shapes[shapes], system).to_affine_matrix(axes, axes)
    picture = get(data.images[image], system).to_affine_matrix(axes, axes)
    return np.asarray(np.linalg.inv(picture) @ own)


def _moved(xy: np.ndarray, by: np.ndarray) -> np.ndarray:
    """(n, 2) x, y after an affine map (3, 3)."""
    return np.asarray((np.c_[xy, np.ones(len(xy))] @ by.T)[:, :2])


def _element(data: Any, region: str) -> Any:
    return data.shapes[region] if region in data.shapes else data.labels[region]


def _label_pixels(data: Any, region: str, image: str, system: str, ids: np.ndarray) -> np.ndarray:
    """The same of cells that a picture of labels shows."""
    library = need("spatialdata", extra="spatialdata")
    points = library.get_centroids(data.labels[region], coordinate_system=system).compute()
    at = points.index.get_indexer(ids)
    if (at < 0).any():
        raise InputError(f"{int((at < 0).sum())} cells of the table are not in {region!r} (first: "
                         f"{ids[np.argmax(at < 0)]!r}).")  # fmt: skip
    get = need("spatialdata.transformations", extra="spatialdata").get_transformation
    picture = get(data.images[image], system).to_affine_matrix(("x", "y"), ("x", "y"))
    return _moved(points[["x", "y"]].to_numpy()[at], np.linalg.inv(picture))
