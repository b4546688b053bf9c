"""Latent semantic indexing of peaks, without the components that follow the depth of a cell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from smalti.bags import Bags
from smalti.errors import InputError
from smalti.preprocess.omics import TFIDF
from smalti.preprocess.step import Step
from smalti.solve.components import components
from smalti.views import View, pieces, whole


class LSI(Step):
    """Latent semantic indexing of peak counts: TF-IDF, singular vectors, those of depth left out.

    The table after :class:`TFIDF` is decomposed as it is, uncentred, and each component scaled to
    mean 0 and standard deviation 1 over the training cells, as Signac and muon have it. It takes
    raw counts, since it must know how many fragments a cell has: components whose correlation with
    log(1 + sum of the cell) is beyond ``depth`` are left out, whichever they are. That is ArchR's
    rule and its 0.75; Signac and muon leave it to the user, who often drops the first unseen.

    Sparse tables stay sparse: memory is that of one copy of the table in float64, and time that of
    some hundred products of it with a vector.

    Parameters
    ----------
    n
        Components that are looked for; what is left has those of depth less.
    depth
        Components of larger correlation with depth, of either sign, are left out; 1: none.

    Attributes
    ----------
    depth_
        (n,) correlation of each component with depth, those left out too.

    Raises
    ------
    InputError
        If a value is negative, or all components follow depth.

    Examples
    --------
    >>> import smalti as sm
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> open_ = rng.random((4, 60))[rng.integers(4, size=200)] * rng.uniform(0.2, 1, (200, 1))
    >>> bags = sm.Bags.from_rows({"atac": rng.poisson(open_)}, np.arange(200))
    >>> step = sm.preprocess.LSI(n=5).fit(bags)
    >>> step.finding()
    'lsi left out component 1 of 5, which follows the depth of the cells (r = 0.93)'
    >>> step.transform(bags).table().shape
    (200, 4)
    """

    name: ClassVar[str] = "lsi"
    argument: ClassVar[tuple[str, type] | None] = ("n", int)
    state: ClassVar[tuple[str, ...]] = ("idf_", "mean_", "axes_", "scale_", "depth_")

    def __init__(self, n: int = 50, depth: float = 0.75) -> None:
        self.n, self.depth = n, depth

    def looks_across(self) -> bool:
        """Yes: the sum of a row."""
        return True

    def _learn(self, view: View, bags: Bags) -> None:
        if not 0 < self.depth <= 1:
            raise InputError(f"lsi: depth={self.depth} must be over 0, and 1 at most.")
        weighting = TFIDF().fit(bags)
        self.idf_ = weighting.idf_
        counts = whole(view)
        total = np.log1p(np.asarray(counts.sum(1), dtype=np.float64).reshape(-1))
        table = weighting._apply(counts, bags).astype(np.float64)
        del counts
        _, axes = components(table, min(self.n, *table.shape))
        self.mean_ = np.asarray(table.mean(0)).reshape(-1)  # of the features
        scores = np.asarray(table @ axes)
        spread = scores.std(0)
        there = spread > 1e-7 * max(float(spread.max()), 1e-300)
        axes, scores, spread = axes[:, there], scores[:, there], spread[there]
        self.depth_ = _correlation(scores, total)
        kept = self.kept_components()
        if not kept.any():
            raise InputError(
                f"lsi={self.n}: all {len(kept)} components follow the depth of the cells (|r| over "
                f"{self.depth:g}). Look for more of them, or say how far they may: "
                "sm.preprocess.LSI(depth=1) leaves none out."
            )
        self.axes_, self.scale_ = axes[:, kept], spread[kept]

    def kept_components(self) -> np.ndarray:
        """(n,) bool: which components do not follow depth."""
        return np.abs(self.depth_) <= self.depth

    def finding(self) -> str | None:
        """Which components were left out, and how far each follows depth."""
        gone = np.flatnonzero(~self.kept_components())
        if not len(gone):
            return (
                f"lsi left out none of {len(self.depth_)} components: none follows the depth of "
                f"the cells beyond |r| = {self.depth:g} (most: {np.abs(self.depth_).max():.2f})"
            )
        which = ", ".join(str(i + 1) for i in gone)
        how = ", ".join(f"{self.depth_[i]:.2f}" for i in gone)
        one = len(gone) == 1
        return (
            f"lsi left out component{'' if one else 's'} {which} of {len(self.depth_)}, which "
            f"follow{'s' if one else ''} the depth of the cells (r = {how})"
        )

    def _apply(self, view: Any, bags: Bags) -> Any:
        weighting = TFIDF()
        weighting.idf_ = self.idf_
        lacking = bags.lacking.get(bags.view()[0])
        # a feature that is taken for its mean adds nothing to any component
        axes = self.axes_ if lacking is None else np.where(lacking[:, None], 0, self.axes_)
        axes = axes / self.scale_
        offset = self.mean_ @ axes
        parts = [np.asarray(weighting._apply(part, bags) @ axes - offset, dtype=np.float32)
                 for part in pieces(view)]  # fmt: skip
        return np.concatenate(parts)

    def _names(self, names: Sequence[str] | None) -> tuple[str, ...] | None:
        return tuple(f"LSI{i + 1}" for i in np.flatnonzero(self.kept_components()))


def _correlation(scores: np.ndarray, depth: np.ndarray) -> np.ndarray:
    """(k,) Pearson's, of each component (n, k) with (n,) depth; 0 where depth is constant."""
    away = depth - depth.mean()
    size = np.linalg.norm(away)
    if size <= 1e-12 * max(1.0, float(np.abs(depth).max())) * len(depth) ** 0.5:
        return np.zeros(scores.shape[1])
    centred = scores - scores.mean(0)
    return (away @ centred) / (size * np.linalg.norm(centred, axis=0))
