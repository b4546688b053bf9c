"""Splits by donor."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence

import numpy as np

from smalti.bags import Bags
from smalti.core.validation import k_folds
from smalti.errors import InputError


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """One fold: positions of training and test bags."""

    repeat: int
    fold: int
    train: np.ndarray  # (n_train,) int64
    test: np.ndarray  # (n_test,) int64


def donor_split(
    bags: Bags, folds: int = 5, *, repeats: int = 1, seed: int = 0
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Folds by donor for scikit-learn: ``cross_val_score(model, bags, cv=donor_split(bags))``.

    scikit-learn knows no donors: its own splitters put samples of one donor on both sides, unless
    they are told by ``groups=bags.donors`` and heed it, as ``StratifiedGroupKFold`` does.

    Parameters
    ----------
    bags
        With a donor and a target.
    folds, repeats, seed
        As in :func:`donor_folds`, whose folds these are.

    Returns
    -------
    list of tuple
        ``folds * repeats`` pairs of positions of training and of test bags, int64.

    Raises
    ------
    InputError
        If no donor is named, or a class has fewer donors than folds.

    Examples
    --------
    >>> import smalti as sm
    >>> from sklearn.model_selection import cross_val_score
    >>> bags = sm.datasets.planted_bags(20, bags_per_donor=2, seed=0)
    >>> model = sm.mil.BagMean(progress=False)
    >>> cross_val_score(model, bags, bags.labels, cv=sm.donor_split(bags, 3)).shape
    (3,)
    """
    parts = donor_folds(bags, folds=folds, repeats=repeats, seed=seed)
    return [(part.train, part.test) for part in parts]


def donor_folds(bags: Bags, *, folds: int = 5, repeats: int = 1, seed: int = 0) -> list[Split]:
    """Repeated stratified k-fold in which no donor is on both sides.

    Parameters
    ----------
    bags
        With a donor and a target.
    folds, repeats
        Folds of each repeat; each bag is tested once a repeat.
    seed
        Of the first repeat; those of the others hang on it, and no two seeds share a dealing.

    Returns
    -------
    list of Split
        ``folds * repeats`` of them.

    Raises
    ------
    InputError
        If no donor is named, or a class has fewer donors than folds.

    Examples
    --------
    >>> import smalti as sm
    >>> bags = sm.datasets.planted_bags(20, bags_per_donor=2, seed=0)
    >>> folds = sm.comparison.donor_folds(bags, folds=5)
    >>> [(len(split.train), len(split.test)) for split in folds]
    [(16, 4), (16, 4), (16, 4), (16, 4), (16, 4)]
    """
    donors, task = bags.donors, bags.task
    if task is None:
        raise InputError("these bags have no target: name it (label=, target= or y=).")
    strata = task.strata(bags.labels)
    if folds < 2:
        raise InputError(f"folds={folds}: at least 2 are needed.")
    if repeats < 1:
        raise InputError(f"repeats={repeats}: at least 1 is needed.")
    if len(np.unique(donors)) < folds:
        raise InputError(f"{len(np.unique(donors))} donors cannot fill {folds} folds.")
    if task.kind in ("binary", "multiclass", "ordinal"):
        counts = [len(np.unique(donors[strata == code])) for code in range(len(task.classes))]
        n = min(counts)  # the rarest class says how many folds there can be
        if n < folds:
            name = task.classes[counts.index(n)]
            mend = f"use folds={n}" if n > 1 else "merge it with another class, or leave it out"
            raise InputError(
                f"class {name!r} has {n} donor{'s' * (n > 1)}, fewer than {folds} folds: {mend}."
            )
    splits = []
    for repeat in range(repeats):
        # no sum: seed 1 would deal as seed 0 does, one repeat later
        dealt = int(np.random.default_rng([seed, repeat]).integers(2**31)) if repeat else seed
        parts = k_folds(folds, strata, donors, dealt)
        splits += [Split(repeat, fold, *part) for fold, part in enumerate(parts)]
    return splits


def split_digest(splits: Sequence[Split], bags: Bags, test: Bags | None = None) -> str:
    """SHA-256 (16 digits) of which bag ids each split tests (perhaps of others) and trains on."""
    sha = hashlib.sha256()
    ids, of_test = ((bags if b is None else b).bag.index.astype(str) for b in (None, test))
    for s in splits:
        for names in (ids[s.train], of_test[s.test]):
            sha.update(f"{s.repeat} {s.fold} {sorted(names)}".encode())
    return sha.hexdigest()[:16]


