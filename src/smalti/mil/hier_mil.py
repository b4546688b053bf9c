"""Hierarchical multiple-instance learning: sample > cell type > cell."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from smalti import segment
from smalti.batch import Batch, Output, Shape
from smalti.core.settings import Count, Part, Weight
from smalti.mil.base import NetworkMethod
from smalti.nn import Dropout, Standardize, encoder
from smalti.segment import Segments


class HierMIL(NetworkMethod):
    """Attention over the cells of a type, then over the types of a sample.

    Encoded cells h_i are weighted within each type of a sample, which gives the type's vector s_t;
    those are weighted over the types that the sample has, and the head reads z, beside covariates
    of the sample if there are any:

        a_i = softmax_i(v'h_i),    s_t = sum_i a_i h_i
        b_t = softmax_t(u's_t),    z = sum_t b_t s_t

    That is HA; with a_i = 1 / n it is CTA. Scores are linear, as published. A type that a sample
    lacks has no mass: it is not in the softmax at all.

    Any grouping of the instances will do: cell types, clusters, regions of a slide. The weights are
    shared by all types, so a type that training lacked is not an error; it is reported.

    ``attention`` of a cell is a_i b_t and sums to 1 in a sample; ``contribution`` is that times
    c'h_i: signed, summing to the logit less its constant (and less the covariates' part). Summed
    by type it is the type's contribution (see :func:`smalti.explain.key_groups`).

    Notes
    -----
    The paper tunes width {32, 64, 128}, layers {1, 2}, dropout {0, .3, .5, .7}, decay
    {1e-4, 1e-3, 1e-2}, epochs {100, 500, 1000} and learning rate {1e-3, 5e-3} by an inner search;
    the defaults are points of that grid.

    Examples
    --------
    >>> import smalti as sm
    >>> bags = sm.datasets.planted_bags(20, seed=0)  # with a column "cell_type" of the instances
    >>> model = sm.mil.HierMIL(epochs=2, progress=False).fit(bags)
    >>> list(model.attribute(bags))
    ['bag', 'attention', 'contribution_1']
    >>> model.samples(bags).obsm["attention_by_group"].shape  # (n_bags, n_types)
    (20, 3)
    """

    name: ClassVar[str] = "hier_mil"
    reference: ClassVar[str] = (
        "Do & Lähdesmäki (2025). Incorporating hierarchical information into multiple instance "
        "learning for patient phenotype prediction with single-cell RNA-sequencing data. "
        "Bioinformatics 41 (Suppl 1), i96-i104"
    )
    cite: ClassVar[tuple[str, ...]] = ("do2025",)

    group: str | None = "cell_type"  # column of the instances
    covariates: tuple[str, ...] = ()  # columns of the bags, read by a layer of their own
    cell_attention: bool = True  # HA; False: mean over the cells of a type, CTA
    type_attention: bool = True  # False: no types, one pooling over all cells (ablation)
    widths: tuple[Count, ...] = (64,)  # units of the layers of the cell encoder
    dropout: Part = 0.3  # after each layer and, as published, on the scores of both attentions
    weight_decay: Weight = 1e-3  # L2 penalty
    epochs: Count = 500  # steps, as a rule; after 100 the loss still falls
    batch_size: Count = 1024  # bags in a step: as a rule all of them, as published

    def network(self, shape: Shape) -> nn.Module:
        """Scale, encoder, two levels of attention, head."""
        return _Net(self, shape)

    @classmethod
    def example(cls) -> HierMIL:
        """A tiny one."""
        return cls(widths=(16,), dropout=0.1, epochs=60, lr=0.01, batch_size=8)


class _Net(nn.Module):
    def __init__(self, method: HierMIL, shape: Shape) -> None:
        super().__init__()
        self.scale = Standardize(shape.x) if method.standardize else nn.Identity()
        self.encoder, width = encoder(method.encoder, shape.x, method.widths, method.dropout)
        self.n_groups = len(shape.levels) + 1  # and the types that training lacked
        self.grouped = method.type_attention and method.group is not None
        noise = Dropout(method.dropout)
        self.cell_score = self.type_score = None
        if method.cell_attention:
            self.cell_score = nn.Sequential(nn.Linear(width, 1), noise)
        if self.grouped:
            self.type_score = nn.Sequential(nn.Linear(width, 1), noise)
        self.side = (
            nn.Sequential(nn.Linear(shape.n_covariates, width), nn.ReLU(), Dropout(method.dropout))
            if shape.n_covariates else None
        )  # fmt: skip
        self.width = width
        self.head = shape.task.head(width * (1 if self.side is None else 2))

    def forward(self, batch: Batch) -> Output:
        h = self.encoder(self.scale(batch.x))  # (n, width)
        group = batch.instance["group"] if self.grouped else None
        a, z = self._pool(h, batch.segments, group)
        whole = z
        if self.side is not None:
            whole = torch.cat([z, self.side(batch.bag["covariates"])], dim=1)
        raw = self.head(whole)
        if self.training:
            return Output(raw)
        part = (self._read(h) - self._read(h.new_zeros(1, self.width))) * a[:, None]
        return Output(raw, instance={"attention": a, "contribution": part}, bag={"embedding": z})

    def _pool(self, h: Tensor, segments: Segments, group: Tensor | None) -> tuple[Tensor, Tensor]:
        """Attention of each cell in its sample, (n,), and the vector of each sample."""
        if group is None:
            a = self._cell_attention(h, segments)
            return a, segment.total(h, segments, a)
        key = segments.index * self.n_groups + group
        order = key.argsort(stable=True)
        kept, lengths = key[order].unique_consecutive(return_counts=True)  # types that are there
        inner = _segments(lengths)
        outer = _segments(torch.bincount(kept // self.n_groups, minlength=len(segments.lengths)))
        a = self._cell_attention(h[order], inner)
        types = segment.total(h[order], inner, a)  # (n_types in all samples, width)
        assert self.type_score is not None
        b = segment.softmax(self.type_score(types), outer)[:, 0]
        share = torch.empty_like(a).index_copy(0, order, a * b[inner.index])
        return share, segment.total(types, outer, b)

    def _cell_attention(self, h: Tensor, segments: Segments) -> Tensor:
        if self.cell_score is None:
            return (1.0 / segments.lengths.to(h.dtype))[segments.index]
        return segment.softmax(self.cell_score(h), segments)[:, 0]

    def _read(self, h: Tensor) -> Tensor:
        """The head on a cell's vector, with no covariates."""
        return self.head(nn.functional.pad(h, (0, 0 if self.side is None else self.width)))


def _segments(lengths: Tensor) -> Segments:
    return Segments.of(nn.functional.pad(lengths.cumsum(0), (1, 0)))
