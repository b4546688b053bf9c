"""MOFA+: factors of several modalities by variational inference, fitted by mofapy2."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from smalti.batch import Batch, Output, Shape
from smalti.core.settings import Count, Positive
from smalti.core.stage import Stage, Sweep, Training
from smalti.errors import InputError
from smalti.integrate.base import Integration
from smalti.nn.modalities import Blocks, whole_views
from smalti.system.extras import absent, calling, global_numpy_seed, need

_MOST = 8e9  # bytes of all views as dense float64, which is what mofapy2 takes


class MOFA(Integration):
    """Group factor analysis with sparse weights.

    A view i of a cell is its factors z, weighted, and noise of each feature:

        x_i = W_i z + b_i + noise

    mofapy2 fits q(W), q(tau) and q(z) on the standardised views (Gaussian likelihoods, a
    spike-and-slab prior with automatic relevance determination on W, one group). A cell, old or
    new, is then embedded by the mean of q(z) given q(W) and q(tau), the fixed point of mofapy2's
    own update of z (Argelaguet et al. 2020, supplementary methods), over the views i in which the
    cell was measured:

        z = (I + sum_i E[W_i' T_i W_i])^-1 sum_i E[W_i]' T_i (x_i - b_i),    T_i = diag E[tau_i]

    Factors that are not needed shrink to 0. Where few
    cells have all views, those that lack one may lie apart: ``align_halves=True`` brings them to
    where whole cells lie, by the linear map of the networks here.

    Raises
    ------
    InputError
        In ``fit``: if mofapy2 is not installed; if the views as dense float64, which is what it
        takes, would be over 8 GB (it makes several copies of them); if factors are not fewer than
        cells.
    """

    name: ClassVar[str] = "mofa"
    reference: ClassVar[str] = "Argelaguet et al. (2020), Genome Biol. 21:111 (MOFA+)"
    cite: ClassVar[tuple[str, ...]] = ("argelaguet2020",)
    # muon's tutorials on cells, by authors of MOFA+; cluster_samples of MOFA2 is k-means
    clusters_by: ClassVar[str] = "leiden"
    missing: ClassVar[bool] = True

    width: Count = 15  # factors
    scale_views: bool = False  # each view to overall variance 1, once its features are
    convergence: Literal["fast", "medium", "slow"] = "fast"  # when the bound has come to rest
    iterations: Count = 1000  # of variational inference, at most
    clip: Positive | None = 10.0  # standardised values beyond it are cut
    align_halves: bool = False  # codes of cells that lack a modality, to where whole cells' lie

    @classmethod
    def unavailable(cls) -> str | None:
        """Why it cannot run here (mofapy2 is not installed), or None."""
        return absent("mofapy2", "integrate")

    def network(self, shape: Shape) -> nn.Module:
        """Weights, precisions and intercepts, filled by the fit."""
        return MOFANet(shape, width=self.width, clip=self.clip)

    def plan(self, shape: Shape) -> Iterator[Stage]:
        """One call of the library."""
        yield Sweep(step=self._fit, name="mofapy2")

    @classmethod
    def example(cls) -> MOFA:
        """Small and quick."""
        return cls(width=5, iterations=60)

    def _fit(self, network: nn.Module, training: Training) -> float:
        assert isinstance(network, MOFANet)
        entry_point = need("mofapy2.run.entry_point", "integrate").entry_point
        n, total = training.bags.n_instances, sum(network.blocks.sizes)
        if 8.0 * n * total > _MOST:
            raise InputError(
                f"mofa needs the views as one dense float64 table, here {n:,} cells by {total:,} "
                f"features or {8e-9 * n * total:.1f} GB, over its limit of {_MOST / 1e9:.0f} GB: "
                "select fewer features, with steps such as 'genes=2000' or 'top=5000' in "
                "preprocess=..., or take fewer cells."
            )
        if self.width >= n:
            raise InputError(f"mofa: width={self.width} factors need more than {n} cells.")
        network.blocks.fit(training)
        tables, rows = _tables(network, training)
        with calling("mofapy2"), global_numpy_seed(self.seed):
            model = entry_point()
            model.set_data_options(scale_views=False)  # scaled already, if at all
            scales = [_spread(t) if self.scale_views else 1.0 for t in tables]
            model.set_data_matrix(
                [[t / s] for t, s in zip(tables, scales, strict=True)],
                likelihoods=["gaussian"] * len(tables),
                views_names=[f"view{i}" for i in range(len(tables))], groups_names=["cells"],
                samples_names=[[str(i) for i in range(n)]],
                features_names=[[f"view{i}_{j}" for j in range(t.shape[1])]
                                for i, t in enumerate(tables)],
            )  # fmt: skip
            model.set_model_options(factors=self.width, spikeslab_weights=True, ard_weights=True)
            model.set_train_options(
                iter=self.iterations, convergence_mode=self.convergence, seed=self.seed, quiet=True
            )
            model.build()
            model.run()
        nodes = model.model.getNodes()
        weights, tau = nodes["W"].getExpectations(), nodes["Tau"].getNodes()
        for i, (w, t, scale) in enumerate(zip(weights, tau, scales, strict=True)):
            precision = t.getExpectations(expand=False)["E"][0]
            network.set_view(i, rows[i], w["E"], w["E2"], precision, model.intercepts[i][0], scale)
        bound = model.model.getTrainingStats()["elbo"]
        return -float(bound[np.isfinite(bound)][-1])


def _tables(network: MOFANet, training: Training) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Each view as mofapy2 takes it, and the positions of its features that vary.

    (n_cells, d) float64, NaN where a cell was not measured.
    """

    def rows(batch: Batch) -> list[Tensor]:
        x, present = network.blocks(batch)
        if present is None:
            return x
        return [part.masked_fill(present[:, i, None] == 0, np.nan) for i, part in enumerate(x)]

    tables = [t.astype(np.float64) for t in whole_views(network, training, rows)]
    vary = [np.flatnonzero(np.nanmax(t, axis=0) > np.nanmin(t, axis=0)) for t in tables]
    for name, kept in zip(network.blocks.names, vary, strict=True):
        if not len(kept):
            raise InputError(f"mofa: no feature of view {name!r} varies; leave the view out.")
    return [t[:, v] for t, v in zip(tables, vary, strict=True)], vary


def _spread(table: np.ndarray) -> float:
    """Standard deviation of a whole view about the means of its features, as mofapy2 scales it."""
    return float(np.nanstd(table - np.nanmean(table, axis=0)))


class MOFANet(nn.Module):
    """The posterior means of :class:`MOFA` in closed form.

    Parameters
    ----------
    shape
        Of the views.
    width
        Factors, k.
    clip
        Standardised values beyond it are cut.
    """

    weight: Tensor  # (d, k) E[W] of all views one below the other, in units of the scaled rows
    intercept: Tensor  # (d,)
    project: Tensor  # (d, k) E[tau] E[W]
    gram: Tensor  # (n_views, k, k) E[W' T W]

    def __init__(self, shape: Shape, *, width: int, clip: float | None) -> None:
        super().__init__()
        self.blocks = Blocks(shape.views, clip=clip)
        sizes = self.blocks.sizes
        self.register_buffer("weight", torch.zeros(sum(sizes), width))
        self.register_buffer("intercept", torch.zeros(sum(sizes)))
        self.register_buffer("project", torch.zeros(sum(sizes), width))
        self.register_buffer("gram", torch.zeros(len(sizes), width, width))

    def set_view(
        self, i: int, features: np.ndarray, mean: np.ndarray, square: np.ndarray,
        precision: np.ndarray, intercept: np.ndarray, scale: float,
    ) -> None:  # fmt: skip
        """Take what mofapy2 found for view i, into buffers that are still zero.

        Parameters
        ----------
        i
            Position of the view.
        features
            (d,) positions of the features that mofapy2 saw.
        mean, square
            (d, k) E[W] and E[W^2]; k may be below the width.
        precision
            (d,) E[tau].
        intercept
            (d,) mean of each feature.
        scale
            What the view was divided by.
        """
        k = mean.shape[1]
        projected = precision[:, None] * mean
        gram = mean.T @ projected
        np.fill_diagonal(gram, precision @ square)  # weights are independent in q
        at = torch.as_tensor(features + sum(self.blocks.sizes[:i]), device=self.weight.device)
        self.weight[at, :k] = torch.as_tensor(mean * scale).to(self.weight)
        self.project[at, :k] = torch.as_tensor(projected / scale).to(self.weight)
        self.intercept[at] = torch.as_tensor(intercept * scale).to(self.weight)
        self.gram[i, :k, :k] = torch.as_tensor(gram).to(self.weight)

    def forward(self, batch: Batch) -> Output:
        """Posterior mean of the factors of each cell, (n, width), as ``raw``."""
        x, present = self.blocks(batch)
        sizes, k = list(self.blocks.sizes), self.gram.shape[1]
        # k is small: in float64, so that factors that resemble one another lose no digits
        seen = torch.stack([
            (rows - offset).double() @ project.double()
            for rows, offset, project in zip(
                x, self.intercept.split(sizes), self.project.split(sizes), strict=True
            )
        ])  # fmt: skip
        gram, prior = self.gram.double(), torch.eye(k, dtype=torch.float64, device=seen.device)
        if present is None:
            z = torch.linalg.solve(prior + gram.sum(0), seen.sum(0).t()).t()
        else:
            there = present.double()
            right = torch.einsum("nm,mnk->nk", there, seen)
            z = torch.linalg.solve(prior + torch.einsum("nm,mkl->nkl", there, gram), right)
        return Output(z.to(x[0].dtype))

    def decode(self, z: Tensor) -> dict[str, Tensor]:
        """Each view, (n, n_features), from the factors (n, k), in the units that it was given."""
        rows = torch.addmm(self.intercept, z, self.weight.t())
        return self.blocks.undo(rows.split(self.blocks.sizes, dim=1))


__all__ = ["MOFA", "MOFANet"]
