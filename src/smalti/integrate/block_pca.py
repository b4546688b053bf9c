"""Principal components of the joined modalities, each of the same total variance."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import scipy.linalg
import torch
from torch import Tensor, nn

from smalti.bags import Bags
from smalti.batch import Batch, Output, Shape
from smalti.core.settings import Count, Positive
from smalti.core.stage import Stage, Sweep, Training
from smalti.errors import InputError
from smalti.integrate.base import Integration, as_cells
from smalti.nn.modalities import Blocks, blocks_sweep

_LEAST = 0.01  # residual variance, of a feature's mean variance
_WIDEST = 25_000  # features: the covariance of more would not fit


class BlockPCA(Integration):
    """Principal components of all modalities, each scaled to the same total variance.

    PCA of the table [x_i / sqrt(d_i)]: standardised features are divided by the root of their
    number, so that every modality has the variance 1 in all. It is the linear optimum of UMINT's
    error, without settings to tune and without luck: no linear code of the same width has a
    lower sum of the modalities' mean squared errors. The covariance is summed up in pieces.

    Covariances are taken over the cells that were measured in both features. A cell that lacks a
    modality is embedded by a posterior mean in the manner of probabilistic PCA (Tipping & Bishop
    1999): the least squares of what it has, drawn towards 0 where that says little. The prior
    variance of a score is that of the scores of complete cells, which are not drawn at all.
    """

    name: ClassVar[str] = "block_pca"
    reference: ClassVar[str] = "Escofier & Pages (1994), Comput. Stat. Data Anal. 18:121 (MFA)"
    cite: ClassVar[tuple[str, ...]] = ("escofier1994",)
    baseline: ClassVar[bool] = True

    width: Count = 64  # components
    clip: Positive | None = 10.0  # standardised values beyond it are cut
    modality: str | None = None  # PCA of this one alone, the control of every integration

    def fit(self, X: Any, y: Any = None, *, checkpoint: str | Path | None = None) -> Self:
        """Learn from cells (see :meth:`Integration.fit`); of one modality alone if so set."""
        if self.modality is None:
            return super().fit(X, y, checkpoint=checkpoint)
        bags = as_cells(X)
        name, view = bags.view(self.modality)
        alone = dataclasses.replace(
            bags, x={name: view},
            features={k: v for k, v in bags.features.items() if k == name},
            present={k: v for k, v in bags.present.items() if k == name},
        )  # fmt: skip
        return super().fit(alone, y, checkpoint=checkpoint)

    def _takes_one(self) -> bool:
        return self.modality is not None

    def _steps(self, bags: Bags) -> Any:
        steps = super()._steps(bags)
        if self.modality is None or not isinstance(steps, Mapping):
            return steps
        return {k: v for k, v in steps.items() if k in bags.x}  # those of the others are not needed

    def network(self, shape: Shape) -> nn.Module:
        """Means, axes and variances as buffers."""
        return BlockPCANet(self, shape)

    def plan(self, shape: Shape) -> Iterator[Stage]:
        """Standardise, then the closed form."""
        yield blocks_sweep()
        yield Sweep(step=components, name="components")

    @classmethod
    def example(cls) -> BlockPCA:
        """Few components."""
        return cls(width=8)


class BlockPCANet(nn.Module):
    """The linear map of :class:`BlockPCA`.

    Raises
    ------
    InputError
        If there are too many features for a covariance of them all.
    """

    axes: Tensor  # (d, width) of all views side by side
    center: Tensor  # (d,)
    residual: Tensor  # (), a scalar
    variance: Tensor  # (width,)

    def __init__(self, method: BlockPCA, shape: Shape) -> None:
        super().__init__()
        self.blocks = Blocks(shape.views, clip=method.clip)
        d = sum(self.blocks.sizes)
        if d > _WIDEST:
            raise InputError(
                f"block_pca of {d:,} features: select fewer first, with steps such as 'genes=2000' "
                "or 'top=20000' in preprocess=..."
            )
        k = min(method.width, d)
        self.register_buffer("axes", torch.zeros(d, k))  # orthonormal
        self.register_buffer("variance", torch.zeros(k))
        self.register_buffer("residual", torch.zeros(()))  # variance of each feature besides
        self.register_buffer("center", torch.zeros(d))  # clipping moves the mean a little

    def rows(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Scaled rows of all modalities side by side, (n, d); and what was measured.

        The latter is (n, n_views) 1 or 0, or None where everything was.
        """
        x, present = self.blocks(batch)
        return torch.cat([part / part.shape[1] ** 0.5 for part in x], dim=1), present

    def forward(self, batch: Batch) -> Output:
        """Scores of each cell as ``raw``."""
        x, present = self.rows(batch)
        if present is None or bool((present == 1).all()):
            return Output((x - self.center) @ self.axes)
        z = x.new_zeros(len(x), self.axes.shape[1])
        sizes = torch.tensor(self.blocks.sizes, device=x.device)
        patterns, which = torch.unique(present, dim=0, return_inverse=True)
        for p, pattern in enumerate(patterns):
            at = which == p
            seen = pattern.repeat_interleave(sizes, output_size=x.shape[1]) > 0
            z[at] = self._partial((x[at] - self.center)[:, seen], self.axes[seen]).to(z.dtype)
        return Output(z)

    def _partial(self, x: Tensor, axes: Tensor) -> Tensor:
        """Posterior mean of the scores given some of the features, (n, k)."""
        if axes.shape[0] == self.axes.shape[0]:
            return x @ axes
        # scores have the variance of their component, features the residual variance besides
        noise = self.residual.clamp(min=1e-12)
        gram = axes.t() @ axes
        prior = noise / self.variance.clamp(min=1e-12)
        return torch.linalg.solve((gram + prior.diag()).double(), (axes.t() @ x.t()).double()).t()

    def decode(self, z: Tensor) -> dict[str, Tensor]:
        """Each view, (n, n_features), from the scores (n, width)."""
        out = (z @ self.axes.t() + self.center).split(self.blocks.sizes, dim=1)
        return self.blocks.undo([part * part.shape[1] ** 0.5 for part in out])


