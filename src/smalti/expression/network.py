"""``NetworkExpression``: methods of expression that are trained by gradient over tiles."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from torch import nn

from smalti.batch import Output, Shape
from smalti.core.instances import Rows
from smalti.core.settings import Count, Positive, Share, Weight, Whole
from smalti.core.stage import Gradient, Stage, warm_cosine
from smalti.core.store import Store
from smalti.errors import InputError
from smalti.expression.base import ExpressionMethod
from smalti.task import Task


class NetworkExpression(ExpressionMethod):
    """A method trained by gradient: loss, gene groups and schedule, which all of these share.

    The loss is alpha MSE + beta (1 - Pearson) + (1 - alpha - beta) covariance (see
    :class:`smalti.expression.losses.composite.CompositeLoss`), on targets of mean 0 and, with
    ``scale_targets``, of s.d. 1 per gene. With groups of genes each group has a head of its own
    over one trunk, and each group counts the same in the loss.
    """

    stochastic: ClassVar[bool] = True

    alpha: Share = 1.0  # weight of the squared error
    beta: Share = 0.0  # of 1 - Pearson; what is left to 1 is of the covariance term
    axis: Literal["gene", "tile"] = "gene"  # Pearson over the tiles of a step, or over genes
    huber: Positive | None = None  # Huber's loss of this width instead of the squared error
    groups: Any = "none"  # "kmeans", "prefix", a .gmt file (by function), or {gene: group}
    others: Literal["apart", "nearest"] = "apart"  # genes in no group: one more, or the nearest
    n_groups: Count = 5  # of "kmeans"; the most of the others, the rest is one more
    pathways: Any = None  # .gmt file(s): genes weigh more the more pathways they are in
    joint: Weight = 0.0  # weight of the loss of pathway scores and of interacting pathways
    scale_targets: bool = True  # each gene's target to s.d. 1 in the loss
    head: Whole = 128  # hidden units of each group's head; 0: linear
    epochs: Count = 40  # passes over the tiles
    batch_size: Count = 64  # tiles in a step
    lr: Positive = 1e-3  # learning rate, up over the first tenth, then down to 0 as a cosine
    weight_decay: Weight = 1e-2  # decoupled (AdamW)
    accumulate: Count = 1  # pieces that a step is computed in, where memory is short

    def loss(
        self, task: Task, output: Output, target: torch.Tensor, criterion: nn.Module
    ) -> torch.Tensor:
        """The loss of the step, once per tile (its mean is the loss): (n_tiles,).

        ``target`` is (n_tiles, n_genes).
        """
        head = output.extra["head"]
        wanted = (target - head.mean) / head.sd
        # in full precision: the covariance term takes differences of sums
        with torch.autocast(output.raw.device.type, enabled=False):
            value = criterion(output.extra["scaled"].to(wanted.dtype), wanted)
        return value.expand(len(output.raw))

    def groups_of(self, genes: Sequence[str], target: np.ndarray) -> np.ndarray:
        """Group codes, fitted on the training tiles."""
        from smalti.genes import gene_groups, read_gmt

        how: Any = self.groups or "none"
        more: dict[str, Any] = {}
        if isinstance(how, Mapping):
            how, more = "function", {"mapping": how}
        elif str(how).endswith((".gmt", ".gmt.gz")):
            how, more = "function", {"sets": read_gmt(how)}
        found = gene_groups(
            genes, how, target=target, n_groups=self.n_groups, others=self.others, seed=self.seed,
            min_size=min(20, max(1, len(genes) // 20)), **more,
        )  # fmt: skip
        codes = np.zeros(len(genes), dtype=np.int64)
        for k, members in enumerate(found.values()):
            codes[members] = k
        return codes

    def fit(
        self, X: Any, y: Any = None, *, checkpoint: str | Path | None = None, callbacks: Any = None
    ) -> Self:
        """Learn from slides (see :meth:`ExpressionMethod.fit`).

        Raises
        ------
        InputError
            If the weights of the loss sum to more than 1, or as there.
        """
        if self.alpha + self.beta > 1 + 1e-9:
            raise InputError(
                f"{self.name}: alpha={self.alpha} and beta={self.beta} must sum to 1 at most; what "
                "is left is the weight of the covariance term."
            )
        return super().fit(X, y, checkpoint=checkpoint, callbacks=callbacks)

    def criterion(self, shape: Shape) -> nn.Module:
        """What the settings ask to be minimised, of (n, genes) scaled predictions and targets.

        It may hold tensors, but nothing that is learned: it is no part of a model file.
        """
        from smalti.expression.losses.composite import CompositeLoss

        codes = np.asarray(shape.groups)
        groups = [np.flatnonzero(codes == k) for k in range(codes.max() + 1)]
        weights, joint = self._pathway_terms(shape.outputs)
        return CompositeLoss(
            self.alpha, self.beta, axis=self.axis, huber=self.huber, weights=weights,
            groups=groups if len(groups) > 1 else None, pathways=joint,
        )  # fmt: skip

    def _pathway_terms(self, genes: Sequence[str]) -> tuple[np.ndarray | None, nn.Module | None]:
        """Weights of the genes, and the loss on pathway scores, where there are pathways."""
        if self.pathways is None:
            if self.joint:
                raise InputError(f"{self.name}: joint={self.joint} needs pathways=FILE.gmt.")
            return None, None
        from smalti.expression.losses.pathway import PathwayLoss
        from smalti.genes import (
            interacting_pairs,
            pathway_membership,
            pathway_weights,
            read_gmt,
        )  # fmt: skip

        files = [self.pathways] if isinstance(self.pathways, str) else list(self.pathways)
        sets = {name: members for file in files for name, members in read_gmt(file).items()}
        weights = pathway_weights(genes, sets)
        if not self.joint:
            return weights, None
        membership, _ = pathway_membership(sets, genes)
        pairs = interacting_pairs(membership)
        # the loss sees targets about their mean already
        return weights, PathwayLoss(membership, pairs=pairs, weight=self.joint)

    def train_stage(self) -> Gradient:
        """Follow the gradient over tiles."""
        return Gradient(
            epochs=self.epochs, lr=self.lr, optimizer="adamw", weight_decay=self.weight_decay,
            batch_size=self.batch_size, sampler=Rows(labelled=True), name="train",
            schedule=warm_cosine(self.epochs), accumulate=self.accumulate, begin=self._with_loss,
        )  # fmt: skip

    def _with_loss(self, stage: Gradient, store: Store) -> Gradient:
        """The stage with its loss, on the device of the tiles."""
        criterion = self.criterion(self.shape_).to(store.device)
        return dataclasses.replace(stage, loss=functools.partial(self.loss, criterion=criterion))

    def plan(self, shape: Shape) -> Iterator[Stage]:
        """Standardise, take the genes' means, then follow the gradient."""
        from smalti.nn.gene_head import targets_sweep
        from smalti.nn.scale import standardize_sweep

        yield standardize_sweep()
        yield targets_sweep(self.scale_targets)
        yield self.train_stage()
