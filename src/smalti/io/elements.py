"""One element of an AnnData on disk, in HDF5 or zarr."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from smalti.errors import InputError
from smalti.io.sparse import checked_sparse, sparse_matrix
from smalti.io.stored import element, lost_chunks
from smalti.system.reading import DAMAGE

_SPARSE = {"csr_matrix": "csr", "csc_matrix": "csc"}


def read_element(root: Any, key: str, path: Path) -> Any:
    """An element; None where there is none.

    Parameters
    ----------
    root
        The open file or store.
    key
        Names with slashes: "mod/rna/X".
    path
        The file, for errors.

    Raises
    ------
    InputError
        If it is damaged in a way that can be known; with the place.
    """
    from anndata.io import read_elem

    found = element(root, key, path)
    if found is None:
        return None
    where, kind = f"{path}: {key}", str(found.attrs.get("encoding-type"))
    if kind in _SPARSE:
        return _sparse(found, where, _SPARSE[kind])
    try:
        value = read_elem(found)
    except (*DAMAGE, ImportError, MemoryError):  # told by who opened the file
        raise
    except Exception as error:  # an encoding that it does not know: of a class that it hides
        text = " ".join(str(error).split())[:200]
        raise InputError(
            f"{where} is damaged, or nothing that anndata can read ({type(error).__name__}: {text}"
            "): copy or write it again."
        ) from error
    if sp.issparse(value):
        return checked_sparse(value, where)
    if isinstance(value, pd.DataFrame):
        _check_frame(found, value, where)
    return value


def _sparse(group: Any, where: str, kind: str) -> Any:
    lost = [name for name in ("data", "indices", "indptr") if name not in group]
    if lost:
        raise InputError(f"{where} has no {lost[0]}: it is damaged, copy or write it again.")
    if lost_chunks(group["data"]):
        raise InputError(
            f"{where}/data lacks {lost_chunks(group['data'])} pieces, so values were lost: copy it "
            "again (where they were all zeros, call eliminate_zeros() and write it again)."
        )
    data, indices, indptr = (np.asarray(group[n][()]) for n in ("data", "indices", "indptr"))
    return sparse_matrix(data, indices, indptr, list(group.attrs["shape"]), where, kind)


def checked_column(root: Any, key: str, path: Path) -> Any:
    """One column of a table, read alone; checked as :func:`read_element` checks whole tables.

    Raises
    ------
    InputError
        As of :func:`read_element`.
    """
    column = read_element(root, key, path)
    if isinstance(getattr(column, "dtype", None), pd.CategoricalDtype):
        _check_codes(element(root, key, path), pd.Series(column), f"{path}: {key}")
    return column


def _check_frame(group: Any, frame: pd.DataFrame, where: str) -> None:
    """Names that were lost, and codes."""
    names = frame.index
    if names.dtype == object and (names == "").sum() > 1:
        raise InputError(f"{where}: {int((names == '').sum()):,} rows have no name, so names were "
                         "lost: copy or write it again.")  # fmt: skip
    for column in frame.columns[frame.dtypes == "category"]:
        _check_codes(group.get(str(column)), frame[column], f"{where}/{column}")


def _check_codes(part: Any, column: pd.Series, where: str) -> None:
    """A chunk of codes that is not there counts as the first category."""
    codes = None if part is None or not hasattr(part, "keys") else part.get("codes")
    if codes is None or not lost_chunks(codes):
        return
    used = column.cat.remove_unused_categories().cat.categories
    idle = column.cat.categories.difference(used)
    if len(idle):
        raise InputError(
            f"{where} lacks {lost_chunks(codes)} pieces, and no row is {idle[0]!r}: rows were "
            "lost, copy it again (or write it with unused categories removed)."
        )
