"""Simulated cohorts with a known truth.

The seed of the law (which direction marks a key instance) and the seed of the sample (which
instances are drawn) are separate, so that training and test cohorts can share one law.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from smalti.bags import Bags
from smalti.errors import InputError
from smalti.labels import KINDS


def planted_bags(
    n_bags: int = 60,
    *,
    mean_length: float = 20.0,
    n_features: int = 8,
    witness_rate: float = 0.25,
    effect: float = 3.0,
    kind: str = "binary",
    n_classes: int = 3,
    bags_per_donor: int = 1,
    law_seed: int = 0,
    seed: int = 0,
) -> Bags:
    """Gaussian instances; some are shifted along a direction that the target depends on.

    Parameters
    ----------
    n_bags
        Number of bags.
    mean_length
        Median number of instances; lengths are log-normal (s.d. 0.5 of the log), at least 1.
    n_features
        Width of an instance.
    witness_rate
        Share of key instances in a bag that has some; at least one.
    effect
        Length of the shift, in standard deviations of the noise.
    kind
        "binary": positive bags hold key instances. "multiclass": class c > 0 holds key instances
        of its own direction. "multilabel": two directions, each there or not. "regression" and
        "ordinal": the share of key instances is drawn evenly from 0 to twice ``witness_rate``;
        it is the target, as it is or cut into ``n_classes``. "binomial": cut into 0, 1, 2.
        "survival": the same share makes the event come earlier; columns ``time`` and ``event``.
    n_classes
        Classes of a multi-class or ordinal target.
    bags_per_donor
        Bags that share a donor, and so their target.
    law_seed, seed
        Seeds of the directions and of the sample.

    Returns
    -------
    Bags
        One view "x" (float32), instance columns ``key`` (bool: the truth) and ``cell_type`` (all
        key instances are of type "c", one in ten of the others); bag columns ``donor`` and
        ``trait``, a number that goes with the target (of the first label).

    Raises
    ------
    InputError
        For an unknown kind, fewer features than directions, or a rate that no bag can have.

    Examples
    --------
    >>> import smalti as sm
    >>> bags = sm.datasets.planted_bags(20, mean_length=10, seed=0)
    >>> len(bags), bags.shape
    (20, (20, 8))
    >>> list(bags.instance)
    ['key', 'cell_type']
    """
    _check(n_bags, mean_length, n_features, witness_rate, kind, n_classes, bags_per_donor)
    law, rng = np.random.default_rng(law_seed), np.random.default_rng(seed)
    axes = np.linalg.qr(law.normal(size=(n_features, n_features)))[0] * effect
    lengths = np.maximum(1, np.exp(rng.normal(np.log(mean_length), 0.5, n_bags))).astype(int)
    donor = np.arange(n_bags) // bags_per_donor
    code = np.arange(donor[-1] + 1)
    share = np.zeros((n_bags, 2))  # of key instances, along up to two directions
    direction = np.zeros((n_bags, 2), dtype=int)
    direction[:, 1] = 1
    y: np.ndarray
    if kind == "multilabel":
        y = np.stack([code % 2, (code // 2) % 2], 1)[donor]
        share = y * witness_rate
    elif kind in ("binary", "multiclass"):
        y = (code % (2 if kind == "binary" else n_classes))[donor]
        share[:, 0] = (y > 0) * witness_rate
        direction[:, 0] = np.maximum(y - 1, 0)
    else:
        level = rng.permutation((code + 0.5) / len(code))[donor]
        share[:, 0] = 2 * witness_rate * level
        cuts = 3 if kind == "binomial" else n_classes
        y = share[:, 0] if kind == "regression" else (level * cuts).astype(int)
        y = _lives(level, donor, seed) if kind == "survival" else y
    bag_of = np.repeat(np.arange(n_bags), lengths)
    place = np.arange(len(bag_of)) - np.repeat(lengths.cumsum() - lengths, lengths)
    x = rng.normal(size=(len(bag_of), n_features))
    key = np.zeros(len(bag_of), dtype=bool)
    start = np.zeros(n_bags, dtype=int)
    for j in range(2):
        count = np.maximum(np.round(share[:, j] * lengths), share[:, j] > 0).astype(int)
        marked = (place >= start[bag_of]) & (place < (start + count)[bag_of])
        x[marked] += axes[direction[bag_of[marked], j]]
        key |= marked
        start += (
            np.minimum(count, np.maximum(lengths - 1 - start, 0)) if kind == "multilabel" else 0
        )
    other = np.random.default_rng([seed, 1]).choice(["a", "b", "c"], len(key), p=[0.45, 0.45, 0.1])
    types = np.where(key, "c", other)
    order = np.lexsort((rng.random(len(bag_of)), bag_of))  # key instances anywhere in their bag
    level = y.reshape(n_bags, -1)[:, 0].astype(float)
    trait = level / max(level.std(), 1e-9) + 0.5 * np.random.default_rng([seed, 2]).normal(
        size=donor[-1] + 1)[donor]  # fmt: skip
    table = pd.DataFrame(
        {"donor": 10_000 * seed + donor, "trait": trait},
        index=pd.Index([f"bag{i}" for i in range(n_bags)]),
    )
    names = [f"label{j}" for j in range(y.shape[1])] if y.ndim == 2 else "target"
    names = ["time", "event"] if kind == "survival" else names
    table[names] = y
    return Bags.from_rows(
        x[order].astype(np.float32), table.index.to_numpy()[bag_of], target=names, kind=kind,
        donor="donor", bag=table,
        instance=pd.DataFrame({"key": key[order], "cell_type": types[order]}),
    )  # fmt: skip


def _lives(level: np.ndarray, donor: np.ndarray, seed: int) -> np.ndarray:
    """(n_bags, 2) months and whether the event was seen; the hazard grows 50-fold with the level.

    A third is censored, evenly over time.
    """
    rng = np.random.default_rng([seed, 3])
    life = rng.exponential(24 * np.exp(-4 * (level[np.unique(donor, return_index=True)[1]] - 0.5)))
    watched = rng.uniform(6, 90, len(life))
    seen = life <= watched
    months = np.round(np.maximum(np.minimum(life, watched), 0.1), 1)
    return np.column_stack([months, seen])[donor]


def _check(
    n_bags: int,
    mean_length: float,
    n_features: int,
    witness_rate: float,
    kind: str,
    n_classes: int,
    bags_per_donor: int,
) -> None:
    if kind not in KINDS:
        raise InputError(f"kind={kind!r} is not one of {KINDS}.")
    n_directions = {"multilabel": 2, "multiclass": n_classes - 1}.get(kind, 1)
    if n_features < n_directions:
        raise InputError(f"n_features={n_features}: this target needs {n_directions} directions.")
    most = 0.5 if kind in ("multilabel", "ordinal", "binomial", "regression", "survival") else 1.0
    if not 0 < witness_rate <= most:
        raise InputError(f"witness_rate={witness_rate} is not over 0 and up to {most} ({kind}).")
    if n_bags < 1 or mean_length <= 0 or bags_per_donor < 1:
        raise InputError("n_bags and bags_per_donor must be at least 1, mean_length over 0.")
