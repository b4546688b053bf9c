"""Permutation tests of cohorts: which labels may change places, and how often chance does as well.

Samples of one donor are not independent, so all samples of a donor that have one label are one
*arm* and count once, by their mean. Where a donor has several arms (control and stimulated), its
labels change places within it; donors of one arm change labels among one another. Whatever else
differs between donors then stays where it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

_ROOM = 2**22  # numbers of a piece of the work
_SAME = 1e-9  # statistics nearer than this differ by rounding alone


@dataclass(frozen=True)
class Tested:
    """What a permutation test found, of k columns of values.

    Attributes
    ----------
    slope
        (k,) change with one unit of the target: of two classes, the difference of their means.
        Within donors where a donor has several arms, between donors otherwise; where a cohort has
        both, each weighs by its precision.
    correlation
        (k,) the same as a correlation.
    p
        (k,) share of the arrangements that are at least as extreme, two-sided.
    least
        The smallest p that this design can give.
    exact
        Whether all arrangements were looked at, and not a random draw of them.
    n_arrangements
        How many were, the one that was seen among them.
    """

    slope: np.ndarray
    correlation: np.ndarray
    p: np.ndarray
    least: float
    exact: bool
    n_arrangements: int


@dataclass(frozen=True, eq=False)
class Exchange:
    """Which labels of a cohort may change places.

    Attributes
    ----------
    arm
        (n_samples,) the arm that each sample is of.
    first
        (n_arms,) position of one sample of each arm.
    donor
        (n_arms,) the donor of each arm, as numbers; arms of a donor are neighbours.
    label
        (n_arms,) the label of each arm, as numbers.
    block
        (n_arms,) arms of one block may exchange their labels. Block 0 holds the donors of one
        arm, or blocks 0, -1, ... those of each site; every other donor is a block. Ascending.
    """

    arm: np.ndarray
    first: np.ndarray
    donor: np.ndarray
    label: np.ndarray
    block: np.ndarray

    @classmethod
    def of(cls, labels: Any, donors: Any, sites: Any = None) -> Exchange:
        """The design of a cohort, whatever the order of its samples.

        Parameters
        ----------
        labels
            (n_samples,) numbers: codes of classes, ranks or values.
        donors
            (n_samples,) names.
        sites
            (n_samples,) names: donors of one arm change labels within their site, which is that of
            their first sample. One site where left out.
        """
        codes, names = pd.factorize(np.asarray(donors))
        rank = np.empty(len(names), dtype=np.int64)
        rank[np.argsort([str(name) for name in names], kind="stable")] = np.arange(len(names))
        label = np.unique(labels, return_inverse=True)[1]
        pairs, first, arm = np.unique(
            np.column_stack([rank[codes], label]), axis=0, return_index=True, return_inverse=True
        )
        donor = pairs[:, 0]
        site = np.zeros(len(donor), int) if sites is None else pd.factorize(sites)[0][first]
        block = np.where(np.bincount(donor)[donor] > 1, donor + 1, -site)
        order = np.argsort(block, kind="stable")
        place = np.argsort(order, kind="stable")
        return cls(place[arm.ravel()], first[order], donor[order], pairs[order, 1], block[order])

    @cached_property
    def members(self) -> list[np.ndarray]:
        """Positions of the arms of each block, (n_arms_of_the_block,) each."""
        return np.split(np.arange(len(self.block)), np.flatnonzero(np.diff(self.block)) + 1)

    def means(self, values: np.ndarray) -> np.ndarray:
        """Values of samples, (n_samples, k), as means of the arms: (n_arms, k)."""
        total = np.zeros((len(self.block), values.shape[1]))
        np.add.at(total, self.arm, values)
        return total / np.bincount(self.arm)[:, None]

    # ---------------------------------------------------------------- arrangements

    def count(self, y: np.ndarray) -> int:
        """How many arrangements of the numbers of the arms, (n_arms,), differ."""
        total = 1
        for rows in self.members:
            total *= math.factorial(len(rows))
            for n in np.unique(y[rows], return_counts=True)[1].tolist():
                total //= math.factorial(n)
        return total

    def arrangements(self, y: np.ndarray, n: int, seed: int = 0) -> tuple[np.ndarray, bool]:
        """Numbers of the arms, (n_arms,), in other places of their blocks.

        Returns
        -------
        tuple
            (m, n_arms) arrangements, and whether these are all that differ: so where there are at
            most ``n``. Otherwise the one that was seen, and ``n`` random ones.
        """
        if self.count(y) > n:
            # arms are in the order of their blocks, so a sort by block + noise mixes within blocks
            noise = np.random.default_rng(seed).random((n, len(y)))
            return np.vstack([y, y[np.argsort(self.block + noise, axis=1)]]), False
        own = [_orders(y[rows]) for rows in self.members]
        which = np.unravel_index(np.arange(self.count(y)), [len(orders) for orders in own])
        parts = [orders[i] for orders, i in zip(own, which, strict=True)]
        return np.concatenate(parts, axis=1), True

    def least(self, y: np.ndarray, n: int) -> float:
        """The smallest p that :meth:`test` can give to numbers of the arms, (n_arms,)."""
        if self.count(y) > n:
            return 1 / (1 + n)
        centred = self._centred(y)
        # where y and -y are both arrangements, each comes as far from 0 as the other
        sides = [np.sort(centred[rows]) for rows in self.members]
        mirrored = all(np.abs(a + a[::-1]).max() <= _SAME * np.abs(centred).max() for a in sides)
        return (1 + mirrored) / self.count(y) if self.count(y) > 1 else 1.0

    # ---------------------------------------------------------------- the test

    def test(self, values: np.ndarray, y: Any, n: int = 999, seed: int = 0) -> Tested:
        """Test whether values of the samples go with numbers of their labels.

        The statistic is the slope within blocks over a standard error that is robust to unlike
        variances (Janssen 1997; DiCiccio & Romano 2017): labels that also tell how many samples a
        donor has would make a plain difference of means look surer than it is.

        Parameters
        ----------
        values
            (n_samples, k) numbers.
        y
            (n_samples,) numbers that hang on the label alone.
        n
            Random arrangements; at most so many are all looked at.
        seed
            Of the draw.
        """
        y = np.asarray(y, dtype=float)[self.first]
        least, means = self.least(y, n), self.means(np.asarray(values, dtype=float))
        centred = self._centred(means)
        centred[np.abs(centred) < _SAME * np.abs(means).max(0)] = 0.0  # constant but for rounding
        weight = self._weight(centred, self._centred(y))
        places, exact = self.arrangements(self._centred(y), n, seed)
        found = self._statistic(centred, weight, self._centred(y)[None])[0]
        extreme = np.zeros(values.shape[1])
        step = max(1, _ROOM // max(1, centred.size))
        for start in range(0, len(places), step):
            null = self._statistic(centred, weight, places[start : start + step])
            extreme += (null >= found - _SAME).sum(0)
        score = self._centred(y) @ (weight * centred)
        power = self._centred(y) ** 2 @ weight
        return Tested(
            _over(score, power), _over(score, np.sqrt(power * (weight * centred**2).sum(0))),
            extreme / len(places), least, exact, len(places),
        )  # fmt: skip

    def _statistic(self, values: np.ndarray, weight: np.ndarray, y: np.ndarray) -> np.ndarray:
        """(m, k) squared t over itself plus 1, from 0 to 1, of (m, n_arms) arrangements.

        The error is that of a sandwich with a donor as cluster; ``values`` and ``weight`` are
        (n_arms, k), all is centred in its block.
        """
        scaled = weight * values
        score = y @ scaled  # (m, k)
        slope = _over(score, y**2 @ weight)
        rest = scaled - slope[:, None] * (weight * y[:, :, None])  # (m, n_arms, k)
        starts = np.flatnonzero(np.diff(self.donor, prepend=-1))
        by_donor = np.add.reduceat(y[:, :, None] * rest, starts, axis=1)
        return _over(score**2, score**2 + (by_donor**2).sum(1))

    def _centred(self, values: np.ndarray) -> np.ndarray:
        """Values of the arms, (n_arms, ...), less the mean of their block."""
        out = np.array(values, dtype=float)
        for rows in self.members:
            out[rows] -= out[rows].mean(0)
        return out

    def _weight(self, centred: np.ndarray, y: np.ndarray) -> np.ndarray:
        """(n_arms, k) one over the variance: within donors it is often far below that between.

        No arrangement changes it. Blocks of one label, whose ``y`` is 0, say nothing and weigh 0.
        """
        weight = np.zeros_like(centred)
        moves = np.isin(self.block, self.block[y != 0])
        for kind in (moves & (self.block <= 0), moves & (self.block > 0)):
            freedom = kind.sum() - len(np.unique(self.block[kind]))
            weight[kind] = _over(float(freedom), (centred[kind] ** 2).sum(0))
        return weight

    def describe(self) -> str:
        """Where labels change places, for people."""
        alone = self.label[self.block <= 0]
        parts = []
        if several := len(np.unique(self.block[self.block > 0])):
            parts.append(f"within {several:,} {_plural('donor', several)} of several labels")
        if len(np.unique(alone)) > 1:
            sites = len(np.unique(self.block[self.block <= 0]))
            within = f" within {sites:,} sites" if sites > 1 else ""
            parts.append(f"between {len(alone):,} donors of one label{within}")
        text = "labels permuted " + " and ".join(parts) if parts else "no label can change places"
        if len(np.unique(alone)) == 1:
            n, verb = len(alone), "say" if len(alone) > 1 else "says"
            text += f" ({n:,} more {_plural('donor', n)}, all of one label, {verb} nothing)"
        return text


def _orders(values: Sequence[float] | np.ndarray) -> np.ndarray:
    """(m, n) all orders of n numbers that differ, in the order of a lexicon."""
    now = sorted(values)
    found = [list(now)]
    while True:
        fall = next((i for i in range(len(now) - 2, -1, -1) if now[i] < now[i + 1]), None)
        if fall is None:
            return np.array(found)
        above = next(j for j in range(len(now) - 1, fall, -1) if now[j] > now[fall])
        now[fall], now[above] = now[above], now[fall]
        now[fall + 1 :] = now[:fall:-1]
        found.append(list(now))


def _over(a: Any, b: np.ndarray) -> np.ndarray:
    """A quotient, 0 where the divisor is."""
    a, b = np.broadcast_arrays(a, b)
    return np.divide(a, b, out=np.zeros(b.shape), where=b > 0)


def _plural(word: str, n: int) -> str:
    return word if n == 1 else f"{word}s"
