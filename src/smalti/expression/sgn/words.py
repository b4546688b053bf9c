"""A gene as a vector, read from the words of its description: the gene tower of SGN."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smalti.core.noise import Dropout
from smalti.errors import InputError

SLOTS = 5  # genes that may share one ambiguous name
_EXTRA = 2  # class token and register
_SLACK = 256  # rows of padding that cost less than one more chunk


class GeneTower(nn.Module):
    """Words of a gene's description to its vector v and bias b (Yang et al. 2024, MICCAI).

    Words (states of a language model) -> Linear -> + embedding of the segment -> [class token,
    register, words] -> pre-norm transformer -> last state of the class token -> Linear to width + 1
    numbers: the first, scaled to length 1, are v, the last is b. An expression is then z v + b.

    The order of the words is in their states alone: there are no positions, as in SGN, so a
    shuffled text of the same states gives the same vector. Genes are sorted by length and read in
    chunks of about equal length, so little is padding; padding is masked, so a gene's vector does
    not depend on the genes read with it.

    What the source leaves open, and the choice here: a perceptron of 4 x width with GELU, a
    LayerNorm after the last block, 512 *words* kept (the first), class token and register drawn
    with s.d. 0.02, so that what the words say is not small beside them.

    Parameters
    ----------
    token_width
        Of the words.
    width
        Of v; a multiple of ``heads``.
    layers, heads
        SGN: 2 and 4.
    max_tokens
        Words of a gene beyond these are not read.
    dropout
        After each part of a block.
    budget
        Words, with padding, of a chunk.

    Raises
    ------
    InputError
        If ``width`` is no multiple of ``heads``, or another number is below 1.
    """

    def __init__(
        self, token_width: int, width: int = 256, *, layers: int = 2, heads: int = 4,
        max_tokens: int = 512, dropout: float = 0.0, budget: int = 2**15,
    ) -> None:  # fmt: skip
        super().__init__()
        if width % heads or layers < 1 or max_tokens < 1:
            raise InputError(
                f"gene tower: width={width}, heads={heads}, layers={layers}, max_tokens="
                f"{max_tokens}: width must be a multiple of heads, the others at least 1."
            )
        self.project = nn.Linear(token_width, width)
        self.segment = nn.Parameter(torch.zeros(SLOTS, width))
        self.extra = nn.Parameter(torch.randn(_EXTRA, width) * 0.02)  # class token, register
        self.blocks = nn.ModuleList(_Block(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, width + 1)
        self.max_tokens, self.budget = max_tokens, budget

    def forward(
        self, tokens: Tensor, offsets: Tensor | None = None, segment: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Read the descriptions.

        Parameters
        ----------
        tokens
            (n_tokens, token_width) words, one gene after another, in any floating type.
        offsets
            (g + 1,) int64; gene i has words ``offsets[i]:offsets[i + 1]``. Left out: every row is a
            gene, a text of one word.
        segment
            (n_tokens,) int64: which of the genes that share a name a word is about; 0 when left
            out. The fifth and all after it share a slot.

        Returns
        -------
        tuple
            (g, width) vectors of length 1 and (g,) biases.
        """
        if offsets is None:
            offsets = torch.arange(len(tokens) + 1, device=tokens.device)
        size = offsets.diff().clamp(max=self.max_tokens)
        order = size.argsort(stable=True)
        read = []
        for genes in self._chunks(order, size):
            read.append(self._read(tokens, offsets[genes], size[genes], segment))
        if not read:
            return self.out.weight.new_zeros(0, len(self.out.bias) - 1), self.out.bias.new_zeros(0)
        found = torch.cat(read).index_select(0, order.argsort())
        return F.normalize(found[:, :-1], dim=1), found[:, -1]

    def _chunks(self, order: Tensor, size: Tensor) -> Iterator[Tensor]:
        """Genes by length, cut where a chunk would pass the budget or be padded by much."""
        lengths = (size[order] + _EXTRA).tolist()
        start = real = 0
        for stop, length in enumerate(lengths):
            padded = (stop + 1 - start) * length
            if stop > start and (padded > self.budget or padded > 1.1 * (real + length) + _SLACK):
                yield order[start:stop]
                start, real = stop, 0
            real += length
        if lengths:
            yield order[start:]

    def _read(self, tokens: Tensor, first: Tensor, size: Tensor, segment: Tensor | None) -> Tensor:
        """One chunk of genes to (genes, width + 1)."""
        place = torch.arange(int(size[-1]), device=size.device)  # sorted: the last is the longest
        there = place < size[:, None]  # (genes, longest)
        rows = (first[:, None] + place)[there]
        words = self.project(tokens[rows].to(self.project.weight.dtype))
        slot = rows.new_zeros(len(rows)) if segment is None else segment[rows].clamp(max=SLOTS - 1)
        words = words + F.embedding(slot, self.segment)
        h = words.new_zeros(*there.shape, words.shape[1])
        h = h.masked_scatter(there[..., None], words)
        h = torch.cat([self.extra.expand(len(h), -1, -1), h], dim=1)
        mask = None if bool(there.all()) else F.pad(there, (_EXTRA, 0), value=True)
        for block in self.blocks[:-1]:
            h = block(h, mask, h)
        return self.out(self.norm(self.blocks[-1](h[:, :1], mask, h)[:, 0]))


class _Block(nn.Module):
    """Pre-norm attention and perceptron, each times a learned scale that starts at 0.1.

    The scale is LayerScale (Touvron et al. 2021): a block starts near the identity.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.mix = nn.Linear(width, width)
        self.first, self.second = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.scale1 = nn.Parameter(torch.full((width,), 0.1))
        self.scale2 = nn.Parameter(torch.full((width,), 0.1))
        self.dropout = Dropout(dropout)

    def forward(self, h: Tensor, there: Tensor | None, source: Tensor) -> Tensor:
        """``h`` (genes, rows, width), the first rows of ``source`` (genes, size, width).

        The last block is asked for the class token alone, which spares its perceptron all words.
        """
        seen = self.norm1(source)
        asks = self.query(seen[:, : h.shape[1]]).unflatten(2, (self.heads, -1)).transpose(1, 2)
        key, value = self.key_value(seen).unflatten(2, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mask = None if there is None else there[:, None, None, :]
        mixed = F.scaled_dot_product_attention(asks, key, value, attn_mask=mask)
        mixed = self.mix(mixed.transpose(1, 2).flatten(2))
        h = h + self.scale1 * self.dropout(mixed)
        fed = self.second(F.gelu(self.first(self.norm2(h))))
        return h + self.scale2 * self.dropout(fed)
