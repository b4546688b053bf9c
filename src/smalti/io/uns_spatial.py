"""Small pictures of slides in ``uns["spatial"]``, as scanpy and squidpy keep them: read, made."""

from __future__ import annotations

from typing import Any

import numpy as np

from smalti.bags import Bags
from smalti.errors import InputError
from smalti.io.pictures import small_version
from smalti.io.tables import Table
from smalti.tiles.formats import ArrayImage

_MOST = 1000  # pixels of the longer edge of a picture that is written
_SPOTS = 3  # of fewer nothing is known about how they lie


def libraries(table: Table) -> list[str]:
    """Slides of which the table holds a picture with its scale."""
    return [name for name in table.noted("spatial") if _best(table, name) is not None]


def stored_picture(
    table: Table, library: str, slide: str, notes: list[str]
) -> tuple[ArrayImage, float]:
    """A picture, and its pixels per pixel of the coordinates.

    Raises
    ------
    InputError
        If it is no picture.
    """
    best = _best(table, library)
    if best is None:
        raise InputError(f"{table.name} has no picture of {library!r} in uns['spatial'].")
    kind, scale = best
    pixels = np.asarray(table.note("spatial", library, "images", kind))
    where = f"uns['spatial'][{library!r}]['images'][{kind!r}]"
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim != 3 or pixels.dtype.kind not in "uf" or not pixels.size:
        raise InputError(f"{where} of {table.name} has shape {pixels.shape} of {pixels.dtype}: "
                         "expected (height, width, channels) of brightness.")  # fmt: skip
    notes.append(small_version(slide, where, scale))
    return ArrayImage(pixels.transpose(2, 0, 1), library), scale


def _best(table: Table, library: str) -> tuple[str, float] | None:
    """The largest picture of a library that has a scale, and that scale."""
    known = {
        kind: scale
        for kind in table.noted("spatial", library, "images")
        if (scale := scale_factor(table, library, f"tissue_{kind}_scalef")) is not None
    }
    wrong = next((k for k, scale in known.items() if scale > 1), None)
    if wrong is not None:
        raise InputError(f"{table.name}: tissue_{wrong}_scalef of {library!r} in uns['spatial'] is "
                         f"{known[wrong]:g}: expected at most 1.")  # fmt: skip
    return max(known.items(), key=lambda item: item[1]) if known else None


def scale_factor(table: Table, library: str, name: str) -> float | None:
    """A number of a library's scalefactors; None where it is not there.

    Raises
    ------
    InputError
        If it is no number over 0.
    """
    value = table.note("spatial", library, "scalefactors", name)
    if value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = np.nan
    if not 0 < number < np.inf:
        raise InputError(f"{table.name}: {name} of {library!r} in uns['spatial'] is {value!r}: "
                         "expected over 0.")  # fmt: skip
    return number


def is_hexagonal(obs: Any) -> bool:
    """Whether spots lie as on Visium: rows are shifted by half a step, so every other place is."""
    if not {"array_row", "array_col"} <= set(obs) or len(obs) < _SPOTS:
        return False
    both = obs["array_row"].to_numpy(float) + obs["array_col"].to_numpy(float)
    return bool((both % 2 == 0).all() and obs["array_row"].nunique() > 1)


def slide_pictures(bags: Bags) -> dict[str, Any]:
    """What ``uns["spatial"]`` is to hold so that scanpy and squidpy draw tiles on their slides.

    Slide -> a small picture, its scale, and the width of a tile as that of a spot. Empty where
    tiles were not cut from pictures.
    """
    view: Any = bags.x.get("tile")
    rows = np.arange(bags.n_instances)
    if hasattr(view, "base") and hasattr(view, "rows"):
        rows, view = view.rows, view.base
    if not hasattr(view, "images"):
        return {}
    found = {}
    for start, name in zip(bags.offsets[:-1], bags.bag.index, strict=True):
        of = int(view.of[rows[start]])
        small, scale = view.images[of].thumbnail(_MOST)
        found[str(name)] = {
            "images": {"hires": small},
            "scalefactors": {"tissue_hires_scalef": float(scale),
                             "spot_diameter_fullres": float(view.side[of])},
        }  # fmt: skip
    return found
