"""Mixture (patient): one Gaussian mixture per training sample."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from smalti.batch import Batch, Output, Shape
from smalti.core.settings import Count, Positive
from smalti.core.stage import Stage, Sweep, Training
from smalti.mil.base import Method
from smalti.nn.mixture import MixtureNet, bag_cells, choose_centers, scale_cells
from smalti.solve.mixture import fit_gaussians


class MixturePatient(Method):
    """One full-covariance mixture per training sample; a new sample is like the likeliest of them.

    Over the cells x of a sample, and the training samples m of each class c:

        L_m = sum_x log p_m(x),    p(c) = sum_(m of c) exp(L_m) / sum_m exp(L_m)

    It is a rule of the nearest sample by likelihood, with the
    frequency of the classes as prior. The number of components, at most the number of cells, is
    chosen by accuracy in folds of the training donors.

    ``score`` of a cell is sum_m q_m log p_m(x) for each class, q_m the share of sample m in its
    class for the cell's own sample, against the mean of the other classes. Probabilities are
    scores, not calibrated.
    """

    name: ClassVar[str] = "mixture_patient"
    reference: ClassVar[str] = (
        "Mixture (patient) of He et al. (2022). CloudPred. PSB. arXiv:2110.07069"
    )
    cite: ClassVar[tuple[str, ...]] = ("he2022",)
    kinds: ClassVar[tuple[str, ...]] = ("binary", "multiclass", "ordinal")
    embeds: ClassVar[bool] = False

    centers: Count | tuple[Count, ...] = (5, 10, 15, 20, 25)  # components; several: chosen in folds
    folds: Count = 5  # of the training donors, for that choice
    ridge: Positive = 1e-4  # added to variances, in units of the largest
    temper: Literal["squash", "mean"] = "squash"  # asinh of the difference; "mean": per cell
    max_cells: Count = 5_000  # cells of a sample that its mixture sees, drawn at random

    def network(self, shape: Shape) -> nn.Module:
        """A mixture per training sample."""
        return _Net(self, shape)

    def plan(self, shape: Shape) -> Iterator[Stage]:
        """Scale, choose the number of components, fit."""
        yield scale_cells()
        yield Sweep(step=self._fit, name="mixtures")

    def _fit(self, network: nn.Module, training: Training) -> None:
        assert isinstance(network, _Net)
        everything = np.arange(len(training.bags))
        best = choose_centers(network, training, self.centers, self.folds, self._place)
        self._place(network, training, everything, best)

    def _place(self, network: MixtureNet, training: Training, bags: np.ndarray, k: int) -> None:
        assert isinstance(network, _Net)
        network.label.fill_(-1)  # samples that are not asked are of no class
        for m in bags:
            cells = bag_cells(network, training, np.array([m]), self.max_cells)
            network.mixtures.place(int(m), fit_gaussians(cells, k, self.ridge, training.rng))
            network.label[m] = int(training.target[m])

    @classmethod
    def example(cls) -> MixturePatient:
        """Few components."""
        return cls(centers=(1, 2), folds=2, ridge=0.1)


class _Net(MixtureNet):
    label: Tensor

    def __init__(self, method: MixturePatient, shape: Shape) -> None:
        super().__init__(shape, shape.n_units, method.centers, method.temper)
        self.register_buffer("label", torch.full((shape.n_units,), -1))

    def forward(self, batch: Batch) -> Output:
        log_p = self.mixtures(self.cells(batch.x))  # (n, n_training_samples)
        whole = self.sums(log_p, batch)  # (n_bags, n_training_samples)
        likelihood, cell = [], []
        for c in range(self.n_classes):
            own = whole.masked_fill(self.label != c, -torch.inf)
            top = own.logsumexp(1)
            likelihood.append(top.nan_to_num(neginf=-1e30))  # a class without sample
            share = (own - top[:, None]).exp().nan_to_num(0.0).to(log_p.dtype)
            cell.append((share[batch.segments.index] * log_p).sum(1))
        return self.output(torch.stack(likelihood, 1), torch.stack(cell, 1), batch)
