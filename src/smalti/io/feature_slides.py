"""Feature files joined to their slides: tiles in pixels of the picture, and the pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from smalti.errors import InputError
from smalti.io.h5 import Slide
from smalti.io.pictures import match_pictures
from smalti.io.sections import Ask
from smalti.io.tile_places import Places, patches_of
from smalti.io.tile_table import OfCorner, TileTable, tile_table
from smalti.tiles.enlarged import Enlarged
from smalti.tiles.image import SlideImage
from smalti.tiles.view import TileView

_SAME = 0.01  # sizes that differ by less are the same: levels are rounded
_READ = 224  # pixels of a tile as it is read, where no file says it


@dataclasses.dataclass(frozen=True)
class Joined:
    """What is known of the tiles of a list of slides.

    Attributes
    ----------
    instance
        Columns x, y, x_px, y_px, x_um, y_um and tile_px, as far as a slide has them, a row for each
        tile.
    lengths
        Columns um_per_px, tile_um and tile_um_per_px, a row for each slide.
    view
        The tiles, cut from their pictures; None where no picture was given.
    """

    instance: TileTable
    lengths: pd.DataFrame
    view: TileView | None


def join(
    slides: Sequence[Slide], names: Sequence[str], *, pictures: Any, patches: str | Path | None,
    tile_px: float | None, um_per_px: Any, notes: list[str],
) -> Joined:  # fmt: skip
    """Places of the tiles, in pixels of the full pictures and in µm.

    Parameters
    ----------
    slides
        What the feature files hold.
    names
        Of the slides.
    pictures
        Folder or mapping of pictures; None: there are none.
    patches
        Folder of the patches files that CLAM wrote.
    tile_px
        Edge of a tile in pixels of the full picture, where no file says it.
    um_per_px
        Of the full pictures, a number or by slide, where they do not say it.
    notes
        Gets what is to be known.

    Raises
    ------
    InputError
        If files disagree, a picture is missing or is of another slide, or the places of tiles in it
        cannot be known.
    """
    found = None if pictures is None else match_pictures(names, pictures, notes)
    parts = []
    for slide, name in zip(slides, names, strict=True):
        places = _with_edge(slide, name, patches, tile_px)
        um = _um_of(slide, Ask(um_per_px=um_per_px).um_of(name))
        image = None
        if found is not None:
            image = _to_scale(found[name], places, slide, name)
            um = image.um_per_px if um is None else um
        parts.append((places, um, image, slide, name))
    instance = tile_table([places.corner for places, *_ in parts],
                          _columns([(places, um) for places, um, *_ in parts]))  # fmt: skip
    lengths = pd.DataFrame([_lengths(places, um) for places, um, *_ in parts], index=names)
    view = None
    if found is not None:
        view = _view(instance, [_sure(*part) for part in parts], [len(p.corner) for p, *_ in parts])
    return Joined(instance, lengths, view)


def _with_edge(
    slide: Slide, name: str, patches: str | Path | None, tile_px: float | None
) -> Places:
    """Places of a slide; how long a tile is, is said by its file, that of its patches or the user.

    Raises
    ------
    InputError
        If two of these disagree.
    """
    places = slide.places
    if patches is not None and places.unit == "px":
        file = Path(patches) / f"{name}.h5"
        if not file.is_file():
            raise InputError(f"no patches file {file} for {slide.path}: CLAM writes it beside.")
        more = patches_of(file)
        if len(more.corner) != len(places.corner) or not (more.corner == places.corner).all():
            raise InputError(f"{file} has other tiles than {slide.path}: give the patches that "
                             "these features were made of.")  # fmt: skip
        tile = places.edge, more.edge
        if None not in tile and abs(tile[0] - tile[1]) > _SAME * tile[1]:  # type: ignore[operator]
            raise InputError(f"tiles are {tile[0]:g} px wide by {slide.path} and {tile[1]:g} by "
                             f"{file}: one of them is of other features.")  # fmt: skip
        places = dataclasses.replace(more, extent=more.extent or places.extent,
                                     um_per_px=places.um_per_px)  # fmt: skip
    if tile_px is None or places.unit != "px":
        return places
    if places.edge is not None and abs(places.edge - tile_px) > _SAME * places.edge:
        raise InputError(f"tiles of {slide.path} are {places.edge:g} px wide, as the file says: "
                         f"leave tile_px={tile_px:g} out.")  # fmt: skip
    return dataclasses.replace(places, edge=places.edge or float(tile_px))


def _um_of(slide: Slide, said: float | None) -> float | None:
    """µm per pixel by the user or the file; those of the picture, which may not know, come after.

    Raises
    ------
    InputError
        If the two disagree.
    """
    own = slide.places.um_per_px
    if said is not None and own is not None and abs(said - own) > _SAME * own:
        raise InputError(f"tiles of {slide.path} were cut at {own:g} µm per pixel, as the file "
                         f"says: leave um_per_px={said:g} out, or make them anew.")  # fmt: skip
    return own if said is None else said


def _to_scale(image: SlideImage, places: Places, slide: Slide, name: str) -> SlideImage:
    """The picture in pixels of the full slide, where it is a smaller copy.

    Raises
    ------
    InputError
        If it has another shape than the slide that the features were made of.
    """
    if places.unit == "um" or places.extent is None:
        return image
    wide, high = places.extent
    step = wide / image.width
    if abs(high / image.height - step) > max(_SAME, 1.5 / image.height) * step or step < 1 - _SAME:
        raise InputError(
            f"{image.path} is {image.width} x {image.height} px, and {slide.path} was made of a "
            f"slide of {wide} x {high} px: give the picture of slide {name!r}."
        )
    return image if abs(step - 1) < _SAME else Enlarged(image, places.extent)


def _columns(parts: Sequence[tuple[Places, float | None]]) -> dict[str, OfCorner | np.ndarray]:
    """Columns of the tiles by slide; those that no slide has are left out."""
    px = [p.to_centre("px", None if um is None else 1 / um) for p, um in parts]
    um = [p.to_centre("um", um) for p, um in parts]
    there = [p.corner.strides != (0, 0) for p, _ in parts]  # else one NaN stands for all
    as_stored = [(0.0, 1.0) if has else (np.nan, np.nan) for has in there]
    columns: dict[str, OfCorner | np.ndarray] = {}
    for end, pairs in (("", as_stored), ("_px", px), ("_um", um)):
        shift, factor = np.array(pairs).T
        if not np.isnan(factor).all():
            columns |= {f"{axis}{end}": OfCorner(i, shift, factor) for i, axis in enumerate("xy")}
    edge = np.array([2 * shift * factor for shift, factor in px])
    return columns if np.isnan(edge).all() else columns | {"tile_px": edge}


def _lengths(places: Places, um_per_px: float | None) -> dict[str, float]:
    _, wide = places.um(um_per_px)
    wide = np.nan if wide is None else wide
    pixel = np.nan if places.read_px is None else wide / places.read_px
    return {"um_per_px": um_per_px or np.nan, "tile_um": wide, "tile_um_per_px": pixel}


def _sure(
    places: Places, um_per_px: float | None, image: SlideImage | None, slide: Slide, name: str
) -> tuple[SlideImage, float, int]:
    """The picture of a slide, the edge of its tiles there, and their pixels as they are read.

    Raises
    ------
    InputError
        If tiles cannot be placed, or lie outside.
    """
    assert image is not None
    xy, edge = places.px(um_per_px)
    if edge is None:
        raise InputError(f"{slide.path}: {_lacks(places)}")
    extent = np.array([image.width, image.height])
    away = ((xy + edge / 2 <= 0) | (xy - edge / 2 >= extent)).any(1)
    if away.any():
        raise InputError(
            f"{int(away.sum())} of {len(xy)} tiles of {slide.path} lie outside of {image.path} "
            f"({image.width} x {image.height} px; first: centre {xy[away][0].round().tolist()}): "
            f"is it the full picture of slide {name!r}, and are coords x, y?"
        )
    return image, edge, places.read_px or _READ


def _lacks(places: Places) -> str:
    """Why tiles cannot be placed in a picture."""
    if np.isnan(places.corner).any():
        return "it has no coords, so its tiles cannot be placed: make features anew with them."
    if places.unit is None:
        return "the unit of coords is not said (attribute unit): make the features anew."
    if places.edge is None:
        return (
            "how long a tile is is not said: give the folder of patches that CLAM wrote, "
            "patches=..., or the edge in pixels of the full slide, tile_px=..."
        )
    return (
        "its coords are in µm, and how long a pixel of the picture is is not known: um_per_px=..."
    )


def _view(
    instance: pd.DataFrame, parts: Sequence[tuple[SlideImage, float, int]], tiles: Sequence[int]
) -> TileView:
    of = np.repeat(np.arange(len(parts)), tiles)
    size = max(read for *_, read in parts)
    return TileView([image for image, *_ in parts], of, instance[["x_px", "y_px"]].to_numpy(),
                    np.array([edge for _, edge, _ in parts]), size, pad=True)  # fmt: skip


def named_pictures(slides: Any, table: pd.DataFrame, labels: Any) -> Any:
    """Pictures as the user gave them; a column of the table is a mapping from slide to file.

    Raises
    ------
    InputError
        If it is neither a column, a file nor a folder.
    """
    if not isinstance(slides, str) or slides not in table.columns:
        if isinstance(slides, (str, Path)) and not Path(slides).exists():
            raise InputError(f"slides={str(slides)!r} is no folder or file, and no column of the "
                             "labels: check the path.")  # fmt: skip
        return slides
    folder = Path(labels).parent if isinstance(labels, (str, Path)) else Path()
    files: Mapping[str, Any] = table[slides].to_dict()
    beside = {k: folder / str(v) for k, v in files.items()}
    return {k: p if p.exists() else Path(str(files[k])) for k, p in beside.items()}
