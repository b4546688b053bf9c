"""Folds of whole sites, as alike in their classes as sites allow.

A net knows a site by its stain, its scanner or its reagents, and where sites have other shares of a
class it predicts the site. Folds that keep sites whole do not reward it (Howard et al. 2021, Nature
Communications 12:4423, preserved-site cross-validation). Which site goes to which fold is a small
integer programme; their squares are absolute values here, which free solvers take.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from scipy.optimize import Bounds, LinearConstraint, milp

from smalti.bags import Bags
from smalti.comparison.splits import Split
from smalti.errors import InputError
from smalti.names import some

_NODES = 100  # of the search; what it has found by then is as good as the best for any use


def site_folds(bags: Bags, folds: int) -> tuple[list[Split], list[str]]:
    """Folds that hold whole sites, with as equal numbers of donors of each class as there can be.

    A donor who was seen at sites of several folds trains for none of them.

    Parameters
    ----------
    bags
        With a donor and a site.
    folds
        How many.

    Returns
    -------
    tuple
        Splits, and what is to be known of them.

    Raises
    ------
    InputError
        If there are fewer sites than folds, or nobody is left to train on.
    """
    donors, sites = bags.donors, bags.sites
    n_sites = int(sites.max()) + 1
    if not 2 <= folds <= n_sites:
        raise InputError(f"whole sites in folds={folds}: there are {n_sites} of them. Take from 2 "
                         f"to {n_sites} folds.")  # fmt: skip
    task = bags.task
    strata = np.zeros(len(bags), int) if task is None else task.strata(bags.labels)
    one = np.unique(np.column_stack([sites, strata, donors]), axis=0)  # a donor once a site
    counts = np.zeros((n_sites, int(strata.max()) + 1))
    np.add.at(counts, (one[:, 0], one[:, 1]), 1)
    fold = dealt(counts, folds)[sites]
    splits, lost = [], 0
    for k in range(folds):
        test = fold == k
        train = ~test & ~np.isin(donors, donors[test])
        lost += int((~test & ~train).sum())
        if not train.any():
            raise InputError("donors were seen at sites of all folds: nobody is left to train on. "
                             "Deal donors to folds instead.")  # fmt: skip
        splits.append(Split(0, k, np.flatnonzero(train), np.flatnonzero(test)))
    return splits, _notes(bags, splits, lost)


def dealt(counts: np.ndarray, folds: int) -> np.ndarray:
    """Which fold each site goes to.

    Least is the sum, over folds and classes, of how far the donors of a class in a fold are from
    an equal part of them, as a share of the class.

    Parameters
    ----------
    counts
        (n_sites, n_classes) donors.
    folds
        At most as many as there are sites; none is left empty.

    Returns
    -------
    ndarray
        (n_sites,) int64.

    Raises
    ------
    InputError
        If none is found.

    Examples
    --------
    >>> import smalti as sm
    >>> import numpy as np
    >>> from smalti.comparison.site_folds import dealt
    >>> dealt(np.array([[6, 0], [0, 4], [3, 2], [3, 2]]), 2).tolist()
    [0, 0, 1, 1]
    """
    counts = np.asarray(counts, float)
    counts = counts[:, counts.any(0)]
    (n, m), total = counts.shape, counts.sum(0)
    # site i in fold k stands at i * folds + k; then the distance of class c in fold k
    each = sp.kron(counts.T, sp.eye(folds))  # (m * folds, n * folds) donors of a class in a fold
    far = sp.eye(m * folds)
    nothing = sp.csr_matrix((1, m * folds))
    once = sp.hstack([sp.kron(sp.eye(n), np.ones((1, folds))), sp.vstack([nothing] * n)])
    filled = sp.hstack([sp.kron(np.ones((1, n)), sp.eye(folds)), sp.vstack([nothing] * folds)])
    part = np.repeat(total / folds, folds)
    limits = [
        LinearConstraint(once, 1, 1),
        LinearConstraint(filled, 1, np.inf),
        LinearConstraint(sp.hstack([each, -far]), -np.inf, part),
        LinearConstraint(sp.hstack([each, far]), part, np.inf),
    ]
    # folds have no names: the largest site is in the first, the next in one of the first two, ...
    upper = np.ones((n, folds))
    for rank, site in enumerate(np.argsort(-counts.sum(1), kind="stable")):
        upper[site, rank + 1 :] = 0
    found = milp(
        np.concatenate([np.zeros(n * folds), np.repeat(1 / total, folds)]), constraints=limits,
        bounds=Bounds(0, np.concatenate([upper.ravel(), np.full(m * folds, np.inf)])),
        integrality=np.repeat([1, 0], [n * folds, m * folds]), options={"node_limit": _NODES},
    )  # fmt: skip
    if found.x is None:
        raise InputError(f"no way was found to deal {n} sites to {folds} folds: take fewer folds.")
    return found.x[: n * folds].reshape(n, folds).argmax(1)


def _notes(bags: Bags, splits: list[Split], lost: int) -> list[str]:
    """Donors that train for no fold, and classes that a side lacks."""
    notes = []
    if lost:
        notes.append(f"donors were seen at sites of several folds: {lost} times a bag was left out "
                     "of training, as its donor is tested.")  # fmt: skip
    task = bags.task
    if task is None or not task.is_classifier or task.several:
        return notes
    for side in ("train", "test"):
        lacking: dict[str, list[str]] = {}
        for split in splits:
            there = set(np.unique(task.encode(bags.labels[getattr(split, side)])))
            for code, c in enumerate(task.classes):
                if code not in there:
                    lacking.setdefault(str(c), []).append(str(split.fold))
        if lacking:
            words = "; ".join(f"{c} in fold {some(where)}" for c, where in lacking.items())
            what = "to train on" if side == "train" else "to test"
            notes.append(f"whole sites leave no bag {what} of {words}: sites hold it that are all "
                         "on the other side.")  # fmt: skip
    return notes
