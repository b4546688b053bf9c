"""Mixture (class): one Gaussian mixture per class."""

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


class MixtureClass(Method):
    """One full-covariance mixture on all cells of a class; a sample goes to the likeliest class.

    Over the cells x of a sample, with n_c the training samples of class c:

        L_c = sum_x log p_c(x),    label = argmax_c n_c exp(L_c)

    The number of components is chosen by accuracy in folds of the training
    donors.

    ``score`` of a cell is log p_c(x) against the mean of the other classes: it adds up to the
    difference of the L before it is squashed. Probabilities are scores, not calibrated: cells of
    a patient are no independent witnesses.
    """

    name: ClassVar[str] = "mixture_class"
    reference: ClassVar[str] = (
        "Mixture (class) of He et al. (2022). CloudPred. PSB. arXiv:2110.07069"
    )
    cite: ClassVar[tuple[str, ...]] = ("he2022",)
    kinds: ClassVar[tuple[str, ...]] = ("binary", "multiclass", "ordinal")
    embeds: ClassVar[bool] = False

    centers: Count | tuple[Count, ...] = (5, 10, 15, 20, 25)  # components; several: chosen in folds
    folds: Count = 5  # of the training donors, for that choice
    ridge: Positive = 1e-4  # added to variances, in units of the largest
    temper: Literal["squash", "mean"] = "squash"  # asinh of the difference; "mean": per cell
    max_cells: Count = 50_000  # cells of a class that its mixture sees, drawn at random

    def network(self, shape: Shape) -> nn.Module:
        """A mixture per class."""
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
        labels = training.target[bags]
        for c in range(network.n_classes):
            own = bags[labels == c]
            network.log_prior[c] = float(np.log(max(len(own), 1e-9)))
            if len(own):
                cells = bag_cells(network, training, own, self.max_cells)
                network.mixtures.place(c, fit_gaussians(cells, k, self.ridge, training.rng))

    @classmethod
    def example(cls) -> MixtureClass:
        """Few components."""
        return cls(centers=(1, 3), folds=2)


class _Net(MixtureNet):
    log_prior: Tensor

    def __init__(self, method: MixtureClass, shape: Shape) -> None:
        super().__init__(shape, len(shape.task.classes), method.centers, method.temper)
        self.register_buffer("log_prior", torch.zeros(self.n_classes))

    def forward(self, batch: Batch) -> Output:
        log_p = self.mixtures(self.cells(batch.x))  # (n, n_classes)
        likelihood = self.sums(log_p, batch) + self.log_prior
        return self.output(likelihood, log_p, batch)
