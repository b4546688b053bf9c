"""Batches of cells corrected: scaled each on its own, by Harmony, by ComBat."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from smalti.bags import Bags
from smalti.columns import batches_of
from smalti.counts import count_problem
from smalti.errors import InputError
from smalti.names import some
from smalti.preprocess.components import PCA
from smalti.preprocess.step import Step
from smalti.system.extras import need
from smalti.views import View, dense, pieces, placed, read_rows, take

_COMPONENTS = 50  # that Harmony corrects
_LIKE = 1e-4  # of the size of its cells: how far a print may lie from that of the fit


class OfBatches(Step):
    """A step that reads which batch each cell is of.

    Parameters
    ----------
    column
        Column of the instances, or of the bags, with the batches.
    """

    argument: ClassVar[tuple[str, type] | None] = ("column", str)

    def __init__(self, column: str = "batch") -> None:
        self.column = column

    def columns(self) -> tuple[str, ...]:
        """The column of the batches."""
        return (self.column,)

    def _groups(self, bags: Bags) -> tuple[np.ndarray, list[str]]:
        """(n_instances,) code of each cell's batch; and the batches.

        Raises
        ------
        InputError
            If the column is not there, a cell has no batch, or the column's name cannot be written
            in a text of steps.
        """
        if set(self.column) & set(",="):
            raise InputError(f"{self.name}={self.column!r}: give the column a name without , or =.")
        codes, names = pd.factorize(batches_of(bags, self.column), sort=True)
        return codes, [str(name) for name in names]

    def _check_sizes(self, codes: np.ndarray, names: list[str]) -> None:
        """Refuse batches of one cell, which have no spread."""
        small = np.flatnonzero(np.bincount(codes, minlength=len(names)) < 2)
        if len(small):
            raise InputError(
                f"{self.name}: batch {names[small[0]]!r} of column {self.column!r} has one cell, "
                "and of one there is no spread: leave it out, or join it to another."
            )


class ScaleBatch(OfBatches):
    """Each feature to mean 0 and standard deviation 1 within each batch.

    Cells of a batch of training are scaled by the training cells of their batch. A batch that
    training did not have is scaled by its own cells at hand: there what comes out for a cell hangs
    on which others came with it, which a warning says, and a note of a comparison. Differences of
    the batches in which cells they hold go with the rest. A sparse table becomes dense (float32).

    Parameters
    ----------
    column
        Column of the instances, or of the bags, with the batches.

    Raises
    ------
    InputError
        If the column is not there, a cell has no batch, or a batch has one cell only.

    Warns
    -----
    UserWarning
        Where cells are of a batch that training did not have.

    Examples
    --------
    >>> import smalti as sm
    >>> cells = sm.datasets.planted_batches(60, seed=0)
    >>> step = sm.preprocess.ScaleBatch("batch").fit(cells)
    >>> step.transform(cells).table("rna").shape
    (60, 200)
    """

    name: ClassVar[str] = "scale_batch"
    by_company: bool = True
    state: ClassVar[tuple[str, ...]] = ("means_", "sds_")
    columnwise: ClassVar[bool] = True

    def _learn(self, view: View, bags: Bags) -> None:
        codes, self.batches_ = self._groups(bags)
        self._check_sizes(codes, self.batches_)
        found = [_spread(take(view, np.flatnonzero(codes == i)))
                 for i in range(len(self.batches_))]  # fmt: skip
        self.means_, self.sds_ = (np.stack(part) for part in zip(*found, strict=True))

    def _apply(self, view: Any, bags: Bags) -> Any:
        codes, names = self._groups(bags)
        known = {name: i for i, name in enumerate(self.batches_)}
        if set(names) - set(known):
            fresh = ~np.isin(names, self.batches_)[codes]
            new = self._groups_of(codes[fresh], names)
            self._check_sizes(*new)
            warnings.warn(
                f"{self.name}: {int(fresh.sum()):,} cells are of batches that training did not "
                f"have (column {self.column!r}: {some(new[1])}), and each batch is scaled by its "
                "own cells: what comes out for one hangs on which others came with it.",
                UserWarning, stacklevel=2,
            )  # fmt: skip
        out = np.empty(view.shape, dtype=np.float32)
        for i, name in enumerate(names):
            rows = np.flatnonzero(codes == i)
            part = take(view, rows)
            mean, sd = (self.means_[known[name]], self.sds_[known[name]]) if name in known \
                else _spread(part)  # fmt: skip
            for start, piece in placed(part):
                out[rows[start : start + piece.shape[0]]] = (dense(piece) - mean) / sd
        return out

    @staticmethod
    def _groups_of(codes: np.ndarray, names: list[str]) -> tuple[np.ndarray, list[str]]:
        """Codes among those batches alone that are there."""
        there, again = np.unique(codes, return_inverse=True)
        return again, [names[i] for i in there]

    def note(self) -> dict[str, Any]:
        """Also the batches of training."""
        return super().note() | {"batches": self.batches_}

    def restore(self, arrays: dict[str, np.ndarray], note: dict[str, Any]) -> None:
        """Take back what :meth:`arrays`, of any shape, and :meth:`note` gave."""
        super().restore(arrays, note)
        self.batches_ = list(note["batches"])


class _AtHand(OfBatches):
    """A correction of the cells at hand: it places no other cell, and no other batch.

    What is kept of a fit is a number for each cell, by which the same cells are known again; they
    are corrected anew when they come, which gives the same values.
    """

    package: ClassVar[str]  # that corrects
    extra: ClassVar[str]  # that brings it
    transductive: bool = True
    columnwise: ClassVar[bool] = True
    state: ClassVar[tuple[str, ...]] = ("prints_", "codes_")

    def _learn(self, view: View, bags: Bags) -> None:
        self.codes_, names = self._groups(bags)
        if len(names) < 2:
            raise InputError(f"{self.name}: column {self.column!r} is {names[0]!r} for every cell, "
                             "and there is nothing to correct between batches.")  # fmt: skip
        self._check_sizes(self.codes_, names)
        self._refuse(view)
        self.prints_ = _prints(view)

    def _refuse(self, view: View) -> None:
        """Refuse what the method is not made for."""

    def _apply(self, view: Any, bags: Bags) -> Any:
        codes, names = self._groups(bags)
        prints = _prints(view)
        same = len(codes) == len(self.codes_) and bool((codes == self.codes_).all())
        if not same or np.abs(prints - self.prints_).max() > _LIKE * np.abs(self.prints_).max():
            raise InputError(
                f"{self.name} corrects the cells that it was fitted on, and these are others: it "
                "places no new cell and no new batch. Fit on all cells at once, or take a "
                "correction that does, such as scale_batch or batch= of a network."
            )
        package = need(self.package, self.extra)
        with _quiet(self.package):
            found = self._correct(package, view, np.asarray(names)[codes])
        out = np.asarray(found, dtype=np.float32)
        if not np.isfinite(out).all():
            raise InputError(f"{self.name} gave values that are not finite: leave out features "
                             "that do not vary within a batch.")  # fmt: skip
        return out

    def _correct(self, package: Any, view: Any, batches: np.ndarray) -> np.ndarray:
        """The corrected rows, (n, n_features), of cells of these batches (n,)."""
        raise NotImplementedError


class Harmony(_AtHand):
    """Harmony (Korsunsky et al. 2019, Nature Methods 16:1289) on the components, by harmonypy.

    A table of up to 50 columns, such as components (after ``pca=50``), is corrected as it is. Of a
    wider one the first 50 principal components are corrected, and each feature moves as they do:
    what lies outside of them stays, and the features are those that came. All settings of Harmony
    are harmonypy's.

    It places neither a cell nor a batch that it was not fitted on, and so has seen all cells: a
    method with this step is fitted on all cells in :func:`smalti.compare_integration`, and before a
    method for patients it is refused.

    Parameters
    ----------
    column
        Column of the instances, or of the bags, with the batches.

    Raises
    ------
    InputError
        If harmonypy is missing, there is one batch only, or other cells than those of the fit come.
    """

    name: ClassVar[str] = "harmony"
    package: ClassVar[str] = "harmonypy"
    extra: ClassVar[str] = "harmony"

    def looks_across(self) -> bool:
        """Yes: components are of all features."""
        return True

    def _correct(self, package: Any, view: Any, batches: np.ndarray) -> np.ndarray:
        if view.shape[1] <= _COMPONENTS:
            x = _whole(view)
            return x + self._moved(package, x - x.mean(0), batches)
        pca = PCA(n=_COMPONENTS)
        pca._learn(view, None)  # type: ignore[arg-type]  # it reads the view alone
        z = np.concatenate([np.asarray(part @ pca.axes_) for part in pieces(view)])
        z = z.astype(np.float64) - pca.mean_ @ pca.axes_
        out = np.empty(view.shape, dtype=np.float32)
        moved = self._moved(package, z, batches)
        for start, part in placed(view):
            rows = slice(start, start + part.shape[0])
            out[rows] = dense(part) + moved[rows] @ pca.axes_.T
        return out

    @staticmethod
    def _moved(package: Any, z: np.ndarray, batches: np.ndarray) -> np.ndarray:
        """(n, k) by how much Harmony moves each component of each cell."""
        found = package.run_harmony(
            z, pd.DataFrame({"batch": batches}), ["batch"], verbose=False, random_state=0, ncores=1
        )
        corrected = np.asarray(found.Z_corr)
        return (corrected if corrected.shape == z.shape else corrected.T) - z


class ComBat(_AtHand):
    """ComBat (Johnson, Li & Rabinovic 2007, Biostatistics 8:118) on log values, by scanpy.

    A shift and a scale of each batch for each feature, drawn towards those of all features. It is
    told no cell types: where batches hold other shares of them, that difference goes too. It places
    neither a cell nor a batch that it was not fitted on (see :class:`Harmony` on what follows). A
    sparse table becomes dense.

    Parameters
    ----------
    column
        Column of the instances, or of the bags, with the batches.

    Raises
    ------
    InputError
        As :class:`Harmony` (the package is scanpy), and if values are raw counts.
    """

    name: ClassVar[str] = "combat"
    package: ClassVar[str] = "scanpy"
    extra: ClassVar[str] = "batch"

    def _refuse(self, view: View) -> None:
        if count_problem(view) is None:
            raise InputError("combat takes log values, and these are raw counts: put "
                             "'normalize,log1p' (of proteins 'clr') before it.")  # fmt: skip

    def _correct(self, package: Any, view: Any, batches: np.ndarray) -> np.ndarray:
        x = _whole(view)
        moves = np.ptp(x, axis=0) > 0  # one that is constant has no scale to correct
        obs = pd.DataFrame({"batch": pd.Categorical(batches)}, index=np.arange(len(x)).astype(str))
        x[:, moves] = package.pp.combat(
            package.AnnData(x[:, moves], obs=obs), key="batch", inplace=False
        )
        return x


def _whole(view: Any) -> np.ndarray:
    return dense(read_rows(view, 0, int(view.shape[0]))).astype(np.float64)


def _spread(view: View) -> tuple[np.ndarray, np.ndarray]:
    from smalti.solve.moments import center_and_spread

    return center_and_spread(view)


def _prints(view: View) -> np.ndarray:
    """(n,) a number for each row, by which it is known again, up to rounding."""
    by = np.random.default_rng(0).normal(size=int(view.shape[1]))
    rows = [np.asarray(part @ by, dtype=np.float64).reshape(-1) for part in pieces(view)]
    return np.concatenate(rows) if rows else np.zeros(0)


@contextmanager
def _quiet(logger: str) -> Iterator[None]:
    """Keep what a package logs and warns of to itself."""
    log = logging.getLogger(logger)
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)
