"""A reference: codes of labelled cells, and what leaving out its donors in turn taught of them."""

from __future__ import annotations

import dataclasses
import itertools
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.model_selection import GroupKFold, StratifiedKFold

from smalti.bags import Bags
from smalti.columns import of_instances
from smalti.errors import InputError
from smalti.integrate.base import Integration
from smalti.integrate.left_out import LeftOut
from smalti.labels import missing
from smalti.solve.votes import Voters, Votes

_MOST = 4  # modalities of which every choice has codes of its own
_COLUMNS = ("truth", "fold", "best", "share", "novelty")


@dataclasses.dataclass(frozen=True, eq=False)
class Reference:
    """Voters and left-out cells of each choice of modalities.

    A query of RNA alone is set beside the reference of RNA alone: codes of half cells do not lie
    where those of whole ones do.

    Parameters
    ----------
    voters, left_out
        Names of modalities, in the order of the model -> voters, and cells left out.
    """

    voters: Mapping[tuple[str, ...], Voters]
    left_out: Mapping[tuple[str, ...], LeftOut]

    def arrays(self) -> dict[str, np.ndarray]:
        """All of it by name, of any shape."""
        out: dict[str, np.ndarray] = {}
        for i, (voters, left) in enumerate(
            zip(self.voters.values(), self.left_out.values(), strict=True)
        ):
            out |= {f"{i}/codes": voters.codes, f"{i}/labels": voters.labels}
            out |= {f"{i}/{name}": getattr(left, name) for name in _COLUMNS}
        return out

    @classmethod
    def of_arrays(
        cls, arrays: Mapping[str, np.ndarray], views: Any, n_labels: int, k: int
    ) -> Reference:
        """What :meth:`arrays` gave, of any shape; ``views``: the choices of modalities in order."""
        names = [tuple(v) for v in views]
        voters = {v: Voters(arrays[f"{i}/codes"], arrays[f"{i}/labels"], n_labels, k)
                  for i, v in enumerate(names)}  # fmt: skip
        left = {
            v: LeftOut(**{name: arrays[f"{i}/{name}"] for name in _COLUMNS}, k=k)
            for i, v in enumerate(names)
        }
        return cls(voters, left)


def choices(model: Integration) -> list[tuple[str, ...]]:
    """Modalities that a cell may have: any of them, where the model takes gaps; all first."""
    names = tuple(model.features_)
    if not model.missing or len(names) > _MOST:
        return [names]
    sizes = range(len(names), 0, -1)
    return [c for size in sizes for c in itertools.combinations(names, size)]


def measured(bags: Bags, names: tuple[str, ...]) -> np.ndarray:
    """(n_instances, n_names) bool: which modalities each cell was measured in."""
    none = np.zeros(bags.n_instances, dtype=bool)
    there = [bags.present.get(k, ~none) if k in bags.x else none for k in names]
    return np.stack(there, axis=1)


def parts_of(
    bags: Bags, codes: np.ndarray, batch: str | None, folds: int, seed: int = 0
) -> tuple[np.ndarray, str, int]:
    """The turn in which each cell is left out, (n_instances,); what is left out; how many.

    Batches where they are named, else donors, else samples, else cells.

    Parameters
    ----------
    bags
        The reference.
    codes
        (n_instances,) int64 labels, among which loose cells are dealt evenly.
    batch
        Column of batches.
    folds
        How many turns, at most.
    seed
        Of how loose cells are dealt.

    Raises
    ------
    InputError
        If a cell has no batch, there is one only, or fewer cells than folds.
    """
    who, what = _left_out(bags, batch)
    if who is not None:
        n = int(who.max()) + 1
        turns = GroupKFold(min(folds, n)).split(who, groups=who)
    else:
        n = bags.n_instances
        if n < folds:
            raise InputError(f"folds={folds} of {n} cells: give more cells, or fewer folds.")
        turns = StratifiedKFold(folds, shuffle=True, random_state=seed).split(codes, codes)
    fold = np.zeros(bags.n_instances, dtype=np.int64)
    with warnings.catch_warnings():  # a label of fewer cells than folds
        warnings.simplefilter("ignore", UserWarning)
        for i, (_, held) in enumerate(turns):
            fold[held] = i
    return fold, what, n


def _left_out(bags: Bags, batch: str | None) -> tuple[np.ndarray | None, str]:
    if batch is not None:
        of_bags = batch in bags.bag
        column = bags.bag[batch].iloc[bags.index] if of_bags else of_instances(bags, batch)
        if missing(column).any():
            raise InputError(
                f"batch {batch!r} is missing for {int(missing(column).sum()):,} cells: fill it in, "
                "or leave these cells out."
            )
        who = np.unique(column.astype(str), return_inverse=True)[1]
        if who.max() == 0:
            raise InputError(
                f"batch {batch!r} is the same for every cell, and one batch cannot be left out: "
                "name another column, or leave batch= out."
            )
        return who, "batch"
    if len(bags) == bags.n_instances and bags.donor in (None, "bag"):
        return None, "cell"
    who = np.arange(len(bags)) if bags.donor is None else bags.donors
    what = "sample" if bags.donor is None else "donor"
    return (who[bags.index], what) if who.max() > 0 else (None, "cell")


