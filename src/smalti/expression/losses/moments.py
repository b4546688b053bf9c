"""Sums over tiles and genes, of which :mod:`smalti.expression.losses.composite` is made."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from smalti.errors import InputError


class Layout(NamedTuple):
    """What each gene weighs, and which group it is in."""

    share: Tensor  # (G,) over the genes, sum 1
    table: Tensor  # (G, K) over the genes of each group: columns sum to 1
    group_of: Tensor | None  # (G,)
    even: bool  # one group, in which all genes weigh the same

    @classmethod
    def of(cls, pred: Tensor, weights: Tensor | None, group_of: Tensor | None = None) -> Layout:
        """Of the G columns of ``pred`` (B, G), in its type.

        ``weights`` (G,), None: all the same; ``group_of`` (G,) int64 codes, None: one group.

        Raises
        ------
        InputError
            If ``weights`` or ``group_of`` has not one number per gene.
        """
        n_genes = pred.shape[1]
        even = weights is None and group_of is None
        for name, given in (("weights", weights), ("groups", group_of)):
            if given is not None and len(given) != n_genes:
                raise InputError(f"{name}: there are {len(given)} genes, pred has {n_genes}.")
        weights = pred.new_ones(n_genes) if weights is None else weights.to(pred)
        if group_of is None:
            share = weights / weights.sum()
            return cls(share, share[:, None], None, even)
        table = weights[:, None] * torch.nn.functional.one_hot(group_of).to(weights)
        table = table / table.sum(0)
        return cls(table.mean(1), table, group_of, even)


class Moments:
    """Columns of two (B, G) matrices less their means, and what follows of them."""

    def __init__(self, pred: Tensor, target: Tensor) -> None:
        # the first row is taken off first, so that a constant column is zero to the last bit
        self._first = pred[0].detach(), target[0].detach()
        p, y = pred - self._first[0], target - self._first[1]
        self.p, self.y = p - p.mean(0), y - y.mean(0)

    @cached_property
    def over(self) -> tuple[Tensor, Tensor]:
        """(G,) 1 over the lengths of the columns of both, 0 for constant ones."""
        p, y = (
            _inverse_length(c.square().sum(0), len(c) * first.square())
            for c, first in zip((self.p, self.y), self._first, strict=True)
        )
        return p, y


def _inverse_length(squares: Tensor, size: Tensor) -> Tensor:
    """1 / sqrt, or 0 where ``squares`` are what rounding leaves of values of that ``size``."""
    limits = torch.finfo(squares.dtype)
    live = squares > (8 * limits.eps) ** 2 * size + limits.tiny
    return torch.where(live, torch.where(live, squares, 1).rsqrt(), 0)


def error(pred: Tensor, target: Tensor, layout: Layout, huber: float | None) -> Tensor:
    """Squared error or Huber's loss of two (B, G) matrices, a scalar; groups count the same."""
    gap = pred - target
    if huber is None:
        each = gap.square()
    else:
        near = gap.abs().clamp(max=huber)
        each = near * (gap.abs() - near / 2)
    return each.mean(0) @ layout.share


def gene_correlation(m: Moments) -> Tensor:
    """(G,): of each gene over the tiles."""
    return (m.p * m.y).sum(0) * m.over[0] * m.over[1]


def tile_correlation(pred: Tensor, target: Tensor, layout: Layout) -> Tensor:
    """(B, K): of each tile over the genes of each group."""
    table, group_of = layout.table, layout.group_of

    def spread(each: Tensor) -> Tensor:
        return each if group_of is None else each[:, group_of]

    centred, over = [], []
    for x in (pred, target):
        # twice, so that a constant tile is zero to the last bits; a shift has no gradient
        c = x - spread(x.detach() @ table)
        c = c - spread(c @ table)
        centred.append(c)
        over.append(_inverse_length(c.square() @ table, x.detach().square() @ table))
    return (centred[0] * centred[1]) @ table * over[0] * over[1]


def covariance(m: Moments, layout: Layout, standardise: bool) -> Tensor:
    """Mean over the groups of the weighted mean of squared differences of two (G, G) covariances.

    A scalar; ``standardise`` compares correlations.
    """
    if len(m.p) < 2:
        return m.p.sum() * 0
    p, y = (m.p * m.over[0], m.y * m.over[1]) if standardise else (m.p, m.y)
    scale = 1.0 if standardise else 1.0 / (len(p) - 1)
    gap, both = p - y, p + y
    if layout.even:
        return (scale / p.shape[1]) ** 2 * _symmetric_square(gap, both)
    root = (layout.share * layout.table.shape[1]).sqrt()
    gap, both = gap * root, both * root
    if layout.group_of is None:
        return scale**2 * _symmetric_square(gap, both)
    order = torch.argsort(layout.group_of, stable=True)
    sizes = torch.bincount(layout.group_of).tolist()
    parts = [_symmetric_square(d, s) for d, s in zip(
        gap[:, order].split(sizes, 1), both[:, order].split(sizes, 1), strict=True)]  # fmt: skip
    return scale**2 * torch.stack(parts).mean()


def _symmetric_square(d: Tensor, s: Tensor) -> Tensor:
    """|D'S + S'D|_F^2 / 4 by the smaller of the (B, B) and the (G, G) products."""
    if d.shape[1] < d.shape[0]:
        both = d.T @ s
        return (both + both.T).square().sum() / 4
    cross = d @ s.T
    return ((d @ d.T * (s @ s.T)).sum() + (cross * cross.T).sum()) / 2


def pair(pred: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Both, (B, G), in single or double precision, their shapes checked.

    Raises
    ------
    InputError
        If they are not of one shape with two axes, or have no rows.
    """
    if pred.ndim != 2 or pred.shape != target.shape:
        raise InputError(
            f"pred has shape {tuple(pred.shape)}, target {tuple(target.shape)}: both must be "
            "(tiles, genes), the same."
        )
    if not len(pred):
        raise InputError("there are no tiles: give at least one.")
    pred = pred if pred.dtype in (torch.float32, torch.float64) else pred.float()
    return pred, target.to(pred.dtype)