def components(network: nn.Module, training: Training) -> None:
    """Leading eigenvectors of the covariance over cells measured in both features."""
    assert isinstance(network, BlockPCANet)
    d, m = sum(network.blocks.sizes), len(network.blocks.sizes)
    gram, total, pairs = np.zeros((d, d)), np.zeros((m, d)), np.zeros((m, m))
    edges = np.concatenate([[0], np.cumsum(network.blocks.sizes)])
    for batch in training.instances(network):
        x, present = network.rows(batch)
        there = x.new_ones(len(x), m) if present is None else present.to(x.dtype)
        # pieces in the network's precision, their sum in float64; rows not measured are 0
        gram += (x.t() @ x).numpy(force=True)
        total += (there.t() @ x).numpy(force=True)  # of each feature, where modality j is there
        pairs += (there.t() @ there).numpy(force=True)
    cov = np.empty((d, d))
    own = np.concatenate([total[j, edges[j] : edges[j + 1]] / max(pairs[j, j], 1)
                          for j in range(m)])  # fmt: skip
    for i in range(m):
        for j in range(m):
            a, b = slice(edges[i], edges[i + 1]), slice(edges[j], edges[j + 1])
            n = max(pairs[i, j], 1)
            # about the mean of the cells that have both
            cov[a, b] = gram[a, b] / n - np.outer(total[j, a] / n, total[i, b] / n)
    keep = network.axes.shape[1]
    values, vectors = scipy.linalg.eigh(cov, subset_by_index=(d - keep, d - 1))
    vectors, values = vectors[:, ::-1], np.maximum(values[::-1], 0)
    signs = np.sign(vectors[np.abs(vectors).argmax(0), np.arange(keep)])
    left = max(np.trace(cov) - values.sum(), 0) / max(d - keep, 1)
    # with nearly all components none is left, and gaps would be filled by dividing by rounding
    left = max(left, _LEAST * np.trace(cov) / d)
    network.axes.copy_(torch.as_tensor(vectors * signs))
    network.variance.copy_(torch.as_tensor(values.copy()))
    network.residual.fill_(float(left))
    network.center.copy_(torch.as_tensor(own))
