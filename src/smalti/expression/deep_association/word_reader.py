"""A gene's words, beside its vector."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smalti import segment
from smalti.segment import Segments


class WordReader(nn.Module):
    """Attention over the words of a gene: O sum_w a_w V w, with a = softmax over its words of q w.

    Words are normalised each (no learned scale). ``heads`` learned q each pool their own columns of
    V w. O starts at 0: a fit starts from the vectors, and adds of the words what helps. Attention
    among the words (see SGN's tower) would cost tens of times as much, for each of the hundreds of
    genes that a step reads.

    Parameters
    ----------
    word_width
        Of the words.
    width
        Of genes; a multiple of ``heads``.
    heads
        Queries.
    """

    def __init__(self, word_width: int, width: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.ask = nn.Linear(word_width, heads, bias=False)  # q
        self.value = nn.Linear(word_width, width)  # V
        self.mix = nn.Linear(width, width, bias=False)  # O
        nn.init.zeros_(self.mix.weight)

    def forward(self, words: Tensor, offsets: Tensor) -> Tensor:
        """(n_words, word_width) words and (g + 1,) where each gene's begin: (g, width)."""
        words = F.layer_norm(words, words.shape[1:])
        value = self.value(words)  # (n_words, width)
        scores = torch.repeat_interleave(self.ask(words), value.shape[1] // self.heads, dim=1)
        return self.mix(segment.attend(scores, value, Segments.of(offsets)))
