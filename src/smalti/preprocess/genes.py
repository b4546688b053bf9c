"""Counts of genes: library size, log, and which genes to keep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import scipy.sparse as sp

from smalti.bags import Bags
from smalti.counts import count_problem
from smalti.errors import InputError
from smalti.preprocess.step import Step
from smalti.views import View, pieces


class Normalize(Step):
    """Counts of each cell to the same sum (library size).

    Parameters
    ----------
    target_sum
        That sum. A cell without counts stays 0.

    Raises
    ------
    InputError
        If the values are not counts.

    Examples
    --------
    >>> import smalti as sm
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> bags = sm.Bags.from_list([rng.poisson(2, size=(10, 30)) for _ in range(4)])  # counts
    >>> step = sm.preprocess.Normalize().fit(bags)
    >>> np.unique(step.transform(bags).table().sum(1).round()).tolist()
    [10000.0]
    """

    name: ClassVar[str] = "normalize"
    argument: ClassVar[tuple[str, type] | None] = ("target_sum", float)
    columnwise: ClassVar[bool] = True

    def __init__(self, target_sum: float = 1e4) -> None:
        self.target_sum = target_sum

    def looks_across(self) -> bool:
        """Yes: the sum of a row."""
        return True

    def _learn(self, view: View, bags: Bags) -> None:
        problem = count_problem(view)
        if problem is not None:
            raise InputError(f"normalize needs raw counts: {problem}. Or leave it out.")

    def _apply(self, view: Any, bags: Bags) -> Any:
        self._learn(view, bags)
        total = np.asarray(view.sum(1), dtype=np.float64).reshape(-1)
        factor = np.divide(self.target_sum, total, out=np.zeros_like(total), where=total > 0)
        factor = factor.astype(np.float32)
        if sp.issparse(view):
            table = sp.csr_matrix(view, dtype=np.float32, copy=True)  # the one copy: then in place
            table.data *= np.repeat(factor, np.diff(table.indptr))
            return table
        return view.astype(np.float32) * factor[:, None]


class Log1p(Step):
    """log(1 + x).

    Raises
    ------
    InputError
        If a value is negative.

    Examples
    --------
    >>> import smalti as sm
    >>> import numpy as np
    >>> bags = sm.Bags.from_list([np.zeros((2, 3)), np.full((3, 3), np.e - 1)])
    >>> sm.preprocess.Log1p().fit(bags).transform(bags).table()[[0, -1]].round(3).tolist()
    [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]
    """

    name: ClassVar[str] = "log1p"
    columnwise: ClassVar[bool] = True

    def _learn(self, view: View, bags: Bags) -> None:
        for part in pieces(view):
            values = part.data if sp.issparse(part) else part
            if values.size and values.min() < 0:
                raise InputError(
                    "log1p: there are negative values, so these are neither counts nor normalised "
                    "counts. Leave log1p out, or name another x."
                )

    def _apply(self, view: Any, bags: Bags) -> Any:
        self._learn(view, bags)
        view = view.astype(np.float32)
        return view.log1p() if sp.issparse(view) else np.log1p(view)


class Select(Step):
    """Keeps some of the features."""

    state: ClassVar[tuple[str, ...]] = ("kept_",)

    def kept(self) -> np.ndarray:
        """(n_kept,) positions of the features that it keeps."""
        return self.kept_

    def _apply(self, view: Any, bags: Bags) -> Any:
        return view[:, self.kept_]

    def _names(self, names: Sequence[str] | None) -> tuple[str, ...] | None:
        return None if names is None else tuple(names[i] for i in self.kept_)


class MinCells(Select):
    """Features that are not 0 in at least ``n`` training cells."""

    name: ClassVar[str] = "min_cells"
    argument: ClassVar[tuple[str, type] | None] = ("n", int)

    def __init__(self, n: int = 5) -> None:
        self.n = n

    def _learn(self, view: View, bags: Bags) -> None:
        seen = np.zeros(view.shape[1])
        for part in pieces(view):
            seen += np.asarray((part != 0).sum(0)).reshape(-1)
        self.kept_ = np.flatnonzero(seen >= self.n)
        if not len(self.kept_):
            raise InputError(f"min_cells={self.n}: no feature is seen in so many cells.")


class SelectGenes(Select):
    """Genes that vary most among the training cells, given their mean.

    Dispersion (variance over mean) of the normalised counts, standardised within 20 bins of the
    mean: the rule of Seurat (Satija et al. 2015), as in ``scanpy.pp.highly_variable_genes``.

    Parameters
    ----------
    n
        Genes to keep; all where there are fewer.

    Raises
    ------
    InputError
        If a value is negative: log(1 + x) of normalised counts is expected.

    Examples
    --------
    >>> import smalti as sm
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> bags = sm.Bags.from_list([rng.poisson(2, size=(10, 30)) for _ in range(4)])  # counts
    >>> step = sm.preprocess.SelectGenes(n=10).fit(bags)  # in a text: "genes=10"
    >>> step.transform(bags).table().shape
    (40, 10)
    """

    name: ClassVar[str] = "genes"
    argument: ClassVar[tuple[str, type] | None] = ("n", int)

    def __init__(self, n: int = 2000) -> None:
        self.n = n

    def _learn(self, view: View, bags: Bags) -> None:
        width, count = int(view.shape[1]), int(view.shape[0])
        total, square = np.zeros(width), np.zeros(width)
        for part in pieces(view):
            raw = self._normalised(part)
            total += np.asarray(raw.sum(0)).reshape(-1)
            power = raw.multiply(raw) if sp.issparse(raw) else raw * raw
            square += np.asarray(power.sum(0)).reshape(-1)
        mean = total / count
        var = np.maximum(square / count - mean**2, 0) * count / max(count - 1, 1)
        score = _dispersion(mean, var)
        # the order of features stays; ties go to the first
        self.kept_ = np.sort(np.argsort(-score, kind="stable")[: self.n])

    def _normalised(self, part: Any) -> Any:
        """Normalised counts of a piece of the table, float64."""
        values = part.data if sp.issparse(part) else part
        if values.size and values.min() < 0:
            raise InputError(
                "genes: there are negative values; select genes after log1p and before scale."
            )
        if sp.issparse(part):
            return sp.csr_matrix(part, dtype=np.float64).expm1()
        return np.expm1(part.astype(np.float64))


class GenesOfCounts(SelectGenes):
    """The genes that :class:`SelectGenes` would keep after ``normalize,log1p``, as raw counts.

    For methods that model the counts themselves.

    Parameters
    ----------
    n
        Genes to keep; all where there are fewer.

    Raises
    ------
    InputError
        If the values are not counts.
    """

    name: ClassVar[str] = "count_genes"
    argument: ClassVar[tuple[str, type] | None] = ("n", int)

    def _learn(self, view: View, bags: Bags) -> None:
        problem = count_problem(view)
        if problem is not None:
            raise InputError(f"count_genes needs raw counts: {problem}.")
        super()._learn(view, bags)

    def _normalised(self, part: Any) -> Any:
        total = np.asarray(part.sum(1), dtype=np.float64).reshape(-1)
        factor = np.divide(1e4, total, out=np.zeros_like(total), where=total > 0)
        if sp.issparse(part):
            return sp.csr_matrix(sp.diags(factor) @ part.astype(np.float64))
        return part * factor[:, None]


def _dispersion(mean: np.ndarray, var: np.ndarray, bins: int = 20) -> np.ndarray:
    """Log variance over mean, standardised within bins of the log mean; 0 for silent genes."""
    mean = np.where(mean == 0, 1e-12, mean)
    ratio = var / mean
    ratio[ratio == 0] = np.nan
    table = pd.DataFrame({"d": np.log(ratio)})
    table["bin"] = pd.cut(np.log1p(mean), bins=bins)
    by = table.groupby("bin", observed=True)["d"]
    center, spread = by.transform("mean"), by.transform("std")
    alone = spread.isna() & table["d"].notna()  # a gene alone in its bin
    spread[alone], center[alone] = center[alone], 0.0
    return ((table["d"] - center) / spread).fillna(-np.inf).to_numpy()
