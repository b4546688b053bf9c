"""miFV: Fisher vectors of a Gaussian mixture, and a linear model."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from smalti import segment
from smalti.batch import Batch, Shape
from smalti.core.settings import Count, Share
from smalti.core.stage import Stage, Sweep, Training
from smalti.mil.base import Method
from smalti.nn.linear import BagLinear, linear_sweep
from smalti.views import dense_rows


class MiFV(Method):
    """PCA, a diagonal Gaussian mixture of all training instances, one Fisher vector per bag.

    A bag becomes the gradients of its mean log likelihood with respect to the means and standard
    deviations of the mixture (Sanchez et al. 2013, equations 16 to 18), signed square root, unit
    length. The paper reads them with a linear support vector machine; here it is the penalised
    linear model of all baselines, which gives probabilities and every kind of target.
    """

    name: ClassVar[str] = "mifv"
    reference: ClassVar[str] = (
        "Wei, Wu & Zhou (2017). Scalable algorithms for multi-instance learning. IEEE TNNLS 28"
    )
    cite: ClassVar[tuple[str, ...]] = ("wei2017",)

    components: Count = 2  # Gaussians in the mixture
    variance: Share = 0.9  # share of the variance that PCA keeps; 1: all
    max_instances: Count = 50_000  # instances that PCA and mixture see, drawn at random

    def network(self, shape: Shape) -> nn.Module:
        """PCA, mixture, Fisher vector, linear head."""
        return _Net(int(np.prod(shape.x)), self.components, shape)

    def plan(self, shape: Shape) -> Iterator[Stage]:
        """The mixture, then one convex fit."""
        yield Sweep(step=self._mixture, name="mixture")
        yield linear_sweep()

    def _mixture(self, network: nn.Module, training: Training) -> None:
        from sklearn.mixture import GaussianMixture

        assert isinstance(network, _Net)
        bags = training.bags
        rows = np.arange(bags.n_instances)
        if len(rows) > self.max_instances:
            rows = np.sort(training.rng.choice(rows, self.max_instances, replace=False))
        x = dense_rows(bags.view()[1], rows).reshape(len(rows), -1).astype(np.float64)
        mean, sd = x.mean(0), x.std(0)
        sd[sd <= 1e-7 * np.maximum(np.abs(mean), 1e-30)] = 1.0
        _, s, vt = np.linalg.svd((x - mean) / sd, full_matrices=False)
        share = np.cumsum(s**2) / max((s**2).sum(), 1e-300)
        keep = min(int(np.searchsorted(share, min(self.variance, 1.0) - 1e-9)) + 1, len(s))
        axes = vt[:keep].T / sd[:, None]
        z = (x - mean) @ axes
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # few instances: the mixture need not converge
            mixture = GaussianMixture(
                min(self.components, len(np.unique(z, axis=0))), covariance_type="diag",
                random_state=int(training.rng.integers(2**31)), reg_covar=1e-3,
            ).fit(z)  # fmt: skip
        network.place(mean, axes, mixture.weights_, mixture.means_, mixture.covariances_)

    @classmethod
    def example(cls) -> MiFV:
        """A mixture of two."""
        return cls(components=2)


class _Net(BagLinear):
    """Buffers have full width; PCA axes and Gaussians that are not used stay zero."""

    mean: Tensor
    axes: Tensor
    weights: Tensor
    means: Tensor
    variances: Tensor

    def __init__(self, width: int, components: int, shape: Shape) -> None:
        super().__init__(2 * components * width, shape)
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("axes", torch.zeros(width, width))
        self.register_buffer("weights", torch.zeros(components))
        self.register_buffer("means", torch.zeros(components, width))
        self.register_buffer("variances", torch.ones(components, width))

    def place(self, mean: np.ndarray, axes: np.ndarray, *mixture: np.ndarray) -> None:
        self.mean.copy_(torch.as_tensor(mean))
        self.axes[:, : axes.shape[1]] = torch.as_tensor(axes)
        weights, means, variances = map(torch.as_tensor, mixture)
        self.weights[: len(weights)] = weights
        self.means[: len(weights), : means.shape[1]] = means
        self.variances[: len(weights), : means.shape[1]] = variances

    def features(self, batch: Batch) -> Tensor:
        x, segments = batch.x.flatten(1), batch.segments
        z = (x - self.mean) @ self.axes  # (n, width)
        sd = self.variances.sqrt()
        log_p = -0.5 * (((z[:, None] - self.means) / sd) ** 2).sum(2) - sd.log().sum(1)
        share = (self.weights.log() + log_p).softmax(1)  # (n, components)
        parts = []
        for k in range(len(self.weights)):
            u = (z - self.means[k]) / sd[k]
            root = self.weights[k].clamp(min=1e-12).sqrt() * segments.lengths[:, None]
            parts.append(segment.total(u, segments, share[:, k]) / root)
            used = (self.axes != 0).any(0).to(u.dtype)  # an unused axis has no spread to explain
            square = (u**2 - 1) * used
            parts.append(segment.total(square, segments, share[:, k]) / (root * 2**0.5))
        fisher = torch.cat(parts, dim=1)
        fisher = fisher.sign() * fisher.abs().sqrt()
        return fisher / fisher.norm(dim=1, keepdim=True).clamp(min=1e-12)
