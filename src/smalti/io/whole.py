"""A whole AnnData or MuData of a file, in memory."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

from smalti.errors import InputError
from smalti.io.stored import check_store


def whole_file(path: Path, many: bool) -> Any:
    """A file's AnnData, or MuData where it holds ``many`` modalities.

    Raises
    ------
    InputError
        If it is damaged.
    """
    check_store(path)
    try:
        if many:
            return _mudata(path)
        from anndata import io

        return io.read_h5ad(path) if path.suffix == ".h5ad" else io.read_zarr(path)
    # damage makes h5py, zarr, anndata and mudata raise nearly every kind of error
    except Exception as error:
        if isinstance(error, (InputError, MemoryError, ImportError)):
            raise
        raise InputError(
            f"{path} is damaged or not {'a MuData' if many else 'an AnnData'} file "
            f"({type(error).__name__}): download or write it again."
        ) from error


def _mudata(path: Path) -> Any:
    try:
        import mudata
    except ImportError as error:
        raise InputError(f"{path} needs mudata: pip install mudata.") from error
    with as_it_is(True):
        return mudata.read_h5mu(path) if path.suffix == ".h5mu" else mudata.read_zarr(path)


def as_it_is(many: bool) -> Any:
    """Keep mudata from copying columns of modalities into the global obs, and warning of it."""
    if not many:
        return nullcontext()
    import mudata

    return mudata.set_options(pull_on_update=False)
