"""Overall reconstruction score: whether reconstructed cells lie apart as measured ones do.

The score correlates two n x n distance matrices, and no such matrix is ever made. With centred
rows x_i, y_i, a_i = |x_i|^2, b_i = |y_i|^2 and their means taken off, the squared distance less
its mean is a_i + a_j - 2 x_i.x_j. The inner products of a centred row sum to zero, so all cross
terms vanish, and over all n x n entries

    cov(D, D') ~ 2 n sum_i a_i b_i + 4 |X^T Y|_F^2,

likewise the two variances. Nothing is subtracted from anything near its own size, which is why
single precision is enough for single-precision data.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from scipy import sparse

from smalti.errors import InputError

# numbers of both sides held dense at a time: 128 MiB in single precision, 256 MiB in double
CHUNK_VALUES = 2**25


def reconstruction_score(x: Any, y: Any) -> float:
    """Pearson correlation of the squared Euclidean distances within x and within y.

    Over all n x n entries, the diagonal included: the term of one modality in the overall
    reconstruction score of Maitra, Seal, Das and De (2023), ``overall_reconstruction_score``.

    Parameters
    ----------
    x
        (n, d) what was measured: an array, or a sparse matrix, made dense by chunks of rows only.
    y
        (n, e) the same cells reconstructed; e may differ from d.

    Returns
    -------
    float
        In [-1, 1], 1 for distances that are the same up to a scale; NaN if one side is constant
        (or n < 2). Of single precision on both sides, products are taken in single precision and
        summed over chunks in double: right to about 1e-7. All else is double: right to 1e-9.

    Raises
    ------
    InputError
        If the rows of x and y differ in number, or one side is no finite matrix.

    Notes
    -----
    n (d + e)^2 operations, or n^2 (d + e) where there are fewer cells than columns. Memory of
    the first: three matrices in double precision, d x d, e x e and d x e.
    """
    x, y = _matrix(x, "x"), _matrix(y, "y")
    if x.shape[0] != y.shape[0]:
        raise InputError(f"x has {x.shape[0]} rows, y {y.shape[0]}: both must be the same cells.")
    n, width = x.shape[0], x.shape[1] + y.shape[1]
    if n < 2:
        return float("nan")
    dtype = np.dtype(np.float32 if x.dtype == y.dtype == np.float32 else np.float64)
    rows = max(1, CHUNK_VALUES // max(width, 1))
    a, b = _Centred(x, "x", rows, dtype), _Centred(y, "y", rows, dtype)
    xx, yy, xy = _by_rows(a, b) if n < width else _by_columns(a, b)
    if not a.spread.any() or not b.spread.any():
        return float("nan")
    r, s = a.spread - a.spread.mean(), b.spread - b.spread.mean()
    covariance = 2 * n * (r @ s) + 4 * xy
    # each root apart: the product of the two variances may overflow
    root_x, root_y = np.sqrt(2 * n * (r @ r) + 4 * xx), np.sqrt(2 * n * (s @ s) + 4 * yy)
    return float(np.clip(covariance / root_x / root_y, -1, 1))


def overall_reconstruction_score(
    inputs: Mapping[str, Any],
    outputs: Mapping[str, Any],
    present: Mapping[str, np.ndarray] | None = None,
) -> dict[str, float]:
    """Overall reconstruction score (ORS): the mean of ``reconstruction_score`` over modalities.

    Source: Maitra, Seal, Das and De, "Unsupervised neural network for single cell Multi-omics
    INTegration (UMINT)", Frontiers in Molecular Biosciences 10:1184748 (2023).

    Parameters
    ----------
    inputs, outputs
        By modality, (n, d) measured and (n, e) reconstructed; dense or sparse.
    present
        By modality, (n,) True for the cells in which it was measured; only those are scored.
        A modality that is not named, or None: all cells.

    Returns
    -------
    dict
        The score of each modality, and ``"ors"``, their mean. A modality that is constant (or
        present in fewer than 2 cells) is NaN and left out of the mean.

    Raises
    ------
    InputError
        If the modalities of inputs and outputs differ, there is none or one is called "ors",
        or a mask does not fit; else as ``reconstruction_score``, with the modality's name.
    """
    if not inputs or set(inputs) != set(outputs):
        raise InputError(
            f"inputs have the modalities {sorted(inputs)}, outputs {sorted(outputs)}: "
            "give at least one, and the same ones."
        )
    if "ors" in inputs:
        raise InputError("a modality is called 'ors', the name of the mean: rename it.")
    present = present or {}
    if extra := sorted(set(present) - set(inputs)):
        raise InputError(f"present names {extra}, and there is no such modality in inputs.")
    out: dict[str, float] = {}
    for name in inputs:
        x, y = inputs[name], outputs[name]
        try:
            if name in present:
                x, y = _matrix(x, "x"), _matrix(y, "y")
                x, y = _rows_of(x, present[name], "x"), _rows_of(y, present[name], "y")
            out[name] = reconstruction_score(x, y)
        except InputError as error:
            raise InputError(f"modality {name!r} (x: inputs, y: outputs): {error}") from error
    there = [v for v in out.values() if np.isfinite(v)]
    return out | {"ors": float(np.mean(there)) if there else float("nan")}


class _Centred:
    """(n, d) matrix less its column means, dense by chunks of rows.

    ``spread``: (n,) squared lengths of the centred rows, double precision, of chunks measured.
    """

    def __init__(self, x: Any, name: str, rows: int, dtype: np.dtype) -> None:
        self.x, self.rows, self.dtype = x, rows, dtype
        # the first row is taken off first, so that a constant matrix is zero to the last bit
        self.first = _dense(x[:1])[0].astype(dtype)
        self.mean = np.zeros(x.shape[1], dtype)
        self.mean = (sum(c.sum(0, dtype=np.float64) for c in self) / x.shape[0]).astype(dtype)
        if not np.isfinite(self.mean).all():
            raise InputError(
                f"{name} holds NaN, infinite or overflowing values: mend or drop them."
            )
        self.spread = np.zeros(x.shape[0])

    def chunk(self, start: int) -> np.ndarray:
        c = np.subtract(_dense(self.x[start : start + self.rows]), self.first, dtype=self.dtype)
        c -= self.mean
        return c

    def measured(self, start: int) -> np.ndarray:
        """A chunk, whose squared lengths are noted."""
        c = self.chunk(start)
        self.spread[start : start + self.rows] = np.einsum("ij,ij->i", c, c, dtype=np.float64)
        return c

    def starts(self) -> range:
        return range(0, self.x.shape[0], self.rows)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self.chunk(start) for start in self.starts())


def _by_columns(a: _Centred, b: _Centred) -> tuple[float, float, float]:
    """|X^T X|_F^2, |Y^T Y|_F^2 and |X^T Y|_F^2, from one pass over the rows."""
    d, e = a.x.shape[1], b.x.shape[1]
    xx, yy, xy = np.zeros((d, d)), np.zeros((e, e)), np.zeros((d, e))
    for start in a.starts():
        c, g = a.measured(start), b.measured(start)
        # c with itself: NumPy sees it and computes half of the symmetric product
        xx += c.T @ c
        yy += g.T @ g
        xy += c.T @ g
    return float(np.vdot(xx, xx)), float(np.vdot(yy, yy)), float(np.vdot(xy, xy))


def _by_rows(a: _Centred, b: _Centred) -> tuple[float, float, float]:
    """The same three numbers, as sums over blocks of the products of rows X X^T and Y Y^T."""
    total = np.zeros(3)
    for i in a.starts():
        x, y = a.measured(i), b.measured(i)
        for j in range(i, a.x.shape[0], a.rows):
            g, h = (x @ x.T, y @ y.T) if i == j else (x @ a.chunk(j).T, y @ b.chunk(j).T)
            sums = [np.einsum("ij,ij->", p, q, dtype=np.float64) for p, q in
                    ((g, g), (h, h), (g, h))]  # fmt: skip
            total += np.array(sums) * (1 if i == j else 2)
    return float(total[0]), float(total[1]), float(total[2])


def _matrix(x: Any, name: str) -> Any:
    x = x.tocsr() if sparse.issparse(x) else np.asarray(x)
    if x.ndim != 2 or x.dtype.kind not in "biuf":
        raise InputError(f"{name} has shape {x.shape} and type {x.dtype}: give (n, d) numbers.")
    return x


def _dense(x: Any) -> np.ndarray:
    return x.toarray() if sparse.issparse(x) else x


def _rows_of(x: Any, mask: np.ndarray, name: str) -> Any:
    mask = np.asarray(mask)
    if mask.dtype != bool or mask.shape != (x.shape[0],):
        raise InputError(
            f"present has shape {mask.shape} and type {mask.dtype}, {name} {x.shape[0]} rows: "
            "give one True or False a row."
        )
    return x if mask.all() else x[mask]
