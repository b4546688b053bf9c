"""Which reader reads the slides of a source: by what it is, and by the files in a folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from smalti.errors import InputError
from smalti.io.hest import hest_sections, is_hest, patch_sections, table_sections
from smalti.io.legacy_st import legacy_sections, section_files
from smalti.io.open import open_table
from smalti.io.patches import is_patches
from smalti.io.pictures import opened, picture_files
from smalti.io.platforms import open_platform
from smalti.io.runs import runs_of
from smalti.io.sections import Ask, Section
from smalti.io.spatial import spatialdata_sections
from smalti.io.spots import anndata_sections
from smalti.io.tables import Table
from smalti.io.visium import visium_section
from smalti.io.visium_hd import hd_run, hd_section, is_hd, run_name
from smalti.io.xenium import is_xenium, xenium_section
from smalti.tiles.image import SUFFIXES, ending


def sections_of(source: Any, ask: Ask, notes: list[str]) -> list[Section]:
    """The sections of a source of any kind (see :func:`smalti.read_slides`).

    Raises
    ------
    InputError
        If it is of no such kind, or has no use for what was asked.
    """
    path = Path(source) if isinstance(source, (str, Path)) else None
    if path is not None and not path.exists():
        raise InputError(f"no file or folder {path}: check the path.")
    if ask.platform is not None:
        if path is None:
            raise InputError(f"platform={ask.platform!r} reads one folder: give its path.")
        source, path = open_platform(path, ask.platform), None
    zarr = path is not None and path.suffix == ".zarr"
    if hasattr(source, "tables") or (zarr and path and not (path / "obs").exists()):
        return _checked(spatialdata_sections(source, ask, notes), ask, bins=True)
    if hasattr(source, "obs") or (path and path.suffix in (".h5ad", ".zarr")):
        table = cast(Table, open_table(source))
        return _checked(anndata_sections(table, ask, notes), ask)
    paths = [path] if path else [Path(s) for s in source] if _paths(source) else []
    if any(p.is_dir() for p in paths):
        return _of_folders(paths, ask, notes, several=path is None)
    return _checked(_of_files(source, paths, ask, notes), ask)


def _paths(source: Any) -> bool:
    return isinstance(source, Sequence) and all(isinstance(s, (str, Path)) for s in source)


def _checked(sections: list[Section], ask: Ask, bins: bool = False) -> list[Section]:
    """The sections, if nothing was asked in vain."""
    if ask.bins is not None and not bins:
        raise InputError(f"bins={ask.bins!r} is of Visium HD, which {sections[0].slide!r} is not.")
    if ask.ready and any(s.ready is None for s in sections):
        raise InputError("tiles='ready' is of slides whose tiles are cut already, such as the "
                         "patches/ of HEST.")  # fmt: skip
    return sections


def _of_files(source: Any, paths: Sequence[Path], ask: Ask, notes: list[str]) -> list[Section]:
    """Files that are a slide each: .h5ad, .h5 of ready tiles, or pictures."""
    if paths and all(p.suffix == ".h5ad" for p in paths):
        return table_sections(_by_name(paths), ask, notes)
    if paths and all(p.suffix == ".h5" for p in paths) and all(map(is_patches, paths)):
        return patch_sections(list(_by_name(paths).values()), ask, notes)
    if isinstance(ask.um_per_px, str):
        raise InputError(f"um_per_px={ask.um_per_px!r}: images have no columns; give a number.")
    pictures = picture_files(source)
    if not pictures:
        raise InputError("no slides: the list of images is empty.")
    return [Section(name, opened(pictures[name]), um_per_px=ask.um_of(name))
            for name in ask.wanted(list(pictures), notes)]  # fmt: skip


def _by_name(paths: Sequence[Path]) -> dict[str, Path]:
    absent = [str(p) for p in paths if not p.is_file()]
    if absent:
        raise InputError(f"{len(absent)} files are missing: {', '.join(absent[:5])}.")
    return dict(zip(_distinct([p.stem for p in paths], "files"), paths, strict=True))


def _distinct(names: list[str], what: str) -> list[str]:
    twice = next((n for n in names if names.count(n) > 1), None)
    if twice:
        raise InputError(f"two {what} are called {twice!r}: slides need names of their own.")
    return names


# ---------------------------------------------------------------- folders


def _of_folders(
    folders: Sequence[Path], ask: Ask, notes: list[str], several: bool
) -> list[Section]:
    """Runs of Visium, Visium HD and Xenium, one or several; or one folder of another layout."""
    runs: list[tuple[str, Any, Any]] = []  # name, what reads it, what it reads
    for folder in folders:
        found = _runs(folder)
        if several and not found:
            raise InputError(
                f"{folder} is no output of Space Ranger (spatial/ and filtered_feature_bc_matrix) "
                "or Xenium, as a list of folders must be."
            )
        runs += found
    if not runs:
        return _checked(_of_folder(folders[0], ask, notes), ask)
    names = ask.wanted(_distinct([name for name, *_ in runs], "folders"), notes)
    kept = [run for run in runs if run[0] in names]
    sections = [read(what, ask, notes) for _, read, what in kept]
    return _checked(sections, ask, bins=any(read is hd_section for _, read, _ in kept))


def _runs(folder: Path) -> list[tuple[str, Any, Any]]:
    """Those of a folder: it is one, holds one for each prefix, or each in a folder of its own."""
    found = _run(folder)
    if found or not folder.is_dir() or is_hest(folder):
        return found
    return [run for inside in sorted(folder.iterdir()) if inside.is_dir() for run in _run(inside)]


def _run(folder: Path) -> list[tuple[str, Any, Any]]:
    if is_xenium(folder):
        return [(run_name(folder), xenium_section, folder)]
    if is_hd(folder):
        return [(run_name(folder), hd_section, folder)]
    found = runs_of(folder)
    whole = hd_run(folder)
    if whole is not None:  # one width of a run: named as the run is
        return [(run_name(whole), visium_section, dataclasses.replace(r, name=run_name(whole)))
                for r in found]  # fmt: skip
    return [(run.name, visium_section, run) for run in found]


def _of_folder(folder: Path, ask: Ask, notes: list[str]) -> list[Section]:
    """HEST, tables of the first arrays, or files that are a slide each."""
    if is_hest(folder):
        return hest_sections(folder, ask, notes)
    inside = sorted(p for p in folder.iterdir() if p.is_file())
    tables = [p for p in inside if p.suffix == ".h5ad"]
    pictures = {p.stem for p in inside if ending(p) in SUFFIXES}
    if ask.images is None and {p.stem for p in tables} <= pictures:  # each beside its own
        ask = dataclasses.replace(ask, images=folder)
    if tables and (ask.images is not None or not pictures):
        return _of_files(None, tables, ask, notes)
    if section_files(folder):
        return legacy_sections(section_files(folder), ask, notes)
    if pictures:
        return _of_files(folder, [], ask, notes)
    ready = [p for p in inside if p.suffix == ".h5"]
    if ready and is_patches(ready[0]):
        return _of_files(None, ready, ask, notes)
    raise InputError(
        f"{folder} holds no slides: expected the output of Space Ranger (spatial/ and "
        "filtered_feature_bc_matrix, or binned_outputs/) or Xenium, st/ of HEST, .h5ad files, "
        f"tables of the first ST arrays, or images ({', '.join(SUFFIXES)})."
    )
