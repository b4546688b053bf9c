"""Attention over the instances of a bag (Ilse, Tomczak & Welling 2018, equations 7 to 9)."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Attention(nn.Module):
    """a_k = softmax_k(w' tanh(V h_k)), gated: softmax_k(w' [tanh(V h_k) * sigmoid(U h_k)]).

    V and U are one layer, so that the step is one matrix product. Several ``branches`` have them in
    common, and a w each.
    """

    def __init__(self, width: int, hidden: int, *, gated: bool, branches: int = 1) -> None:
        super().__init__()
        self.gated = gated
        self.inner = nn.Linear(width, 2 * hidden if gated else hidden)
        self.outer = nn.Linear(hidden, branches)

    def forward(self, h: Tensor) -> Tensor:
        """(n, width) to the scores of each instance, (n, branches): softmax over a bag is a_k."""
        inner = self.inner(h)
        if self.gated:
            v, u = inner.chunk(2, dim=1)
            inner = torch.tanh(v) * torch.sigmoid(u)
        else:
            inner = torch.tanh(inner)
        return self.outer(inner)
