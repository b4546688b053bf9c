"""Samples of one donor beside each other: whether a model puts them in the right order.

What is true of a donor cancels: its own level moves the scores of all of its samples alike. Samples
of a donor that have one label are one arm and count by their mean, as in
:mod:`smalti.scores.exchange`, and each donor counts once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from smalti.errors import InputError
from smalti.scores.exchange import Exchange
from smalti.task import Task

WITHIN = "donor_concordance"
"""The metric: share of the pairs of a donor's samples that are in order, the mean over donors."""
_ROOM = 2**22  # numbers of a piece of the work
_SAME = 1e-9
_TAIL = 0.0125  # beyond each end of an interval


@dataclass(frozen=True)
class Within:
    """What models say of the samples of a donor beside each other.

    Attributes
    ----------
    donors
        (n_donors,) those of several labels.
    value
        (n_donors,) share of the pairs of its samples that are in order, a tie counts half.
    p
        Over labels that change places within donors, for models that learn which way they go.
    least
        The smallest p that this design can give.
    """

    donors: np.ndarray
    value: np.ndarray
    p: float
    least: float

    @property
    def mean(self) -> float:
        """Over the donors; NaN where there is none."""
        return float(self.value.mean()) if len(self.value) else float("nan")

    def interval(self) -> tuple[float, float]:
        """95 % interval of the mean: of these models, on other donors.

        By Clopper and Pearson, with each donor as a trial that may be a success in part: of all
        laws between 0 and 1 that of a coin spreads most. Its ends are those of 97.5 %, as models
        share training donors; so it held the truth in 92 to 99 % of simulated cohorts of 8 to 40
        pairs, and that of 95 % in 88 to 99 (``benchmarks/pairs.py --part coverage``).
        """
        n, right = len(self.value), float(self.value.sum())
        if not n:
            return float("nan"), float("nan")
        # a tie in every donor is half of them right
        low = stats.beta.ppf(_TAIL, right, n - right + 1) if right > 0 else 0.0
        high = stats.beta.ppf(1 - _TAIL, right + 1, n - right) if right < n else 1.0
        return float(low), float(high)


