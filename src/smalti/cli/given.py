"""What the words of DATA name: one path, several runs, or modalities as ``rna=FILE``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from smalti.errors import InputError


def data_of(words: Sequence[Path]) -> Any:
    """What the words of DATA name: one path; several runs; or modalities, NAME=PATH.

    Modalities stand together until one comes again, which begins the next run.

    Raises
    ------
    InputError
        If some words name modalities and others do not.
    """
    pairs = [named(word) for word in words]
    if not any(name for name, _ in pairs):
        return words[0] if len(words) == 1 else list(words)
    bare = next((path for name, path in pairs if not name), None)
    if bare is not None:
        raise InputError(f"{bare} is of no modality, and others are: write NAME={bare}, too.")
    runs: list[dict[str, Path]] = [{}]
    for name, path in pairs:
        if name in runs[-1]:
            runs.append({})
        runs[-1][name] = path
    return runs[0] if len(runs) == 1 else runs


def paths_of(words: Iterable[Path]) -> list[Path]:
    """The paths among such words."""
    return [named(word)[1] for word in words]


def named(word: Path) -> tuple[str, Path]:
    """Name and path of ``rna=FILE``; no name where a file is called so."""
    name, equals, path = str(word).partition("=")
    if not equals or not re.fullmatch(r"\w[\w.-]*", name) or word.exists():
        return "", word
    return name, Path(path)


def title_of(words: Sequence[Path]) -> str:
    """What data are called in a title."""
    names = list(dict.fromkeys(path.name for path in paths_of(words)))
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
