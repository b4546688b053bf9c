"""Reductions over the slices of a flat tensor: the only ragged kernels in the house.

A bag is a slice of one flat tensor, so every pooling is a reduction over slices. Design:

- Plain PyTorch, no compiled extension, on any device.
- ``offsets`` is the one encoding of the slices; ``index`` is derived from it once and kept beside
  it (see :class:`Segments`), because gathers need it at every step.
- Each kernel is an ``autograd.Function`` with its own rule for ``torch.vmap``: a stack of
  F ragged problems is one ragged problem of F times as many slices. That is what lets many fits
  train as one (``training``), with networks written as if alone.
- Sums go through ``embedding_bag``: as fast as a loop at few long bags, 25 times faster at
  100,000 short ones, and without the atomics of ``index_add``.
"""

from __future__ import annotations

import inspect
from itertools import pairwise
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Segments(NamedTuple):
    """Where the slices of a flat tensor lie.

    Attributes
    ----------
    offsets
        (n_segments + 1,) int64, rising; slice i is ``offsets[i]:offsets[i + 1]``.
    index
        (n,) int64, the segment of each row. Rows beyond ``offsets[-1]``, which only a stack of
        fits has, point at the last segment; no reduction counts them.
    """

    offsets: Tensor
    index: Tensor  # type: ignore[assignment]  # the field hides tuple.index

    @classmethod
    def of(cls, offsets: Tensor, n: int | None = None) -> Segments:
        """Build from offsets; ``n`` is the number of rows (default: ``offsets[-1]``)."""
        return cls(offsets, _index(offsets, int(offsets[-1]) if n is None else n))

    @property
    def lengths(self) -> Tensor:
        """(n_segments,) int64, the number of rows of each slice."""
        return self.offsets.diff()


def _index(offsets: Tensor, n: int) -> Tensor:
    ids = torch.arange(len(offsets) - 1, device=offsets.device)
    inside = torch.repeat_interleave(ids, offsets.diff())
    return F.pad(inside, (0, n - len(inside)), value=max(len(offsets) - 2, 0))


