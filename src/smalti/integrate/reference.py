"""A reference: codes of labelled cells, and what leaving out its donors in turn taught of them."""

from __future__ import annotations

import dataclasses
import itertools
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from sklearn.base import clone

from smalti.bags import Bags
from smalti.errors import InputError
from smalti.integrate.base import Integration
from smalti.integrate.left_out import LeftOut
from smalti.integrate.misfit import MISFIT, Misfit, coded, scales
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
    misfits
        The same -> which errors of what is rebuilt are unusual; of a model that rebuilds nothing,
        and of files from before, empty.
    scales
        View -> (n_features,) s.d. that errors are told in.
    """

    voters: Mapping[tuple[str, ...], Voters]
    left_out: Mapping[tuple[str, ...], LeftOut]
    misfits: Mapping[tuple[str, ...], Misfit] = dataclasses.field(default_factory=dict)
    scales: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def ask(
        self, model: Integration, bags: Bags
    ) -> Iterator[tuple[tuple[str, ...], np.ndarray, Votes]]:
        """As :func:`ask`, (m,) votes with how badly a cell is rebuilt in their novelty."""
        for views, rows, votes, errors in ask(model, self.voters, bags, self.scales):
            if self.misfits:
                novelty = self.misfits[views](votes.best, errors, votes.novelty)
                votes = dataclasses.replace(votes, novelty=novelty)
            yield views, rows, votes

    def arrays(self) -> dict[str, np.ndarray]:
        """All of it by name, of any shape."""
        out: dict[str, np.ndarray] = {}
        for i, (voters, left) in enumerate(
            zip(self.voters.values(), self.left_out.values(), strict=True)
        ):
            out |= {f"{i}/codes": voters.codes, f"{i}/labels": voters.labels}
            out |= {f"{i}/{name}": getattr(left, name) for name in _COLUMNS}
        for i, views in enumerate(self.voters if self.misfits else ()):
            out |= {f"{i}/{name}": v for name, v in self.misfits[views].arrays().items()}
        return out | {f"scale/{name}": v for name, v in self.scales.items()}

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
        scales = {k.removeprefix("scale/"): v for k, v in arrays.items() if k.startswith("scale/")}
        misfits = {v: Misfit.of({k: arrays[f"{i}/{k}"] for k in MISFIT})
                   for i, v in enumerate(names if scales else ())}  # fmt: skip
        return cls(voters, left, misfits, scales)


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
        scale = scales(one, bags.keep(own))
        for views, parts in found.items():
            near = _voters(one, bags.keep(own), views, labels[own], n_labels, k)
            for _, rows, votes, errors in ask(
                one, {views: near}, bags.keep(asked), scale, only=views
            ):
                turns = np.full(len(rows), turn)
                parts.append((labels[asked[rows]], turns, votes.best, votes.share, votes.novelty,
                              errors))  # fmt: skip
    left: dict[tuple[str, ...], LeftOut] = {}
    misfits: dict[tuple[str, ...], Misfit] = {}
    for v, parts in found.items():
        left[v], misfit = _learned(v, parts, n_labels, k)
        misfits |= {} if misfit is None else {v: misfit}
    return Reference(voters, left, misfits, scales(model, bags.keep(kept)))


def _learned(
    views: tuple[str, ...], parts: list[tuple[np.ndarray, ...]], n_labels: int, k: int
) -> tuple[LeftOut, Misfit | None]:
    """The cells that were left out, and what their errors say, of some modalities."""
    if not parts:
        raise InputError(
            f"no label of cells with {' and '.join(views)} is there in two parts of the reference, "
            "so nobody can tell how sure a label would be: leave batch= (or donor=) out."
        )
    *columns, errors = (np.concatenate(c) for c in zip(*parts, strict=True))
    left = LeftOut(**dict(zip(_COLUMNS, columns, strict=True)), k=k)
    if not errors.shape[1]:
        return left, None
    misfit = Misfit.fit(left.best, errors, left.novelty, n_labels)
    return dataclasses.replace(left, novelty=misfit(left.best, errors, left.novelty)), misfit


def ask(
    model: Integration, voters: Mapping[tuple[str, ...], Voters], bags: Bags,
    scale: Mapping[str, np.ndarray], *, only: tuple[str, ...] = (),
) -> Iterator[tuple[tuple[str, ...], np.ndarray, Votes, np.ndarray]]:  # fmt: skip
    """What each choice of modalities says of the cells that have just these.

    Modalities, (m,) positions of the cells, the votes for them, and their (m, n_views) errors (see
    :func:`~smalti.integrate.misfit.coded`).

    Parameters
    ----------
    model, voters
        Fitted, and the voters of each choice of modalities.
    bags
        Laid out as the model reads them.
    scale
        That errors are told in; none are, where it is empty.
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
        codes, errors = coded(model, part, views, scale)
        yield views, rows, voters[views].ask(codes), errors


def _voters(
    model: Integration, bags: Bags, views: tuple[str, ...], labels: np.ndarray, n_labels: int,
    k: int,
) -> Voters:  # fmt: skip
    """Voters of some modalities: the cells that were measured in one of them."""
    there = measured(bags, views).any(1)
    part = bags if there.all() else bags.keep(there)
    return Voters(coded(model, part, views, {})[0], labels[there], n_labels, k)


def _drawn(labels: np.ndarray, per_label: int, seed: int) -> np.ndarray:
    """Positions of labelled cells, sorted; of each label at most so many, drawn by the seed."""
    rng = np.random.default_rng(seed)
    parts = [np.zeros(0, dtype=np.int64)]
    for label in range(int(labels.max(initial=-1)) + 1):
        own = np.flatnonzero(labels == label)
        parts.append(own if len(own) <= per_label else rng.choice(own, per_label, replace=False))
    return np.sort(np.concatenate(parts))
