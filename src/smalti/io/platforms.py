"""Output of other platforms, through the readers of spatialdata-io."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from smalti.errors import InputError
from smalti.system.extras import need

# of its functions those that read what an instrument wrote, and write nothing
PLATFORMS = ("codex", "cosmx", "curio", "dbit", "macsima", "mcmicro", "merscope", "seqfish",
             "steinbock", "stereoseq", "visium", "visium_hd", "xenium")  # fmt: skip


def open_platform(path: Path, platform: str) -> Any:
    """The SpatialData that a reader of spatialdata-io makes of a folder.

    Parameters
    ----------
    path
        What the instrument wrote.
    platform
        Name of the reader: "merscope", "cosmx", "stereoseq", ...

    Raises
    ------
    InputError
        If spatialdata-io is not installed, has no such reader, or cannot read it.
    """
    library = need("spatialdata_io", extra="platforms")
    if platform not in PLATFORMS or not hasattr(library, platform):
        there = ", ".join(name for name in PLATFORMS if hasattr(library, name))
        raise InputError(f"platform={platform!r} is no reader of spatialdata-io; there are "
                         f"{there}.")  # fmt: skip
    try:
        return getattr(library, platform)(path)
    except MemoryError:
        raise
    except Exception as error:  # readers of other people raise every kind of error
        text = str(error).strip().splitlines()
        raise InputError(
            f"spatialdata-io cannot read {path} as {platform} ({type(error).__name__}: "
            f"{text[0][:200] if text else 'no more is said'}): is it whole, and of that platform?"
        ) from error
