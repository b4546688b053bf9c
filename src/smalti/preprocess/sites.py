"""Sites harmonised inside a fold: ComBat of the training donors, for whoever comes later."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from smalti.bags import Bags
from smalti.counts import count_problem
from smalti.errors import InputError
from smalti.names import some
from smalti.preprocess.batches import OfBatches
from smalti.system.extras import need
from smalti.views import View, dense, placed, take

_MOST = 100_000  # training instances that are looked at; a mean of more is no better


class SiteComBat(OfBatches):
    """ComBat fitted in training (Johnson et al. 2007, Biostatistics 8:118), by combatlearn.

    A shift and a scale of each site for each feature, drawn towards those of all features. They are
    learned on training donors, and later donors of the same sites are moved by them: what comes out
    for a bag hangs on no other bag. A site that training did not have is an error. It is told no
    covariates, above all not the label: where sites hold other shares of a class, that part of the
    difference between classes goes too. Of more than 100,000 training instances a sample is looked
    at. A sparse table becomes dense (float32).

    Parameters
    ----------
    column
        Column of the bags, or of the instances, with the sites.

    Raises
    ------
    InputError
        If combatlearn is missing, the column is not there or is the target, values are raw counts,
        training has one site only, or cells are of a site that it lacked.

    Examples
    --------
    >>> import smalti as sm
    >>> bags = sm.datasets.planted_sites(24, seed=0)
    >>> step = sm.preprocess.SiteComBat("site").fit(bags[:16])
    >>> step.transform(bags[16:]).table().shape[1]
    8
    """

    name: ClassVar[str] = "site_combat"
    columnwise: ClassVar[bool] = True
    known_only: bool = True
    state: ClassVar[tuple[str, ...]] = ("shifts_", "scales_", "mean_", "sd_")

    def __init__(self, column: str = "site") -> None:
        super().__init__(column)

    def _learn(self, view: View, bags: Bags) -> None:
        target = (bags.target,) if isinstance(bags.target, str) else bags.target or ()
        if self.column in target:
            raise InputError(f"{self.name}={self.column!r} is what is to be predicted: name the "
                             "column of the sites.")  # fmt: skip
        codes, self.sites_ = self._groups(bags)
        if len(self.sites_) < 2:
            raise InputError(f"{self.name}: training is of site {self.sites_[0]!r} alone (column "
                             f"{self.column!r}), and there is nothing to harmonise.")  # fmt: skip
        self._check_sizes(codes, self.sites_)
        if count_problem(view) is None:
            raise InputError(f"{self.name} takes log values, and these are raw counts: put "
                             "'normalize,log1p' before it.")  # fmt: skip
        rows = _sample(codes)
        x, codes = dense(take(view, rows)).astype(np.float64), codes[rows]
        self.shifts_, self.scales_ = _fitted(x, codes)
        moved = x * self.scales_[codes] + self.shifts_[codes]
        self.mean_, self.sd_ = moved.mean(0), moved.std(0)

    def _apply(self, view: Any, bags: Bags) -> Any:
        codes, names = self._groups(bags)
        place = {name: i for i, name in enumerate(self.sites_)}
        new = [name for name in names if name not in place]
        shifts, scales = (np.empty((len(names), self.width_)) for _ in range(2))
        for i, name in enumerate(names):
            if name in place:
                shifts[i], scales[i] = self.shifts_[place[name]], self.scales_[place[name]]
        if new:
            of = [names.index(name) for name in new]
            rows = (take(view, np.flatnonzero(codes == i)) for i in of)
            scales[of], shifts[of] = self._of_new(new, rows)
        out = np.empty(view.shape, dtype=np.float32)
        for start, part in placed(view):
            own = codes[start : start + part.shape[0]]
            out[start : start + part.shape[0]] = dense(part) * scales[own] + shifts[own]
        return out

    def _of_new(self, new: list[str], rows: Iterator[View]) -> tuple[np.ndarray, np.ndarray]:
        """Scales and shifts of sites that training lacked, by their rows: they are refused."""
        raise InputError(
            f"{self.name} was fitted on sites {some(self.sites_)}, and knows nothing of "
            f"{some(new)} (column {self.column!r}): deal donors to folds, so that each site "
            f"trains, or name the step {TransductiveSiteComBat.name}, which reads all unlabelled "
            "bags of such a site."
        )

    def note(self) -> dict[str, Any]:
        """Also the sites of training."""
        return super().note() | {"sites": self.sites_}

    def restore(self, arrays: dict[str, np.ndarray], note: dict[str, Any]) -> None:
        """Take back what :meth:`arrays`, of any shape, and :meth:`note` gave."""
        super().restore(arrays, note)
        self.sites_ = list(note["sites"])


class TransductiveSiteComBat(SiteComBat):
    """The same, and a site that training lacked is moved by its own unlabelled cells at hand.

    Mean and standard deviation of its cells are brought to those of training after harmonisation,
    which is ComBat of many cells. What comes out for a bag then hangs on which others of its site
    came with it, and a comparison marks such a method in every table.

    Parameters
    ----------
    column
        Column of the bags, or of the instances, with the sites.

    Raises
    ------
    InputError
        As :class:`SiteComBat`, but for a site that training lacked; of that one if it has one cell.

    Warns
    -----
    UserWarning
        Where cells are of a site that training did not have.
    """

    name: ClassVar[str] = "site_combat_transductive"
    known_only: bool = False
    by_company: bool = True

    def _of_new(self, new: list[str], rows: Iterator[View]) -> tuple[np.ndarray, np.ndarray]:
        from smalti.solve.moments import center_and_spread

        warnings.warn(
            f"{self.name}: sites that training did not have (column {self.column!r}: {some(new)}) "
            "are moved by their own cells at hand: what comes out for one bag hangs on which "
            "others came with it.", UserWarning, stacklevel=2,
        )  # fmt: skip

        means, spreads = [], []
        for name, part in zip(new, rows, strict=True):
            if part.shape[0] < 2:
                raise InputError(f"{self.name}: site {name!r} of column {self.column!r} has one "
                                 "cell, and of one there is no spread: leave it out.")  # fmt: skip
            mean, spread = center_and_spread(part)
            means.append(mean)
            spreads.append(spread)
        scales = self.sd_ / np.stack(spreads)  # (n_new, n_features)
        return scales, self.mean_ - np.stack(means) * scales


def _sample(codes: np.ndarray) -> np.ndarray:
    """Positions of all rows; of very many a sample, as many of each site as there may be."""
    if len(codes) <= _MOST:
        return np.arange(len(codes))
    rng, sites = np.random.default_rng(0), np.unique(codes)
    each = [rng.permutation(np.flatnonzero(codes == i))[: _MOST // len(sites)] for i in sites]
    return np.sort(np.concatenate(each))


def _fitted(x: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shifts and scales of the sites, (n_sites, n_features) each, by combatlearn.

    ComBat moves a value along a line: where 0 and 1 go says which.
    """
    package = need("combatlearn", "sites")
    n, n_sites = len(x), int(codes.max()) + 1
    moves = np.ptp(x, axis=0) > 0  # one that is constant has no scale to correct
    probes = np.repeat([0.0, 1.0], n_sites)[:, None] * np.ones((1, int(moves.sum())))
    batch = pd.Series(np.concatenate([codes, np.tile(np.arange(n_sites), 2)]).astype(str))
    shifts, scales = np.zeros((n_sites, x.shape[1])), np.ones((n_sites, x.shape[1]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of sizes of sites, which the page shows
        step = package.ComBat(batch, method="johnson").fit(pd.DataFrame(x[:, moves]))
        at = step.transform(pd.DataFrame(probes, index=np.arange(n, n + 2 * n_sites))).to_numpy()
    shifts[:, moves], scales[:, moves] = at[:n_sites], at[n_sites:] - at[:n_sites]
    if not np.isfinite(at).all():
        raise InputError("site_combat gave values that are not finite: leave out features that do "
                         "not vary within a site.")  # fmt: skip
    return shifts, scales
