"""Held-out bags for early stopping: whole donors, in proportion of the classes."""

from __future__ import annotations

import warnings

import numpy as np

from smalti.bags import Bags
from smalti.errors import InputError
from smalti.task import Task


def hold_out(
    bags: Bags, task: Task, share: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Part donors into training and validation.

    Donors are dealt class by class (a donor counts for the class of its first bag), so that each
    class with two donors or more has at least one on each side.

    Parameters
    ----------
    bags
        The training bags. Without a donor column each bag is its own donor.
    task
        The fitted task.
    share
        Share of the donors to hold out, in [0, 1).
    rng
        Source of the draw.

    Returns
    -------
    tuple of arrays
        (n_train,) and (n_valid,) int64 positions of the training and of the validation bags. The
        second is empty when ``share`` is 0, or when there are too few donors; then a warning says
        so.

    Raises
    ------
    InputError
        If ``share`` is not in [0, 1).
    """
    if not 0 <= share < 1:
        raise InputError(f"validation={share} must be at least 0 and less than 1.")
    donors = np.arange(len(bags)) if bags.donor is None else bags.donors
    names, first = np.unique(donors, return_index=True)
    if share == 0:
        return np.arange(len(bags)), np.empty(0, dtype=np.int64)
    strata = task.strata(bags.labels)[first]
    held: list[int] = []
    for group in np.unique(strata):
        members = rng.permutation(names[strata == group])
        n = min(max(1, round(share * len(members))), len(members) - 1)
        held += members[:n].tolist()
    if not held:
        warnings.warn(
            f"only {len(names)} donors: too few to hold any out for validation, so training runs "
            "all its epochs.", stacklevel=2,
        )  # fmt: skip
    inside = np.isin(donors, held)
    return np.flatnonzero(~inside), np.flatnonzero(inside)


def folds_by_donor(
    bags: Bags, task: Task, folds: int, rng: np.random.Generator
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Stratified folds of the training donors, for choosing a setting inside a fit.

    Positions of the bags of each fold, (n_train,) and (n_test,). Fewer folds where a class has
    few donors; an empty list where it has one.
    """
    donors = np.arange(len(bags)) if bags.donor is None else bags.donors
    strata = task.strata(bags.labels)
    rarest = min(len(np.unique(donors[strata == s])) for s in np.unique(strata))
    n = min(folds, rarest) if task.is_classifier else min(folds, len(np.unique(donors)) // 2)
    return k_folds(n, strata, donors, int(rng.integers(2**31))) if n >= 2 else []


def k_folds(
    folds: int, strata: np.ndarray, donors: np.ndarray, seed: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Positions of k folds in which no donor is on both sides, stratified where strata allow it.

    ``strata`` (n,) are whole numbers from 0, ``donors`` (n,) labels; each fold is positions of
    its training and test bags, (n_train,) and (n_test,).
    """
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold, StratifiedKFold

    blank = np.zeros((len(strata), 1))
    if np.bincount(strata).max() < folds:  # e.g. quartiles of a target of few bags
        return list(GroupKFold(folds, shuffle=True, random_state=seed).split(blank, None, donors))
    alone = len(np.unique(donors)) == len(donors)
    kind = StratifiedKFold if alone else StratifiedGroupKFold
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a rare stratum is missing in some folds
        return list(kind(folds, shuffle=True, random_state=seed).split(blank, strata, donors))
