"""Deletion and insertion curves: what a prediction is when some instances of its bag are gone."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.integrate import trapezoid

from smalti.bags import Bags
from smalti.explain.instance_scores import AtHand, scores_of
from smalti.views import read_rows

GONE = (0.0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 0.98)
"""Shares of the instances that are gone: fine at both ends, where rare instances matter."""

YARDSTICKS = ("norm", "distance")  # orders that know nothing of the model
DRAWS = 5  # random orders
_LEAST = 2  # instances of a bag, or nothing can go


@dataclasses.dataclass(frozen=True)
class Curves:
    """Of each bag, how strongly what was predicted of it still is when instances are gone.

    Read from its end, the curve of those that lack the lowest is the insertion curve: only the
    highest are there.

    Attributes
    ----------
    orders
        What instances were put in order by: kinds of scores, and the yardsticks.
    values
        (2, n_bags, n_orders, 2, n_shares): of what is predicted, and of what is true; the highest
        gone first (deletion), the lowest gone first (insertion). NaN of bags with one instance.
    random
        (2, n_bags, n_draws, n_shares): any gone first.
    """

    orders: tuple[str, ...]
    values: np.ndarray
    random: np.ndarray

    def gains(self) -> np.ndarray:
        """(2, n_bags, n_orders, 2) area between a curve and the mean of the random ones.

        Of deletion below it, of insertion above it, as a mean over the shares: above 0 is better
        than random.
        """
        chance = self.random.mean(2)[:, :, None]  # (2, n_bags, 1, n_shares)
        gaps = np.stack([chance - self.values[..., 0, :], self.values[..., 1, :] - chance], axis=3)
        return trapezoid(gaps, GONE, axis=-1) / GONE[-1]


def curves_of(
    model: Any,
    bags: Bags,
    *,
    yardsticks: tuple[str, ...] = YARDSTICKS,
    draws: int = DRAWS,
    seed: int = 0,
) -> tuple[Curves, dict[str, np.ndarray]]:
    """Curves of all kinds of scores that a fitted method gives, in few passes of its network.

    Parameters
    ----------
    model
        Fitted.
    bags
        Bags that it has not seen, with their labels if they are known.
    yardsticks
        Orders to compare with: "norm" of an instance as the network reads it, its "distance" to
        the mean of its bag; both the largest first.
    draws, seed
        Random orders, and the seed of them; ties of scores are broken at random too.

    Returns
    -------
    tuple
        The curves, and kind -> (n_instances, c) scores.
    """
    running = model.running(bags)
    raw, instance, _ = running.whole()
    scores, task = scores_of(model, instance), model.task_
    hand = AtHand.of(task, raw)
    truth = hand if bags.target is None else AtHand.true(task, bags.labels, raw)
    by = {kind: hand.scores(kind, v, bags.index) for kind, v in scores.items()}
    if scores:
        made = _yardsticks(running.bags) if yardsticks else {}
        by |= {name: made[name] for name in yardsticks}
    rng = np.random.default_rng([seed, 53])
    orders = [np.lexsort((rng.random(len(v)), -v, bags.index)) for v in by.values()]
    anew = [np.lexsort((rng.random(bags.n_instances), bags.index)) for _ in range(draws)]
    several = np.flatnonzero(bags.lengths >= _LEAST)
    n = len(orders) * 2
    found = np.full((2, len(bags), n + draws, len(GONE)), np.nan)
    if len(several) and scores:
        # each bag as often as it has curves and shares
        of = np.repeat(several, (n + draws) * (len(GONE) - 1))
        left = running.parts(_left(orders, anew, bags.offsets, several), of)
        for side, values in zip((hand, truth), found, strict=True):
            values[several] = side.values(raw)[several, None, None]
            values[several, :, 1:] = side.values(left, of).reshape(len(several), n + draws, -1)
    ordered = found[:, :, :n].reshape(2, len(bags), len(orders), 2, len(GONE))
    return Curves(tuple(by), ordered, found[:, :, n:]), scores


def kept(n: int) -> np.ndarray:
    """(n_shares,) instances that are left of n; one at least."""
    return n - np.clip(np.round(np.multiply(GONE, n)).astype(int), 0, n - 1)


def _left(
    orders: list[np.ndarray], anew: list[np.ndarray], offsets: np.ndarray, bags: np.ndarray
) -> Iterator[np.ndarray]:
    """Instances that are left, bag by bag, order by order, share by share."""
    for i in bags:
        rows = slice(offsets[i], offsets[i + 1])
        counts = kept(int(offsets[i + 1] - offsets[i]))[1:]
        for order in orders:
            own = order[rows]  # the highest first
            for m in counts:
                yield own[-m:]
            for m in counts:
                yield own[:m]
        for order in anew:
            for m in counts:
                yield order[rows][:m]


def effective_number(scores: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """(n_bags,) on how many instances scores rest: exp of the entropy of their shares.

    1 where one instance has all, as many as there are where all are equal.

    Parameters
    ----------
    scores
        (n_instances, c); of signed ones the size. Of several columns the mean.
    offsets
        (n_bags + 1,) of the bags.
    """
    size = np.abs(scores)
    starts, lengths = offsets[:-1], np.diff(offsets)
    whole = np.repeat(np.add.reduceat(size, starts), lengths, axis=0)
    even = np.repeat(1 / lengths, lengths)[:, None]
    share = np.where(whole > 0, size / np.where(whole > 0, whole, 1), even)
    terms = -share * np.log(np.where(share > 0, share, 1))
    return np.exp(np.add.reduceat(terms, starts)).mean(1)


def _yardsticks(bags: Bags) -> dict[str, np.ndarray]:
    """(n_instances,) length of each row of the first view, and its distance to its bag's mean."""
    view = bags.view()[1]
    norm, distance = np.empty(bags.n_instances), np.empty(bags.n_instances)
    for start, stop in pairwise(bags.offsets):
        part = read_rows(view, int(start), int(stop))
        if sp.issparse(part):
            part = part.astype(np.float64)
            squares = np.asarray(part.multiply(part).sum(1)).ravel()
            middle = np.asarray(part.mean(0)).ravel()
            apart = squares - 2 * (part @ middle) + middle @ middle
        else:
            part = np.asarray(part, dtype=np.float64).reshape(len(part), -1)
            squares = (part**2).sum(1)
            apart = ((part - part.mean(0)) ** 2).sum(1)
        norm[start:stop], distance[start:stop] = np.sqrt(squares), np.sqrt(np.maximum(apart, 0))
    return {"norm": norm, "distance": distance}
