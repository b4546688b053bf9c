"""Sections as HEST lays them out, and folders or lists of one .h5ad a section."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from smalti.errors import InputError
from smalti.io.patches import open_patches
from smalti.io.pictures import match_pictures, opened
from smalti.io.sections import Ask, Section, checked_um
from smalti.io.spots import table_section
from smalti.left import Left
from smalti.system.reading import about, read_json, reading
from smalti.tiles.image import SUFFIXES, SlideImage

_SIZES = ("pixel_size_um_estimated", "pixel_size_um_embedded")  # HEST itself takes the first
_LENGTHS = (*_SIZES, "inter_spot_dist", "spot_diameter")
_APART = 0.1  # by which the two may differ before that is said


def is_hest(folder: Path) -> bool:
    """Whether a folder has sections in st/."""
    return bool(_tables(folder / "st"))


def _tables(folder: Path) -> dict[str, Path]:
    return {p.stem: p for p in sorted(folder.glob("*.h5ad"))} if folder.is_dir() else {}


def hest_sections(root: Path, ask: Ask, notes: list[str]) -> list[Section]:
    """One section for each .h5ad of st/.

    Parameters
    ----------
    root
        With st/, and wsis/ or patches/; metadata/ says how large a pixel is. Its .pkl files are
        never opened.
    ask
        ``images`` take the place of wsis/; ``ready`` asks for the tiles of patches/, which are
        taken too where a section has no picture.
    notes
        Gets warnings.

    Raises
    ------
    InputError
        If a section has neither picture nor tiles, or a file is damaged.
    """
    files = _tables(root / "st")
    names = ask.wanted(list(files), notes)
    given = None if ask.images is None else match_pictures(names, ask.images, notes)
    return [_hest_section(root, files[n], n, None if given is None else given[n], ask, notes)
            for n in names]  # fmt: skip


def _hest_section(
    root: Path, file: Path, name: str, picture: SlideImage | None, ask: Ask, notes: list[str]
) -> Section:
    tiles = root / "patches" / f"{name}.h5"
    if picture is None:
        found = [p for end in SUFFIXES if (p := root / "wsis" / f"{name}{end}").exists()]
        picture = opened(found[0]) if found else None
    if ask.ready and not tiles.exists():
        raise InputError(f"tiles='ready': slide {name!r} has no {tiles}.")
    about, um, pitch = _metadata(root / "metadata" / f"{name}.json", name, notes)
    ready = tiles.exists() and (ask.ready or picture is None)
    section = table_section(file, name, picture, ask, notes, um=um, pitch=pitch, bare=ready)
    section.about = about
    return with_patches(section, tiles, notes) if ready else section


def _metadata(
    file: Path, name: str, notes: list[str]
) -> tuple[dict[str, Any], float | None, float | None]:
    """What is said of a section: plain values, µm per pixel, and µm from spot to spot."""
    if not file.exists():
        return {}, None, None
    said = read_json(file)
    if not isinstance(said, Mapping):
        raise InputError(f"{file} holds no names with values: copy or download it again.")
    plain = {str(k): v for k, v in said.items() if isinstance(v, (str, int, float))}
    with about(file):
        um, own = (checked_um(_number(plain, key, file), name) for key in _SIZES)
    if um is not None and own is not None and abs(um / own - 1) > _APART:
        notes.append(
            f"slide {name!r}: {file.name} estimates {um:.4g} µm per pixel, and the picture says "
            f"{own:.4g}: the former is taken, as HEST does."
        )
    um = own if um is None else um
    pitch = _number(plain, "inter_spot_dist", file)
    kept = {k: v for k, v in plain.items() if k not in _LENGTHS}
    return kept, um, pitch if pitch and pitch > 0 else None


def _number(said: Mapping[str, Any], key: str, file: Path) -> float | None:
    if said.get(key) is None:
        return None
    with reading(file, key):
        return float(said[key])


def with_patches(section: Section, file: Path, notes: list[str]) -> Section:
    """The spots of a section that have a ready tile, with these tiles.

    Raises
    ------
    InputError
        If tiles have no barcodes, or no spot has a tile.
    """
    patches, barcodes, _ = open_patches(file)
    if barcodes is None:
        raise InputError(f"{file} has no barcode of its tiles: their spots are not known.")
    spots = pd.Index(section.obs.index.astype(str))
    at = spots.get_indexer(barcodes) if spots.is_unique else np.full(len(barcodes), -1)
    kept = np.flatnonzero(at >= 0)
    if not len(kept) or not pd.Index(barcodes).is_unique:
        what = "has no tile of a spot" if not len(kept) else "has two tiles of one spot"
        raise InputError(f"{file} {what} of slide {section.slide!r} (tiles such as {barcodes[0]}, "
                         f"spots such as {spots[0]}): are the two of one section?")  # fmt: skip
    for n, what in ((len(barcodes) - len(kept), "ready tiles have no spot"),
                    (len(spots) - len(kept), "spots have no ready tile")):  # fmt: skip
        if n:
            notes.append(Left(f"slide {section.slide!r}: {n} {what} and are left out.",
                              instances=n))  # fmt: skip
    rows = at[kept]
    counts = None if section.counts is None else section.counts[rows]
    xy = None if section.xy is None else section.xy[rows]
    return dataclasses.replace(section, obs=section.obs.iloc[rows], xy=xy, counts=counts,
                               ready=patches.of(kept), image=None)  # fmt: skip


def table_sections(files: Mapping[str, Path], ask: Ask, notes: list[str]) -> list[Section]:
    """One section for each .h5ad, named by its file; pictures of ``images``, or in the files.

    Raises
    ------
    InputError
        If a column is said to name the slides, or a picture is missing.
    """
    if ask.slide is not None and ask.listed is None:
        raise InputError(f"slide={ask.slide!r}: of several files each is a slide by its name; put "
                         "them into one AnnData, or leave slide= out.")  # fmt: skip
    names = ask.wanted(list(files), notes)
    given = None if ask.images is None else match_pictures(names, ask.images, notes)
    return [table_section(files[n], n, None if given is None else given[n], ask, notes)
            for n in names]  # fmt: skip


def patch_sections(files: Sequence[Path], ask: Ask, notes: list[str]) -> list[Section]:
    """One section for each .h5 of ready tiles, without expression.

    Raises
    ------
    InputError
        If a file is damaged, or two have one name.
    """
    names = ask.wanted([f.stem for f in files], notes)
    out = []
    for file in files:
        if file.stem not in names:
            continue
        patches, barcodes, centers = open_patches(file)
        rows = [str(i) for i in patches.rows] if barcodes is None else barcodes
        obs = pd.DataFrame(index=pd.Index(rows, dtype=object))
        out.append(Section(file.stem, None, centers, obs, um_per_px=ask.um_of(file.stem),
                           ready=patches))  # fmt: skip
    return out
