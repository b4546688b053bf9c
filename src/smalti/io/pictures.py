"""Which picture belongs to which slide."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from smalti.errors import InputError
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
