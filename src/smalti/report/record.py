"""A page as data: report.json, and the tables and drawings beside it."""

from __future__ import annotations

import dataclasses
import json
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from smalti._version import __version__
from smalti.errors import InputError
from smalti.report.pictures import encoded, from_address
from smalti.report.section import Code, Drawing, Folded, Page, Part, Table, flat
from smalti.system.listed import write_list
from smalti.system.tables import write_table

MARK = "a page of smalti"


def drawn(page: Page) -> dict[str, tuple[bytes, str]]:
    """Drawing -> its bytes and the ending of its file, each drawn once."""
    return {
        p.name: from_address(p.figure) if isinstance(p.figure, str) else encoded(p.figure)
        for p in _all(page) if isinstance(p, Drawing)
    }  # fmt: skip


def check_names(page: Page) -> None:
    """Refuse names that two parts share, or that no file can have.

    Raises
    ------
    InputError
        If there is one.
    """
    parts = [p.name for p in _all(page) if isinstance(p, (Table, Drawing))]
    for names in (parts, [s.name for s in page.sections]):
        for name, n in Counter(names).items():
            if n > 1:
                raise InputError(f"two parts of this page are called {name!r}: rename one.")
            if not re.fullmatch("[a-z0-9][a-z0-9-]*", name):
                raise InputError(
                    f"{name!r} names a part of a page: use small letters, digits and hyphens."
                )


def as_record(page: Page, pictures: Mapping[str, tuple[bytes, str]]) -> dict[str, Any]:
    """The page as JSON has it: numbers as they are, a missing one as null."""
    sections = [
        {"name": s.name, "heading": s.heading, "parts": [_part(p, pictures) for p in s.parts]}
        for s in page.sections
    ]
    return {
        "what": MARK, "smalti": __version__, "title": page.title, "about": page.about,
        "answer": page.answer, "text": list(page.text), "notes": list(page.notes),
        **{k: _plain(v) for k, v in page.record.items()}, "sections": sections,
    }  # fmt: skip


def write_files(page: Page, pictures: Mapping[str, tuple[bytes, str]], folder: Path) -> None:
    """One .csv a table, one .svg a drawing, and a list of them, into a folder that is there."""
    files = {}
    for part in _all(page):
        if isinstance(part, Table):
            name = f"{part.name}.csv"
            write_table(part.frame, folder / name)
            files[name] = part.caption
        elif isinstance(part, Drawing):
            name = f"{part.name}.{pictures[part.name][1]}"
            (folder / name).write_bytes(pictures[part.name][0])
            files[name] = part.alt
        elif isinstance(part, Code):
            (folder / part.name).write_text(part.text, encoding="utf-8")
            files[part.name] = "as in the page"
    write_list(folder, files)


def is_record(path: Path) -> bool:
    """Whether a file is a report.json of ours."""
    try:
        return bool(json.loads(path.read_text("utf-8"))["what"] == MARK)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _all(page: Page) -> list[Part]:
    return [part for section in page.sections for part in flat(section.parts)]


def _part(part: Part, pictures: Mapping[str, tuple[bytes, str]]) -> dict[str, Any]:
    kind = {"kind": type(part).__name__.lower()}
    if isinstance(part, Table):
        frame = part.frame
        return kind | {
            "name": part.name, "caption": part.caption, "file": f"{part.name}.csv",
            "columns": [str(c) for c in frame],
            "rows": [[_plain(v) for v in row] for row in frame.astype(object).to_numpy().tolist()],
            "marks": {str(i): words for i, words in part.marks.items()},
        }  # fmt: skip
    if isinstance(part, Drawing):
        return kind | {"name": part.name, "alt": part.alt, "caption": part.caption,
                       "file": f"{part.name}.{pictures[part.name][1]}"}  # fmt: skip
    if isinstance(part, Folded):
        return kind | {"summary": part.summary, "parts": [_part(p, pictures) for p in part.parts]}
    return kind | {k: _plain(v) for k, v in dataclasses.asdict(part).items()}


def _plain(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(v) for v in value]
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else None if np.isnan(value) else str(value)
    if value is None or value is pd.NA or value is pd.NaT:
        return None
    return str(value)
