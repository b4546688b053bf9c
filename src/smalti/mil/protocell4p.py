"""ProtoCell4P: patients from the likeness of their cells to prototypes."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, ClassVar, Literal

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from torch import Tensor, nn

from smalti import segment
from smalti.bags import as_bags
from smalti.batch import Batch, Output, Shape
from smalti.columns import Columns
from smalti.core import noise
from smalti.core.settings import Count, Part, Positive, Weight, Whole
from smalti.core.stage import Gradient, Stage, Sweep, Training, units_of_step
from smalti.core.store import Store
from smalti.errors import InputError
from smalti.mil.base import NetworkMethod
from smalti.nn import Dropout, Standardize
from smalti.nn.beside import Beside
from smalti.nn.scale import standardize_sweep
from smalti.nn.sparse import linear, squared_error
from smalti.segment import Segments
from smalti.task import Task
from smalti.views import pieces

_CACHED = "prototype similarity"  # the view that the second stage computes once
_BLOCKED = 0.3  # share of the prototype-to-cell distances that a step leaves out


class ProtoCell4P(NetworkMethod):
    """Prototypes in the latent space of an autoencoder, and how relevant each is in each cell.

    A cell x is encoded to z, which has a similarity s_p to each prototype p. A second perceptron
    reads the relevance r_pc in (0, 1) of prototype p for class c off the same cell. The logit of a
    bag is the mean of those of its cells:

        s_p = 1 / (||z - p||^2 + 0.5),    logit_c = mean_x sum_p s_p r_pc

    Two classes differ
    by one signed number, logit of the second less that of the first. As logits built of s and r
    are all positive, each label, count or value is such a difference too; a regression adds a
    linear layer, ordered classes add thresholds.

    First stage, encoder, decoder and prototypes: lambda1 x reconstruction (mean squared error)
    + lambda2 x cell to prototype (distance to the nearest) + lambda3 x prototype to cell (over cell
    types, distance to the nearest type, mean over its cells; without types, to the nearest cell;
    30 % of the distances left out at random in each step) + lambda4 x diversity
    (mean over pairs of relu(d_min - ||p - q||)^2) + lambda5 x cross-entropy of the cell type read
    off the similarities. Second stage, all of these fixed: loss of the bags + lambda6 x
    cross-entropy of the cell type read off the relevances. Cells without types: ``group=None``.
    Covariates of a bag add a linear part to its logits, in the second stage.

    ``contribution`` is the cell's logit over the number of cells: signed, summing over the bag to
    the logit less its constant and the part of the covariates. ``prototype`` is the nearest one,
    ``similarity`` all s_p. ``embedding`` is the mean of s_p r_pc, whose sums are the logits.

    Notes
    -----
    Exact, but faster than as published: gene counts stay sparse, the second stage computes
    similarities once. Different on purpose: losses of cells are averaged by bag and then over bags,
    so that a weight of a bag counts its cells too; the diversity leaves out a constant, the
    distance of a prototype to itself; a prototype that had all its distances left out keeps them,
    instead of a loss of 1e9. A bag that is sub-sampled counts as often as it is drawn, as
    published. Published inputs are counts scaled to 10,000 per cell, not logged
    (``preprocess="normalize"``); the mean squared error then follows a few genes.
    """

    name: ClassVar[str] = "protocell4p"
    reference: ClassVar[str] = (
        "Xiong, Bekiranov & Zhang (2023). ProtoCell4P: an explainable prototype-based neural "
        "network for patient classification using single-cell RNA-seq. Bioinformatics 39(8) btad493"
    )
    cite: ClassVar[tuple[str, ...]] = ("xiong2023",)
    sparse: ClassVar[bool] = True
    group_predicts: ClassVar[bool] = False

    group: str | None = None  # instance column of the cell types, used in training only
    covariates: tuple[str, ...] = ()  # columns of the bags, added to the logits
    n_prototypes: Count = 8  # P
    latent: Count = 32  # width of z
    widths: tuple[Count, ...] = (128, 128)  # of encoder, decoder (mirrored) and scorer
    dropout: Part = 0.0  # after each hidden layer of the scorer; published: none
    scorer: bool = True  # False: one linear layer on the similarities (the paper's BaseModel)
    output: Literal["auto", "relu", "linear"] = "auto"  # of the decoder; auto: linear if any is < 0
    standardize: bool = False  # features to mean 0, s.d. 1; published: as they are
    pretrain: bool = True  # False: one stage with all losses
    pretrain_epochs: Whole = 50  # passes over the training bags in the first stage
    pretrain_lr: Positive = 1e-2  # learning rate of the first stage
    subsample: bool = True  # train on draws of a fifth of the mean number of cells of a bag
    lambda1: Weight = 1.0  # weight of the reconstruction
    lambda2: Weight = 1.0  # weight of the distance of cells to prototypes
    lambda3: Weight = 1.0  # weight of the distance of prototypes to cells
    lambda4: Weight = 1.0  # weight of the diversity of prototypes
    lambda5: Weight = 1.0  # weight of the cell type, by similarity
    lambda6: Weight = 1.0  # weight of the cell type, by relevance
    d_min: Weight = 1.0  # distance from which prototypes are different enough
    epochs: Whole = 75  # of the second stage, or of the only one
    lr: Positive = 1e-4  # of the second stage, or of the only one
    weight_decay: Weight = 0.0  # L2 penalty
    batch_size: Count = 4  # bags in a step; eight times as many draws

    def network(self, shape: Shape) -> nn.Module:
        """Autoencoder, prototypes, scorer, heads."""
        if len(shape.x) != 1 or self.encoder not in ("auto", "mlp"):
            raise InputError(
                f"protocell4p has its own perceptron on vectors: encoder={self.encoder!r}, "
                f"instances of shape {shape.x}."
            )
        if not self.widths:
            raise InputError("widths is empty: encoder and scorer need a hidden layer.")
        return _Net(self, shape)

    def plan(self, shape: Shape) -> Iterator[Stage]:
        """Autoencoder and prototypes, then what they say of the bags."""
        if self.standardize:
            yield standardize_sweep()
        elif self.output == "auto":
            yield Sweep(step=_look_for_negatives, name="output")
        sampler = _Draws() if self.subsample else None
        common: dict[str, Any] = {
            "optimizer": self.optimizer, "momentum": self.momentum, "sampler": sampler,
            "weight_decay": self.weight_decay, "max_instances": self.max_instances,
            "patience": self.patience,
        }  # fmt: skip
        batch_size = self.batch_size * (8 if sampler else 1)
        compared = units_of_step(shape.task, batch_size)
        prototypes = ["encoder.", "prototypes"]
        prototypes += ["decoder."] if self.lambda1 else []
        prototypes += ["type_by_similarity."] if self.lambda5 else []
        bags = ["scorer.", "head.", *(["beside."] if shape.n_covariates else [])]
        bags += ["type_by_relevance."] if self.lambda6 else []
        if not self.pretrain:
            yield Gradient(
                epochs=self.epochs, lr=self.lr, loss=_joint_loss, moves=(*prototypes, *bags),
                batch_size=compared, name="train", **common,
            )  # fmt: skip
            return
        if self.pretrain_epochs:
            yield Gradient(
                epochs=self.pretrain_epochs, lr=self.pretrain_lr, loss=_prototype_loss,
                moves=tuple(prototypes), batch_size=batch_size, name="pretrain", **common,
            )  # fmt: skip
        yield Gradient(
            epochs=self.epochs, lr=self.lr, loss=_bag_loss, moves=tuple(bags), cache=_similarity,
            batch_size=compared, name="train", **common,
        )  # fmt: skip

    def name_prototypes(self, X: Any, *, group: str | None = None) -> pd.DataFrame:
        """Which cell type each prototype lies next to.

        Parameters
        ----------
        X
            Bags whose instances have a column of cell types.
        group
            That column, where it is not the one that the method was fitted with.

        Returns
        -------
        DataFrame
            One row per prototype: ``prototype`` (number), ``cell_type`` (the nearest),
            ``distance`` (mean squared latent distance to the cells of that type), ``n_cells``
            (cells nearest to this prototype of all) and ``share`` (of these, how many are of
            ``cell_type``; NaN if there are none).

        Raises
        ------
        InputError
            If no column is named, or it is not there.
        """
        group = group or self.group
        if group is None:
            raise InputError("no column of cell types: name it with group=...")
        bags = as_bags(X)
        columns = Columns.fit(bags, group, ())
        kind = columns.codes(bags)
        instance = self.forward(bags)[1]
        distance = 1 / instance["similarity"].astype(np.float64) - 0.5  # (n, P)
        member = np.eye(len(columns.levels))[kind]  # (n, n_types)
        by_type = (member.T @ distance) / member.sum(0)[:, None]  # (n_types, P)
        nearest = by_type.argmin(0)
        rows = []
        for p, t in enumerate(nearest):
            own = kind[instance["prototype"] == p]
            rows.append({
                "prototype": p, "cell_type": columns.levels[t], "distance": by_type[t, p],
                "n_cells": len(own), "share": (own == t).mean() if len(own) else np.nan,
            })  # fmt: skip
        return pd.DataFrame(rows)

    @classmethod
    def example(cls) -> ProtoCell4P:
        """A tiny one."""
        return cls(group="cell_type", n_prototypes=4, latent=4, widths=(16,), pretrain_epochs=15,
                   epochs=40, lr=0.01, subsample=False)  # fmt: skip


class _Net(nn.Module):
    signed: Tensor

    def __init__(self, method: ProtoCell4P, shape: Shape) -> None:
        super().__init__()
        self.task, g, p = shape.task, shape.x[0], method.n_prototypes
        self.several = self.task.kind == "multiclass"
        linked = self.task.kind in ("regression", "ordinal") or (
            self.task.kind == "survival" and self.task.model != "discrete"
        )
        n_out = 1 if linked else self.task.n_outputs
        self.n_classes = n_out if self.several else 2 * n_out  # two that differ by an output
        self.lambdas = (method.lambda1, method.lambda2, method.lambda3, method.lambda4,
                        method.lambda5, method.lambda6)  # fmt: skip
        self.d_min = method.d_min
        self.scale = Standardize(shape.x) if method.standardize else None
        self.register_buffer("signed", torch.tensor(method.output == "linear" or (
            method.output == "auto" and method.standardize)))  # fmt: skip
        inner = (*method.widths, method.latent)
        self.encoder = _Perceptron((g, *inner))
        self.decoder = _Perceptron((*inner[::-1], g))
        self.prototypes = nn.Parameter(nn.init.xavier_normal_(torch.empty(p, method.latent)))
        self.scorer: nn.Module
        if method.scorer:
            self.scorer = _Perceptron((g, *method.widths, p * self.n_classes), method.dropout)
        else:
            self.scorer = _linear(p, self.n_classes, bias=False)
        self.head = self.task.head(1) if linked else nn.Identity()
        self.beside = Beside(shape)
        for parameter in self.head.parameters():
            if parameter.ndim == 2:  # the difference as it is; a bias or thresholds are learned
                nn.init.ones_(parameter)
        if shape.levels:
            self.types = Task(kind="multiclass", column="group", classes=shape.levels)
            self.type_by_similarity = _linear(p, len(shape.levels))
            if method.scorer:
                self.type_by_relevance = _linear(p * self.n_classes, len(shape.levels))

    def forward(self, batch: Batch) -> Output:
        # in the first stage the scorer does not move, and nobody asks for its predictions
        scored = not self.training or next(self.scorer.parameters()).requires_grad
        latent, similarity, relevance = self._read(batch, scored)
        extra = {
            "prototypes": partial(self.prototype_loss, batch, latent),
            "types": partial(self.type_loss, batch, relevance),
        }
        if not scored:
            n_bags = len(batch.segments.offsets) - 1
            return Output(similarity.new_zeros(n_bags, self.task.n_outputs), extra=extra)
        parts = similarity
        if relevance is not None:
            parts = similarity.repeat_interleave(self.n_classes, 1) * relevance  # (n, P * C)
        embedding = segment.mean(parts, batch.segments)
        raw = self.beside(batch, self.head(self._outputs(embedding)))
        if self.training:
            return Output(raw, extra=extra)
        part = self._outputs(parts)
        part = self.head(part) - self.head(torch.zeros_like(part[:1]))
        part = part / batch.segments.lengths[batch.segments.index].to(part.dtype)[:, None]
        return Output(
            raw,
            instance={"contribution": part, "prototype": similarity.argmax(1),
                      "similarity": similarity},
            bag={"embedding": embedding, "similarity": segment.mean(similarity, batch.segments)},
            extra=extra,
        )  # fmt: skip

    def similarity(self, batch: Batch) -> Tensor:
        """(n, P) similarity of each cell to each prototype."""
        return self._read(batch, scored=False)[1]

    def _read(self, batch: Batch, scored: bool) -> tuple[Tensor | None, Tensor, Tensor | None]:
        """Latent cells (not where similarities are cached), similarities (n, P), relevances."""
        similarity, latent, relevance = batch.views.get(_CACHED), None, None
        readers = [self.encoder] if similarity is None else []
        gate = self.scorer if scored and isinstance(self.scorer, _Perceptron) else None
        readers += [gate] if gate is not None else []
        hidden = self._first(batch.x, readers)
        if similarity is None:
            latent = nn.functional.leaky_relu(self.encoder.after_first(hidden[0]))
            similarity = 1 / (self.distance(latent) + 0.5)
        if gate is not None:
            relevance = gate.after_first(hidden[-1]).sigmoid()  # (n, P * C)
        return latent, similarity, relevance

    def distance(self, z: Tensor) -> Tensor:
        """(n, P) squared distance of latent cells to the prototypes."""
        p = self.prototypes
        z = z.to(p.dtype)
        with torch.autocast(z.device.type, enabled=False):  # a difference of near numbers
            square = z.square().sum(1, keepdim=True) + p.square().sum(1) - 2 * z @ p.t()
        return square.clamp(min=0)

    def prototype_loss(self, batch: Batch, z: Tensor | None) -> Tensor:
        """What the first stage minimises, (n_bags,)."""
        assert z is not None
        z, distance = z.to(self.prototypes.dtype), self.distance(z)
        l1, l2, l3, l4, l5, _ = self.lambdas
        kind = batch.instance.get("group")
        cells = l2 * distance.min(1).values
        if l1:
            cells = cells + l1 * self.reconstruction(batch.x, z)
        if l5 and kind is not None:
            logits = self.type_by_similarity(1 / (distance + 0.5))
            cells = cells + l5 * self.types.loss(logits, kind)
        loss = segment.mean(cells[:, None], batch.segments)[:, 0]
        return loss + l3 * self.to_cells(distance, kind) + l4 * self.diversity()

    def reconstruction(self, x: Tensor, z: Tensor) -> Tensor:
        """(n,) mean squared error over the features of each cell."""
        last = self.decoder.last
        h = self.decoder.before_last(self.decoder.first(z))
        center, sd = (None, None) if self.scale is None else (self.scale.mean, self.scale.sd)
        error = squared_error(h, last.weight, last.bias, x, relu=not bool(self.signed),
                              center=center, scale=sd)  # fmt: skip
        return error / x.shape[1]

    def to_cells(self, distance: Tensor, kind: Tensor | None) -> Tensor:
        """Mean over the prototypes of the distance to the nearest type, or cell."""
        if kind is not None:
            member = nn.functional.one_hot(kind, len(self.types.classes)).to(distance.dtype)
            member = member[:, member.any(0)]  # a type that no cell here is has no mean
            distance = segment.product(member, distance) / member.sum(0)[:, None]  # (n_present, P)
        if self.training:
            drawn = torch.rand(distance.shape, generator=noise.generator(), device=distance.device)
            blocked = drawn < _BLOCKED
            blocked &= ~blocked.all(0)
            distance = distance.masked_fill(blocked, torch.inf)
        return distance.min(0).values.mean()

    def diversity(self) -> Tensor:
        """Mean over pairs of prototypes of the squared shortfall of their distance from d_min."""
        if len(self.prototypes) < 2:
            return self.prototypes.new_zeros(())
        return (self.d_min - nn.functional.pdist(self.prototypes)).relu().square().mean()

    def type_loss(self, batch: Batch, relevance: Tensor | None) -> Tensor:
        """What the second stage adds to the loss of the bags, (n_bags,) or 0."""
        kind = batch.instance.get("group")
        if relevance is None or kind is None or not self.lambdas[5]:
            return self.prototypes.new_zeros(())
        weight = self.type_by_relevance.weight
        loss = self.types.loss(self.type_by_relevance(relevance.to(weight.dtype)), kind)
        return self.lambdas[5] * segment.mean(loss[:, None], batch.segments)[:, 0]

    def _first(self, x: Tensor, readers: Sequence[_Perceptron]) -> Sequence[Tensor]:
        """The first layers of perceptrons that read the same cells, as one product."""
        if not readers:
            return ()
        firsts = [r.first for r in readers]
        weight = torch.cat([f.weight for f in firsts])
        bias = torch.cat([f.bias for f in firsts])
        if self.scale is not None:  # into the layer, not the cells: sparse cells stay sparse
            weight = weight / self.scale.sd
            bias = bias - weight @ self.scale.mean
        return linear(x, weight, bias).split([f.out_features for f in firsts], dim=1)

    def _outputs(self, parts: Tensor) -> Tensor:
        """Logits of the classes, or the differences of each two, from the last layer's input."""
        if isinstance(self.scorer, _Perceptron):
            logits = parts.unflatten(1, (-1, self.n_classes)).sum(1)
        else:
            logits = self.scorer(parts)
        return logits if self.several else logits[:, 1::2] - logits[:, 0::2]


