"""Additive multiple-instance learning: what is said of pieces adds up to the prediction."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from smalti import segment
from smalti.batch import Batch, Output, Shape
from smalti.core.settings import Count
from smalti.mil.base import NetworkMethod
from smalti.nn import Attention, Standardize, encoder


class AdditiveMIL(NetworkMethod):
    """Attention, then a network on each attended instance, whose outputs are summed.

    Instances h_k have attention a_k (gated: times sigmoid(U h_k)), and each goes through psi, a
    perceptron of one hidden layer, by itself and before anything is summed:

        a_k = softmax_k(w' tanh(V h_k))
        psi(x) = C relu(P x + p),    e_k = psi(a_k h_k) - psi(0),    raw = b + sum_k e_k

    ``contribution`` is e_k: of each piece for each class, signed, on the logit scale, summing over
    the bag to the logit less its constant b, exactly, though psi is not linear. It is what
    ``attribute`` and heat maps show. ``attention`` is beside it.

    Notes
    -----
    Published is raw = sum_k psi(a_k h_k) with constants in all layers, so that n psi(0) is part of
    it: the number of pieces in the bag. Here a piece without attention contributes nothing, and
    the constant is counted once.

    In a large bag with even attention a_k h_k is small, psi all but linear, and this is
    :class:`ABMIL`, whose contributions add up too, for its head is linear.
    """

    name: ClassVar[str] = "additive_mil"
    reference: ClassVar[str] = (
        "Javed, Juyal, Padigela, Taylor-Weiner, Yu & Prakash (2022). Additive MIL: intrinsically "
        "interpretable multiple instance learning for pathology. NeurIPS 35. arXiv:2206.01794"
    )
    cite: ClassVar[tuple[str, ...]] = ("javed2022",)

    gated: bool = False  # multiply tanh(V h) by sigmoid(U h)
    attention_width: Count = 64  # rows of V
    hidden: Count = 64  # units of the hidden layer of psi

    def network(self, shape: Shape) -> nn.Module:
        """Scale, encoder, attention, psi."""
        return _Net(self, shape)

    @classmethod
    def example(cls) -> AdditiveMIL:
        """A tiny one."""
        return cls(widths=(16,), attention_width=8, hidden=16, dropout=0.1, epochs=60, lr=0.01,
                   batch_size=8)  # fmt: skip


class _Net(nn.Module):
    def __init__(self, method: AdditiveMIL, shape: Shape) -> None:
        super().__init__()
        self.scale = Standardize(shape.x) if method.standardize else nn.Identity()
        self.encoder, width = encoder(method.encoder, shape.x, method.widths, method.dropout)
        self.attention = Attention(width, method.attention_width, gated=method.gated)
        self.hidden = nn.Linear(width, method.hidden)
        self.head = shape.task.head(method.hidden)  # C, and b, the constant of the sum

    def forward(self, batch: Batch) -> Output:
        h = self.encoder(self.scale(batch.x))  # (n, width)
        a = segment.softmax(self.attention(h), batch.segments)  # (n, 1)
        u = self._hidden(a * h) - self._hidden(torch.zeros_like(h[:1]))  # (n, hidden)
        z = segment.total(u, batch.segments)  # (n_bags, hidden): the head is linear, so sum first
        raw = self.head(z)
        if self.training:
            return Output(raw)
        part = self.head(u) - self.head(torch.zeros_like(u[:1]))  # (n, n_outputs)
        return Output(raw, instance={"attention": a[:, 0], "contribution": part},
                      bag={"embedding": z})  # fmt: skip

    def _hidden(self, x: Tensor) -> Tensor:
        return self.hidden(x).relu()
