"""CLAM: attention, and clusterers that learn from the pieces attended most and least."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smalti import segment
from smalti.batch import Batch, Output, Shape
from smalti.core.settings import Count, Share
from smalti.errors import InputError
from smalti.mil.base import NetworkMethod
from smalti.nn import Attention, Standardize, encoder
from smalti.segment import Segments
from smalti.task import Task


class CLAM(NetworkMethod):
    """Clustering-constrained attention: what attention finds is made separable, piece by piece.

    Instances h_k are weighted by gated attention and summed:

        a_k = softmax_k(w'[tanh(V h_k) * sigmoid(U h_k)]),    z = sum_k a_k h_k

    ``branches="single"``: one attention, the head reads z. ``"multi"``: one w_m, and so one z_m,
    for each class, whose logit is s_m = c_m'z_m + b_m; of two classes the raw prediction is
    s_1 - s_0.

    Beside it each class m has a clusterer d_m(h) = u_m'h + v_m. Of a bag of n instances the
    B = min(``sampled``, n // 2) most attended ones (the set T) and least attended ones (L), by
    attention m where there are several, get pseudo-labels. The clusterer of the bag's class learns
    that T is in it and L is not, all others that their T is not (classes exclude each other):

        in_m  = [sum_T svm(d_m(h_k), 1) + sum_L svm(d_m(h_k), 0)] / 2B
        out_m = sum_T svm(d_m(h_k), 0) / B
        loss  = c loss(raw) + (1 - c) [in_y + sum_(m not y) out_m],    c = ``bag_weight``

    svm is the smooth top-1 margin loss for two classes at temperature 1 and margin 1 (Berrada et
    al. 2018): log(1 + exp(1 - d)) for label 1, log(1 + exp(1 + d)) for 0. The published clusterer
    has two outputs, of which the loss reads the difference d alone.

    ``attention`` (a column per class where there are several branches) says where the network
    looked; ``contribution`` is a_k c'h_k and sums over the bag to the logit less its constant.

    Notes
    -----
    The paper is of classes that exclude each other. Here each of several labels is in or out by
    its own 0 or 1; a count of y among t is in for y / t and out for the rest; quantities and times
    have one clusterer, which all bags are in: it parts what is attended from what is not. They and
    grades have one score, and so one branch.

    No piece is both in T and in L, and a bag of one has no pseudo-labels. Validation bags are
    judged by the loss of bags alone.

    Published are one layer of 512, attention of 256, dropout 0.25, 8 pieces, one slide a step; the
    encoder here is that of the other methods, for a comparison of like with like.

    Not to be confused with :class:`ABMIL`, which has no clusterers.
    """

    name: ClassVar[str] = "clam"
    reference: ClassVar[str] = (
        "Lu, Williamson, Chen, Chen, Barbieri & Mahmood (2021). Data-efficient and weakly "
        "supervised computational pathology on whole-slide images. Nature Biomedical Engineering "
        "5. arXiv:2004.09666"
    )
    cite: ClassVar[tuple[str, ...]] = ("lu2021", "berrada2018")

    branches: Literal["single", "multi"] = "single"  # one attention, or one for each class
    gated: bool = True  # multiply tanh(V h) by sigmoid(U h)
    attention_width: Count = 64  # rows of V
    sampled: Count = 8  # B, pieces attended most, and least, that get a pseudo-label
    bag_weight: Share = 0.7  # c, of the loss of the bag; the pieces have the rest

    def network(self, shape: Shape) -> nn.Module:
        """Scale, encoder, attention, heads, clusterers."""
        if self.branches == "multi" and shape.task.kind in ("ordinal", "regression", "survival"):
            raise InputError(
                f"branches='multi' is a branch for each class, and a {shape.task.kind} target has "
                "one score: take branches='single'."
            )
        return _Net(self, shape)

    def loss(self, task: Task, output: Output, target: Tensor) -> Tensor:
        """That of the bag, and in training that of its pieces."""
        whole = task.loss(output.raw, target)
        if not output.extra:
            return whole
        member = membership(task, target).to(output.raw.dtype)  # (n_bags, n_clusterers)
        pieces = (member * output.extra["in"] + (1 - member) * output.extra["out"]).sum(1)
        return self.bag_weight * whole + (1 - self.bag_weight) * pieces

    @classmethod
    def example(cls) -> CLAM:
        """A tiny one."""
        return cls(widths=(16,), attention_width=8, dropout=0.1, epochs=60, lr=0.01,
                   batch_size=8)  # fmt: skip


def membership(task: Task, target: Tensor) -> Tensor:
    """How much of a bag is in each cluster, 0 to 1: target (n, ...) to (n, n_clusterers)."""
    if task.kind in ("binary", "multiclass", "ordinal"):
        return F.one_hot(target, len(task.classes))
    if task.kind in ("multilabel", "binomial"):
        return target / task.trials
    return target.new_ones(len(target), 1)


class _Net(nn.Module):
    def __init__(self, method: CLAM, shape: Shape) -> None:
        super().__init__()
        self.scale = Standardize(shape.x) if method.standardize else nn.Identity()
        self.encoder, width = encoder(method.encoder, shape.x, method.widths, method.dropout)
        n = max(1, len(shape.task.classes))  # clusterers
        self.multi, self.sampled = method.branches == "multi", method.sampled
        self.attention = Attention(width, method.attention_width, gated=method.gated,
                                   branches=n if self.multi else 1)  # fmt: skip
        self.head = nn.Linear(width, n) if self.multi else shape.task.head(width)
        self.clusterer = nn.Linear(width, n)
        self.difference = self.multi and n > shape.task.n_outputs  # of the scores of two classes

    def forward(self, batch: Batch) -> Output:
        h = self.encoder(self.scale(batch.x))  # (n, width)
        score = self.attention(h)  # (n, n_branches)
        z = torch.stack([segment.attend(s, h, batch.segments) for s in score.split(1, 1)], 1)
        raw = self._raw(z)  # of z (n_bags, n_branches, width)
        if self.training:
            return Output(raw, extra=self._clusters(h, score, batch.segments))
        a = segment.softmax(score, batch.segments)  # (n, n_branches)
        part = a[:, :, None] * h[:, None]  # (n, n_branches, width)
        part = self._raw(part) - self._raw(torch.zeros_like(part[:1]))  # (n, n_outputs)
        return Output(raw, instance={"attention": a.squeeze(1), "contribution": part},
                      bag={"embedding": z.flatten(1)})  # fmt: skip

    def _raw(self, z: Tensor) -> Tensor:
        """(n, n_branches, width) to (n, n_outputs)."""
        if not self.multi:
            return self.head(z[:, 0])
        score = self.head(z).diagonal(dim1=1, dim2=2)  # each class of its own branch
        return score[:, 1:] - score[:, :1] if self.difference else score

    def _clusters(self, h: Tensor, score: Tensor, segments: Segments) -> dict[str, Tensor]:
        """Loss of the pieces of a bag that is in a class, and of one that is out, (n_bags, n)."""
        lengths = segments.lengths[:, None]
        b = (lengths // 2).clamp(max=self.sampled)  # (n_bags, 1), 0 of a bag of one
        rank = segment.ranks(score, segments)  # (n, n_branches)
        near = rank < segments.spread(b)
        far = rank >= segments.spread(lengths - b)
        d = self.clusterer(h)  # (n, n_clusterers)
        yes, no = F.softplus(1 - d), F.softplus(1 + d)
        share = b.clamp(min=1).to(d.dtype)
        out = segment.total(near * no, segments) / share
        own = segment.total(near * yes + far * no, segments) / (2 * share)
        return {"in": own, "out": out}
