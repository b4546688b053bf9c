"""Expression of the nearest training tiles."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor, nn

from smalti.batch import Batch, Output, Shape
from smalti.core.settings import Count
from smalti.core.stage import Stage, Sweep, Training
from smalti.errors import InputError
from smalti.expression.base import ExpressionMethod
from smalti.nn import Standardize
from smalti.nn.scale import standardize_sweep
from smalti.solve.leave_out import tuning_folds

_PIECE = 512  # tiles whose distances are held at once


class KNN(ExpressionMethod):
    """Retrieval: the mean expression of the training tiles that look most alike.

    Features are standardised and compared by cosine. The number of tiles is tuned by leaving donors
    out. This is how contrastive methods (BLEEP) predict, on features as they are.
    """

    name: ClassVar[str] = "knn"
    reference: ClassVar[str] = "Xie et al. (2023), NeurIPS (BLEEP), its retrieval"
    cite: ClassVar[tuple[str, ...]] = ("xie2023",)

    k: Count | None = None  # tiles to average; None: tuned
    ks: tuple[Count, ...] = (5, 10, 25, 50, 100, 200)  # to choose from

    def network(self, shape: Shape) -> nn.Module:
        """The training tiles and their expression, as buffers."""
        return _Bank(shape)

    def plan(self, shape: Shape) -> Iterator[Stage]:
        """Standardise, keep the tiles, choose k."""

        def step(network: nn.Module, training: Training) -> None:
            assert isinstance(network, _Bank)
            x = torch.as_tensor(training.bags.table()).to(network.bank)
            y = torch.as_tensor(training.target).to(network.bank)
            network.bank.copy_(_unit(network.scale(x)))
            network.genes.copy_(y)
            if self.k is not None and not 1 <= self.k <= len(x):
                raise InputError(f"knn: k={self.k} must be 1 to {len(x):,}, the training tiles.")
            k = self.k or self._tuned(network, training)
            network.k.fill_(k)

        yield standardize_sweep()
        yield Sweep(step=step, name="bank")

    def _tuned(self, network: _Bank, training: Training) -> int:
        folds = torch.as_tensor(tuning_folds(training.bags)[0])
        ks = [k for k in self.ks if k <= len(folds) // 2] or [1]
        spread = (network.genes - network.genes.mean(0)).pow(2).sum(0)
        error = torch.zeros(len(ks), len(spread))
        for fold in folds.unique():
            out = folds == fold
            alike = network.bank[out] @ network.bank[~out].t()
            near = alike.topk(min(max(ks), alike.shape[1]), dim=1).indices
            for part, wanted in zip(near.split(_PIECE), network.genes[out].split(_PIECE),
                                    strict=True):  # fmt: skip
                for i, k in enumerate(ks):
                    guess = _average(part[:, :k], network.genes[~out])
                    error[i] += (guess - wanted).pow(2).sum(0)
        known = spread > 1e-9
        if not known.any():
            return ks[0]
        return ks[int((error[:, known] / spread[known]).mean(1).argmin())]

    @classmethod
    def example(cls) -> KNN:
        """Few tiles."""
        return cls(ks=(3, 5, 10, 20))


class _Bank(nn.Module):
    bank: Tensor
    genes: Tensor
    k: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.scale = Standardize(shape.x)
        self.register_buffer("bank", torch.zeros(shape.n_units, shape.x[0]))
        self.register_buffer("genes", torch.zeros(shape.n_units, len(shape.outputs)))
        self.register_buffer("k", torch.ones((), dtype=torch.int64))

    def forward(self, batch: Batch) -> Output:
        parts = []
        for x in _unit(self.scale(batch.x)).split(_PIECE):
            near = (x @ self.bank.t()).topk(int(self.k), dim=1).indices
            parts.append(_average(near, self.genes))
        return Output(torch.cat(parts))


def _unit(x: Tensor) -> Tensor:
    return torch.nn.functional.normalize(x, dim=1)


def _average(near: Tensor, genes: Tensor) -> Tensor:
    """Mean rows of ``genes``: (n, k) indices to (n, n_genes), without n x k x n_genes numbers."""
    weight = genes.new_zeros(len(near), len(genes))
    weight.scatter_(1, near, 1 / near.shape[1])
    return weight @ genes
