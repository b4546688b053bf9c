"""Principal components of the joined modalities, each of the same total variance."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self, TypeAlias

import numpy as np
import scipy.linalg
import scipy.sparse as sp
import torch
from torch import Tensor, nn

from smalti.bags import Bags
from smalti.batch import Batch, Output, Shape
from smalti.core.settings import Count, Positive
from smalti.core.stage import Stage, Sweep, Training
from smalti.integrate.base import Integration, as_cells
from smalti.nn.modalities import Blocks, blocks_sweep
from smalti.solve.components import components as components_of
from smalti.solve.components import covariance_of_pairs, largest, signed

_LEAST = 0.01  # residual variance, of a feature's mean variance
_WIDE = 4000  # features up to which their covariance is made


class BlockPCA(Integration):
    """Principal components of all modalities, each scaled to the same total variance.

    PCA of the table [x_i / sqrt(d_i)]: standardised features are divided by the root of their
    number, so that every modality has the variance 1 in all. It is the linear optimum of UMINT's
    error, without settings to tune and without luck: no linear code of the same width has a
    lower sum of the modalities' mean squared errors. The covariance is summed up in pieces; of more
    than 4,000 features it is never made, and the components come by Lanczos iteration, the same to
    rounding (of few cells, from the products of the cells): time and memory grow with what is
    stored, sparse tables stay sparse, and fewer cells than components leave the rest of them 0.

    Covariances are taken over the cells that were measured in both features. A cell that lacks a
    modality is embedded by a posterior mean in the manner of probabilistic PCA (Tipping & Bishop
    1999): the least squares of what it has, drawn towards 0 where that says little. The prior
    variance of a score is that of the scores of complete cells, which are not drawn at all.
    """

    name: ClassVar[str] = "block_pca"
    reference: ClassVar[str] = "Escofier & Pages (1994), Comput. Stat. Data Anal. 18:121 (MFA)"
    cite: ClassVar[tuple[str, ...]] = ("escofier1994",)
    baseline: ClassVar[bool] = True
    clusters_by: ClassVar[str] = "leiden"  # as scanpy's tutorials do with components of PCA

    width: Count = 64  # components
    clip: Positive | None = 10.0  # standardised values beyond it are cut
    modality: str | None = None  # PCA of this one alone, the control of every integration

    def fit(
        self, X: Any, y: Any = None, *, checkpoint: str | Path | None = None, callbacks: Any = None
    ) -> Self:
        """Learn from cells (see :meth:`Integration.fit`); of one modality alone if so set."""
        if self.modality is None:
            return super().fit(X, y, checkpoint=checkpoint, callbacks=callbacks)
        bags = as_cells(X)
        name, view = bags.view(self.modality)
        alone = dataclasses.replace(
            bags, x={name: view},
            features={k: v for k, v in bags.features.items() if k == name},
            present={k: v for k, v in bags.present.items() if k == name},
        )  # fmt: skip
        return super().fit(alone, y, checkpoint=checkpoint, callbacks=callbacks)

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
    """The linear map of :class:`BlockPCA`."""

    axes: Tensor  # (d, width) of all views side by side
    center: Tensor  # (d,)
    residual: Tensor  # (), a scalar
    variance: Tensor  # (width,)

    def __init__(self, method: BlockPCA, shape: Shape) -> None:
        super().__init__()
        self.blocks = Blocks(shape.views, clip=method.clip)
        d = sum(self.blocks.sizes)
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
    d, keep = sum(network.blocks.sizes), network.axes.shape[1]
    find = _of_covariance if d <= _WIDE else _of_products
    values, vectors, center, trace = find(network, training)
    values = np.maximum(values, 0)
    left = max(trace - values.sum(), 0) / max(d - keep, 1)
    # with nearly all components none is left, and gaps would be filled by dividing by rounding
    left = max(left, _LEAST * trace / d)
    found = len(values)
    network.axes[:, :found].copy_(torch.as_tensor(signed(vectors)))
    network.variance[:found].copy_(torch.as_tensor(values.copy()))
    network.residual.fill_(float(left))
    network.center.copy_(torch.as_tensor(center))


Found: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray, float]  # (k,), (d, k), (d,), trace


def _of_products(network: BlockPCANet, training: Training) -> Found:
    """From products of the scaled tables with vectors: no covariance is made."""
    bags, keep = training.bags, network.axes.shape[1]
    scaled = [(table / table.shape[1] ** 0.5, away / table.shape[1] ** 0.5)
              for table, away in network.blocks.tables(training)]  # fmt: skip
    tables, away = [t for t, _ in scaled], np.concatenate([a for _, a in scaled])
    n = bags.n_instances
    there = np.stack([bags.present.get(name, np.ones(n, dtype=bool))
                      for name in network.blocks.names], axis=1)  # fmt: skip
    multiply, mean, variance = covariance_of_pairs(tables, there)
    if there.all():
        sparse = any(map(sp.issparse, tables))
        joined = sp.hstack(tables, format="csr") if sparse else np.hstack(tables)
        values, vectors = components_of(joined, min(keep, *joined.shape), mean=mean)
        values = values / n
    else:
        values, vectors = largest(multiply, len(mean), keep)
    return values, vectors, mean + away, float(variance.sum())


def _gram(x: Tensor) -> np.ndarray:
    """Products of the columns of (n, d): (d, d)."""
    if x.is_cuda:
        return np.asarray((x.t() @ x).numpy(force=True))
    rows = x.numpy(force=True)
    return np.asarray(rows.T @ rows)  # half the work: NumPy sees that it is symmetric


def _of_covariance(network: BlockPCANet, training: Training) -> Found:
    """From the covariance of all features, summed up in pieces."""
    d, m = sum(network.blocks.sizes), len(network.blocks.sizes)
    gram, total, pairs = np.zeros((d, d)), np.zeros((m, d)), np.zeros((m, m))
    edges = np.concatenate([[0], np.cumsum(network.blocks.sizes)])
    for batch in training.instances(network):
        x, present = network.rows(batch)
        there = x.new_ones(len(x), m) if present is None else present.to(x.dtype)
        # pieces in the network's precision, their sum in float64; rows not measured are 0
        gram += _gram(x)
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
    return values[::-1], vectors[:, ::-1], own, float(np.trace(cov))
