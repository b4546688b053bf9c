"""Cells that lack a modality: what ties the modalities, and codes that lie where whole cells' do.

An encoder that sums up what was measured puts half a cell elsewhere than the whole one, and
clusters then follow what was measured. Where the two differ can be seen on whole training cells:
their code with a modality hidden beside their own. A linear map from the one to the other, fitted
there, is the best linear guess of the whole cell's code. Nothing is taken from the cells that lack
a modality, so they may be other cells than the whole ones, and a difference that is theirs stays.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Self

import numpy as np
import scipy.sparse as sp
import torch
from scipy.sparse.csgraph import connected_components
from sklearn.linear_model import RidgeCV
from torch import Tensor

from smalti.bags import Bags
from smalti.core.fit import FittedState
from smalti.errors import InputError

_LEAST = 20  # whole cells, below which no map is fitted
_MOST = 10_000  # whole cells that it is fitted on
_ALPHAS = np.logspace(-6, 1, 8)  # penalties, of the mean variance of a code times the cells


def _none() -> np.ndarray:
    return np.zeros((0, 0))


@dataclasses.dataclass(frozen=True, eq=False)
class Halves:
    """Maps from codes of cells that lack modalities to those of whole cells.

    Attributes
    ----------
    patterns
        (p, n_views) bool: what was measured, for each map.
    weight
        (p, width, width) float32: code with the others hidden -> code of the whole cell.
    intercept
        (p, width) float32.
    ends
        (2, width) float32, least and most of each unit over whole training cells: what a map gives
        is cut there, so that codes which are never negative stay so.
    """

    patterns: np.ndarray = dataclasses.field(default_factory=_none)
    weight: np.ndarray = dataclasses.field(default_factory=_none)
    intercept: np.ndarray = dataclasses.field(default_factory=_none)
    ends: np.ndarray = dataclasses.field(default_factory=_none)

    @classmethod
    def learn(cls, model: Any, bags: Bags) -> Halves:
        """Maps of a fitted model, from the whole ones among its training cells.

        One for each modality hidden and for each alone, and for whatever else training cells have.

        Parameters
        ----------
        model
            A fitted integration; its codes are as the network gives them.
        bags
            The cells that it was fitted on.

        Returns
        -------
        Halves
            Without a map where there is one modality, or fewer than 20 whole cells.
        """
        there = measured(bags)
        whole = np.flatnonzero(there.all(1))
        m = there.shape[1]
        if m < 2 or len(whole) < _LEAST:
            return cls()
        some = whole[:: -(-len(whole) // _MOST)]
        cells = dataclasses.replace(model._read_new(bags.keep(some)), present={})
        one = np.eye(m, dtype=bool)
        patterns = np.unique(np.concatenate([one, ~one, there]), axis=0)
        patterns = patterns[patterns.any(1) & ~patterns.all(1)]
        names, codes = list(cells.x), model.codes(cells)[0]
        weight, intercept = [], []
        for pattern in patterns:
            hidden = {k: np.full(len(some), on) for k, on in zip(names, pattern, strict=True)}
            half = model.codes(dataclasses.replace(cells, present=hidden))[0]
            scale = max(float(half.var(0).mean()), 1e-12) * len(half)
            fitted = RidgeCV(alphas=_ALPHAS * scale).fit(half, codes)
            weight.append(fitted.coef_.T)
            intercept.append(fitted.intercept_)
        ends = np.stack([codes.min(0), codes.max(0)])
        return cls(patterns, *(np.asarray(v, dtype=np.float32) for v in (weight, intercept, ends)))

    def __call__(self, z: Tensor, present: Tensor | None) -> Tensor:
        """Codes, (n, width), of cells measured as ``present``, (n, n_views) 1 or 0, says."""
        if present is None or not self:
            return z
        out = z.clone()
        low, high = (torch.as_tensor(e).to(z) for e in self.ends)
        for pattern, weight, intercept in zip(self.patterns, self.weight, self.intercept,
                                              strict=True):  # fmt: skip
            at = (present > 0).eq(torch.as_tensor(pattern, device=z.device)).all(1)
            whole = z[at] @ torch.as_tensor(weight).to(z) + torch.as_tensor(intercept).to(z)
            out[at] = whole.clamp(low, high)
        return out

    def __bool__(self) -> bool:
        """Whether it has a map."""
        return len(self.patterns) > 0

    def arrays(self) -> dict[str, np.ndarray]:
        """Its parts by name, of any shape; none without a map."""
        names = [f.name for f in dataclasses.fields(self)] if self else []
        return {f"halves_{name}": getattr(self, name) for name in names}

    @classmethod
    def of(cls, arrays: dict[str, np.ndarray]) -> Halves:
        """From what :meth:`arrays` gave, of any shape; older files have no map."""
        prefix = "halves_"
        return cls(**{k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)})


class WithHalves:
    """Keeps where codes of halves belong, also in model files."""

    halves_ = Halves()  # of a model that has learned none

    def fitted_state(self) -> FittedState:
        """Where codes of halves belong."""
        return FittedState(arrays=self.halves_.arrays())

    @classmethod
    def from_state(cls, settings: dict[str, Any], state: FittedState) -> Self:
        """With what :meth:`fitted_state` gave."""
        method: Any = cls(**settings)
        if found := Halves.of(state.arrays):
            method.halves_ = found
        return method


def measured(bags: Bags) -> np.ndarray:
    """(n_cells, n_views) bool: which views each cell was measured in."""
    everywhere = np.ones(bags.n_instances, dtype=bool)
    return np.stack([bags.present.get(name, everywhere) for name in bags.x], axis=1)


def refuse_untied(bags: Bags) -> None:
    """Refuse modalities that no cell ties: each would have a code of its own.

    Raises
    ------
    InputError
        If the modalities fall into sets of which no cell was measured in two.
    """
    there: Any = measured(bags).astype(np.int64)
    n, group = connected_components(there.T @ there, directed=False)
    if n < 2:
        return
    names = np.asarray(list(bags.x), dtype=object)
    sets = [" and ".join(names[group == g]) for g in range(n)]
    raise InputError(
        f"no cell was measured in both {' and '.join(map(repr, sets[:2]))}: nothing ties them, and "
        "codes of the ones would mean nothing beside those of the others. Add cells that were "
        "measured in both, or give all cells features that they share, such as gene activity in "
        "place of peaks, as one view."
    )


def gaps_told(model: Any, bags: Bags) -> list[str]:
    """Which modalities cells were not measured in, a sentence each.

    Parameters
    ----------
    model
        Fitted.
    bags
        Cells, with views called as those of training.
    """
    if len(model.features_) < 2:  # the one view is read whatever it is called
        return []
    n, there = bags.n_instances, np.ones(bags.n_instances, dtype=bool)
    lacking = {k: n - int((bags.present.get(k, there) if k in bags.x else ~there).sum())
               for k in model.features_}  # fmt: skip
    return [f"{few:,} of {n:,} cells were not measured in {name!r}: of these the model read the "
            "other modalities." for name, few in lacking.items() if few]  # fmt: skip


def with_gaps(model: Any, bags: Bags) -> Bags:
    """Views of training that the cells lack altogether, as rows of zeros that were not measured."""
    lacking = [k for k in model.features_ if k not in bags.x]
    if not lacking or len(lacking) == len(model.features_):  # the one view, or all: another name
        return bags
    n = bags.n_instances
    views = {k: sp.csr_matrix((n, model.inputs_[k][0]), dtype=np.float32) for k in lacking}
    gaps = {k: np.zeros(n, dtype=bool) for k in lacking}
    features = {k: names for k in lacking if (names := model.features_[k])}
    return dataclasses.replace(
        bags, x={**bags.x, **views}, features={**bags.features, **features},
        present={**bags.present, **gaps},
    )  # fmt: skip
