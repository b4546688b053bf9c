"""DSMIL: a maximum over instances, and attention to what is like the instance that has it."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn

from smalti import segment
from smalti.batch import Batch, Output, Shape
from smalti.core.settings import Count
from smalti.mil.base import NetworkMethod
from smalti.nn import Standardize, encoder
from smalti.task import Task


class DSMIL(NetworkMethod):
    """Dual-stream multiple-instance learning.

    For each output c of the target, the first stream scores the instances and takes the largest,
    that of the critical instance m:

        s_kc = w_c'h_k + b_c,    m = argmax_k s_kc

    The second weighs each instance by how like the critical one it is, with queries q_k = Q h_k of
    width L:

        a_kc = softmax_k(q_k'q_m / sqrt(L)),    z_c = sum_k a_kc h_k,    t = H [z_1, ..., z_C]

    The prediction is the mean of both streams, and the loss the mean of their losses:

        raw_c = (s_mc + t_c) / 2,    loss = (loss(s_m) + loss(t)) / 2

    ``attention`` is a_kc, a column for each output; ``score`` is s_kc, the logit of an instance
    alone, comparable across bags. ``contribution`` is what a piece brings to raw: half of the
    critical one's s and half of its share of t; it sums over the bag to raw less its constant.

    Notes
    -----
    The paper sums W h_k in z; a linear map before the linear H adds nothing, and is left out, as
    by default in the authors' code, which the root of L is from. Instances that tie for the
    maximum are critical together: the query is the mean of theirs, so that their order does not
    matter. Of several outputs that order instances alike (grades) all streams are one.

    A hard maximum has bad starts (see :class:`MiNet`), which the second stream does not.
    """

    name: ClassVar[str] = "dsmil"
    reference: ClassVar[str] = (
        "Li, Li & Eliceiri (2021). Dual-stream multiple instance learning network for whole slide "
        "image classification with self-supervised contrastive learning. CVPR. arXiv:2011.08939"
    )
    cite: ClassVar[tuple[str, ...]] = ("li2021",)

    query_width: Count = 128  # L, of the queries

    def network(self, shape: Shape) -> nn.Module:
        """Scale, encoder, two streams."""
        return _Net(self, shape)

    def loss(self, task: Task, output: Output, target: Tensor) -> Tensor:
        """Mean of the losses of both streams."""
        largest, attended = (task.loss(raw, target) for raw in output.extra["streams"])
        return (largest + attended) / 2

    @classmethod
    def example(cls) -> DSMIL:
        """A tiny one."""
        return cls(widths=(16,), query_width=8, dropout=0.1, epochs=60, lr=0.01, batch_size=8)


class _Net(nn.Module):
    def __init__(self, method: DSMIL, shape: Shape) -> None:
        super().__init__()
        self.scale = Standardize(shape.x) if method.standardize else nn.Identity()
        self.encoder, width = encoder(method.encoder, shape.x, method.widths, method.dropout)
        self.scorer = shape.task.head(width)
        self.query = nn.Linear(width, method.query_width)
        self.head = shape.task.head(width * shape.task.n_outputs)

    def forward(self, batch: Batch) -> Output:
        segments = batch.segments
        h = self.encoder(self.scale(batch.x))  # (n, width)
        s = self.scorer(h)  # (n, n_outputs)
        largest = segment.peak(s, segments)  # (n_bags, n_outputs)
        critical = (s == segments.spread(largest)).to(h.dtype)  # (n, n_outputs)
        critical = critical / segments.spread(segment.total(critical, segments))  # shared by ties
        q = self.query(h)  # (n, query_width)
        alike = torch.cat([self._alike(q, c, segments) for c in critical.unbind(1)], 1)
        z = [segment.attend(a, h, segments) for a in alike.split(1, 1)]  # (n_bags, width) each
        attended = self.head(torch.cat(z, 1))  # (n_bags, n_outputs)
        raw, streams = (largest + attended) / 2, {"streams": (largest, attended)}
        if self.training:
            return Output(raw, extra=streams)
        a = segment.softmax(alike, segments)  # (n, n_outputs)
        part = (a[:, :, None] * h[:, None]).flatten(1)  # (n, n_outputs * width)
        part = self.head(part) - self.head(torch.zeros_like(part[:1]))
        part = part + critical * (s - self.scorer(torch.zeros_like(h[:1])))
        return Output(raw, instance={"attention": a.squeeze(1), "score": s,
                                     "contribution": part / 2},
                      bag={"embedding": torch.cat(z, 1)}, extra=streams)  # fmt: skip

    @staticmethod
    def _alike(q: Tensor, critical: Tensor, segments: segment.Segments) -> Tensor:
        """(n, L) queries and the (n,) shares of the critical ones to (n, 1): q_k'q_m / sqrt(L)."""
        key = segment.total(q, segments, critical)  # (n_bags, L)
        return (q * segments.spread(key)).sum(1, keepdim=True) / math.sqrt(q.shape[1])
