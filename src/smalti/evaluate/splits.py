"""Splits by donor."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable, Sequence

import numpy as np

from smalti.bags import Bags
from smalti.errors import InputError
from smalti.validation import k_folds


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """One fold: positions of training and test bags."""

    repeat: int
    fold: int
    train: np.ndarray
    test: np.ndarray


def donor_folds(bags: Bags, *, folds: int = 5, repeats: int = 1, seed: int = 0) -> list[Split]:
    """Repeated stratified k-fold in which no donor is on both sides.

    Parameters
    ----------
    bags
        With a donor and a target.
    folds, repeats
        Folds of each repeat; each bag is tested once a repeat.
    seed
        Of the first repeat; the next ones count on from it.

    Returns
    -------
    list of Split
        ``folds * repeats`` of them.

    Raises
    ------
    InputError
        If no donor is named, or a class has fewer donors than folds.
    """
    donors, task = bags.donors, bags.task
    if task is None:
        raise InputError("these bags have no target: name it (label=, target= or y=).")
    strata = task.strata(bags.labels)
    if folds < 2:
        raise InputError(f"folds={folds}: at least 2 are needed.")
    if len(np.unique(donors)) < folds:
        raise InputError(f"{len(np.unique(donors))} donors cannot fill {folds} folds.")
    if task.kind in ("binary", "multiclass", "ordinal"):
        for code, name in enumerate(task.classes):
            n = len(np.unique(donors[strata == code]))
            if n < folds:
                raise InputError(
                    f"class {name!r} has {n} donors, fewer than {folds} folds: use folds={n}"
                    f"{' (or merge classes)' if n < 2 else ''}."
                )
    splits = []
    for repeat in range(repeats):
        parts = k_folds(folds, strata, donors, seed + repeat)
        splits += [Split(repeat, fold, *part) for fold, part in enumerate(parts)]
    return splits


def given_folds(bags: Bags, parts: Iterable[Sequence[np.ndarray] | Split]) -> list[Split]:
    """Check a user's own splits.

    Parameters
    ----------
    bags
        With a donor.
    parts
        Pairs of training and test positions.

    Raises
    ------
    InputError
        If a donor is on both sides, or a side is empty.
    """
    donors = bags.donors
    splits = []
    for i, part in enumerate(parts):
        split = part if isinstance(part, Split) else Split(0, i, *map(np.asarray, part))
        if not len(split.train) or not len(split.test):
            raise InputError(f"split {i} has an empty side.")
        both = np.intersect1d(donors[split.train], donors[split.test])
        if len(both):
            bag = bags.bag.index[np.flatnonzero(donors == both[0])[0]]
            name = bag if bags.donor == "bag" else bags.bag[bags.donor].loc[bag]
            name = name.item() if isinstance(name, np.generic) else name
            raise InputError(
                f"donor {name!r} is on both sides of split {i}: its samples would leak. Split by "
                "donor."
            )
        splits.append(split)
    return splits


def split_digest(splits: Sequence[Split], bags: Bags) -> str:
    """SHA-256 (16 digits) of which bag ids each split tests and trains on."""
    sha = hashlib.sha256()
    ids = bags.bag.index.astype(str).to_numpy()
    for s in splits:
        for side in (s.train, s.test):
            sha.update(f"{s.repeat} {s.fold} {sorted(ids[side])}".encode())
    return sha.hexdigest()[:16]
