"""Files and folders that are whole or not there."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from smalti.errors import InputError


def _sibling(path: Path) -> Path:
    """A temporary name beside ``path``, in a folder that can be written to."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        trial = path.parent / f".{path.name}.{uuid.uuid4().hex[:8]}"
        trial.touch(exist_ok=False)
        trial.unlink()
    except OSError as error:
        raise InputError(
            f"cannot write to folder {path.parent} ({error.strerror}): choose another one, or "
            "change its permissions."
        ) from error
    return trial


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Yield a temporary file name beside ``path``; on success it takes the place of ``path``.

    Raises
    ------
    InputError
        If the folder cannot be written to.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder: give the name of a file.")
    trial = _sibling(path)
    try:
        yield trial
        os.replace(trial, path)
    finally:
        trial.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Yield a new temporary folder beside ``path``; on success it takes the place of ``path``.

    Raises
    ------
    InputError
        If the parent cannot be written to, or ``path`` is a file.
    """
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file: give the name of a folder.")
    trial = _sibling(path)
    trial.mkdir()
    old = trial.with_name(trial.name + ".old")
    try:
        yield trial
        if path.exists():
            os.replace(path, old)
        os.replace(trial, path)
    finally:
        if old.exists() and not path.exists():  # the second renaming failed: put back what was
            os.replace(old, path)
        shutil.rmtree(old, ignore_errors=True)
        shutil.rmtree(trial, ignore_errors=True)
