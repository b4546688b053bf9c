"""Tissue that the user marked: GeoJSON of QuPath, pictures of masks, shapes of SpatialData."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from smalti.errors import InputError
from smalti.io.annotations import ENDINGS, read_annotations
from smalti.io.sections import Section
from smalti.system.extras import need
from smalti.system.reading import reading
from smalti.tiles.formats import opened_picture
from smalti.tiles.outline import Marked

_PICTURES = (".png", ".bmp")  # JPG blurs the edge of a mask
_CALLED = ("", "_mask", "_tissue", "_tissue_mask", "_contours", "_annotations", "-mask", "-tissue")
_ASPECT = 0.02


def with_tissue(
    sections: Sequence[Section], tissue: Any, notes: list[str], classes: str = "Tissue"
) -> list[Section]:
    """Sections with the tissue that the user marked on them.

    Parameters
    ----------
    sections
        The slides.
    tissue
        A folder with a file for each slide, one file, or a mapping from slide to file or mask;
        shapes that SpatialData holds are read where sections are.
    notes
        Gets what is to be known.
    classes
        Class of the annotations that are tissue, where a file has some of it; all others are left.

    Raises
    ------
    InputError
        If a slide has none, or a file is damaged, of another kind, or of another shape.
    """
    names = [s.slide for s in sections]
    files = tissue_files(tissue, names)
    absent = [n for n in names if n not in files]
    if absent:
        more = _pickled(tissue, absent[0])
        raise InputError(
            f"there is no tissue of slide {absent[0]!r} ({len(absent)} of {len(names)} slides) in "
            f"tissue={_said(tissue)}: name the files after the slides "
            f"({absent[0]}.geojson, {absent[0]}.png), or give a mapping.{more}"
        )
    return [dataclasses.replace(s, tissue=_marked(files[s.slide], s, classes, notes))
            for s in sections]  # fmt: skip


def _pickled(tissue: Any, name: str) -> str:
    """What to say of the masks of earlier versions of HEST."""
    if not isinstance(tissue, (str, Path)) or not (Path(tissue) / f"{name}_mask.pkl").is_file():
        return ""
    return f" {name}_mask.pkl is a pickle, which may run anything, and is never opened."


def _said(tissue: Any) -> str:
    return f"{str(tissue)!r}" if isinstance(tissue, (str, Path)) else "{...}"


def tissue_files(tissue: Any, names: Sequence[str]) -> dict[str, Any]:
    """Slide -> what marks its tissue.

    Raises
    ------
    InputError
        If there is no such file or folder, one file is to be of several slides, or two of one.
    """
    if isinstance(tissue, Mapping):
        return {str(k): v for k, v in tissue.items()}
    if not isinstance(tissue, (str, Path)):
        if len(names) == 1:
            return {names[0]: tissue}
        raise InputError(f"tissue is {type(tissue).__name__}: of several slides give a mapping.")
    path = Path(tissue)
    if (path / "outlines").is_dir():  # as `smalti tissue` writes them
        path = path / "outlines"
    if path.is_dir():
        found: dict[str, Any] = {}
        for name in names:
            at = [p for call in _CALLED for end in (*ENDINGS, *_PICTURES)
                  if (p := path / f"{name}{call}{end}").is_file()]  # fmt: skip
            if len(at) > 1:
                raise InputError(f"{at[0]} and {at[1]} both mark the tissue of slide {name!r}: "
                                 "remove one, or give a mapping.")  # fmt: skip
            if at:
                found[name] = at[0]
        return found
    if not path.exists():
        raise InputError(f"no file or folder {path} (tissue=): check the path.")
    if len(names) > 1:
        raise InputError(f"{path} marks the tissue of one slide, and there are {len(names)}: give "
                         "a folder with a file for each, or a mapping.")  # fmt: skip
    return {names[0]: path}


def _marked(given: Any, section: Section, classes: str, notes: list[str]) -> Marked:
    """The tissue of one slide, checked against its picture."""
    image, slide = section.image, section.slide
    if isinstance(given, (str, Path)) and Path(given).suffix.lower() in ENDINGS:
        found = read_annotations(given)
        named = [a for a in found if a.name.lower() == classes.lower()]
        others = sorted({a.name or "no class" for a in found} - {a.name for a in named})
        if named and others:
            notes.append(f"slide {slide!r}: of {Path(given).name} the class {classes} is tissue, "
                         f"and not {', '.join(others[:5])}.")  # fmt: skip
        marked = Marked([p for a in named or found for p in a.polygons])
        _check_inside(marked, image.width, image.height, given, slide)
        return marked
    mask = _mask(given, slide)
    tall, wide = mask.shape[0] / image.height, mask.shape[1] / image.width
    # a mask of few pixels is rounded to whole ones
    if abs(tall / wide - 1) > _ASPECT + 1.5 / min(mask.shape):
        raise InputError(
            f"the mask of slide {slide!r} is {mask.shape[1]} x {mask.shape[0]} px and its picture "
            f"{image.width} x {image.height} px: they differ in shape, so it is no mask of the "
            "whole slide."
        )
    if mask.all() or not mask.any():
        what = "all of it is tissue" if mask.all() else "nothing of it is tissue"
        notes.append(f"slide {slide!r}: {what}, by the mask that was given.")
    return Marked(mask=mask)


def _check_inside(marked: Marked, width: int, height: int, given: Any, slide: str) -> None:
    """Outlines lie on the picture: those of another resolution do not."""
    points = np.concatenate([ring for rings in marked.outlines for ring in rings])
    low, high = points.min(0), points.max(0)
    extent = np.array([width, height])
    if (high < 0).any() or (low > extent).any() or (high > 1.05 * extent + 2).any():
        raise InputError(
            f"{given}: the outlines reach from ({low[0]:.0f}, {low[1]:.0f}) to ({high[0]:.0f}, "
            f"{high[1]:.0f}) px, and slide {slide!r} has {width} x {height} px: are they in pixels "
            "of another resolution or another slide?"
        )


def _mask(given: Any, slide: str) -> np.ndarray:
    """(height, width) bool of an array or a picture: 0 is none, all else tissue."""
    if isinstance(given, (str, Path)):
        path = Path(given)
        if path.suffix.lower() not in _PICTURES:
            raise InputError(f"{path} of slide {slide!r} is no mask: .geojson, .json or .png.")
        need("PIL", extra="slides")
        with opened_picture(path) as picture, reading(path):
            bands = picture.getbands()
            kept = picture.convert("RGBA" if "A" in bands else "RGB") if picture.mode != "L" and \
                picture.mode not in ("1", "I", "I;16") else picture  # fmt: skip
            mask = np.asarray(kept)
        if mask.ndim == 3 and mask.shape[2] == 4:
            mask = mask[..., :3] * (mask[..., 3:] > 0)
        mask = mask.max(2) if mask.ndim == 3 else mask
    else:
        mask = np.asarray(given)
    if mask.ndim != 2 or not mask.size or mask.dtype.kind not in "biu":
        raise InputError(
            f"the mask of slide {slide!r} is {mask.shape} {mask.dtype}: expected (height, width), "
            "0 for none and another whole number for tissue."
        )
    return mask > 0
