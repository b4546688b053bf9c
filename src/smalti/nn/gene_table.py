"""Genes as tensors: their vectors, the words of their texts, and the seen genes beside them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from smalti.genes.vectors import GeneVectors


class GeneTable:
    """What a network reads of some genes.

    Attributes
    ----------
    x
        (g, width) vectors.
    words, offsets, segment
        (t, word_width) words of all genes, one gene after another; (g + 1,) int64 where each
        begins; (t,) int64 which of the genes of an ambiguous name a word is about. Without words a
        gene's vector is its one word.
    own
        (g,) int64 position of each gene in the bank; -1: not there.
    bank
        The genes that others may look up, the seen ones first and, for most methods, no others;
        None: these are the bank.
    """

    def __init__(
        self, x: Tensor, words: Tensor, offsets: Tensor, segment: Tensor, own: Tensor,
        bank: GeneTable | None = None,
    ) -> None:  # fmt: skip
        self.x, self.words, self.offsets, self.segment = x, words, offsets, segment
        self.own, self.bank = own, bank

    def __len__(self) -> int:
        return len(self.x)

    @classmethod
    def of(
        cls, vectors: GeneVectors, own: np.ndarray, device: torch.device, dtype: torch.dtype,
        bank: GeneTable | None = None,
    ) -> GeneTable:  # fmt: skip
        """From arrays; ``own`` (g,) int64 is where each gene is in the bank, or -1."""
        x = torch.as_tensor(vectors.x).to(device, dtype)
        own_at = torch.as_tensor(own, device=device)
        if vectors.tokens is None or vectors.offsets is None:
            ends = torch.arange(len(x) + 1, device=device)
            return cls(x, x, ends, torch.zeros_like(ends[1:]), own_at, bank)
        words = torch.as_tensor(vectors.tokens).to(device, dtype)
        offsets = torch.as_tensor(np.asarray(vectors.offsets, dtype=np.int64), device=device)
        segment = torch.zeros(len(words), dtype=torch.int64, device=device)
        if vectors.segment is not None:
            segment = torch.as_tensor(vectors.segment.astype(np.int64), device=device)
        return cls(x, words, offsets, segment, own_at, bank)

    def take(self, at: Tensor) -> GeneTable:
        """Some of the genes, at (k,) int64 positions; the bank beside them stays whole."""
        lengths = self.offsets.diff()[at]
        ends = torch.nn.functional.pad(lengths.cumsum(0), (1, 0))
        start = torch.repeat_interleave(self.offsets[at] - ends[:-1], lengths)
        rows = start + torch.arange(len(start), device=start.device)
        return GeneTable(
            self.x[at], self.words[rows], ends, self.segment[rows], self.own[at],
            self if self.bank is None else self.bank,
        )  # fmt: skip

    @property
    def seen(self) -> GeneTable:
        """The bank: the seen genes and, after them, what a method put there."""
        return self if self.bank is None else self.bank