def within_donors(
    said: Any, codes: Any, donors: Any, *, alike: int = 2, draws: int = 9999, seed: int = 0
) -> Within:
    """Hold the samples of each donor against each other.

    Two samples are in order where the labels that they have are likelier than the same two labels
    the other way round.

    Parameters
    ----------
    said
        (n, n_labels) log likelihood of each label for each sample, up to a number of its own; or
        (n_repeats, n, n_labels), NaN for a sample that a repeat does not test.
    codes
        (n,) which label each sample has, a position.
    donors
        (n,) whose each is. Those of one label are left out.
    alike
        How many ways to rename the labels leave the score of a model that learns them as it is: 2
        of two labels and of numbers, which may be turned round; n! of n labels without an order.
    draws
        Where there are more arrangements of the labels, so many random ones are looked at.
    seed
        Of the draw.

    Returns
    -------
    Within
        Its p is the share of the arrangements that are at least as well in order, ``alike`` times.
        Models of a cross-validation learn from one another's test donors: where all donors differ
        along one line, they are all right as soon as their differences have one sign, be it any.
        Without the factor p would be too small by so much there (``benchmarks/pairs.py``).

    Examples
    --------
    >>> import smalti as sm
    >>> import numpy as np
    >>> from smalti.scores.pairs import within_donors
    >>> score, label = np.array([0.1, 0.3, 2.0, 2.2]), np.array([0, 1, 0, 1])
    >>> found = within_donors(np.outer(score, [0, 1]), label, ["a", "a", "b", "b"])
    >>> found.mean, found.p, found.least
    (1.0, 0.5, 0.5)
    """
    said = np.asarray(said, float)
    said = said[None] if said.ndim == 2 else said
    codes, donors = np.asarray(codes, dtype=np.int64), np.asarray(donors)
    several = of_several(codes, donors)
    if not several.any():
        return Within(donors[:0], np.empty(0), float("nan"), 1.0)
    codes, donors, said = codes[several], donors[several], said[:, several]
    exchange = Exchange.of(codes, donors)
    label = codes[exchange.first]
    arms = np.stack([exchange.means(part) for part in said])  # (n_repeats, n_arms, n_labels)
    one, two = (np.concatenate(part) for part in zip(*map(_pairs, exchange.members), strict=True))
    whose = np.repeat(np.arange(len(exchange.members)), [len(m) * (len(m) - 1) // 2
                                                         for m in exchange.members])  # fmt: skip
    seen = _shares(arms, one, two, whose, label[None])[0]
    places, _ = exchange.arrangements(label.astype(float), draws, seed)
    places = places.astype(np.int64)
    step = max(1, _ROOM // max(1, len(said) * len(one)))
    means = np.concatenate([
        np.nanmean(_shares(arms, one, two, whose, places[at : at + step]), axis=1)
        for at in range(0, len(places), step)
    ])  # fmt: skip
    there = np.isfinite(seen)
    p = float((means >= seen[there].mean() - _SAME).mean()) if there.any() else np.nan
    names = donors[exchange.first[[m[0] for m in exchange.members]]]
    return Within(names[there], seen[there], min(1.0, alike * p), min(1.0, alike / len(places)))


def of_several(codes: Any, donors: Any) -> np.ndarray:
    """(n,) whether a sample is of a donor with several labels; ``codes`` and ``donors`` are too."""
    donors = np.unique(donors, return_inverse=True)[1]
    arms = np.unique(np.column_stack([donors, np.unique(codes, return_inverse=True)[1]]), axis=0)
    return np.bincount(arms[:, 0])[donors] > 1


def likelihoods(
    task: Task, labels: Any, predicted: Any, p: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """What a model says of every label for each sample, as :func:`within_donors` wants it.

    Of numbers it is the product of what is predicted and the label: two samples are in order where
    the one with the larger value is predicted the larger one.

    Parameters
    ----------
    task
        Of one target.
    labels, predicted
        (n,) what is true, and what was said.
    p
        (n, n_classes) probabilities; None where there are no classes.

    Returns
    -------
    tuple
        (n, n_labels) log likelihoods and (n,) positions of the labels.
    """
    if p is not None:
        return np.log(np.clip(p, 1e-15, 1)), np.asarray(task.encode(labels))
    values, codes = np.unique(np.asarray(labels, float).reshape(-1), return_inverse=True)
    return np.outer(np.asarray(predicted, float).reshape(-1), values), codes


def check_contrast(task: Task) -> None:
    """Refuse a target whose samples have no order beside each other.

    Raises
    ------
    InputError
        If it has several columns.
    """
    if len(task.truths) > 1:
        what = "several targets" if task.several else f"a {task.kind} target"
        raise InputError(f"samples of a donor are told apart by one class or number, not by {what}:"
                         " leave contrast= out.")  # fmt: skip


def of_predictions(predictions: pd.DataFrame, task: Task, **how: Any) -> Within:
    """:func:`within_donors` of a table of predictions of one method, in all repeats."""
    p = predictions[[f"p_{c}" for c in task.classes]].to_numpy(float) if task.is_classifier \
        else None  # fmt: skip
    said, codes = likelihoods(task, predictions["true"].to_numpy(), predictions["predicted"], p)
    bag, first = pd.factorize(predictions["bag"])[0], ~predictions["bag"].duplicated().to_numpy()
    repeat, repeats = pd.factorize(predictions["repeat"])
    table = np.full((len(repeats), int(first.sum()), said.shape[1]), np.nan)
    table[repeat, bag] = said
    alike = math.factorial(len(task.classes)) if task.kind == "multiclass" else 2
    return within_donors(
        table, codes[first], predictions["donor"].to_numpy()[first], alike=alike, **how
    )


def arms_of(predictions: pd.DataFrame, task: Task) -> pd.DataFrame:
    """One score for each label of each donor, as a picture has it.

    Parameters
    ----------
    predictions
        Of one method, in all repeats.
    task
        Of one target. Classes without an order have no one score, but for two.

    Returns
    -------
    DataFrame
        donor, true, score (log odds of the positive class, expected rank of an ordered one, else
        what is predicted; mean over bags and repeats) and in_order (share of the donor's pairs).
    """
    if task.is_classifier:
        p = predictions[[f"p_{c}" for c in task.classes]].to_numpy(float)
        log = np.log(np.clip(p, 1e-15, 1))
        score = log[:, 1] - log[:, 0] if p.shape[1] == 2 else p @ np.arange(p.shape[1])
    else:
        score = predictions["predicted"].to_numpy(float)
    found = of_predictions(predictions, task, draws=0)
    order = pd.Series(found.value, found.donors)
    rows = predictions.assign(score=score).groupby(["donor", "true"], sort=False)["score"].mean()
    table = rows.reset_index()
    table["in_order"] = table["donor"].map(order)
    return table.dropna(subset="in_order").reset_index(drop=True)


def _pairs(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every two of the arms of a donor: positions, (n_pairs,) each."""
    one, two = np.triu_indices(len(rows), 1)
    return rows[one], rows[two]


def _shares(
    arms: np.ndarray, one: np.ndarray, two: np.ndarray, whose: np.ndarray, places: np.ndarray
) -> np.ndarray:
    """(m, n_donors) share of a donor's pairs in order, of (m, n_arms) labels; mean over repeats.

    ``arms`` are (n_repeats, n_arms, n_labels); NaN where no repeat tests two arms of the donor.
    """
    a, b = places[:, one], places[:, two]  # (m, n_pairs)
    gap = arms[:, one, a] - arms[:, one, b] - arms[:, two, a] + arms[:, two, b]
    size = np.abs(arms).max(initial=0.0, where=np.isfinite(arms))
    right = np.where(np.abs(gap) <= _SAME * size, 0.5, gap > 0)  # (n_repeats, m, n_pairs)
    right[np.isnan(gap)] = np.nan
    starts = np.flatnonzero(np.diff(whose, prepend=-1))
    there = np.add.reduceat(np.isfinite(right).astype(float), starts, axis=2)
    total = np.add.reduceat(np.nan_to_num(right), starts, axis=2)
    share = np.divide(total, there, out=np.full(total.shape, np.nan), where=there > 0)
    known = np.isfinite(share)
    n = known.sum(0)
    return np.divide(np.where(known, share, 0).sum(0), n, out=np.full(n.shape, np.nan), where=n > 0)