def _flat_stack(x: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Turn F ragged problems into one.

    (f, n, ...) rows and (f, s + 1) offsets become (f * n, ...) rows in f * (s + 1) slices; the last
    slice of each problem takes the rows that padding left over.
    """
    f, n = x.shape[:2]
    start = n * torch.arange(f, device=x.device)[:, None]
    end = torch.full((1,), f * n, device=x.device, dtype=offsets.dtype)
    flat = torch.cat([(start + offsets).reshape(-1), end])
    index = torch.repeat_interleave(
        torch.arange(len(flat) - 1, device=x.device), flat.diff(), output_size=f * n
    )
    return x.reshape(f * n, *x.shape[2:]), flat, index


def _batched(tensor: Tensor, dim: int | None, size: int) -> Tensor:
    """Bring the dimension that vmap maps to the front, or make it."""
    if dim is None:
        return tensor.expand(size, *tensor.shape)
    return tensor.movedim(dim, 0)


def _sum(x: Tensor, weight: Tensor | None, offsets: Tensor) -> Tensor:
    """Sum rows of x (n, d), weighted (n,) or not, by slice."""
    rows = torch.arange(len(x), device=x.device)
    return F.embedding_bag(
        rows, x, offsets, mode="sum", per_sample_weights=weight, include_last_offset=True
    )


class _Total(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, weight: Tensor | None, offsets: Tensor, index: Tensor) -> Tensor:
        # the last offset need not be len(x): embedding_bag stops there
        return _sum(x, weight, offsets)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, _, index = ctx.saved_tensors
        if weight is not None and not x.is_cuda and len(x) >= _LONG * len(grad):
            return _total_backward_by_slice(ctx, grad)
        spread = grad.index_select(0, index)  # (n, d)
        if weight is None:
            return spread, None, None, None
        grad_weight = (x * spread).sum(1) if ctx.needs_input_grad[1] else None
        grad_x = spread.mul_(weight[:, None]) if ctx.needs_input_grad[0] else None
        return grad_x, grad_weight, None, None

    @staticmethod
    def vmap(  # type: ignore[no-untyped-def]
        info: Any, in_dims: Any, x: Tensor, weight: Tensor | None, offsets: Tensor, index: Tensor
    ):
        size = info.batch_size
        x, offsets = _batched(x, in_dims[0], size), _batched(offsets, in_dims[2], size)
        if weight is not None:
            weight = _batched(weight, in_dims[1], size).reshape(-1)
        flat, flat_offsets, flat_index = _flat_stack(x, offsets)
        out = _Total.apply(flat, weight, flat_offsets, flat_index)
        return out.reshape(size, -1, out.shape[1])[:, :-1], 0


_LONG = 64  # rows per slice from which a product per slice beats one pass over a spread copy


def _total_backward_by_slice(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    """The same gradients without an (n, d) copy of ``grad``: a matrix-vector product per slice."""
    x, weight, offsets, _ = ctx.saved_tensors
    grad_x = torch.zeros_like(x) if ctx.needs_input_grad[0] else None
    grad_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
    ends = offsets.tolist()
    for i, (start, stop) in enumerate(pairwise(ends)):
        if grad_weight is not None:
            torch.mv(x[start:stop], grad[i], out=grad_weight[start:stop])
        if grad_x is not None:
            torch.outer(weight[start:stop], grad[i], out=grad_x[start:stop])
    return grad_x, grad_weight, None, None


_WIDE = 8  # columns from which scatter_reduce is ten times as fast as segment_reduce on a CPU


def _ceiling(scores: Tensor, offsets: Tensor, index: Tensor) -> Tensor:
    """(n_segments, d) at least the largest value of each slice, to keep exponentials finite."""
    if scores.is_cuda or scores.shape[1] < _WIDE:
        top = torch.segment_reduce(scores, "max", offsets=offsets, initial=None)
    else:
        top = scores.new_full((len(offsets) - 1, scores.shape[1]), -torch.inf)
        top.scatter_reduce_(0, index[:, None].expand_as(scores), scores, "amax")
    return torch.nan_to_num(top, neginf=0.0)  # a slice without rows


class _Softmax(torch.autograd.Function):
    @staticmethod
    def forward(scores: Tensor, offsets: Tensor, index: Tensor) -> Tensor:
        top = _ceiling(scores, offsets, index)
        mass = (scores - top.index_select(0, index)).exp_()
        whole = _sum(mass, None, offsets)
        return mass.div_(whole.index_select(0, index))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, offsets, index = inputs
        ctx.save_for_backward(output, offsets, index)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        share, offsets, index = ctx.saved_tensors
        flow = share * grad
        mean = _sum(flow, None, offsets).index_select(0, index)
        return flow - share * mean, None, None

    @staticmethod
    def vmap(info: Any, in_dims: Any, scores: Tensor, offsets: Tensor, index: Tensor):  # type: ignore[no-untyped-def]
        size = info.batch_size
        scores, offsets = _batched(scores, in_dims[0], size), _batched(offsets, in_dims[1], size)
        out = _Softmax.apply(*_flat_stack(scores, offsets))
        return out.reshape(scores.shape), 0


class _Peak(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, offsets: Tensor, index: Tensor) -> Tensor:
        top = torch.segment_reduce(x, "max", offsets=offsets)
        return top.masked_fill_((offsets.diff() == 0)[:, None], 0.0)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, offsets, index = inputs
        ctx.save_for_backward(x, output, offsets, index)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, top, offsets, index = ctx.saved_tensors
        # rows that tie for the peak share its gradient, as torch.amax has it
        winner = (x == top.index_select(0, index)).to(grad.dtype)
        count = _sum(winner, None, offsets).clamp_(min=1.0)
        return winner.mul_((grad / count).index_select(0, index)), None, None

    @staticmethod
    def vmap(info: Any, in_dims: Any, x: Tensor, offsets: Tensor, index: Tensor):  # type: ignore[no-untyped-def]
        size = info.batch_size
        x, offsets = _batched(x, in_dims[0], size), _batched(offsets, in_dims[1], size)
        out = _Peak.apply(*_flat_stack(x, offsets))
        return out.reshape(size, -1, out.shape[1])[:, :-1], 0


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(
        scores: Tensor, values: Tensor, offsets: Tensor, index: Tensor
    ) -> tuple[Tensor, Tensor]:
        share = scores - _ceiling(scores, offsets, index).index_select(0, index)
        share = share.exp_()
        share.div_(_sum(share, None, offsets).index_select(0, index))
        return _sum(share * values, None, offsets), share

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        _, values, _, index = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(values, *output, index)

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        values, pooled, share, index = ctx.saved_tensors
        grad_values = grad.index_select(0, index).mul_(share)
        grad_scores = (values - pooled.index_select(0, index)).mul_(grad_values)
        return grad_scores, grad_values, None, None

    @staticmethod
    def vmap(  # type: ignore[no-untyped-def]
        info: Any, in_dims: Any, scores: Tensor, values: Tensor, offsets: Tensor, index: Tensor
    ):
        size = info.batch_size
        scores, values, offsets = (
            _batched(t, d, size)
            for t, d in zip((scores, values, offsets), in_dims[:3], strict=True)
        )
        flat, flat_offsets, flat_index = _flat_stack(scores, offsets)
        flat_values = values.reshape(flat.shape)
        pooled, share = _Attend.apply(flat, flat_values, flat_offsets, flat_index)
        pooled = pooled.reshape(size, -1, pooled.shape[1])[:, :-1]
        return (pooled, share.reshape(scores.shape)), (0, 0)


for _kernel in (_Total, _Softmax, _Peak, _Attend):
    # autograd.Function.apply asks for the signature at every call; keep it ready
    _kernel.forward.__signature__ = inspect.signature(_kernel.forward)  # type: ignore[union-attr]


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
    weight = None if weight is None else weight.to(x.dtype)
    return _Total.apply(x, weight, segments.offsets, segments.index)


def mean(x: Tensor, segments: Segments) -> Tensor:
    """Mean of the rows of each slice: (n, d) to (n_segments, d); an empty slice gives 0."""
    return total(x, segments) / segments.lengths.clamp(min=1).to(x.dtype)[:, None]


def peak(x: Tensor, segments: Segments) -> Tensor:
    """Largest value of each column in each slice: (n, d) to (n_segments, d); empty gives 0."""
    return _Peak.apply(x, segments.offsets, segments.index)


def softmax(scores: Tensor, segments: Segments) -> Tensor:
    """Softmax over the rows of each slice, column by column: (n, d) to (n, d)."""
    return _Softmax.apply(scores, segments.offsets, segments.index)


def attend(scores: Tensor, values: Tensor, segments: Segments) -> Tensor:
    """Mean of values weighted by the softmax of scores, column by column, in each slice.

    Two (n, d) tensors to (n_segments, d). The same as ``total(softmax(scores) * values)``, in half
    the passes over memory.
    """
    return _Attend.apply(scores, values, segments.offsets, segments.index)[0]


def logsumexp(scores: Tensor, segments: Segments) -> Tensor:
    """Log of the summed exponentials of each slice: (n, d) to (n_segments, d)."""
    top = peak(scores.detach(), segments)
    # rows of no slice may lie above the peak: 0 keeps their exp finite
    mass = total((scores - top[segments.index]).clamp(max=0.0).exp(), segments)
    return top + mass.clamp(min=1.0).log()  # an empty slice has mass 0; all others at least 1
