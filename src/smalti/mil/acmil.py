"""ACMIL: several attentions that differ, and the pieces attended most left out at times."""

from __future__ import annotations

from itertools import combinations
from typing import ClassVar

import torch
from torch import Tensor, nn

from smalti import segment
from smalti.batch import Batch, Output, Shape
from smalti.core import noise
from smalti.core.settings import Count, Part, Whole
from smalti.mil.base import NetworkMethod
from smalti.nn import Attention, Standardize, encoder
from smalti.segment import Segments
from smalti.task import Task


class ACMIL(NetworkMethod):
    """Attention-challenging multiple-instance learning.

    M branches of gated attention look at the instances h_k, each with a head of its own; the bag is
    what their mean attends, with one more head:

        a_mk = softmax_k(w_m'[tanh(V h_k) * sigmoid(U h_k)]),    z_m = sum_k a_mk h_k
        z = sum_k (1 / M) sum_m a_mk h_k = (1 / M) sum_m z_m,    raw = head(z)
        loss = loss(raw) + (1 / M) sum_m loss(head_m(z_m)) + (mean over m < l of cos(a_m, a_l))

    The second term has each branch find what tells the label, the third (diversity) has them look
    at different instances. In training, and only there, each of the ``masked`` instances that a
    branch attends most is left out of its softmax with probability ``mask_rate``, so that the rest
    takes over its weight; at least one instance is always left.

    ``attention`` is the mean of the branches, ``contribution`` that times c'h_k: it sums over the
    bag to the logit less its constant.

    Notes
    -----
    Published are one layer of 512, attention of 128 or 256, 5 branches, and 10 pieces masked with
    probability 0.6. Without masks and with one branch this is gated :class:`ABMIL` but for a second
    head. Validation bags are judged by the loss of raw alone.
    """

    name: ClassVar[str] = "acmil"
    reference: ClassVar[str] = (
        "Zhang, Li, Sun, Zheng, Zhu & Yang (2024). Attention-challenging multiple instance "
        "learning for whole slide image classification. ECCV. arXiv:2311.07125"
    )
    cite: ClassVar[tuple[str, ...]] = ("zhang2024",)

    branches: Count = 5  # M, attentions
    masked: Whole = 10  # instances attended most that may be left out in training; 0: none
    mask_rate: Part = 0.6  # probability of each of them to be left out
    gated: bool = True  # multiply tanh(V h) by sigmoid(U h)
    attention_width: Count = 64  # rows of V

    def network(self, shape: Shape) -> nn.Module:
        """Scale, encoder, attentions, heads."""
        return _Net(self, shape)

    def loss(self, task: Task, output: Output, target: Tensor) -> Tensor:
        """Of the bag; in training also of each branch, and how alike the branches look."""
        whole = task.loss(output.raw, target)
        if not output.extra:
            return whole
        each = torch.stack([task.loss(raw, target) for raw in output.extra["branches"]])
        return whole + each.mean(0) + output.extra["alike"]

    @classmethod
    def example(cls) -> ACMIL:
        """A tiny one."""
        return cls(branches=2, masked=2, widths=(16,), attention_width=8, dropout=0.1, epochs=60,
                   lr=0.01, batch_size=8)  # fmt: skip


class _Net(nn.Module):
    def __init__(self, method: ACMIL, shape: Shape) -> None:
        super().__init__()
        self.scale = Standardize(shape.x) if method.standardize else nn.Identity()
        self.encoder, width = encoder(method.encoder, shape.x, method.widths, method.dropout)
        self.attention = Attention(width, method.attention_width, gated=method.gated,
                                   branches=method.branches)  # fmt: skip
        self.heads = nn.ModuleList(shape.task.head(width) for _ in range(method.branches))
        self.head = shape.task.head(width)
        self.masked, self.mask_rate = method.masked, method.mask_rate

    def forward(self, batch: Batch) -> Output:
        h = self.encoder(self.scale(batch.x))  # (n, width)
        score = self.attention(h)  # (n, n_branches)
        if self.training and self.masked:
            score = self._mask(score, batch.segments)
        a = segment.softmax(score, batch.segments)  # (n, n_branches)
        z = [segment.total(h, batch.segments, a_m) for a_m in a.unbind(1)]  # (n_bags, width) each
        whole = torch.stack(z).mean(0)
        raw = self.head(whole)
        if self.training:
            branches = [head(z_m) for head, z_m in zip(self.heads, z, strict=True)]
            return Output(raw, extra={"branches": branches, "alike": _alike(a, batch.segments)})
        mean = a.mean(1)  # (n,)
        part = (self.head(h) - self.head(torch.zeros_like(h[:1]))) * mean[:, None]
        return Output(raw, instance={"attention": mean, "contribution": part},
                      bag={"embedding": whole})  # fmt: skip

    def _mask(self, score: Tensor, segments: Segments) -> Tensor:
        """(n, n_branches) scores, of the largest some at minus infinity, but not of a whole bag."""
        most = (segments.lengths - 1).clamp(max=self.masked)[:, None]  # (n_bags, 1)
        top = segment.ranks(score, segments) < segments.spread(most)
        drawn = torch.rand(score.shape, generator=noise.generator(), device=score.device)
        return score.masked_fill(top & (drawn < self.mask_rate), -torch.inf)


def _alike(a: Tensor, segments: Segments) -> Tensor:
    """(n, n_branches) attention to the mean cosine of two branches in each bag, (n_bags,)."""
    pairs = list(combinations(range(a.shape[1]), 2))
    if not pairs:
        return a.new_zeros(len(segments.lengths))
    size = segment.total(a * a, segments).sqrt()  # (n_bags, n_branches)
    one, two = map(list, zip(*pairs, strict=True))
    cosine = segment.total(a[:, one] * a[:, two], segments) / (size[:, one] * size[:, two])
    return cosine.mean(1)
