"""Scale, range and principal components of the training cells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import scipy.linalg
import scipy.sparse as sp

from smalti.bags import Bags
from smalti.preprocess.step import Step
from smalti.solve.components import components, signed
from smalti.views import View, pieces, placed, whole

_WIDE = 4000  # features up to which their covariance is made
_BLOCK = 2**16  # numbers that are scaled at a time, in float64: they stay in the cache of a core


class Scale(Step):
    """Each feature to mean 0 and standard deviation 1 of the training cells.

    A sparse table becomes dense (float32): select genes first.

    Parameters
    ----------
    max_value
        Values beyond it are cut, on both sides; None: never.

    Examples
    --------
    >>> import smalti as sm
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> bags = sm.Bags.from_list([rng.poisson(2, size=(10, 30)) for _ in range(4)])  # counts
    >>> table = sm.preprocess.Scale().fit(bags).transform(bags).table()
    >>> bool(np.allclose(table.std(0), 1, atol=1e-4))
    True
    """

    name: ClassVar[str] = "scale"
    argument: ClassVar[tuple[str, type] | None] = ("max_value", float)
    state: ClassVar[tuple[str, ...]] = ("mean_", "sd_")
    columnwise: ClassVar[bool] = True

    def __init__(self, max_value: float | None = None) -> None:
        self.max_value = max_value

    def _learn(self, view: View, bags: Bags) -> None:
        from smalti.solve.moments import center_and_spread

        self.mean_, self.sd_ = center_and_spread(view)

    def _apply(self, view: Any, bags: Bags) -> Any:
        return _shifted(view, self.mean_, self.sd_, self._cut)

    def _cut(self, z: np.ndarray) -> np.ndarray:
        return z if self.max_value is None else np.clip(z, -self.max_value, self.max_value)


class MinMax(Step):
    """Each feature to 0 at the least and 1 at the largest value of the training cells.

    A new cell may lie below 0 or above 1; a feature that is constant in training becomes 0 there. A
    sparse table becomes dense (float32): select genes first.

    Examples
    --------
    >>> import smalti as sm
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> bags = sm.Bags.from_list([rng.poisson(2, size=(10, 30)) for _ in range(4)])  # counts
    >>> table = sm.preprocess.MinMax().fit(bags).transform(bags).table()
    >>> float(table.min()), float(table.max())
    (0.0, 1.0)
    """

    name: ClassVar[str] = "minmax"
    state: ClassVar[tuple[str, ...]] = ("least_", "range_")
    columnwise: ClassVar[bool] = True

    def _learn(self, view: View, bags: Bags) -> None:
        ends = [(_row(part.min(0)), _row(part.max(0))) for part in pieces(view)]
        least, most = (np.array(part, dtype=np.float64) for part in zip(*ends, strict=True))
        self.least_ = least.min(0)
        width = most.max(0) - self.least_
        self.range_ = np.where(width > 0, width, 1.0)

    def _apply(self, view: Any, bags: Bags) -> Any:
        return _shifted(view, self.least_, self.range_)


def _row(found: Any) -> np.ndarray:
    """(n_features,) of what a dense or a sparse table gives over its rows."""
    return np.asarray(found.toarray() if sp.issparse(found) else found).reshape(-1)


def _shifted(
    view: Any, zero: np.ndarray, unit: np.ndarray, cut: Callable[[np.ndarray], Any] = np.asarray
) -> np.ndarray:
    """(x - zero) / unit of each feature, cut; (n, n_features) float32."""
    out = np.empty(view.shape, dtype=np.float32)
    if sp.issparse(view):  # a value that is not stored becomes the same in every row
        view = sp.csr_matrix(view)
        if not view.has_canonical_format:  # a place that is stored twice is a sum
            view = view.copy()
            view.sum_duplicates()
        out[:] = cut(-zero / unit)
        rows, at = np.repeat(np.arange(view.shape[0]), np.diff(view.indptr)), view.indices
        out[rows, at] = cut((view.data - zero[at]) / unit[at])
        return out
    for start, part in placed(view, max(1, _BLOCK // max(view.shape[1], 1))):
        out[start : start + len(part)] = cut((part - zero) / unit)
    return out


class PCA(Step):
    """Principal components of the training cells.

    From the covariance of the features, summed up piece by piece in float64; of more than 4,000
    features by Lanczos iteration (or the products of all cells, where they are few), which is the
    same to rounding and grows with the smaller of cells and features. A sparse table is never dense
    as a whole. The loading of largest size of each component is positive.

    Parameters
    ----------
    n
        Components; fewer where there are fewer features or cells.

    Examples
    --------
    >>> import smalti as sm
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> bags = sm.Bags.from_list([rng.poisson(2, size=(10, 30)) for _ in range(4)])  # counts
    >>> step = sm.preprocess.PCA(n=5).fit(bags)
    >>> step.transform(bags).table().shape
    (40, 5)
    """

    name: ClassVar[str] = "pca"
    argument: ClassVar[tuple[str, type] | None] = ("n", int)
    state: ClassVar[tuple[str, ...]] = ("mean_", "axes_", "variance_")

    def __init__(self, n: int = 50) -> None:
        self.n = n

    def _learn(self, view: View, bags: Bags) -> None:
        count, width = (int(s) for s in view.shape)
        keep = min(self.n, width, max(count - 1, 1))
        if width > _WIDE:
            table = whole(view).astype(np.float64)
            self.mean_ = np.asarray(table.mean(0)).reshape(-1)
            values, self.axes_ = components(table, min(keep, count), mean=self.mean_)
            self.variance_ = values / max(count - 1, 1)
            return
        self.mean_, cov = _covariance(view)
        values, vectors = scipy.linalg.eigh(cov, subset_by_index=(width - keep, width - 1))
        self.variance_ = np.maximum(values[::-1], 0)
        self.axes_ = signed(vectors[:, ::-1])

    def _apply(self, view: Any, bags: Bags) -> Any:
        lacking = bags.lacking.get(bags.view()[0])
        # a feature that is taken for its mean adds nothing to any component
        axes = self.axes_ if lacking is None else np.where(lacking[:, None], 0, self.axes_)
        offset = self.mean_ @ axes
        parts = [np.asarray(part @ axes - offset, dtype=np.float32)
                 for part in pieces(view)]  # fmt: skip
        return np.concatenate(parts)

    def _names(self, names: Sequence[str] | None) -> tuple[str, ...] | None:
        return tuple(f"PC{i + 1}" for i in range(self.axes_.shape[1]))


def _covariance(view: View) -> tuple[np.ndarray, np.ndarray]:
    """Mean (d,) and covariance (d, d) of a table, summed up piece by piece."""
    count, width = (int(s) for s in view.shape)
    total, gram = np.zeros(width), np.zeros((width, width))
    shift = np.asarray(next(pieces(view)).mean(0), dtype=np.float64).reshape(-1)
    for part in pieces(view):
        if sp.issparse(part):
            wide = part.astype(np.float64)
            sums = np.asarray(wide.sum(0)).reshape(-1)
            cross = np.outer(sums, shift)
            gram += np.asarray((wide.T @ wide).todense()) - cross - cross.T
            gram += part.shape[0] * np.outer(shift, shift)
            total += sums - part.shape[0] * shift
        else:
            centred = part.astype(np.float64) - shift  # near 0, so that no digits are lost
            gram += centred.T @ centred
            total += centred.sum(0)
    return shift + total / count, (gram - np.outer(total, total) / count) / max(count - 1, 1)
