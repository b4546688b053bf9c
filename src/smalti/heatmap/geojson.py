"""GeoJSON as QuPath (0.4 and later) reads and writes objects: tiles with measurements."""

from __future__ import annotations

import json
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from smalti.system.files import atomic_write, check_free
from smalti.tiles.heatmap import Heatmap

_MOST = 100_000  # objects that QuPath still moves smoothly
_FOR, _AGAINST, _REST = [178, 24, 43], [33, 102, 172], [150, 150, 150]  # ends of the colours
_SPACE = uuid.UUID("5d0c5c0e-3b7c-4d37-9a51-7f2f5d3a9a10")  # so that ids are the same again


def write_geojson(
    heatmap: Heatmap, path: str | Path, *, most: int = _MOST, overwrite: bool = False
) -> None:
    """Write the tiles of a slide as objects for QuPath.

    Drop the file on the open slide; *Measure > Show measurement maps* colours the tiles by any
    column.

    Parameters
    ----------
    heatmap
        What ``model.heatmap(...)`` returned.
    path
        The .geojson file.
    most
        Objects at most: of more tiles those whose first column is largest in size.
    overwrite
        Replace a file that is there.

    Raises
    ------
    InputError
        If a file is there, or it cannot be written.

    Warns
    -----
    UserWarning
        Tiles that are left out.

    Notes
    -----
    A FeatureCollection of closed squares in pixels of the full slide. ``properties`` have
    ``objectType`` "tile", ``measurements`` by name, and where a column is signed a
    ``classification`` by its sign (of several, the class whose number is largest).
    """
    check_free(path, overwrite=overwrite, inputs=heatmap.reads)
    rows = np.arange(len(heatmap))
    if len(rows) > most:
        size = np.nan_to_num(np.abs(heatmap.column()))
        rows = np.sort(np.argsort(-size, kind="stable")[:most])
        warnings.warn(
            f"slide {heatmap.name!r} has {len(heatmap):,} tiles; {path} holds the {most:,} whose "
            f"{heatmap.columns[0]} is largest in size.", UserWarning, stacklevel=2,
        )  # fmt: skip
    with (
        atomic_write(path, overwrite=overwrite) as temporary,
        temporary.open("w", encoding="utf-8") as file,
    ):
        file.write('{"type": "FeatureCollection", "features": [\n')
        for i, feature in enumerate(_features(heatmap, rows)):
            file.write(",\n" if i else "")
            file.write(json.dumps(feature, ensure_ascii=False, allow_nan=False))
        file.write("\n]}\n")


def _features(heat: Heatmap, rows: np.ndarray) -> Iterator[dict[str, Any]]:
    half = heat.side / 2
    around = half * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1], [-1, -1]])
    numbers = heat.values.to_numpy(float)
    signed = [c for c in heat.columns if c in heat.words]
    for i in rows:
        here = {c: float(f"{v:.6g}") for c, v in zip(heat.columns, numbers[i], strict=True)
                if np.isfinite(v)}  # fmt: skip
        properties: dict[str, Any] = {"objectType": "tile", "name": f"{i}"}
        if signed:
            properties["classification"] = _class(heat, signed, here)
        yield {
            "type": "Feature", "id": str(uuid.uuid5(_SPACE, f"{heat.name} {i}")),
            "geometry": {"type": "Polygon",
                         "coordinates": [np.round(heat.xy[i] + around, 2).tolist()]},
            "properties": properties | {"measurements": here},
        }  # fmt: skip


def _class(heat: Heatmap, signed: list[str], here: dict[str, float]) -> dict[str, Any]:
    """What a tile speaks for, by its signed columns."""
    column = max(signed, key=lambda c: here.get(c, -np.inf))
    value = here.get(column, 0.0)
    low, high = heat.words[column]
    if value == 0:
        return {"name": "speaks for nothing", "color": _REST}
    return {"name": high, "color": _FOR} if value > 0 else {"name": low, "color": _AGAINST}
