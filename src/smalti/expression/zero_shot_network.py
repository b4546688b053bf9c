"""``NetworkZeroShot``: methods for unseen genes that are trained by gradient, slide by slide."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from smalti.batch import Batch, Output
from smalti.core.settings import Count, Positive, Weight
from smalti.core.stage import Gradient, Stage, Sweep, Training, warm_cosine
from smalti.core.store import Store
from smalti.expression.losses.composite import pearson_loss, squared_error
from smalti.expression.zero_shot import ZeroShotMethod
from smalti.nn.gene_table import GeneTable
from smalti.nn.scale import standardize_sweep
from smalti.task import Task
from smalti.views import slice_rows


class NetworkZeroShot(ZeroShotMethod):
    """A method trained by gradient: a step is one slide and some of the seen genes.

    The loss is the squared error plus ``pearson`` times 1 - the mean correlation of a gene over the
    tiles of the slide, both on the genes *of the step*, and what the network adds as
    ``extra["penalty"]``. Expression is centred and scaled by one number each, over all training
    tiles and genes, so that the levels of genes stay something to be learned.
    """

    stochastic: ClassVar[bool] = True
    slides: ClassVar[bool] = True

    huber: Positive | None = None  # Huber's loss of this width instead of the squared error
    pearson: Weight = 0.5  # weight of 1 - Pearson
    genes_per_step: Count = 64  # seen genes drawn for a step
    epochs: Count = 300  # passes over the slides, one slide a step
    lr: Positive = 5e-4  # learning rate, up over the first tenth, then down to 0 as a cosine
    weight_decay: Weight = 1e-4  # decoupled (AdamW)

    def loss(self, task: Task, output: Output, target: Tensor) -> Tensor:
        """(1,) the loss of a slide; ``target`` (n_tiles, n_sampled) is of the genes of the step."""
        scaled = output.extra["scaled"].float()
        head = output.extra["scale"]
        wanted = ((target - head.center) / head.spread).to(scaled)
        with torch.autocast(scaled.device.type, enabled=False):
            value = squared_error(scaled, wanted, huber=self.huber)
            if self.pearson and len(scaled) > 1:
                value = value + self.pearson * pearson_loss(scaled, wanted)
        return (value + output.extra.get("penalty", 0.0))[None]

    def plan(self, shape: Any) -> Iterator[Stage]:
        """Standardise, take the scale of expression, then follow the gradient."""
        yield standardize_sweep()
        yield Sweep(step=_fit_scale, name="targets")
        yield Gradient(
            epochs=self.epochs, lr=self.lr, optimizer="adamw", weight_decay=self.weight_decay,
            batch_size=1, loss=self.loss, schedule=warm_cosine(self.epochs), name="train",
            begin=self._with_genes,
        )  # fmt: skip

    def _with_genes(self, stage: Gradient, store: Store) -> Gradient:
        """The stage with its sampler of slides and seen genes."""
        table = self.gene_table(self.genes_, store.device)
        sampler = SlideGenes(table, store.offsets, self.genes_per_step)
        return dataclasses.replace(stage, sampler=sampler)


class TargetScale(torch.nn.Module):
    """Centre and spread of expression over all training tiles and genes: two numbers."""

    center: Tensor  # (), a scalar
    spread: Tensor  # (), a scalar

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("center", torch.zeros(()))
        self.register_buffer("spread", torch.ones(()))

    def output(self, scaled: Tensor, penalty: Tensor | None = None) -> Output:
        """What a network returns: in the units of the target, and scaled for the loss.

        ``scaled`` is (n_tiles, n_genes), ``penalty`` a scalar that is added to the loss.
        """
        extra: dict[str, Any] = {"scaled": scaled, "scale": self}
        if penalty is not None:
            extra["penalty"] = penalty
        return Output(self.center + self.spread * scaled, extra=extra)


def _fit_scale(network: Any, training: Training) -> None:
    target = training.target
    network.expression.center.fill_(float(target.mean(dtype=np.float64)))
    network.expression.spread.fill_(max(float(target.std(dtype=np.float64)), 1e-6))


class SlideGenes:
    """Units of an epoch: a slide, and seen genes drawn for it (:class:`smalti.core.stage.Sampler`).

    The loss gets the expression of *these* genes; the authors' code of SGN correlated the drawn
    genes with the first columns of the table.

    Parameters
    ----------
    table
        The seen genes.
    offsets
        (n_slides + 1,) where the tiles of each slide begin.
    n
        Genes of a step, at most.
    """

    def __init__(self, table: GeneTable, offsets: np.ndarray, n: int) -> None:
        self.table, self.offsets, self.n = table, offsets, min(n, len(table))

    def epoch(
        self, train: np.ndarray, target: np.ndarray, store: Store, rng: np.random.Generator
    ) -> np.ndarray:
        """(n_slides, 1 + n) position of a slide, then those of its genes."""
        order = rng.permutation(train)
        drawn = [np.sort(rng.choice(len(self.table), self.n, replace=False)) for _ in order]
        return np.column_stack([order, np.stack(drawn)])

    def weight(self, units: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """(n_units,) ones: every slide counts the same."""
        return np.ones(len(units), dtype=np.float32)

    def target(self, units: np.ndarray, target: Tensor) -> Tensor:
        """(n_tiles, n) expression of these genes on this slide."""
        rows = torch.from_numpy(slice_rows(self.offsets, units[:1, 0])).to(target.device)
        genes = torch.from_numpy(units[0, 1:]).to(target.device)
        return target.index_select(0, rows).index_select(1, genes)

    def batch(self, store: Store, units: np.ndarray) -> Batch:
        """The slide of a unit, (1, 1 + n), and its genes with their vectors."""
        batch = store.batch(units[:1, 0])
        batch.genes = self.table.take(torch.from_numpy(units[0, 1:]).to(store.device))
        return batch