def learn(
    model: Integration,
    method: Integration | None,
    bags: Bags,
    labels: np.ndarray,
    n_labels: int,
    fold: np.ndarray,
    k: int,
    per_label: int,
    seed: int,
) -> Reference:
    """The reference of a fitted model.

    Parameters
    ----------
    model
        Fitted on all cells.
    method
        To be fitted anew without the cells that are left out; None: ``model`` reads them.
    bags
        Of the reference.
    labels
        (n_instances,) int64, -1 where there is none: such cells do not vote.
    n_labels
        How many labels there are.
    fold
        (n_instances,) the turn in which each cell is left out.
    k, per_label, seed
        Voters of a cell; cells of a label that are kept, drawn by the seed.

    Raises
    ------
    InputError
        If no label is there in two donors or batches, so that nothing can be calibrated.
    """
    kept = _drawn(labels, per_label, seed)
    voters = {
        v: _voters(model, bags.keep(kept), v, labels[kept], n_labels, k) for v in choices(model)
    }
    found: dict[tuple[str, ...], list[tuple[np.ndarray, ...]]] = {v: [] for v in voters}
    for turn in np.unique(fold):
        train, held = fold != turn, fold == turn
        own = _drawn(np.where(train, labels, -1), per_label, seed)
        # a label that no other donor has is rightly not found
        asked = np.flatnonzero(held & (labels >= 0) & np.isin(labels, labels[own]))
        if not len(asked):
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the fit of all cells says what is to be said
            one = model if method is None else clone(method).fit(bags.keep(train))
        for views, parts in found.items():
            several = _voters(one, bags.keep(own), views, labels[own], n_labels, k)
            for _, rows, votes in ask(one, {views: several}, bags.keep(asked), only=views):
                turns = np.full(len(rows), turn)
                parts.append((labels[asked[rows]], turns, votes.best, votes.share, votes.novelty))
    left = {}
    for v, parts in found.items():
        if not parts:
            raise InputError(
                f"no label of cells with {' and '.join(v)} is there in two parts of the reference, "
                "so nobody can tell how sure a label would be: leave batch= (or donor=) out."
            )
        columns = (np.concatenate(c) for c in zip(*parts, strict=True))
        left[v] = LeftOut(**dict(zip(_COLUMNS, columns, strict=True)), k=k)
    return Reference(voters, left)


def ask(
    model: Integration, voters: Mapping[tuple[str, ...], Voters], bags: Bags,
    *, only: tuple[str, ...] = (),
) -> Iterator[tuple[tuple[str, ...], np.ndarray, Votes]]:  # fmt: skip
    """Modalities, (m,) positions of the cells that have just these, and the votes for them.

    Parameters
    ----------
    model, voters
        Fitted, and the voters of each choice of modalities.
    bags
        Laid out as the model reads them.
    only
        Modalities that are looked at; all when left out. Cells that lack one of them are passed
        over then.

    Raises
    ------
    InputError
        If there are no voters of the modalities that a cell has.
    """
    names = tuple(model.features_)
    there = measured(bags, names)
    if only:
        wanted = np.array([name in only for name in names])
        there = np.where(there[:, wanted].all(1, keepdims=True), wanted, False)
    for row in np.unique(there, axis=0):
        rows = np.flatnonzero((there == row).all(1))
        views = tuple(n for n, yes in zip(names, row, strict=True) if yes)
        if not views and only:
            continue
        if views not in voters:
            raise InputError(
                f"{len(rows):,} cells were measured in {' and '.join(views) or 'no modality'}, and "
                f"the reference knows {'; '.join(' and '.join(v) for v in voters)}: leave them out."
            )
        part = bags if len(rows) == bags.n_instances else bags.keep(rows)
        yield views, rows, voters[views].ask(_codes(model, part, views))


def _codes(model: Integration, bags: Bags, views: tuple[str, ...]) -> np.ndarray:
    """(n_instances, d) float64 codes of cells, of which some modalities are read."""
    few = bags if len(views) == len(model.features_) else bags.only(views)
    return model.forward(few)[0].astype(np.float64)


def _voters(
    model: Integration, bags: Bags, views: tuple[str, ...], labels: np.ndarray, n_labels: int,
    k: int,
) -> Voters:  # fmt: skip
    """Voters of some modalities: the cells that were measured in one of them."""
    there = measured(bags, views).any(1)
    part = bags if there.all() else bags.keep(there)
    return Voters(_codes(model, part, views), labels[there], n_labels, k)


def _drawn(labels: np.ndarray, per_label: int, seed: int) -> np.ndarray:
    """Positions of labelled cells, sorted; of each label at most so many, drawn by the seed."""
    rng = np.random.default_rng(seed)
    parts = [np.zeros(0, dtype=np.int64)]
    for label in range(int(labels.max(initial=-1)) + 1):
        own = np.flatnonzero(labels == label)
        parts.append(own if len(own) <= per_label else rng.choice(own, per_label, replace=False))
    return np.sort(np.concatenate(parts))
