"""Sections from SpatialData."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from smalti.errors import InputError
from smalti.io.counts import checked_counts, told_apart
from smalti.io.sections import Section
from smalti.io.sparse import checked_sparse
from smalti.io.spots import stated
from smalti.io.stored import check_store
from smalti.system.extras import need
from smalti.system.reading import too_large
from smalti.tiles.formats import ArrayImage
from smalti.tiles.outline import Marked


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


def spatialdata_sections(
    source: Any, *, images: Any, um_per_px: Any, pitch_um: float | None, notes: list[str],
    tissue: Any = None,
) -> list[Section]:  # fmt: skip
    """One section per region that a table annotates.

    Parameters
    ----------
    source
        SpatialData or its .zarr.
    images
        Region -> name of the image element; None: the one in the same coordinate system.
    um_per_px, pitch_um
        As in :func:`smalti.read_slides`.
    notes
        Gets warnings.
    tissue
        Name of a shapes element, or region -> name; what names none is left to others.

    Raises
    ------
    InputError
        If there is no table of counts that annotates shapes, or no image fits a region.
    """
    data = open_spatialdata(source)
    key, table = _table(data)
    note = table.uns["spatialdata_attrs"]
    regions = table.obs[note["region_key"]].astype(str).to_numpy()
    genes = [str(g) for g in table.var_names]
    x = checked_sparse(table.X, f"table {key!r}") if sp.issparse(table.X) else table.X
    matrix, unique = checked_counts(x, genes, list(table.obs_names), f"table {key!r}")
    notes += told_apart(genes, f"table {key!r}")
    out = []
    for region in dict.fromkeys(regions):
        rows = np.flatnonzero(regions == region)
        if region not in data.shapes:
            raise InputError(
                f"table {key!r} annotates {region!r}, which is no shapes element; there are "
                f"{', '.join(data.shapes)}."
            )
        image, system = _image(data, region, images)
        pixels = _level(data.images[image])
        xy = _pixels(data, region, image, system, table.obs[note["instance_key"]].to_numpy()[rows])
        picture = ArrayImage(pixels, image, stated(um_per_px, region))
        marked = _tissue(data, tissue.get(region) if isinstance(tissue, Mapping) else tissue,
                         image, system)  # fmt: skip
        obs = table.obs.iloc[rows].drop(columns=[note["region_key"]])
        obs.index = obs.index.astype(str)
        out.append(Section(region, picture, xy, obs, matrix[rows], unique,
                           stated(um_per_px, region), pitch_um, rows, marked))  # fmt: skip
    return out


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


def _table(data: Any) -> tuple[str, Any]:
    for key, table in data.tables.items():
        if table.uns.get("spatialdata_attrs") is not None and not is_prediction(table):
            return key, table
    raise InputError(
        f"no table of this SpatialData annotates a shapes element (tables: "
        f"{', '.join(data.tables) or 'none'}): tiles need spots with positions."
    )


def _image(data: Any, region: str, images: Any) -> tuple[str, str]:
    """Name of the image of a region, and a coordinate system that both are in."""
    get = need("spatialdata.transformations", extra="spatialdata").get_transformation
    own = get(data.shapes[region], get_all=True)
    chosen = images.get(region) if isinstance(images, dict) else images
    names = [chosen] if chosen else list(data.images)
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


def _level(element: Any) -> Any:
    """(channels, height, width) of an image element at full resolution."""
    if hasattr(element, "children") and "scale0" in getattr(element, "children", {}):
        element = next(iter(element["scale0"].values()))
    return element.transpose("c", "y", "x").data


def _pixels(data: Any, region: str, image: str, system: str, ids: np.ndarray) -> np.ndarray:
    """(n, 2) centres of the spots in pixels of the image."""
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
