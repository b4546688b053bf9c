"""How badly a cell is rebuilt from its code: what the code cannot say of it.

A network may lay a type that it never saw on one that it knows. Its distance in the code is then as
usual, but what is decoded is the known type and not the cell, so that the error of the cell shows
it; Denouden et al. (2018, arXiv:1812.02765) add the two. Where new cells are rebuilt as well as
known ones, as a new mix of known states is, a sum would rank them by noise. So an error counts only
beyond what nearly all known cells have, and cells that are rebuilt as usual go by distance alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from smalti.bags import Bags
from smalti.integrate.adapt import decoding, refuse_new_batches
from smalti.integrate.base import Integration
from smalti.solve.moments import center_and_spread

MISFIT = ("misfit_center", "misfit_spread", "misfit_ends")
"""Names of the arrays of a :class:`Misfit` in model files."""
_USUAL = 0.98  # share of known cells that were left out, whose errors count for nothing
_FEW = 10  # cells of a label, below which its errors are taken to be those of all
_CLIP = 10.0  # s.d. of a feature, beyond which its error is cut
_LEAST = 1e-9  # mean squared error, of a table that is rebuilt to the last digit


@dataclasses.dataclass(frozen=True, eq=False)
class Misfit:
    """What errors are usual, and how much of an unusual one is added to the novelty of a cell.

    Parameters
    ----------
    center, spread
        (n_labels, n_views) of the log errors of known cells that were left out, by their label.
    cut
        Standard deviations that nearly none of these cells exceeds, in its worst modality.
    unit
        Novelty that one standard deviation beyond it counts for: that of the distance.
    """

    center: np.ndarray
    spread: np.ndarray
    cut: float
    unit: float

    @classmethod
    def fit(cls, best: np.ndarray, errors: np.ndarray, novelty: np.ndarray, n_labels: int) -> Self:
        """Of left-out cells of known labels.

        Parameters
        ----------
        best
            (n,) int64 the label of the vote.
        errors
            (n, n_views) their log errors.
        novelty
            (n,) how far off they lie in the code.
        n_labels
            How many labels there are.
        """
        center = np.tile(np.median(errors, axis=0), (n_labels, 1))
        spread = np.tile(errors.std(0), (n_labels, 1))
        for label in np.unique(best):
            own = errors[best == label]
            n = len(own)
            if n >= _FEW:
                center[label] = np.median(own, axis=0)
            spread[label] = np.sqrt((n * own.var(0) + _FEW * errors.var(0)) / (n + _FEW))
        found = cls(center, np.maximum(spread, 1e-3), 0.0, float(novelty.std()))
        return dataclasses.replace(
            found, cut=float(np.quantile(found._worst(best, errors), _USUAL))
        )

    def _worst(self, best: np.ndarray, errors: np.ndarray) -> np.ndarray:
        """(m,) standard deviations beyond the usual error, in the modality where it is most."""
        return ((errors - self.center[best]) / self.spread[best]).max(1)

    def __call__(self, best: np.ndarray, errors: np.ndarray, novelty: np.ndarray) -> np.ndarray:
        """(m,) novelty with the (m, n_views) errors of cells of (m,) labels in it."""
        return novelty + self.unit * np.maximum(self._worst(best, errors) - self.cut, 0)

    def arrays(self) -> dict[str, np.ndarray]:
        """Its parts by name, of any shape."""
        parts = (self.center, self.spread, np.array([self.cut, self.unit]))
        return dict(zip(MISFIT, parts, strict=True))

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        """From what :meth:`arrays` gave, of any shape."""
        center, spread, ends = (arrays[name] for name in MISFIT)
        return cls(center, spread, *map(float, ends))


def scales(model: Integration, bags: Bags) -> dict[str, np.ndarray]:
    """View -> (n_features,) s.d. of each feature of some cells after the steps; or nothing.

    Errors of a model that does not decode, or that decodes counts at a depth which is not the
    cell's own, say nothing of its type.
    """
    if not model.reconstructs or model.takes_counts:
        return {}
    read = model._read_new(bags)
    return {k: center_and_spread(v, read.present.get(k))[1] for k, v in read.x.items()}


@torch.inference_mode()
def coded(
    model: Integration, bags: Bags, views: tuple[str, ...], scale: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Codes of cells, and how badly each view is rebuilt from them.

    Parameters
    ----------
    model
        Fitted.
    bags
        Cells that were measured in all of these views.
    views
        What is read of them.
    scale
        As :func:`scales` gave it.

    Returns
    -------
    tuple
        (n_cells, d) float64 codes; (n_cells, n_views) float64 logarithm of the mean squared error
        of the features in s.d.; (n_cells, 0) without scales.
    """
    few = bags if len(views) == len(model.features_) else bags.only(views)
    if not scale:
        codes = model.forward(few)[0].astype(np.float64)
        return codes, np.zeros((len(codes), 0))
    network: Any = model.network_
    read = model._read_new(few)
    refuse_new_batches(model, read)
    parts = []
    for batch in model.pieces(read):
        z = model.halves_(network(batch).raw, batch.instance.get("present"))
        out = network.decode(z, *decoding(model.columns_, batch, None))
        errors = [_error(batch.views[k], out[k], scale[k]) for k in views]
        parts.append([t.double().numpy(force=True) for t in (z, torch.stack(errors, dim=1))])
    codes, squares = (np.concatenate(part) for part in zip(*parts, strict=True))
    return codes, np.log(np.maximum(squares, _LEAST))


def _error(x: Tensor, out: Tensor, scale: np.ndarray) -> Tensor:
    """(n,) mean squared error of (n, n_features) rows, in the features' s.d."""
    away = (x - out) / torch.as_tensor(scale).to(out)
    return away.clamp_(-_CLIP, _CLIP).square().mean(1)
