"""Packages that are only needed by some methods: imported when used, asked for by name when not."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from smalti.errors import InputError


def absent(package: str, extra: str = "integrate") -> str | None:
    """Why a package cannot be imported, with the command that mends it; None if it is there.

    Parameters
    ----------
    package
        Name to import; only its first part is looked for, and nothing is imported.
    extra
        The extra of smalti that brings it.
    """
    root = package.partition(".")[0]
    try:
        found = importlib.util.find_spec(root) is not None
    except (ImportError, ValueError):
        found = False
    return None if found else f'{root} is not installed: pip install "smalti[{extra}]"'


def need(package: str, extra: str = "integrate") -> Any:
    """Import a package that only some methods need.

    Raises
    ------
    InputError
        If it is not installed, or cannot be imported; with the install command.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        reason = absent(package, extra)
        if reason is None:
            reason = f'{package} cannot be imported ({error}): pip install -U "smalti[{extra}]"'
        raise InputError(f"{reason}.") from error


@contextmanager
def global_numpy_seed(seed: int) -> Iterator[None]:
    """Seed NumPy's global stream for a library that draws from it, and put it back after."""
    import numpy as np

    before = np.random.get_state()  # noqa: NPY002 - it is the global stream that is meant
    np.random.seed(seed % 2**32)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(before)  # noqa: NPY002
