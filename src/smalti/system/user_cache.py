"""The folder that keeps what was fetched or converted once, for all runs of a user."""

from __future__ import annotations

import os
from pathlib import Path

from smalti.errors import InputError


def user_cache() -> Path:
    """That of SMALTI_CACHE, else where the system keeps caches; made if it is not there.

    Raises
    ------
    InputError
        If it cannot be made.
    """
    import pooch

    cache = Path(os.environ.get("SMALTI_CACHE") or pooch.os_cache("smalti"))
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"cannot make the folder {cache} ({error.strerror}): name another one in SMALTI_CACHE."
        ) from error
    return cache
