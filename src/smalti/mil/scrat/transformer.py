"""One encoder block of a transformer over a set of instances, without positions."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smalti.core.noise import Dropout


class EncoderBlock(nn.Module):
    """Self-attention and a two-layer perceptron, normalised after each (Vaswani et al. 2017).

    Equal to ``torch.nn.TransformerEncoderLayer`` of the same weights. Attention is computed by
    ``scaled_dot_product_attention``, whose memory grows with the number of instances, not with its
    square; the weights of the attention are therefore not there to be dropped, only its result is.
    """

    def __init__(self, width: int, heads: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.query_key_value = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.first, self.second = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.dropout = Dropout(dropout)

    def forward(self, h: Tensor, there: Tensor | None = None) -> Tensor:
        """(n_sets, size, width) to the same; ``there`` (n_sets, size) marks rows that are real."""
        mask = None if there is None else there[:, None, None, :]
        return self._rest(h, F.scaled_dot_product_attention(*self._heads(h), attn_mask=mask))

    def with_top_keys(self, h: Tensor) -> tuple[Tensor, Tensor]:
        """The same, and how often each row is the strongest key, (n_sets, size) int64.

        Counted over all heads and queries, from the very scores that make the result. Costs
        n_sets x heads x size^2 numbers: for prediction, a few sets at a time.
        """
        query, key, value = self._heads(h)
        scores = query @ key.transpose(2, 3) * query.shape[3] ** -0.5
        top = scores.argmax(3).flatten(1)  # (n_sets, heads * size)
        count = top.new_zeros(h.shape[:2]).scatter_add_(1, top, torch.ones_like(top))
        return self._rest(h, scores.softmax(3) @ value), count

    def _heads(self, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        parts = self.query_key_value(h).unflatten(2, (3, self.heads, -1))
        query, key, value = parts.permute(2, 0, 3, 1, 4)  # each (n_sets, heads, size, part)
        return query, key, value

    def _rest(self, h: Tensor, attended: Tensor) -> Tensor:
        mixed = self.out(attended.transpose(1, 2).flatten(2))
        h = self.norm1(h + self.dropout(mixed))
        fed = self.second(self.dropout(F.relu(self.first(h))))
        return self.norm2(h + self.dropout(fed))
