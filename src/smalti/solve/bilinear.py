"""Bilinear ridge: tiles on one side, genes on the other, every pair of penalties for one price.

Y (n tiles x g genes) is explained by X (n x d) and T (g x p), each with a constant column, as
X W T'. The weights solve (X'X + a D) W (T'T + b D) = X' Y T, D the identity without the constant:
ridge on both sides (Romera-Paredes & Torr 2015, equation 5, there for classes). With the centred
X = U S V' and T = Q R P', the solution is V [S / (S^2 + a) . (U'YQ) . R / (R^2 + b)] P', so that a
grid of penalties costs one decomposition of each side. What a pair leaves of tiles and genes that
were left out is a number that is quadratic in the row S / (S^2 + a) and in the row R / (R^2 + b):
one product of matrices for each a, and after it only vectors for each b.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import scipy.linalg

_LEAST = 1e-9  # of the largest eigenvalue: below it, a direction is rounding


@dataclasses.dataclass(frozen=True)
class Side:
    """One side: rows (n, k), centred and scaled, as ``left * size @ right.T``.

    Attributes
    ----------
    center, scale
        (k,) of the columns.
    left, size, right
        (n, r), (r,) and (k, r) of the singular value decomposition.
    """

    center: np.ndarray
    scale: np.ndarray
    left: np.ndarray
    size: np.ndarray
    right: np.ndarray

    @classmethod
    def of(cls, rows: np.ndarray, *, standardize: bool) -> Side:
        """Decompose (n, k) rows.

        With ``standardize`` columns get s.d. 1, else a mean square of 1 in all.
        """
        rows = np.asarray(rows, dtype=np.float64)
        center = rows.mean(0)
        x = rows - center
        sd = np.sqrt((x**2).mean(0))
        flat = sd <= 1e-7 * np.maximum(np.abs(center), 1e-30)
        scale = np.where(flat, 1.0, sd) if standardize else np.full(len(sd), _root(sd, flat))
        x /= scale
        x[:, flat] = 0
        wide = x.shape[1] > len(x)
        gram = x @ x.T if wide else x.T @ x
        values, vectors = scipy.linalg.eigh(gram, overwrite_a=True, check_finite=False)
        keep = values > _LEAST * max(values[-1], 1e-300)
        size, vectors = np.sqrt(values[keep]), vectors[:, keep]
        other = (x.T if wide else x) @ vectors / size
        left, right = (vectors, other) if wide else (other, vectors)
        return cls(center, scale, left, size, right)

    def scores(self, rows: np.ndarray) -> np.ndarray:
        """(m, r) of new rows, in the directions of ``right``."""
        return ((np.asarray(rows, dtype=np.float64) - self.center) / self.scale) @ self.right

    def shrunk(self, penalty: float) -> np.ndarray:
        """(r,) what a penalty leaves of each direction."""
        return self.size / (self.size**2 + penalty)


def _root(sd: np.ndarray, flat: np.ndarray) -> float:
    return float(np.sqrt((sd[~flat] ** 2).sum() / len(sd))) if (~flat).any() else 1.0


class BilinearPath:
    """Solutions for every pair of penalties.

    Parameters
    ----------
    tiles, genes
        The two sides, of the training tiles and the seen genes.
    y
        (n, g) expression.
    """

    def __init__(self, tiles: Side, genes: Side, y: np.ndarray) -> None:
        self.tiles, self.genes = tiles, genes
        y = np.asarray(y, dtype=np.float64)
        by_gene, by_tile = y.mean(0), y.mean(1)
        self.mean = float(by_gene.mean())
        # centred sides are orthogonal to the constants, so that the four blocks part
        self.level = genes.left.T @ (by_gene - self.mean)  # (r_t,)
        self.common = tiles.left.T @ (by_tile - self.mean)  # (r_x,)
        self.inner = np.linalg.multi_dot([tiles.left.T, y, genes.left])  # (r_x, r_t)

    def weights(self, a: float, b: float, level: float | None = None) -> np.ndarray:
        """(d + 1, p + 1) weights on rows as they were given, the constants last.

        ``a`` and ``b`` are the penalties of tiles and genes; ``level`` is that of the genes for
        what does not depend on the tile (b when left out).
        """
        x, t = self.tiles, self.genes
        left, right = x.right / x.scale[:, None], t.right / t.scale[:, None]
        core = left @ (x.shrunk(a)[:, None] * self.inner * t.shrunk(b)) @ right.T
        common = left @ (x.shrunk(a) * self.common)
        levels = right @ (t.shrunk(b if level is None else level) * self.level)
        out = np.empty((len(left) + 1, len(right) + 1))
        out[:-1, :-1] = core
        out[:-1, -1] = common - core @ t.center
        out[-1, :-1] = levels - x.center @ core
        out[-1, -1] = (self.mean - x.center @ common - levels @ t.center
                       + x.center @ core @ t.center)  # fmt: skip
        return out

    def errors(
        self, x: np.ndarray, t: np.ndarray, y: np.ndarray, a: Sequence[float], b: Sequence[float]
    ) -> np.ndarray:
        """Squared error of new tiles and genes for each pair of penalties, levels apart.

        Parameters
        ----------
        x, t, y
            (m, d) tiles, (h, p) genes and (m, h) what was measured.
        a, b
            Penalties to cross.

        Returns
        -------
        ndarray
            (len(a), len(b)): squared error about the means over these tiles, over the sum of
            squares, mean over the genes that vary; 1 is what a constant leaves.
        """
        xs, ts = self.tiles.scores(x), self.genes.scores(t)
        xs -= xs.mean(0)
        y = y - y.mean(0, dtype=np.float64)
        square = (y**2).sum(0)
        live = square > 1e-12 * max(square.max(initial=0.0), 1e-300)
        if not live.any():
            return np.full((len(a), len(b)), np.nan)
        over = 1 / np.sqrt(square[live])
        y = y[:, live] * over
        # a gene is [scores, 1] / length: the last column carries what all genes share
        ts = np.hstack([ts[live], np.ones((int(live.sum()), 1))]) * over[:, None]
        inner = np.hstack([self.inner, self.common[:, None]])  # (r_x, r_t + 1)
        rows = np.stack([self.tiles.shrunk(penalty) for penalty in a])  # (len(a), r_x)
        columns = np.stack([np.append(self.genes.shrunk(penalty), 1.0) for penalty in b])
        cross = np.linalg.multi_dot([xs.T, y, ts])
        shared = len(ts) - 2 * np.linalg.multi_dot([rows, cross * inner, columns.T])
        return (shared + _squares(xs, ts, inner, rows, columns)) / len(ts)

    def level_errors(self, t: np.ndarray, y: np.ndarray, b: Sequence[float]) -> np.ndarray:
        """(n_penalties,) squared error of the means of new genes, for each penalty in ``b``.

        Over that of the seen genes' mean. ``t`` are (h, p) vectors of the genes, ``y`` (m, h) what
        was measured.
        """
        scores, wanted = self.genes.scores(t), y.mean(0, dtype=np.float64) - self.mean
        total = max(float((wanted**2).sum()), 1e-300)
        gaps = [wanted - scores @ (self.genes.shrunk(p) * self.level) for p in b]
        return np.array([float((g**2).sum()) / total for g in gaps])


def _squares(
    xs: np.ndarray, ts: np.ndarray, inner: np.ndarray, rows: np.ndarray, columns: np.ndarray
) -> np.ndarray:
    """Sum of squares of the prediction xs (row . inner . column) ts' of each row and column.

    ``xs`` (m, r) and ``ts`` (h, s), ``inner`` (r, s), ``rows`` (k, r), ``columns`` (l, s): (k, l).
    """
    if len(xs) > xs.shape[1]:
        xs = np.asarray(
            np.linalg.qr(xs, mode="r")
        )  # of the same length in every direction, and no longer
    tt, out = ts.T @ ts, np.empty((len(rows), len(columns)))
    for i, row in enumerate(rows):
        half = xs @ (row[:, None] * inner)  # (m, s)
        out[i] = ((columns @ ((half.T @ half) * tt)) * columns).sum(1)
    return out
