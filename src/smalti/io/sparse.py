"""Sparse matrices of files: checked before SciPy sees them, which trusts them with the memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.sparse as sp

from smalti.errors import InputError


def sparse_matrix(
    data: Any, indices: Any, indptr: Any, shape: Sequence[Any], where: str, kind: str = "csr"
) -> Any:
    """A matrix from the three arrays of a file.

    Parameters
    ----------
    data, indices
        (n_stored,) values, and their columns (rows, of "csc").
    indptr
        (n_rows + 1,) where the values of a row begin (a column, of "csc").
    shape
        (n_rows, n_columns).
    where
        File and place, for errors.
    kind
        "csr" or "csc".

    Raises
    ------
    InputError
        If lengths do not agree, places lie outside the matrix or come twice, or ``indptr`` does
        not rise from 0 to the number of values: counts would be lost, or others' memory read.
    """
    problem = _problem(data, indices, indptr, shape, kind)
    if problem:
        raise InputError(f"{where}: {problem}. The file is damaged: copy or write it again.")
    make = sp.csr_matrix if kind == "csr" else sp.csc_matrix
    matrix = make((data, indices, indptr), shape=tuple(int(n) for n in shape))
    return _once(matrix, where)


def checked_sparse(matrix: Any, where: str) -> Any:
    """A matrix that SciPy or a library built already; checked likewise, no copy.

    Raises
    ------
    InputError
        As of :func:`sparse_matrix`.
    """
    if matrix.format not in ("csr", "csc"):
        return matrix
    problem = _problem(matrix.data, matrix.indices, matrix.indptr, matrix.shape, matrix.format)
    if problem:
        raise InputError(f"{where}: {problem}. It is damaged: read or write it again.")
    return matrix


def _once(matrix: Any, where: str) -> Any:
    """Every place once; SciPy would add up values of one place."""
    matrix.sort_indices()
    same = matrix.indices[1:] == matrix.indices[:-1]
    begin = matrix.indptr[1:-1]
    same[begin[(begin > 0) & (begin < matrix.nnz)] - 1] = False  # the next row's first
    if same.any():
        raise InputError(f"{where}: indices name a place twice. The file is damaged: copy or "
                         "write it again.")  # fmt: skip
    return matrix


def _problem(data: Any, indices: Any, indptr: Any, shape: Sequence[Any], kind: str) -> str | None:
    """What is wrong with the arrays, if anything."""
    for name, values in (("data", data), ("indices", indices), ("indptr", indptr)):
        kinds = "iufb" if name == "data" else "iu"
        if np.ndim(values) != 1 or values.dtype.kind not in kinds:
            return f"{name} is of {values.dtype} and shape {np.shape(values)}, not a list of " \
                   f"{'numbers' if name == 'data' else 'whole numbers'}"  # fmt: skip
    if len(shape) != 2 or not all(float(n).is_integer() and 0 <= n < 2**62 for n in shape):
        return f"its shape is {tuple(shape)}"
    n_major, n_minor = (int(n) for n in (shape if kind == "csr" else shape[::-1]))
    if len(indptr) != n_major + 1:
        return f"indptr has {len(indptr)} values for {n_major} rows or columns"
    if len(indices) != len(data):
        return f"data has {len(data)} values, indices {len(indices)}"
    if int(indptr[0]) != 0 or int(indptr[-1]) != len(data):
        return f"indptr goes from {indptr[0]} to {indptr[-1]}, and there are {len(data)} values"
    falls = np.flatnonzero(indptr[1:] < indptr[:-1])
    if len(falls):
        return f"indptr falls at {falls[0] + 1}, from {indptr[falls[0]]} to {indptr[falls[0] + 1]}"
    if len(indices) and not (indices.min() >= 0 and indices.max() < n_minor):
        at = int(np.flatnonzero((indices < 0) | (indices >= n_minor))[0])
        return f"indices has {indices[at]} at {at}, and must be 0 to {n_minor - 1}"
    return None
