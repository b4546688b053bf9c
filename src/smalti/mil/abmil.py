"""Attention-based multiple-instance learning."""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from smalti import segment
from smalti.batch import Batch, Output, Shape
from smalti.core.settings import Count
from smalti.mil.base import NetworkMethod
from smalti.nn import Attention, Standardize, encoder


class ABMIL(NetworkMethod):
    """Attention over instances, plain or gated.

    Encoded instances h_k are weighted and summed, and the head reads the sum z:

        a_k = softmax_k(w' tanh(V h_k)),    z = sum_k a_k h_k

    Gated, tanh(V h_k) is multiplied by sigmoid(U h_k), element by element.

    ``attention`` says where the network looked. ``contribution`` is a_k c'h_k: signed, on the
    logit scale, summing over the bag to the logit less its constant. Attention may fall on one of
    several equal key instances, so a low weight does not mean "irrelevant".

    Not to be confused with CLAM, which adds instance heads.

    Examples
    --------
    >>> import smalti as sm
    >>> train, test = (sm.datasets.planted_bags(30, seed=s) for s in (0, 1))
    >>> model = sm.mil.ABMIL(gated=True, epochs=2, seed=0, progress=False).fit(train)
    >>> model.predict_proba(test).shape  # (n_bags, n_classes)
    (30, 2)
    >>> frame = model.attribute(test)  # one row per instance
    >>> list(frame)
    ['bag', 'attention', 'contribution_1']
    >>> frame.groupby("bag")["attention"].sum().round(3).unique()
    array([1.], dtype=float32)
    """

    name: ClassVar[str] = "abmil"
    reference: ClassVar[str] = (
        "Ilse, Tomczak & Welling (2018). Attention-based deep multiple instance learning. ICML. "
        "arXiv:1802.04712"
    )
    cite: ClassVar[tuple[str, ...]] = ("ilse2018",)

    gated: bool = False  # multiply tanh(V h) by sigmoid(U h)
    attention_width: Count = 64  # L, rows of V; the paper has 64 for vectors, 128 for images

    def network(self, shape: Shape) -> nn.Module:
        """Scale, encoder, attention, head."""
        return _Net(self, shape)

    @classmethod
    def example(cls) -> ABMIL:
        """A tiny one."""
        return cls(gated=True, widths=(16,), attention_width=8, dropout=0.1, epochs=60, lr=0.01,
                   batch_size=8)  # fmt: skip


class _Net(nn.Module):
    def __init__(self, method: ABMIL, shape: Shape) -> None:
        super().__init__()
        self.scale = Standardize(shape.x) if method.standardize else nn.Identity()
        self.encoder, width = encoder(method.encoder, shape.x, method.widths, method.dropout)
        self.attention = Attention(width, method.attention_width, gated=method.gated)
        self.head = shape.task.head(width)

    def forward(self, batch: Batch) -> Output:
        h = self.encoder(self.scale(batch.x))  # (n, width)
        score = self.attention(h)  # (n, 1)
        z = segment.attend(score, h, batch.segments)  # (n_bags, width)
        raw = self.head(z)
        if self.training:
            return Output(raw)
        a = segment.softmax(score, batch.segments)[:, 0]  # (n,)
        part = (self.head(h) - self.head(h.new_zeros(1, h.shape[1]))) * a[:, None]
        return Output(raw, instance={"attention": a, "contribution": part}, bag={"embedding": z})
