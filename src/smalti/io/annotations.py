"""Outlines of regions and cells as QuPath writes and reads them: GeoJSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from smalti.errors import InputError
from smalti.system.files import atomic_write
from smalti.system.reading import read_json

ENDINGS = (".geojson", ".json")
_AREAS = ("Polygon", "MultiPolygon")


@dataclasses.dataclass(frozen=True)
class Annotation:
    """One object of a GeoJSON.

    Attributes
    ----------
    polygons
        Each a list of rings, (n, 2) x, y in pixels of the slide: the outer one, then its holes.
    name
        Of its classification; "" where it has none.
    measurements
        Numbers that came with it, by name.
    nucleus
        Polygons of the nucleus, of a cell of QuPath that has one.
    kind
        "annotation", "detection", "cell", ...; "" where that is not said.
    """

    polygons: list[list[np.ndarray]]
    name: str = ""
    measurements: Mapping[str, float] = dataclasses.field(default_factory=dict)
    nucleus: list[list[np.ndarray]] = dataclasses.field(default_factory=list)
    kind: str = ""


def read_annotations(path: str | Path) -> list[Annotation]:
    """The areas of a GeoJSON; points and lines are passed over.

    Parameters
    ----------
    path
        A FeatureCollection, a list of features, or one; as QuPath exports annotations, detections
        and cells, of any version.

    Raises
    ------
    InputError
        If it is damaged or no GeoJSON, holds no area, or a place is no number.
    """
    found = read_json(path)
    if isinstance(found, Mapping) and isinstance(found.get("features"), list):
        found = found["features"]
    features: list[Any] = found if isinstance(found, list) else [found]
    out = [a for k, f in enumerate(features) if (a := _annotation(f, f"{path}, object {k + 1}"))]
    if not out:
        raise InputError(
            f"{path} holds no area (Polygon or MultiPolygon) of {len(features)} objects: export "
            "annotations or detections of QuPath as GeoJSON."
        )
    return out


def _annotation(feature: Any, where: str) -> Annotation | None:
    if not isinstance(feature, Mapping):
        raise InputError(f"{where} is no feature of a GeoJSON: export it again.")
    geometry = feature.get("geometry", feature)
    polygons = _polygons(geometry, where)
    if not polygons:
        return None
    said = feature.get("properties")
    said = said if isinstance(said, Mapping) else {}
    if said.get("hole"):  # HEST: some of the pieces are holes in the others
        polygons = [[ring for rings in polygons for ring in rings]]
    kind = said.get("classification")
    name = kind.get("name") or "" if isinstance(kind, Mapping) else kind or ""
    nucleus = _polygons(feature.get("nucleusGeometry"), where)
    return Annotation(polygons, str(name), dict(_measured(said.get("measurements"))), nucleus,
                      str(said.get("objectType", "")))  # fmt: skip


def _polygons(geometry: Any, where: str) -> list[list[np.ndarray]]:
    if not isinstance(geometry, Mapping):
        return []
    kind, parts = geometry.get("type"), geometry.get("coordinates")
    if kind == "GeometryCollection":
        each = geometry.get("geometries") or []
        return [p for g in each for p in _polygons(g, where)]
    if kind not in _AREAS:
        return []
    try:
        many: Any = [parts] if kind == "Polygon" else parts
        rings = [[np.asarray(ring, dtype=np.float64)[:, :2] for ring in one] for one in many]
        if not all(one and np.isfinite(r).all() and len(r) > 2 for one in rings for r in one):
            raise ValueError
    except (TypeError, ValueError, IndexError) as error:
        raise InputError(f"{where}: its coordinates are no rings of x, y: export it again.") \
            from error  # fmt: skip
    return rings


def _measured(given: Any) -> Iterator[tuple[str, float]]:
    """Measurements by name: a mapping, or the list of older versions."""
    if isinstance(given, list):
        given = {m.get("name"): m.get("value") for m in given if isinstance(m, Mapping)}
    for name, value in given.items() if isinstance(given, Mapping) else ():
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            yield str(name), float(value)


def write_annotations(
    path: str | Path,
    polygons: Sequence[Sequence[np.ndarray]],
    name: str,
    *,
    note: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> None:
    """Polygons as annotations of one class, which QuPath opens when the file is dropped on a slide.

    Parameters
    ----------
    path
        File to write.
    polygons
        Each a list of rings, (n, 2) x, y in pixels of the slide at full resolution.
    name
        Of their class.
    note
        Kept beside the objects, under "smalti".
    overwrite
        Replace a file that is there.

    Raises
    ------
    InputError
        If the file is there already or cannot be written.
    """
    features = [{
        "type": "Feature",
        "geometry": {"type": "Polygon",
                     "coordinates": [np.round(ring, 2).tolist() for ring in rings]},
        "properties": {"objectType": "annotation",
                       "classification": {"name": name, "color": [0, 160, 60]}},
    } for rings in polygons]  # fmt: skip
    whole = {"type": "FeatureCollection", "features": features}
    with atomic_write(path, overwrite=overwrite) as temporary:
        temporary.write_text(json.dumps(whole | ({"smalti": note} if note else {})), "utf-8")
