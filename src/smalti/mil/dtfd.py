"""DTFD-MIL: attention over pseudo-bags, and over what is distilled from them."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from smalti import segment
from smalti.batch import Batch, Output, Shape
from smalti.core import noise
from smalti.core.settings import Count, Part, Positive
from smalti.mil.base import NetworkMethod
from smalti.nn import Attention, Standardize, encoder
from smalti.nn.order import content_hash, in_order, odd_numbers
from smalti.segment import Segments
from smalti.task import Task


class DTFD(NetworkMethod):
    """A bag is cut into pseudo-bags; a second attention reads what is distilled from each.

    Encoded instances h_k of a bag are dealt into M pseudo-bags of the bag's label. The first tier
    is attention in each of them, read by a head; its loss is the mean over the pseudo-bags. The
    class activation L_k of an instance is what it brings to the first tier's logits,

        z_m = sum_k a_k h_k,    L_k = a_k (head_1(h_k) - head_1(0))

    and values of that (for several classes: softmax over them) are the instance probabilities p_k,
    as the derivation of the paper has it. From each pseudo-bag is distilled

    - "afs": z_m;
    - "max": the h_k with the highest p_k, of each output;
    - "maxmin": those with the highest and with the lowest.

    The second tier is attention over what is distilled, its head the prediction. Losses of both
    tiers are added; each tier follows its own, so no gradient flows from the second to the first.

    ``score`` of an instance is L_k. ``attention`` is its share in what the second tier reads (with
    "max" and "maxmin" that of the instances that were not chosen is 0) and sums to 1;
    ``contribution`` is that times c'h_k, c the second head: signed, summing over the bag to the
    logit less its constant.

    Notes
    -----
    Pseudo-bags are drawn anew for each step of training, from the seed. In a prediction they are
    dealt by a hash of the instances' values, so that neither their order nor chance matters. A bag
    of fewer than M instances has as many pseudo-bags as instances. The published training drops the
    learning rate to a fifth after 100 epochs, and takes bags one by one.
    """

    name: ClassVar[str] = "dtfd"
    reference: ClassVar[str] = (
        "Zhang et al. (2022). DTFD-MIL: Double-tier feature distillation multiple instance "
        "learning for histopathology whole slide image classification. CVPR. arXiv:2203.12081"
    )
    cite: ClassVar[tuple[str, ...]] = ("zhang2022",)

    pseudo_bags: Count = 4  # M; the paper has 5 and 8, its code 4
    distil: Literal["afs", "max", "maxmin"] = "afs"  # what the second tier gets of a pseudo-bag
    gated: bool = True  # attention of both tiers: multiply tanh(V h) by sigmoid(U h)
    attention_width: Count = 128  # rows of V
    widths: tuple[Count, ...] = (512,)  # units of the layers of the "mlp" encoder
    dropout: Part = 0.0  # probability, after each layer of the encoder
    epochs: Count = 200  # passes over the training bags, at most
    lr: Positive = 1e-4  # learning rate

    def network(self, shape: Shape) -> nn.Module:
        """Scale, encoder, two tiers of attention and head."""
        return _Net(self, shape)

    def loss(self, task: Task, output: Output, target: Tensor) -> Tensor:
        """Of the second tier, and the mean over the pseudo-bags of that of the first."""
        raw, of = output.extra["first"], output.extra["pseudo_bags"]
        first = task.loss(raw, target[of.index])  # (n_pseudo_bags,)
        return task.loss(output.raw, target) + segment.mean(first[:, None], of)[:, 0]

    @classmethod
    def example(cls) -> DTFD:
        """A tiny one."""
        return cls(pseudo_bags=3, distil="maxmin", widths=(16,), attention_width=8, epochs=60,
                   lr=0.01, batch_size=8)  # fmt: skip


class _Net(nn.Module):
    hash: Tensor

    def __init__(self, method: DTFD, shape: Shape) -> None:
        super().__init__()
        self.scale = Standardize(shape.x) if method.standardize else nn.Identity()
        self.encoder, width = encoder(method.encoder, shape.x, method.widths, method.dropout)
        self.attention, self.second_attention = (
            Attention(width, method.attention_width, gated=method.gated) for _ in range(2)
        )
        self.head, self.second_head = shape.task.head(width), shape.task.head(width)
        self.pseudo_bags, self.distil, self.task = method.pseudo_bags, method.distil, shape.task
        self.register_buffer("hash", odd_numbers(shape.x))

    def forward(self, batch: Batch) -> Output:
        order, pseudo, of = self._dealt(batch)
        h = self.encoder(self.scale(batch.x))[order]  # (n, width)
        a = segment.softmax(self.attention(h), pseudo)  # (n, 1)
        first = self.head(segment.total(h, pseudo, a[:, 0]))  # (n_pseudo_bags, n_outputs)

        score = a * _slope(self.head, h)  # (n, n_outputs)
        share = self._chosen(a, score, pseudo).detach()  # (n, k)
        told = [segment.total(h.detach(), pseudo, part) for part in share.unbind(1)]
        distilled = torch.stack(told, 1).flatten(0, 1)  # (n_pseudo_bags * k, width)
        bags = Segments.of(of.offsets * len(told))
        b = segment.softmax(self.second_attention(distilled), bags)[:, 0]
        z = segment.total(distilled, bags, b)  # (n_bags, width)

        raw, extra = self.second_head(z), {"first": first, "pseudo_bags": of}
        if self.training:
            return Output(raw, extra=extra)
        attention = (share * b.view(-1, len(told))[pseudo.index]).sum(1)  # (n,)
        part = attention[:, None] * _slope(self.second_head, h)
        said = {"attention": attention, "contribution": part, "score": score}
        back = {name: torch.empty_like(v).index_copy(0, order, v) for name, v in said.items()}
        return Output(raw, instance=back, bag={"embedding": z}, extra=extra)

    def _dealt(self, batch: Batch) -> tuple[Tensor, Segments, Segments]:
        """Rows (n,) pseudo-bag after pseudo-bag; those among them; the bags among those."""
        segments, x = batch.segments, batch.x
        if self.training:
            key = torch.rand(len(x), generator=noise.generator(), device=x.device)
        else:
            key = content_hash(x, self.hash)
        rows, lengths = in_order(segments, key), segments.lengths
        count = lengths.clamp(max=self.pseudo_bags)  # (n_bags,)
        of = Segments.of(nn.functional.pad(count.cumsum(0), (1, 0)))
        index = segments.index  # of the rows in order too
        place = torch.arange(len(x), device=x.device) - segments.offsets[:-1][index]
        member = of.offsets[:-1][index] + place * count[index] // lengths[index]
        return rows, Segments.of(nn.functional.pad(member.bincount().cumsum(0), (1, 0))), of

    def _chosen(self, a: Tensor, score: Tensor, pseudo: Segments) -> Tensor:
        """(n, k) weights of the instances in the k vectors that their pseudo-bag gives on."""
        if self.distil == "afs":
            return a
        p = self.task.values(score)
        ends = [p, -p] if self.distil == "maxmin" else [p]
        return torch.cat([_highest(end, pseudo) for end in ends], 1)


def _slope(head: nn.Module, h: Tensor) -> Tensor:
    """What a head makes of (n, width) without its constant."""
    return head(h) - head(h.new_zeros(1, h.shape[1]))


def _highest(p: Tensor, segments: Segments) -> Tensor:
    """1 for the row with the highest value of its slice, column by column; ties, as copies, share.

    (n, d) to the same shape.
    """
    top = (p == segments.spread(segment.peak(p, segments))).to(p.dtype)
    return top / segments.spread(segment.total(top, segments))
