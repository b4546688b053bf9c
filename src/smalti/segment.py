"""Reductions over the slices of a flat tensor: the only ragged kernels in the house.

A bag is a slice of one flat tensor, so every pooling is a reduction over slices. Design:

- Plain PyTorch, no compiled extension, on any device.
- ``offsets`` is the one encoding of the slices; what is derived from it once is kept beside it
  (see :class:`Segments`): ``index``, as gathers need it at every step, and ``pieces``.
- Each kernel is an ``autograd.Function`` whose backward is written by hand: it reads what forward
  has computed already, where autograd would keep a tensor of all rows for each operation.
- Sums go through ``embedding_bag``: as fast as a loop at few long bags, 25 times faster at
  100,000 short ones, and without the atomics of ``index_add``.
- ``embedding_bag`` adds row to row, which in float32 loses the small to the large: the mean of 10^7
  rows about 10 was 9.4. So a slice is summed in pieces of at most 80 rows, and then the pieces, in
  float64 where they are more than 80: the error is below 1e-5 of the sum of the sizes, whatever
  the length. A piece begins where its slice does, so that a bag's sum does not depend on its batch.
- Numbers of 16 bits are widened first: bfloat16 counts to 256, float16 to 65,504.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

_PIECE = 80  # rows that are added one to the other: 2 x 79 roundings of 6e-8 stay below 1e-5


class Segments(NamedTuple):
    """Where the slices of a flat tensor lie; made by :meth:`of`.

    Attributes
    ----------
    offsets
        (n_segments + 1,) int64, rising; slice i is ``offsets[i]:offsets[i + 1]``.
    index
        (n,) int64, the segment of each row.
    pieces
        The slices cut into pieces of at most 80 rows, for sums: (n_pieces + 1,) offsets of the
        pieces among the rows, (n_segments + 1,) of the slices among the pieces, and whether a
        slice has more than 80 of them. None where no slice is longer than a piece.
    """

    offsets: Tensor
    index: Tensor  # type: ignore[assignment]  # the field hides tuple.index
    pieces: tuple[Tensor, Tensor, bool] | None

    @classmethod
    def of(cls, offsets: Tensor, device: torch.device | None = None) -> Segments:
        """Build from (n_segments + 1,) offsets, for ``device``, by default their own.

        Offsets on the CPU spare a GPU the wait: how long the slices are is read from them.
        """
        device = offsets.device if device is None else device
        if offsets.shape[0] == 2:
            return _alone(int(offsets[1]), device)
        ends = offsets.cpu().numpy()
        lengths = ends[1:] - ends[:-1]
        index = np.repeat(np.arange(len(lengths)), lengths)  # (n,)
        move = partial(_put, device=device)
        longest, pieces = lengths.max(initial=0), None
        if longest > _PIECE:
            starts, slices = map(move, _cut(ends, lengths))
            pieces = starts, slices, bool(longest > _PIECE**2)
        return cls(move(ends), move(index), pieces)

    @property
    def lengths(self) -> Tensor:
        """(n_segments,) int64, the number of rows of each slice."""
        return self.offsets.diff()

    def each(self, change: Callable[[Tensor], Tensor]) -> Segments:
        """The same slices with every tensor changed, (k,) to (k,), such as moved elsewhere."""
        pieces = self.pieces and (change(self.pieces[0]), change(self.pieces[1]), self.pieces[2])
        return Segments(change(self.offsets), change(self.index), pieces)

    def spread(self, values: Tensor) -> Tensor:
        """To each row what its slice has: (n_segments, d) to (n, d), or (1, d) for all rows."""
        return values if values.shape[0] == 1 else values.index_select(0, self.index)


@lru_cache(maxsize=2**14)
def _alone(n: int, device: torch.device) -> Segments:
    """One slice of n rows, of which nothing is as long as they are: kept from epoch to epoch."""
    ends, pieces = np.array([0, n]), None
    if n > _PIECE:
        starts, slices = (_put(part, device) for part in _cut(ends, ends[1:]))
        pieces = starts, slices, n > _PIECE**2
    zero = torch.zeros(1, dtype=torch.int64, device=device)
    return Segments(_put(ends, device), zero.expand(n), pieces)


def _cut(offsets: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Offsets of the pieces, and of the slices among them, of slices (n_segments,) long."""
    count = -(-lengths // _PIECE)  # pieces of each slice
    ends = np.concatenate([[0], count.cumsum()])
    before = np.arange(ends[-1]) - np.repeat(ends[:-1], count)  # pieces of the slice before each
    starts = np.repeat(offsets[:-1], count) + before * _PIECE
    return np.append(starts, offsets[-1]), ends


def _put(values: np.ndarray, device: torch.device) -> Tensor:
    return torch.from_numpy(values).to(device, non_blocking=True)


def _sum(x: Tensor, weight: Tensor | None, segments: Segments) -> Tensor:
    """Sum rows of x (n, d), weighted (n,) or not, by slice: (n_segments, d)."""
    if segments.pieces is None:
        return _plain_sum(x, weight, segments.offsets)
    pieces, slices, many = segments.pieces
    parts = _plain_sum(x, weight, pieces)  # (n_pieces, d)
    return _plain_sum(parts.double() if many else parts, None, slices).to(x.dtype)


def _plain_sum(x: Tensor, weight: Tensor | None, offsets: Tensor) -> Tensor:
    """Row added to row, in the precision of x."""
    rows = torch.arange(x.shape[0], device=x.device)  # the "words" of bag i: its own rows, in order
    # without the checks of torch.nn.functional, which take as long as the sum of a short bag
    return torch.embedding_bag(x, rows, offsets, False, 0, False, weight, True)[0]


_ROWS = 4096  # of a product of matrices that is added up row by row


def product(a: Tensor, b: Tensor) -> Tensor:
    """Sum over all rows of the products of a row (n, k) and a row (n, d), a'b: (k, d).

    A product of matrices adds row to row too: in float32 it is off by 8e-5 at 10^6 rows, by 7e-3
    at 10^7. So it is taken in pieces.
    """
    parts = [x.T @ y for x, y in zip(a.split(_ROWS), b.split(_ROWS), strict=True)]
    return torch.stack(parts).sum(0)  # pairwise, as torch.sum is


def _wide(x: Tensor) -> Tensor:
    """Numbers of 16 bits as float32; others as they are."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


_LONG = 64  # rows per slice from which a product per slice beats one pass over a spread copy


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor | None, segments: Segments) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.segments = segments
        return _sum(x, weight, segments)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        # out_i = sum of w_r x_r over its rows r: dx_r = w_r grad_i, dw_r = <x_r, grad_i>
        (x, weight), segments, needed = ctx.saved_tensors, ctx.segments, ctx.needs_input_grad
        if weight is None:
            return segments.spread(grad).expand_as(x), None, None
        grad_weight = _along(x, grad, segments) if needed[1] else None
        return _outer(weight, grad, segments) if needed[0] else None, grad_weight, None


def _long(n: int, grad: Tensor) -> bool:
    """Whether n rows of the slices of ``grad`` (n_segments, d) are better taken slice by slice."""
    return not grad.is_cuda and n >= _LONG * grad.shape[0]


def _along(x: Tensor, grad: Tensor, segments: Segments) -> Tensor:
    """<x_r, grad_i> of each row (n, d) and its slice (n_segments, d): (n,)."""
    if not _long(x.shape[0], grad):
        return (x * segments.spread(grad)).sum(1)
    out = x.new_zeros(len(x))
    for i, (start, stop) in enumerate(pairwise(segments.offsets.tolist())):
        torch.mv(x[start:stop], grad[i], out=out[start:stop])
    return out


def _outer(weight: Tensor, grad: Tensor, segments: Segments) -> Tensor:
    """w_r grad_i of each row (n,) and its slice (n_segments, d): (n, d)."""
    if not _long(weight.shape[0], grad):
        return segments.spread(grad) * weight[:, None]
    out = grad.new_zeros(len(weight), grad.shape[1])
    for i, (start, stop) in enumerate(pairwise(segments.offsets.tolist())):
        torch.outer(weight[start:stop], grad[i], out=out[start:stop])
    return out


_WIDE = 8  # columns from which scatter_reduce is ten times as fast as segment_reduce on a CPU


def _ceiling(scores: Tensor, segments: Segments) -> Tensor:
    """(n_segments, d) at least the largest value of each slice, to keep exponentials finite."""
    offsets, index = segments.offsets, segments.index
    if offsets.shape[0] == 2 and scores.shape[0]:
        return scores.amax(0, keepdim=True)
    if scores.is_cuda or scores.shape[1] < _WIDE:
        return torch.segment_reduce(scores, "max", offsets=offsets, initial=None)
    top = scores.new_full((len(offsets) - 1, scores.shape[1]), -torch.inf)
    return top.scatter_reduce_(0, index[:, None].expand_as(scores), scores, "amax")


_TURNS = 1.4426950408889634  # log2(e): exp(x) = exp2(x log2(e))


def _mass(scores: Tensor, segments: Segments) -> Tensor:
    """(n, d) exponentials, the largest of each slice 1.

    By powers of two, which take a third of the time of ``exp`` on a CPU, the product counted: that
    of MKL is not made for every processor.
    """
    away = scores - segments.spread(_ceiling(scores, segments))
    return away.exp_() if away.is_cuda else away.mul_(_TURNS).exp2_()


_EIGHT = 8 * _PIECE  # rows that PyTorch adds as we do: eight at a time, at most 80 in a row


def _share(scores: Tensor, segments: Segments) -> Tensor:
    """(n, d) softmax over the rows of each slice; in place where it can, for memory is the cost."""
    if segments.offsets.shape[0] == 2 and scores.shape[0] <= _EIGHT:
        return scores.T.softmax(1).T
    mass = _mass(scores, segments)
    whole = _sum(mass, None, segments)  # (n_segments, d), >= 1 where there are rows
    return mass.div_(segments.spread(whole))


class _Softmax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scores: Tensor, segments: Segments) -> Tensor:
        share = _share(scores, segments)
        ctx.save_for_backward(share)
        ctx.segments = segments
        return share

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        # ds_r = p_r (g_r - sum of p g over the slice)
        (share,), segments = ctx.saved_tensors, ctx.segments
        flow = share * grad  # (n, d)
        mean = segments.spread(_sum(flow, None, segments))
        return flow - share * mean, None


class _Peak(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, segments: Segments) -> Tensor:
        top = torch.segment_reduce(x, "max", offsets=segments.offsets)  # (n_segments, d)
        top.masked_fill_((segments.lengths == 0)[:, None], 0.0)
        ctx.save_for_backward(x, top)
        ctx.segments = segments
        return top

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (x, top), segments = ctx.saved_tensors, ctx.segments
        # rows that tie for the peak share its gradient, as torch.amax has it
        winner = (x == top.index_select(0, segments.index)).to(grad.dtype)  # (n, d)
        count = _sum(winner, None, segments).clamp_(min=1.0)  # (n_segments, d)
        return winner.mul_((grad / count).index_select(0, segments.index)), None


class _Attend(torch.autograd.Function):
    """What passes over memory is the cost: shares are never made, their sum divides the pooled."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, values: Tensor, segments: Segments) -> Tensor:
        mass = _mass(scores, segments)  # (n, d)
        moved = mass * values  # (n, d)
        whole = _sum(mass, None, segments).clamp(min=1.0)  # (n_segments, d), 0 without rows
        pooled = _sum(moved, None, segments) / whole
        ctx.save_for_backward(mass, moved, whole, pooled)
        ctx.segments = segments
        return pooled

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        # dv_r = p_r g, and through the softmax ds_r = p_r g (v_r - pooled), p_r = mass_r / whole
        (mass, moved, whole, pooled), index = ctx.saved_tensors, ctx.segments.index
        flow = (grad / whole).index_select(0, index)  # (n, d)
        grad_values = mass * flow
        grad_scores = flow.mul_(moved).addcmul_(
            grad_values, pooled.index_select(0, index), value=-1
        )
        return grad_scores, grad_values, None


class _Pool(torch.autograd.Function):
    """The same with one column of scores for all of values, which are summed where they lie."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, values: Tensor, segments: Segments) -> Tensor:
        share = _share(scores, segments)[:, 0]  # (n,)
        pooled = _sum(values, share, segments)
        ctx.save_for_backward(share, values, pooled)
        ctx.segments = segments
        return pooled

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        # dv_r = p_r g, ds_r = p_r (<g, v_r> - <g, pooled>)
        (share, values, pooled), segments = ctx.saved_tensors, ctx.segments
        grad_scores = grad_values = None
        if ctx.needs_input_grad[0]:
            mean = segments.spread((pooled * grad).sum(1))
            grad_scores = (_along(values, grad, segments).sub_(mean).mul_(share))[:, None]
        if ctx.needs_input_grad[1]:
            grad_values = _outer(share, grad, segments)
        return grad_scores, grad_values, None


def total(x: Tensor, segments: Segments, weight: Tensor | None = None) -> Tensor:
    """Sum of the rows of each slice.

    Parameters
    ----------
    x
        (n, d) floating rows.
    segments
        The slices.
    weight
        (n,) weight of each row; ones when left out.

    Returns
    -------
    Tensor
        (n_segments, d).
    """
    wide = _wide(x)
    weight = None if weight is None else weight.to(wide.dtype)
    return _Total.apply(wide, weight, segments).to(x.dtype)


def mean(x: Tensor, segments: Segments) -> Tensor:
    """Mean of the rows of each slice: (n, d) to (n_segments, d); an empty slice gives 0."""
    wide = _wide(x)
    lengths = segments.lengths.clamp(min=1).to(wide.dtype)[:, None]
    return (total(wide, segments) / lengths).to(x.dtype)


def peak(x: Tensor, segments: Segments) -> Tensor:
    """Largest value of each column in each slice: (n, d) to (n_segments, d); empty gives 0.

    Rows that tie share its gradient.
    """
    return _Peak.apply(_wide(x), segments).to(x.dtype)


def softmax(scores: Tensor, segments: Segments) -> Tensor:
    """Softmax over the rows of each slice, column by column: (n, d) to (n, d)."""
    return _Softmax.apply(_wide(scores), segments).to(scores.dtype)


def attend(scores: Tensor, values: Tensor, segments: Segments) -> Tensor:
    """Mean of values weighted by the softmax of scores, column by column, in each slice.

    Two (n, d) tensors, or scores (n, 1) for all columns, to (n_segments, d). The same as
    ``total(softmax(scores) * values)``, in half the passes over memory.
    """
    kernel = _Pool if scores.shape[1] == 1 else _Attend
    pooled = kernel.apply(_wide(scores), _wide(values), segments)
    kind = torch.promote_types(scores.dtype, values.dtype)
    return pooled if pooled.dtype == kind else pooled.to(kind)  # which takes time for nothing


def logsumexp(scores: Tensor, segments: Segments) -> Tensor:
    """Log of the summed exponentials of each slice: (n, d) to (n_segments, d); empty gives 0."""
    wide = _wide(scores)
    top = peak(wide.detach(), segments)  # (n_segments, d), a constant to the gradient
    mass = total((wide - top[segments.index]).exp(), segments)  # (n_segments, d)
    # an empty slice has mass 0; all others at least 1
    return (top + mass.clamp(min=1.0).log()).to(scores.dtype)


def ranks(scores: Tensor, segments: Segments) -> Tensor:
    """Place of each row in its slice, column by column: (n, d) to (n, d) int64, the largest 0.

    Rows that tie come in their order. It has no gradient.
    """
    order = scores.detach().argsort(dim=0, descending=True, stable=True)  # (n, d)
    # sorted by slice, and within one still by score
    order = order.gather(0, segments.index[order].argsort(dim=0, stable=True))
    place = torch.arange(len(scores), device=scores.device) - segments.offsets[segments.index]
    return torch.empty_like(order).scatter_(0, order, place[:, None].expand_as(order))
