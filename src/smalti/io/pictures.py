"""Which picture belongs to which slide."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from smalti.errors import InputError
from smalti.system.tables import ENDINGS, numbers, read_table
from smalti.tiles.image import SUFFIXES, SlideImage, ending
from smalti.tiles.open import open_image


def slide_name(path: Path) -> str:
    """File name without its ending: "a.ome.tif" is "a"."""
    name = path.name
    while Path(name).suffix.lower() in (*SUFFIXES, ".ome", ".gz"):
        name = Path(name).stem
    return name


def picture_files(
    images: Any, slides: Collection[str] | None = None
) -> dict[str, Path | SlideImage]:
    """Pictures by slide name: of a folder, a list, a mapping or one file.

    Raises
    ------
    InputError
        If there is none, one is missing, or two have one name, which is one of ``slides`` where
        these are named.
    """
    if isinstance(images, Mapping):
        found: dict[str, Path | SlideImage] = {}
        for name, image in images.items():
            found[str(name)] = image if isinstance(image, SlideImage) else Path(image)
        _there([p for p in found.values() if isinstance(p, Path)])
        return found
    if isinstance(images, SlideImage):
        return {slide_name(images.path): images}
    if isinstance(images, (str, Path)) and Path(images).is_dir():
        paths = [p for p in sorted(Path(images).iterdir()) if ending(p) in SUFFIXES]
        if not paths:
            raise InputError(f"no images in {images}: expected files {', '.join(SUFFIXES)}.")
    else:
        paths = [Path(images)] if isinstance(images, (str, Path)) else [Path(p) for p in images]
    _there(paths)
    by_name: dict[str, Path | SlideImage] = {}
    for path in paths:
        name = slide_name(path)
        if name in by_name and (slides is None or name in slides):
            raise InputError(
                f"{by_name[name]} and {path} are both the image of slide {name!r}: remove one, or "
                f"say which, images={{{name!r}: ...}}."
            )
        by_name[name] = path
    return by_name


def slide_files(
    slides: Any, *, slide: str | None = None, path: str | None = None, um_per_px: Any = None
) -> tuple[dict[str, Path], Any]:
    """Files of pictures by slide name, and µm per pixel: a number, by slide, or None.

    Parameters
    ----------
    slides
        A folder, a file, several of them, a mapping from slide to file, or a table (data frame or
        .csv, .tsv, .parquet) with a row for each slide.
    slide, path
        Columns of the table: the name (that of the file where left out) and the file ("path"),
        which lies beside the table or where it says.
    um_per_px
        A number, by slide, or a column of the table ("um_per_px" where there is one).

    Raises
    ------
    InputError
        If there is none, one is missing, two have one name, or a column is not there.
    """
    one = Path(slides) if isinstance(slides, (str, Path)) else None
    if isinstance(slides, pd.DataFrame) or (one is not None and one.suffix in ENDINGS):
        return _of_table(slides, slide, path or "path", um_per_px)
    for name, value in (("slide", slide), ("path", path)):
        if value is not None:
            raise InputError(f"{name}={value!r} is a column of a table of slides, which this is "
                             "not: leave it out.")  # fmt: skip
    if isinstance(um_per_px, str):
        raise InputError(f"um_per_px={um_per_px!r}: images have no columns; give a number.")
    if one is not None or isinstance(slides, Mapping):
        return {k: Path(v) for k, v in picture_files(slides).items()}, um_per_px  # type: ignore[arg-type]
    found: dict[str, Path] = {}
    for each in slides:
        for name, file in picture_files(each).items():
            if name in found:
                raise InputError(f"slide {name!r} is named twice: leave one out.")
            found[name] = Path(file)  # type: ignore[arg-type]
    return found, um_per_px


def _of_table(
    table: Any, slide: str | None, path: str, um_per_px: Any
) -> tuple[dict[str, Path], Any]:
    own = [path] if slide is None else [path, slide]
    frame = table if isinstance(table, pd.DataFrame) else read_table(table, text=own)
    folder = Path() if isinstance(table, pd.DataFrame) else Path(table).parent
    if um_per_px is None and "um_per_px" in frame:
        um_per_px = "um_per_px"
    column = um_per_px if isinstance(um_per_px, str) else None
    for name in filter(None, (*own, column)):
        if name not in frame:
            raise InputError(f"no column {name!r} in the table of slides; there are "
                             f"{', '.join(map(str, frame))}.")  # fmt: skip
    files = [folder / str(f) if (folder / str(f)).exists() else Path(str(f)) for f in frame[path]]
    names = [slide_name(f) for f in files] if slide is None else frame[slide].astype(str).tolist()
    twice = [n for n in names if names.count(n) > 1]
    if twice or not names:
        raise InputError(f"the table names slide {twice[0]!r} twice: a slide has one row." if twice
                         else "the table of slides has no rows.")  # fmt: skip
    if column is not None:
        values = numbers(frame, [column], "the table of slides")[:, 0]
        um_per_px = dict(zip(names, values.tolist(), strict=True))
    return dict(zip(names, files, strict=True)), um_per_px


def _there(paths: Sequence[Path]) -> None:
    absent = [str(p) for p in paths if not p.is_file()]
    if absent:
        raise InputError(f"{len(absent)} image files are missing: {', '.join(absent[:5])}.")


def match_pictures(
    slides: Sequence[str], images: Any, notes: list[str] | None = None
) -> dict[str, SlideImage]:
    """The opened picture of each slide.

    Raises
    ------
    InputError
        If a slide has no picture; with the names on both sides.
    """
    if images is None:
        raise InputError(
            f"no images: give images=, a folder with one file per slide ({slides[0]}.jpg), or a "
            "mapping from slide to file."
        )
    files = picture_files(images, slides)
    if len(slides) == len(files) == 1 and not isinstance(images, Mapping):
        files = {slides[0]: next(iter(files.values()))}  # one slide, one file: no name to match
    absent = [s for s in slides if s not in files]
    if absent:
        raise InputError(
            f"{len(absent)} slides have no image: {', '.join(absent[:5])}; there are images of "
            f"{', '.join(sorted(files)[:5])}. Name the files after the slides, or give a mapping, "
            f"images={{{absent[0]!r}: 'FILE'}}."
        )
    extra = sorted(set(files) - set(slides))
    if extra and notes is not None and not isinstance(images, Mapping):
        notes.append(f"{len(extra)} images belong to no slide and are left out: "
                     f"{', '.join(extra[:5])}.")  # fmt: skip
    return {s: opened(files[s]) for s in slides}


def opened(image: Path | SlideImage) -> SlideImage:
    """A picture, opened where it is a path."""
    return image if isinstance(image, SlideImage) else open_image(image)


def small_version(slide: str, name: str, scale: float) -> str:
    """The note of tiles that are cut from a small picture, ``scale`` of the full one."""
    return (
        f"slide {slide!r}: cut from {name}, a small version of the slide (1 of {1 / scale:.3g} "
        "pixels): give the full-resolution image, images=..."
    )
