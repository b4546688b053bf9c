"""Labels by a vote of the nearest labelled neighbours, and how far off these lie."""

from __future__ import annotations

import dataclasses
from functools import cached_property

import numpy as np
from scipy.linalg import eigh
from sklearn.covariance import LedoitWolf
from sklearn.neighbors import NearestNeighbors

_ROWS = 20_000  # cells asked at once: a table of their votes for every label is held
_FLOOR = 1e-6  # share of the largest variance below which a direction counts as that
_FEW = 10  # cells that the spread of all labels counts for in that of one
_SAME = 1e-3  # of the usual distance: a cell so near to another is that cell


@dataclasses.dataclass(frozen=True, eq=False)
class Votes:
    """What the neighbours of some cells said, a value a cell.

    Attributes
    ----------
    best, second
        (m,) the labels of the most votes; ``second`` is -1 where all voted for one.
    share
        (m,) of the votes for ``best``, by the weights of the voters.
    novelty
        (m,) how far off the voters lie, in standard deviations beyond what is usual among cells of
        ``best``; on the scale of the logarithm.
    same
        (m,) bool: lies just where a voter does.
    """

    best: np.ndarray
    second: np.ndarray
    share: np.ndarray
    novelty: np.ndarray
    same: np.ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Voters:
    """Cells with labels, whose codes are turned so that all labels spread alike in all directions.

    Distances are those after the pooled covariance within labels (shrunk as Ledoit and Wolf 2004)
    was made the identity: a direction in which cells of one label differ anyway counts less. A
    voter at distance d weighs exp(-(d / m)^2 / 2), where m is the mean over the k.

    Parameters
    ----------
    codes
        (n, d) of the voters.
    labels
        (n,) int64, 0 to ``n_labels`` - 1.
    n_labels
        How many labels there are; one may have no voter.
    k
        Voters of a cell, at most.
    """

    codes: np.ndarray
    labels: np.ndarray
    n_labels: int
    k: int = 15

    @cached_property
    def turn(self) -> np.ndarray:
        """(d, d): codes times it have the same spread within labels everywhere."""
        count = np.bincount(self.labels, minlength=self.n_labels)
        mean = np.zeros((self.n_labels, self.codes.shape[1]))
        np.add.at(mean, self.labels, self.codes)
        rest = self.codes - (mean / np.maximum(count, 1)[:, None])[self.labels]
        values, vectors = eigh(LedoitWolf(assume_centered=True).fit(rest).covariance_)
        top = values.max()
        if top <= 0:  # labels that do not spread at all
            return np.eye(len(values))
        return vectors / np.sqrt(np.maximum(values, _FLOOR * top))

    @cached_property
    def _found(self) -> NearestNeighbors:
        return NearestNeighbors(n_neighbors=self._most).fit(self.codes @ self.turn)

    @property
    def _most(self) -> int:
        return min(self.k, max(1, len(self.codes) - 1))

    @cached_property
    def usual(self) -> tuple[np.ndarray, np.ndarray]:
        """Median and spread of the log distance of a voter to its own voters, (n_labels,) each."""
        if len(self.codes) < 2:
            return np.zeros(self.n_labels), np.ones(self.n_labels)
        log = _log_mean(self._found.kneighbors()[0])  # no voter is its own
        whole = np.median(log), log.var()
        center = np.full(self.n_labels, whole[0])
        spread = np.full(self.n_labels, np.sqrt(whole[1]))
        for label in np.unique(self.labels):
            own = log[self.labels == label]
            center[label] = np.median(own)
            n = len(own)
            spread[label] = np.sqrt((n * own.var() + _FEW * whole[1]) / (n + _FEW))
        return center, np.maximum(spread, 1e-3)

    def ask(self, codes: np.ndarray) -> Votes:
        """The votes for cells of these (m, d) codes."""
        parts = [self._ask(codes[i : i + _ROWS]) for i in range(0, max(len(codes), 1), _ROWS)]
        return Votes(*(np.concatenate([getattr(p, f.name) for p in parts])
                       for f in dataclasses.fields(Votes)))  # fmt: skip

    def _ask(self, codes: np.ndarray) -> Votes:
        if not len(codes):
            none, zero = np.zeros(0, np.int64), np.zeros(0)
            return Votes(none, none, zero, zero, zero.astype(bool))
        apart, who = self._found.kneighbors(codes @ self.turn)  # (m, k)
        scale = np.maximum(apart.mean(1, keepdims=True), 1e-12)
        weight = np.exp(-0.5 * (apart / scale) ** 2)
        votes = np.zeros((len(codes), self.n_labels))
        rows = np.arange(len(codes))
        np.add.at(votes, (rows[:, None], self.labels[who]), weight)
        votes /= votes.sum(1, keepdims=True)
        best = votes.argmax(1)
        share = votes[rows, best]
        votes[rows, best] = 0
        second = np.where(votes.max(1) > 0, votes.argmax(1), -1)
        center, spread = self.usual
        novelty = (_log_mean(apart) - center[best]) / spread[best]
        same = apart[:, 0] < _SAME * np.exp(center[best])
        return Votes(best, second, share, novelty, same)


def _log_mean(apart: np.ndarray) -> np.ndarray:
    """(m,) logarithm of the mean of (m, k) distances."""
    return np.log(np.maximum(apart.mean(1), 1e-9))
