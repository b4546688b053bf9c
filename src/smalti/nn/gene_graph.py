"""Genes that mean alike speak to each other: attention on the graph of nearest genes.

Design:

- Attention among all genes would be genes x genes; on the k nearest it is genes x k.
- Those who speak are a bank that is saved with the model, the seen genes or its whole table of
  vectors, so that a prediction does not depend on which others are asked for.
- No gradient flows into who is near whom, and ties are settled, so that the same vectors have the
  same edges. The paper, as far as its text says, takes the vectors that the slide has refined; Deep
  Association takes those of the texts, once, before a fit, and the refined ones on request.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smalti.errors import InputError
from smalti.solve.nearest import nearest_columns, rows_of

_SPARE = 8  # columns beyond k among which ties are settled


def nearest_genes(query: Tensor, bank: Tensor, k: int, exclude: Tensor | None = None) -> Tensor:
    """The k genes of the bank with the largest cosine to each query, the nearest first.

    Cosines that agree to 1e-6 (1e-12 in double precision) are equal; of equal ones the first of the
    bank is taken. A block of the (g, m) cosines is held at a time. No gradient flows.

    Parameters
    ----------
    query
        (g, d) vectors.
    bank
        (m, d) vectors.
    k
        Neighbours of a gene.
    exclude
        (g,) int64 position in the bank of the gene itself, which is no neighbour; -1: not there.

    Returns
    -------
    Tensor
        (g, k) int64 positions in the bank; -1 where the bank has too few.

    Raises
    ------
    InputError
        If k < 1.
    """
    if k < 1:
        raise InputError(f"k={k}: give at least 1.")
    query, bank = F.normalize(query.detach(), dim=1), F.normalize(bank.detach(), dim=1)
    # cosines are at most 1: so many digits after the point are free of rounding
    digits = 12 if query.dtype == torch.float64 else 6
    out = torch.full((len(query), k), -1, dtype=torch.int64, device=query.device)
    step = rows_of(len(bank))
    for start in range(0, len(query), step):
        apart = (query[start : start + step] @ bank.T).neg_()  # (b, m), the nearest lowest
        if exclude is not None:
            own = exclude[start : start + step]
            known = (own >= 0).nonzero()[:, 0]
            apart[known, own[known]] = torch.inf  # what is not finite is left out
        out[start : start + step] = _nearest(apart, k, digits)
    return out


def _nearest(apart: Tensor, k: int, digits: int) -> Tensor:
    """(b, k) columns of the smallest values of each row, -1 where there are too few finite ones.

    Ties are looked for among a few more than k, which spares a pass over all columns; a row with
    more of them than that is gone through as a whole.
    """
    some = min(k + _SPARE, apart.shape[1])
    value, at = apart.topk(some, dim=1, largest=False)  # (b, some) each
    value.round_(decimals=digits)
    # by place, then stably by value: topk does not say in which order it gives equal ones
    by_place = at.argsort(dim=1)
    value, at = value.gather(1, by_place), at.gather(1, by_place)
    order = value.argsort(dim=1, stable=True)
    value, at = value.gather(1, order), at.gather(1, order)
    at = torch.where(value.isfinite(), at, -1)
    out = torch.full((len(apart), k), -1, dtype=torch.int64, device=apart.device)
    out[:, : min(k, some)] = at[:, :k]
    if some < apart.shape[1]:
        # the last that was looked at ties with the k-th: further ties may lie beyond
        open_ = (value[:, -1] <= value[:, k - 1]) & value[:, -1].isfinite()
        rows = open_.nonzero()[:, 0]
        row, column, place = nearest_columns(apart[rows].round_(decimals=digits), k)
        out[rows[row], place] = column
    return out


class GeneGraphAttention(nn.Module):
    """Graph attention of each gene over its nearest, let in by a gate.

    a_ck = softmax_k LeakyReLU(a' [W v_c, W v_k]) per head (Veličković et al. 2018), m_c =
    sum_k a_ck W v_k, and v'_c = v_c + tanh(U m_c) * (V v_c): the gate of the adaptive semantic
    interaction graph of DAM (Zhou et al. 2025, MICCAI, of which no code and no full equation is
    public). U and V start at the identity, where this is v_c + tanh(sum_k a_ck W v_k) * v_c.
    Neither has a bias: a gene without neighbours stays as it is.

    Only the k logits of each gene are made, as a' [W v_c, W v_k] = s_c + t_k: (g, k, heads) numbers
    in place of (g, m, heads). The rows W v_k are gathered for ``block`` genes at a time.

    Parameters
    ----------
    width
        Of v; a multiple of ``heads``.
    heads
        Each has width / heads columns of W v.
    block
        Genes at a time.

    Raises
    ------
    InputError
        If ``width`` is no multiple of ``heads``.
    """

    def __init__(self, width: int, heads: int = 4, *, block: int = 2048) -> None:
        super().__init__()
        if width % heads:
            raise InputError(f"gene graph: width={width} is no multiple of heads={heads}.")
        self.heads, self.block = heads, block
        self.key = nn.Linear(width, width, bias=False)  # W
        self.listen = nn.Parameter(torch.empty(heads, width // heads))  # a, its half for v_c
        self.speak = nn.Parameter(torch.empty(heads, width // heads))  # a, its half for v_k
        self.gate = nn.Linear(width, width, bias=False)  # U
        self.value = nn.Linear(width, width, bias=False)  # V
        for part in (self.listen, self.speak):
            nn.init.xavier_uniform_(part)
        for layer in (self.gate, self.value):
            nn.init.eye_(layer.weight)

    def forward(
        self, v: Tensor, neighbours: Tensor, bank: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Let each gene hear its neighbours.

        Parameters
        ----------
        v
            (g, width) vectors of the genes that listen.
        neighbours
            (g, k) int64 positions in the bank; -1: none.
        bank
            (m, width) vectors of the genes that speak; ``v`` when left out.

        Returns
        -------
        tuple
            (g, width) vectors and (g, k, heads) weights, which sum to 1 over k, or are 0 for a gene
            without neighbours.
        """
        mine = self.key(v).unflatten(1, (self.heads, -1))  # (g, heads, part)
        theirs = mine if bank is None else self.key(bank).unflatten(1, (self.heads, -1))
        # s, (g, heads), and t, (m, heads)
        logit = (mine * self.listen).sum(2), (theirs * self.speak).sum(2)
        flat = theirs.flatten(1)  # (m, width)
        blocks = zip(logit[0].split(self.block), neighbours.split(self.block), strict=True)
        parts = [self._hear(flat, logit[1], own, near) for own, near in blocks]
        message, weight = (torch.cat(p) for p in zip(*parts, strict=True))
        return v + torch.tanh(self.gate(message)) * self.value(v), weight

    def _hear(
        self, flat: Tensor, speak: Tensor, own: Tensor, near: Tensor
    ) -> tuple[Tensor, Tensor]:
        """A block of genes: message (b, width) and weights (b, k, heads)."""
        there = (near >= 0)[..., None]  # (b, k, 1)
        near = near.clamp(min=0)  # -1 is no row to gather; its weight is made 0 below
        score = F.leaky_relu(own[:, None] + F.embedding(near, speak), 0.2)  # (b, k, heads)
        # a finite floor: a gene without neighbours would otherwise divide 0 by 0
        floor = torch.finfo(score.dtype).min
        weight = score.masked_fill(~there, floor).softmax(1) * there
        rows = F.embedding(near, flat).unflatten(2, (self.heads, -1))  # (b, k, heads, part)
        return (weight[..., None] * rows).sum(1).flatten(1), weight
