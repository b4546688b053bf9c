"""Nuclei that the user found: read from a table or from label images, and checked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import ndimage

from smalti.errors import InputError
from smalti.features.nuclei_files import OUTLINES, is_qupath, of_qupath, read_outlines
from smalti.system.arrays import read_npy
from smalti.system.reading import about
from smalti.system.tables import numbers, read_text
from smalti.tiles.formats import opened_picture
from smalti.tiles.nuclei import measure
from smalti.tiles.tiff import check_page, opened_tiff

_VIEW = "X_nuclei"
_LABELS = (".npy", ".png", ".tif", ".tiff")
_CALLED = ("", "_cp_masks", "_cp_outlines", "_seg", "_nuclei", "_cells", "_detections", "_labels",
           "_cellvit_seg")  # fmt: skip
_OPTIONAL = ("area_um2", "eccentricity", "haematoxylin")
_CHANNELS = {"area_um2": "cover and area"}  # what is 0 without the column, where it differs


def listed(
    nuclei: Any, um: Mapping[str, float], *, slide: str, scale: float,
    shapes: Mapping[str, tuple[int, int]],
) -> tuple[dict[str, tuple[np.ndarray, np.ndarray]], tuple[str, ...]]:  # fmt: skip
    """The nuclei of each slide.

    Parameters
    ----------
    nuclei, slide, scale
        As :func:`smalti.features.nuclei_given.nuclei_maps` takes them.
    um
        Slide -> µm of a pixel.
    shapes
        Slide -> height and width of its picture, where known: what label images must fit.

    Returns
    -------
    dict
        Slide -> (n, 2) x, y in pixels of the slide, and (n, 3) area (µm²), eccentricity and
        haematoxylin; 0 for what is not known.
    tuple
        Notes on what is not known.

    Raises
    ------
    InputError
        If a slide has none, or a column or a file is missing or damaged.
    """
    names = list(um)
    if isinstance(nuclei, (str, Path)) and (Path(nuclei).is_dir() or _is_alone(Path(nuclei))):
        nuclei = _files(Path(nuclei), names)
    if isinstance(nuclei, Mapping):
        if not (np.isfinite(scale) and scale > 0):
            raise InputError(f"scale={scale!r} must be over 0: label pixels per slide pixel.")
        images = {str(k): v for k, v in nuclei.items()}
        _all_there(names, images, "nuclei")
        found = {}
        for name in names:
            with about(images[name]):
                found[name] = _of_labels(images[name], name, scale, um[name], shapes.get(name))
        return found, (f"{_VIEW}: outlines and label images say nothing of haematoxylin: 0 stands "
                       "for it.",)  # fmt: skip
    where = "the nuclei"
    if not isinstance(nuclei, pd.DataFrame):
        nuclei, where = _read(nuclei), f"the nuclei of {nuclei}"
    if "x_px" not in nuclei and is_qupath(nuclei):
        nuclei, slide = of_qupath(nuclei, um, where), "slide"
    absent = [c for c in _OPTIONAL if c not in nuclei]
    notes = tuple(f"{_VIEW}: the nuclei have no column {c}: 0 stands for {_CHANNELS.get(c, c)}."
                  for c in absent)  # fmt: skip
    xy, known = _columns(nuclei, ("x_px", "y_px"), where), np.zeros((len(nuclei), len(_OPTIONAL)))
    for k, column in enumerate(_OPTIONAL):
        if column not in absent:
            known[:, k] = _columns(nuclei, (column,), where)[:, 0]
    if slide not in nuclei and len(names) > 1:
        raise InputError(f"{where} have no column {slide!r} that names their slide: slide=...; "
                         f"there are {', '.join(map(str, nuclei.columns))}.")  # fmt: skip
    of = nuclei[slide].astype(str) if slide in nuclei else pd.Series([names[0]] * len(nuclei))
    rows = {str(n): at for n, at in of.groupby(of.to_numpy()).indices.items()}
    _all_there(names, rows, where.removeprefix("the "))
    return {n: (xy[rows[n]], known[rows[n]]) for n in names}, notes


def source_of(nuclei: Any) -> str | None:
    """The files that nuclei come from, for errors; None where they come from none."""
    each = nuclei.values() if isinstance(nuclei, Mapping) else [nuclei]
    files = [str(v) for v in each if isinstance(v, (str, Path))]
    return ", ".join(files[:3]) or None


def _is_alone(path: Path) -> bool:
    """Whether a file is of one slide: outlines or a label image, and no table."""
    return path.suffix.lower() in (*OUTLINES, *_LABELS)


def _files(path: Path, names: list[str]) -> dict[str, Path]:
    """The file of each slide: of a folder those named as the slides are."""
    if not path.is_dir():
        if len(names) > 1:
            raise InputError(f"{path} holds the nuclei of one slide, and there are {len(names)}: "
                             "give a folder, or a mapping from slide to file.")  # fmt: skip
        return {names[0]: path}
    found = {}
    for name in names:
        at = [p for call in _CALLED for end in (*OUTLINES, *_LABELS)
              if (p := path / f"{name}{call}{end}").is_file()]  # fmt: skip
        if [p.suffix for p in at] == [".parquet", ".geojson"]:  # HEST has the same in both
            at = at[:1]
        if len(at) > 1:
            raise InputError(f"{at[0]} and {at[1]} both hold the nuclei of slide {name!r}: remove "
                             "one, or give a mapping.")  # fmt: skip
        if at:
            found[name] = at[0]
    return found


def _all_there(names: list[str], there: Mapping[str, Any], what: str) -> None:
    absent = [n for n in names if n not in there]
    if absent:
        raise InputError(
            f"there are no {what} of slide {absent[0]!r} ({len(absent)} of {len(names)} slides): "
            f"they are of {', '.join(list(there)[:5]) or 'none'}."
        )


def _read(nuclei: Any) -> pd.DataFrame:
    if not isinstance(nuclei, (str, Path)):
        raise InputError(
            f"nuclei is {type(nuclei).__name__}: give a data frame, a .csv, or a mapping from "
            "slide to label image."
        )
    return read_text(nuclei, "\t" if Path(nuclei).suffix == ".tsv" else ",")


def _columns(table: pd.DataFrame, columns: tuple[str, ...], where: str) -> np.ndarray:
    absent = [c for c in columns if c not in table]
    if absent:
        raise InputError(f"{where} have no column {absent[0]}: it says where they are, in pixels "
                         "of the slide.")  # fmt: skip
    return numbers(table, columns, where)


def _of_labels(
    image: Any, name: str, scale: float, um: float, shape: tuple[int, int] | None
) -> tuple[np.ndarray, np.ndarray]:
    """The nuclei of one file of outlines, or one label image."""
    if isinstance(image, (str, Path)):
        if str(image).endswith("_seg.npy"):
            raise InputError(
                f"{image} of slide {name!r} is a pickle of Cellpose, which could run code and is "
                "never opened: save the masks as pictures (in cellpose, save_tif or "
                "io.save_masks), and give _cp_masks.tif or _cp_masks.png."
            )
        if Path(image).suffix.lower() in OUTLINES:
            read = read_outlines(image, scale)
            none = np.zeros(len(read.area))
            return read.xy, np.stack([read.area * um**2, read.eccentricity, none], axis=1)
    labels = _label_image(image, name)
    try:
        found = measure(labels)
    except InputError as error:
        raise InputError(f"slide {name!r}: {error}") from error
    wanted = None if shape is None else tuple(round(n * scale) for n in shape)
    if wanted and max(abs(a - b) for a, b in zip(labels.shape, wanted, strict=True)) > 2:
        raise InputError(
            f"the label image of slide {name!r} is {labels.shape} (height, width), its picture at "
            f"scale={scale:g} {wanted}: say its pixels per pixel of the slide, scale=..."
        )
    if len(found) == 1 and ndimage.label(labels)[1] > 1:
        raise InputError(
            f"the label image of slide {name!r} has one label in many pieces, as a mask has: "
            "number the nuclei, scipy.ndimage.label(mask)[0]."
        )
    known = np.stack([found.area * (um / scale) ** 2, found.eccentricity, found.intensity], axis=1)
    return (found.centroids[:, ::-1] + 0.5) / scale, known


def _label_image(image: Any, name: str) -> np.ndarray:
    if not isinstance(image, (str, Path)):
        return np.asarray(image)
    path = Path(image)
    if path.suffix.lower() not in _LABELS:
        raise InputError(f"{path} of slide {name!r} is no label image (.npy, .png, .tif) and no "
                         f"file of outlines ({', '.join(OUTLINES)}).")  # fmt: skip
    if path.suffix.lower() == ".npy":
        return read_npy(path)
    if path.suffix.lower() == ".png":
        with opened_picture(path) as picture:
            return np.asarray(picture)
    with opened_tiff(path) as file:
        check_page(file.series[0].pages[0], path)
        return file.asarray()
