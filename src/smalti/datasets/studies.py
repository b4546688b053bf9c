"""Simulated studies with a known truth: samples in pairs, and donors of several sites."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from smalti.bags import Bags
from smalti.errors import InputError


def planted_pairs(
    n_donors: int = 12,
    *,
    alone: int = 0,
    effect: float = 1.0,
    level: float = 3.0,
    noise: float = 0.5,
    mean_length: float = 20.0,
    n_features: int = 8,
    law_seed: int = 0,
    seed: int = 0,
) -> Bags:
    """A control and a stimulated sample of each donor, who differ more than their samples do.

    Parameters
    ----------
    n_donors
        How many.
    alone
        So many of them have the control alone.
    effect
        Length of the shift of each instance of a stimulated sample.
    level, noise
        Standard deviation of the mean of a donor, and of that of a sample about it, in each
        feature; that of instances about it is 1.
    mean_length
        Mean number of instances of a sample, at least 2.
    n_features
        Width of an instance.
    law_seed, seed
        Seeds of the direction and of the sample.

    Returns
    -------
    Bags
        One view "x"; bag columns ``donor`` and ``target`` ("ctrl" or "stim").

    Raises
    ------
    InputError
        If there are no pairs.

    Examples
    --------
    >>> import smalti as sm
    >>> sm.datasets.planted_pairs(6, alone=1, seed=0).bag["target"].value_counts().to_dict()
    {'ctrl': 6, 'stim': 5}
    """
    if not 0 <= alone < n_donors:
        raise InputError(f"alone={alone} of n_donors={n_donors} leaves no pair.")
    rng = np.random.default_rng(seed)
    donor, stim = np.repeat(np.arange(n_donors), 2), np.tile([0, 1], n_donors)
    kept = (stim == 0) | (donor >= alone)
    donor, stim = donor[kept], stim[kept]
    mean = level * rng.normal(size=(n_donors, n_features))[donor]
    mean += noise * rng.normal(size=mean.shape)
    mean += effect * stim[:, None] * _axis(n_features, law_seed)
    table = pd.DataFrame({"donor": donor, "target": np.array(["ctrl", "stim"])[stim]})
    return _drawn(mean, table, mean_length, rng, donor="donor", target="target")


def planted_sites(
    n_donors: int = 60,
    *,
    n_sites: int = 4,
    effect: float = 1.0,
    shift: float = 2.0,
    unequal: float = 0.0,
    noise: float = 0.5,
    mean_length: float = 20.0,
    n_features: int = 8,
    law_seed: int = 0,
    seed: int = 0,
) -> Bags:
    """One sample of each donor; each site shifts and stretches what it measures.

    Parameters
    ----------
    n_donors, n_sites
        How many; donors are dealt to sites in turn.
    effect
        Length of the shift of each instance of a case.
    shift
        Standard deviation of the shift of a site in each feature; the log of its scale has a
        tenth of that.
    unequal
        0: each site has as many cases as controls, but for chance. 1: a site has either.
    noise
        Standard deviation of the mean of a sample, in each feature; that of instances about it is
        1.
    mean_length
        Mean number of instances of a sample, at least 2.
    n_features
        Width of an instance.
    law_seed, seed
        Seeds of the direction and of the sample.

    Returns
    -------
    Bags
        One view "x"; bag columns ``donor``, ``site`` and ``target`` ("control" or "case").

    Raises
    ------
    InputError
        If ``unequal`` is not between 0 and 1, or a site has no donor.

    Examples
    --------
    >>> import smalti as sm
    >>> import pandas as pd
    >>> bags = sm.datasets.planted_sites(40, unequal=1.0, seed=0)
    >>> pd.crosstab(bags.bag["site"], bags.bag["target"]).to_numpy().tolist()
    [[10, 0], [0, 10], [10, 0], [0, 10]]
    """
    if not 0 <= unequal <= 1 or not 2 <= n_sites <= n_donors:
        raise InputError(f"unequal={unequal} must be from 0 to 1, and n_sites={n_sites} from 2 to "
                         f"n_donors={n_donors}.")  # fmt: skip
    rng = np.random.default_rng(seed)
    site = np.arange(n_donors) % n_sites
    case = (rng.random(n_donors) < np.where(site % 2, 1 - unequal, 1 + unequal) / 2).astype(int)
    mean = noise * rng.normal(size=(n_donors, n_features))
    mean += effect * case[:, None] * _axis(n_features, law_seed)
    moved = shift * rng.normal(size=(n_sites, n_features))[site]
    scale = np.exp(0.1 * shift * rng.normal(size=(n_sites, n_features)))[site]
    table = pd.DataFrame({
        "donor": np.arange(n_donors), "site": [f"site {i + 1:02d}" for i in site],
        "target": np.array(["control", "case"])[case],
    })  # fmt: skip
    return _drawn(mean * scale + moved, table, mean_length, rng, spread=scale, donor="donor",
                  site="site", target="target")  # fmt: skip


def _axis(n_features: int, seed: int) -> np.ndarray:
    """(n_features,) a direction of length 1."""
    axis = np.random.default_rng([seed, 7]).normal(size=n_features)
    return axis / np.linalg.norm(axis)


def _drawn(
    mean: np.ndarray, table: pd.DataFrame, mean_length: float, rng: np.random.Generator,
    spread: np.ndarray | float = 1.0, **named: Any,
) -> Bags:  # fmt: skip
    """Instances about the means (n_bags, n_features) of their bags, with so wide a spread."""
    lengths = 2 + rng.poisson(max(mean_length - 2, 0), len(mean))
    index = np.repeat(np.arange(len(mean)), lengths)
    noise = rng.normal(size=(len(index), mean.shape[1]))
    x = mean[index] + noise * np.broadcast_to(spread, mean.shape)[index]
    table.index = pd.Index([f"bag{i}" for i in range(len(table))])
    return Bags.from_rows(x.astype(np.float32), table.index.to_numpy()[index], bag=table, **named)
