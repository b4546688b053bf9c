"""Folders that list their files, so that what is not theirs is never replaced with them."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path

LIST = "index.csv"
"""The list of a folder: file, and what it is."""


def write_list(folder: Path, files: Mapping[str, str]) -> None:
    """Write the list of a folder: file -> what it is."""
    with (folder / LIST).open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["file", "what"])
        writer.writerows(files.items())


def is_listed(folder: Path) -> bool:
    """Whether a folder holds its list, files of it, and nothing else."""
    try:
        with (folder / LIST).open(encoding="utf-8", newline="") as file:
            head, *rows = csv.reader(file)
    except (OSError, ValueError, csv.Error):
        return False
    own = {LIST, *(row[0] for row in rows if row)}
    return head == ["file", "what"] and all(p.is_file() and p.name in own for p in folder.iterdir())
