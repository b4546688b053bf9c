"""How sharply two groups part along an axis: as populations do, or as a cut does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from scipy.stats import binom
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

_STEEPER = 2.5  # times as fast as between normal populations: what nature may do
_LEAST, _BESIDE = 12, 4  # rows of a group, and of them tested on each side of a border
_DEPTH, _LEAF = 6, 20  # of the tree that finds cuts
_NEIGHBOURS = 3  # groups that each group is parted from by a plane
_PARTS = 5


class Border(NamedTuple):
    """A border between two groups, on rows that did not choose it.

    Attributes
    ----------
    pair
        Codes of the groups.
    axis
        Column that is cut; -1: a plane through several.
    near, wrong
        Rows beside the border, and those of them on the other group's side.
    """

    pair: tuple[int, int]
    axis: int
    near: int
    wrong: int

    @property
    def expected(self) -> float:
        """Wrong ones of two normal populations that lie as far apart."""
        return self.near * _wrong(1.0)

    @property
    def p(self) -> float:
        """How rarely so few are wrong of populations that part 2.5 times as steeply."""
        return float(binom.cdf(self.wrong, self.near, _wrong(_STEEPER)))


def borders(
    x: np.ndarray, groups: np.ndarray, rng: np.random.Generator, *, planes: bool = False
) -> list[Border]:
    """Borders between groups, found on four fifths of the rows and tested on the rest, in turn.

    Parameters
    ----------
    x, groups
        (n, d) values, and (n,) codes.
    rng
        Deals the fifths.
    planes
        Borders across all columns, instead of cuts of single ones.

    Returns
    -------
    list of Border
        One for each pair of groups and column that has rows beside it.
    """
    part = rng.integers(_PARTS, size=len(x))
    find: Callable[..., Iterator[Border]] = _at_planes if planes else _at_cuts
    found: dict[tuple[tuple[int, int], int], list[Border]] = {}
    for k in range(_PARTS):
        own: dict[tuple[tuple[int, int], int], Border] = {}
        for border in find(x, groups, part != k):  # cut twice along a column: the sharper one
            key = border.pair, border.axis
            own[key] = min(own.get(key, border), border, key=lambda b: b.p)
        for key, border in own.items():
            found.setdefault(key, []).append(border)
    return [Border(*key, sum(b.near for b in each), sum(b.wrong for b in each))
            for key, each in found.items()]  # fmt: skip


def _at_cuts(x: np.ndarray, groups: np.ndarray, chosen: np.ndarray) -> Iterator[Border]:
    """Borders at the cuts of a small tree that was grown on the chosen rows, (n,)."""
    tree = DecisionTreeClassifier(max_depth=_DEPTH, min_samples_leaf=_LEAF, random_state=0)
    tree.fit(x[chosen], groups[chosen])
    nodes = tree.decision_path(x.astype(np.float32)).tocsc()  # (n, nodes)
    cut = tree.tree_
    for node in np.flatnonzero(cut.children_left >= 0):
        rows = nodes.indices[nodes.indptr[node] : nodes.indptr[node + 1]]
        axis, t = int(cut.feature[node]), cut.threshold[node]
        v, of, own = x[rows, axis], groups[rows], chosen[rows]
        low, high = (int(np.bincount(of[own & side]).argmax()) for side in (v <= t, v > t))
        yield from _border(v - t, of, own, (low, high), axis)


def _at_planes(x: np.ndarray, groups: np.ndarray, chosen: np.ndarray) -> Iterator[Border]:
    """Borders at the plane that best parts each group from those nearest to it."""
    unit = (x - x.mean(0)) / max(x.std(0).max(), 1e-12)
    codes = [c for c in np.unique(groups) if (groups[chosen] == c).sum() >= _LEAST]
    centres = np.stack([unit[chosen & (groups == c)].mean(0) for c in codes])  # (k, d)
    far = np.linalg.norm(centres[:, None] - centres, axis=2).argsort(1)
    near = {tuple(sorted((i, int(j)))) for i, row in enumerate(far)
            for j in row[row != i][:_NEIGHBOURS]}  # fmt: skip
    for i, j in sorted(near):
        pair = int(codes[i]), int(codes[j])
        rows = np.isin(groups, pair)
        of, own = groups[rows], chosen[rows]
        plane = LogisticRegression(C=1000.0, max_iter=300)
        plane.fit(unit[rows][own], of[own] == pair[1])
        yield from _border(plane.decision_function(unit[rows]), of, own, pair, -1)


def _border(
    v: np.ndarray, groups: np.ndarray, chosen: np.ndarray, pair: tuple[int, int], axis: int
) -> Iterator[Border]:
    """The border at v = 0 between two groups, the second of which lies above; none to be seen.

    Null: the groups are populations of smooth densities. Between two normal ones the odds of the
    second rise by a factor of e over 1 / slope, where slope is the sum of their distances from the
    border over their variances; so within that width of it 38 % of the rows are on the wrong side,
    and 25 % where they part 2.5 times as steeply. A cut has none there. Of a gap or a valley
    nothing is said: there populations may part as well as they like.
    """
    one, two = (v[chosen & (groups == c)] for c in pair)
    if min(len(one), len(two)) < _LEAST:
        return
    (low, s), (high, t) = _middle(one), _middle(two)
    if not low < 0 < high or min(s, t) <= 0:
        return
    far = np.abs(v) * (high / t**2 - low / s**2)
    near = ~chosen & (far < 1) & np.isin(groups, pair)
    n, above, second = int(near.sum()), v[near] > 0, groups[near] == pair[1]
    if min(above.sum(), (~above).sum()) < _BESIDE:
        return
    steps = len(np.unique(v[near])) <= n / 2  # of counts, which are no borders
    valley = (far[near] < 0.5).sum() < 0.35 * n
    whole = max(-v[near].min() / -low, v[near].max() / high) > 0.7  # wide enough for the groups
    if not (steps or valley or whole):
        yield Border(pair, axis, n, int((above != second).sum()))


def _middle(values: np.ndarray) -> tuple[float, float]:
    """Median and spread; the lesser of two, for few far values may not widen what is beside."""
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return float(middle), float(min(values.std(), (high - low) / 1.349))


def _wrong(steeper: float) -> float:
    """Mean of 1 / (1 + exp(u)) for u from 0 to this."""
    return float(1 - np.log((1 + np.exp(steeper)) / 2) / steeper)