BY = ("donor", "slide", "tile", "site")
_MOST_FOLDS = 10  # so many donors or slides are left out one at a time


def expression_folds(
    bags: Bags, *, by: str = "donor", folds: int | None = None, seed: int = 0
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Training and test tiles of each fold.

    Parameters
    ----------
    bags
        Slides.
    by
        "donor", "slide", "tile" or "site" (see :func:`compare_expression`).
    folds
        How many.
    seed
        Of the dealing, where a fold holds several donors, slides or tiles.

    Returns
    -------
    list of tuple
        (training, test) positions of tiles, int64.

    Raises
    ------
    InputError
        If there are too few donors or slides.
    """
    if by not in BY:
        raise InputError(f"by={by!r} is not one of {', '.join(BY)}.")
    if by in ("donor", "site"):
        whole = bags.donors if by == "donor" else bags.sites
        units = np.unique(whole, return_inverse=True)[1][bags.index]
    else:
        units = bags.index if by == "slide" else np.arange(bags.n_instances)
    n = int(units.max()) + 1
    if n < 2:
        raise InputError(f"one {by} only: there is nothing to leave out. Try by='tile', or strips.")
    k = folds or (n if n <= _MOST_FOLDS and by != "tile" else 5)
    if not 2 <= k <= n:
        raise InputError(f"folds={k}: there are {n} {by}s to deal to them.")
    order = np.random.default_rng([seed, 77]).permutation(n) if k < n else np.arange(n)
    part = np.empty(n, dtype=np.int64)
    part[order] = np.arange(n) % k
    tested = [part[units] == i for i in range(k)]
    if by != "site":
        return [(np.flatnonzero(~test), np.flatnonzero(test)) for test in tested]
    donors = bags.donors[bags.index]  # whoever was seen at two sites trains for neither
    sides = [(~np.isin(donors, donors[test]), test) for test in tested]
    if not all((train & ~test).any() for train, test in sides):
        raise InputError("every donor has a slide of one site: nobody is left to train on.")
    return [(np.flatnonzero(train & ~test), np.flatnonzero(test)) for train, test in sides]


def tiles_of(bags: Bags, splits: Sequence[Split]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Training and test tiles of splits of slides, (n_tiles,) positions each."""
    sides = [(np.isin(bags.index, s.train), np.isin(bags.index, s.test)) for s in splits]
    return [(np.flatnonzero(train), np.flatnonzero(test)) for train, test in sides]


_DONORS = 5  # from so many on, training and held-out cells come from different ones


def cell_splits(bags: Bags, seeds: Sequence[int]) -> tuple[list[Split], list[str]]:
    """80 % of the cells to train on and the rest, anew for each seed, which is the repeat.

    Parameters
    ----------
    bags
        Cells; donors stay together where there are five or more.
    seeds
        Of the draws.

    Returns
    -------
    tuple
        The splits, of positions of cells; and notes.
    """
    n = bags.n_instances
    donors = np.arange(len(bags)) if bags.donor is None else bags.donors
    n_donors, notes = len(np.unique(donors)), []
    if len(bags) == n == n_donors:  # loose cells
        groups = np.arange(n)
    elif n_donors >= _DONORS:
        groups = np.unique(donors, return_inverse=True)[1][bags.index]
    else:
        groups = np.arange(n)
        notes.append(f"{n_donors} donors are too few to hold some out: held-out cells are of the "
                     "donors in training.")  # fmt: skip
    splits = []
    for seed in seeds:
        order = np.random.default_rng([seed, 20]).permutation(int(groups.max()) + 1)
        held = np.isin(groups, order[: max(1, len(order) // 5)])
        splits.append(Split(seed, 0, np.flatnonzero(~held), np.flatnonzero(held)))
    return splits, notes


def seeds_of(seeds: int | Sequence[int]) -> list[int]:
    """Seeds as a list: so many, counted from 0, or those that are named.

    Raises
    ------
    InputError
        If there are none.
    """
    numbers = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
    if not numbers:
        raise InputError("seeds=0: at least one fit of each method is needed.")
    return numbers
