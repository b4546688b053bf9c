"""Counts of surface proteins and of open chromatin."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp

from smalti.bags import Bags
from smalti.errors import InputError
from smalti.preprocess.genes import Select
from smalti.preprocess.step import Step
from smalti.views import View, pieces


def _refuse_negative(name: str, part: Any, instead: str) -> None:
    values = part.data if sp.issparse(part) else part
    if values.size and values.min() < 0:
        raise InputError(
            f"{name}: there are negative values (least: {values.min():.3g}), so these are not "
            f"counts. {instead}"
        )


class CLR(Step):
    """Centred log ratio of protein counts: log(1 + x / g), g a geometric mean of 1 + x.

    Parameters
    ----------
    of
        "cell": g over the proteins of a cell, as UMINT and Seurat's ``margin=2`` have it.
        "feature": g over the training cells of a protein, ``margin=1``.

    Raises
    ------
    InputError
        If a value is negative, or there is one protein only, which has no ratio to another.

    Examples
    --------
    >>> import smalti as sm
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> bags = sm.Bags.from_list([rng.poisson(2, size=(10, 30)) for _ in range(4)])  # counts
    >>> table = sm.preprocess.CLR().fit(bags).transform(bags).table()
    >>> table.shape
    (40, 30)
    """

    name: ClassVar[str] = "clr"
    argument: ClassVar[tuple[str, type] | None] = ("of", str)
    state: ClassVar[tuple[str, ...]] = ("level_",)
    columnwise: ClassVar[bool] = True

    def __init__(self, of: str = "cell") -> None:
        self.of = of

    def looks_across(self) -> bool:
        """Whether it takes the mean of a cell."""
        return self.of == "cell"

    def _learn(self, view: View, bags: Bags) -> None:
        if self.of not in ("cell", "feature"):
            raise InputError(f"clr={self.of!r} is neither 'cell' nor 'feature'.")
        if view.shape[1] < 2 and self.of == "cell":
            raise InputError("clr of one feature is no ratio: take 'clr=feature' or 'log1p'.")
        total = np.zeros(view.shape[1])
        for part in pieces(view):
            self._refuse(part)
            total += np.asarray(_log1p(part).sum(0)).reshape(-1)
        self.level_ = np.exp(total / view.shape[0]) if self.of == "feature" else np.zeros(0)

    def _apply(self, view: Any, bags: Bags) -> Any:
        self._refuse(view)
        table = view.astype(np.float32)
        if self.of == "feature":
            factor, by = (1 / self.level_).astype(np.float32), "column"
        else:
            mean = np.asarray(_log1p(table).sum(1)).reshape(-1) / table.shape[1]
            factor, by = np.exp(-mean).astype(np.float32), "row"
        if sp.issparse(table):
            scale = sp.diags(factor)
            return sp.csr_matrix(scale @ table if by == "row" else table @ scale).log1p()
        return np.log1p(table * (factor[:, None] if by == "row" else factor))

    def _refuse(self, part: Any) -> None:
        _refuse_negative("clr", part, "Give raw counts, or leave clr out.")


class TFIDF(Step):
    """Term frequency times inverse document frequency of peak counts.

    log(1 + 10,000 x / sum of the cell) * log(1 + cells / sum of the peak), the peak's sum over the
    training cells; a peak that no training cell has becomes 0. As ``muon.atac.pp.tfidf``.

    Parameters
    ----------
    scale_factor
        The 10,000.

    Raises
    ------
    InputError
        If a value is negative.
    """

    name: ClassVar[str] = "tfidf"
    argument: ClassVar[tuple[str, type] | None] = ("scale_factor", float)
    state: ClassVar[tuple[str, ...]] = ("idf_",)
    columnwise: ClassVar[bool] = True

    def __init__(self, scale_factor: float = 1e4) -> None:
        self.scale_factor = scale_factor

    def looks_across(self) -> bool:
        """Yes: the sum of a row."""
        return True

    def _learn(self, view: View, bags: Bags) -> None:
        total = np.zeros(view.shape[1])
        for part in pieces(view):
            self._refuse(part)
            total += np.asarray(part.sum(0), dtype=np.float64).reshape(-1)
        seen = np.divide(view.shape[0], total, out=np.zeros_like(total), where=total > 0)
        self.idf_ = np.log1p(seen)

    def _apply(self, view: Any, bags: Bags) -> Any:
        self._refuse(view)
        table = sp.csr_matrix(view, dtype=np.float32, copy=True)  # the one copy: then in place
        total = np.asarray(table.sum(1), dtype=np.float64).reshape(-1)
        factor = np.divide(self.scale_factor, total, out=np.zeros_like(total), where=total > 0)
        table.data *= np.repeat(factor.astype(np.float32), np.diff(table.indptr))
        np.log1p(table.data, out=table.data)
        table.data *= self.idf_.astype(np.float32)[table.indices]
        return table if sp.issparse(view) else table.toarray()

    def _refuse(self, part: Any) -> None:
        _refuse_negative("tfidf", part, "Give raw counts or 0 and 1, or leave tfidf out.")


class Top(Select):
    """Features of largest variance among the training cells, after the steps before.

    Parameters
    ----------
    n
        Features to keep; all where there are fewer.
    """

    name: ClassVar[str] = "top"
    argument: ClassVar[tuple[str, type] | None] = ("n", int)

    def __init__(self, n: int = 20_000) -> None:
        self.n = n

    def _learn(self, view: View, bags: Bags) -> None:
        from smalti.solve.moments import moments

        self.kept_ = np.sort(np.argsort(-moments(view)[1], kind="stable")[: self.n])


def _log1p(part: Any) -> Any:
    if sp.issparse(part):
        return part.astype(np.float64).log1p()
    return np.log1p(part.astype(np.float64))
