"""Sections of the first Spatial Transcriptomics arrays: text tables of spots and counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from smalti.errors import InputError
from smalti.io.counts import checked_counts, named_as_written, told_apart
from smalti.io.pictures import match_pictures
from smalti.io.sections import Ask, Section
from smalti.left import Left
from smalti.system.tables import numbers, read_text

_PITCH = 200.0  # µm between the centres of neighbouring spots
_PLACES = ("x", "y", "pixel_x", "pixel_y")
_TABLES = (".tsv", ".tsv.gz", ".csv", ".csv.gz")


def section_files(source: Path) -> dict[str, dict[str, Path]]:
    """Slide -> its tables, of a folder (or a folder with ST-cnts and ST-spotfiles in it).

    ``A1.tsv.gz`` are counts, ``A1_selection.tsv`` spots.
    """
    found: dict[str, dict[str, Path]] = {}
    for file in sorted(source.rglob("*")):
        ending = next((t for t in _TABLES[::-1] if file.name.endswith(t)), None)
        if ending is None:
            continue
        stem = file.name.removesuffix(ending)
        spots = stem.endswith("_selection")
        found.setdefault(stem.removesuffix("_selection"), {})["spots" if spots else "counts"] = file
    return {k: v for k, v in found.items() if len(v) == 2}


def legacy_sections(files: dict[str, dict[str, Path]], ask: Ask, notes: list[str]) -> list[Section]:
    """Sections of the arrays.

    Parameters
    ----------
    files
        Slide -> {"counts": table of spots x genes, spots named like 10x13; "spots": table with x,
        y, pixel_x, pixel_y (and selected)}.
    ask
        ``images`` are pictures by slide name; the size of a pixel is that of spots 200 µm apart
        where nobody says it.
    notes
        Gets warnings.

    Raises
    ------
    InputError
        If tables lack columns, or have no spot in common; with names.
    """
    slides = ask.wanted(list(files), notes)
    pictures = match_pictures(slides, ask.images, notes)
    out = []
    for name in slides:
        tables = files[name]
        spots = _spots(tables["spots"])
        counts = _read(tables["counts"], index_col=0)
        counts.index = counts.index.astype(str)
        if not len(counts) or not counts.index.is_unique:
            twice = counts.index[counts.index.duplicated()]
            raise InputError(f"{tables['counts']} holds "
                             f"{f'spot {twice[0]!r} twice' if len(twice) else 'no spots'}: copy it "
                             "again.")  # fmt: skip
        there = [s for s in spots.index if s in set(counts.index)]
        if not there:
            raise InputError(
                f"{tables['counts']} (spots such as {counts.index[0]}) and {tables['spots']} (such "
                f"as {spots.index[0]}) have no spot in common: are they of one section?"
            )
        gone = len(spots) - len(there)
        if gone:
            first = next(s for s in spots.index if s not in set(counts.index))
            notes.append(Left(f"slide {name!r}: {gone} of {len(spots)} spots have no counts "
                              f"(first: {first}) and are left out.", instances=gone))  # fmt: skip
        spots = spots.loc[there]
        try:
            values = counts.loc[there].to_numpy(np.float32)
        except ValueError as error:
            raise InputError(
                f"{tables['counts']} holds text among the counts ({error}): mend the table."
            ) from error
        genes = list(map(str, counts.columns))
        matrix, unique = checked_counts(values, genes, there, str(tables["counts"]))
        notes += told_apart(genes, f"slide {name!r}")
        obs = spots.rename(columns={"x": "array_x", "y": "array_y"})
        out.append(Section(
            name, pictures[name], spots[["pixel_x", "pixel_y"]].to_numpy(float),
            obs.drop(columns=["pixel_x", "pixel_y"]), matrix, unique, ask.um_of(name),
            ask.pitch_um or _PITCH,
        ))  # fmt: skip
    return out


def _read(file: Path, **kwargs: Any) -> pd.DataFrame:
    separator = "," if ".csv" in file.name else "\t"
    return named_as_written(read_text(file, separator, **kwargs), file, separator)


def _spots(file: Path) -> pd.DataFrame:
    table = _read(file)
    absent = [c for c in _PLACES if c not in table]
    if absent:
        raise InputError(f"{file} lacks columns {', '.join(absent)} of a spot table.")
    places = numbers(table, [*_PLACES, *(["selected"] if "selected" in table else [])], file)
    table.index = pd.Index([f"{int(x)}x{int(y)}" for x, y in places[:, :2]])
    if "selected" in table:
        table = table[places[:, -1] == 1]
    if not len(table):
        raise InputError(f"{file} selects no spot: copy it again.")
    return table[~table.index.duplicated()]