class _Perceptron(nn.Module):
    """Linear layers with a leaky ReLU between them, none after the last."""

    def __init__(self, widths: Sequence[int], dropout: float = 0.0) -> None:
        super().__init__()
        first, *middle, last = itertools.pairwise(widths)
        self.first, self.last = _linear(*first), _linear(*last)
        self.middle = nn.ModuleList(_linear(*m) for m in middle)
        self.dropout = Dropout(dropout)

    def after_first(self, hidden: Tensor) -> Tensor:
        """Go on from the output of the first layer."""
        return self.last(self.before_last(hidden))

    def before_last(self, hidden: Tensor) -> Tensor:
        """Input of the last layer, from the output of the first."""
        for layer in self.middle:
            hidden = layer(self.dropout(nn.functional.leaky_relu(hidden)))
        return self.dropout(nn.functional.leaky_relu(hidden))


def _linear(before: int, after: int, bias: bool = True) -> nn.Linear:
    layer = nn.Linear(before, after, bias=bias)
    nn.init.xavier_normal_(layer.weight)
    return layer


def _look_for_negatives(network: nn.Module, training: Training) -> None:
    """A decoder that ends in a ReLU cannot give back what is below zero."""
    assert isinstance(network, _Net)
    _, view = training.bags.view()
    low = 0.0
    for part in pieces(view):
        values = part.data if sp.issparse(part) else part
        low = min(low, float(values.min())) if values.size else low
    network.signed.fill_(low < 0)


def _prototype_loss(task: Task, output: Output, target: Tensor) -> Tensor:
    return output.extra["prototypes"]()


def _bag_loss(task: Task, output: Output, target: Tensor) -> Tensor:
    return task.loss(output.raw, target) + output.extra["types"]()


def _joint_loss(task: Task, output: Output, target: Tensor) -> Tensor:
    return _bag_loss(task, output, target) + output.extra["prototypes"]()


def _similarity(network: nn.Module, batch: Batch) -> dict[str, Tensor]:
    assert isinstance(network, _Net)
    return {_CACHED: network.similarity(batch)}


@dataclasses.dataclass(frozen=True)
class _Draws:
    """Draws of W cells from each bag, W a fifth of the mean number; small bags whole.

    A bag of n cells is drawn round(2 n / W) times, but 8 times from 4 W on, and is left whole
    below 2 W. A unit is (bag, cells to draw or 0 for all, seed).
    """

    def epoch(
        self, train: np.ndarray, target: np.ndarray, store: Store, rng: np.random.Generator
    ) -> np.ndarray:
        """Units in random order, (n_units, 3)."""
        n = store.lengths[train]
        width = int(n.mean()) // 5
        drawn = (n >= 2 * width) & (width > 0)
        times = np.where(n >= 4 * width, 8, np.round(2 * n / max(width, 1))).astype(np.int64)
        times = np.where(drawn, times, 1)
        units = np.stack([train, np.where(drawn, width, 0)], axis=1).repeat(times, axis=0)
        return rng.permutation(np.column_stack([units, rng.integers(2**31, size=len(units))]))

    def weight(self, units: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """Each draw weighs what its bag does."""
        return weight[units[:, 0]]

    def target(self, units: np.ndarray, target: Tensor) -> Tensor:
        """The target of the bag."""
        return target[torch.from_numpy(units[:, 0]).to(target.device)]

    def batch(self, store: Store, units: np.ndarray) -> Batch:
        """Cells drawn without replacement, in their order."""
        parts = []
        for bag, width, seed in units:
            n, start = store.lengths[bag], store.offsets[bag]
            rng = np.random.default_rng(seed)
            chosen = np.sort(rng.choice(n, width, replace=False)) if width else np.arange(n)
            parts.append(start + chosen)
        rows = np.concatenate(parts)
        offsets = np.concatenate([[0], np.cumsum([len(p) for p in parts])])
        at, of = (torch.from_numpy(v).to(store.device) for v in (rows, units[:, 0].copy()))
        return Batch(
            store.rows(rows), Segments.of(torch.from_numpy(offsets), store.device),
            {name: column.index_select(0, at) for name, column in store.instance.items()},
            {name: column.index_select(0, of) for name, column in store.bag.items()},
        )  # fmt: skip
