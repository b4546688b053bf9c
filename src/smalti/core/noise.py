"""Dropout and normal noise, drawn from the fit's own source of randomness.

PyTorch's layers draw from one global stream, so a fit inside a stack could never equal the same
fit alone, and a resumed fit would need the global state. Here the training loop says whose stream
it is; in a stack of F fits each draws its own masks, of the same size and in the same order as it
would alone.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor, nn


@dataclasses.dataclass(frozen=True)
class Source:
    """Where noise comes from: one generator per fit, and how many rows of a stack are real.

    ``rows`` maps the padded number of rows of a stack to the real number in each fit.
    """

    generators: Sequence[torch.Generator]
    rows: Mapping[int, Sequence[int]]


_source: ContextVar[Source | None] = ContextVar("smalti_noise", default=None)


@contextmanager
def drawn_from(source: Source) -> Iterator[None]:
    """Let every :class:`Dropout` and :func:`normal` inside draw from ``source``."""
    token = _source.set(source)
    try:
        yield
    finally:
        _source.reset(token)


def generator() -> torch.Generator | None:
    """The current fit's generator, for networks that draw noise themselves; None outside."""
    source = _source.get()
    return source.generators[0] if source else None


def _fill(mask: Tensor, p: float, source: torch.Generator | None) -> None:
    """Fill with 0 (probability p, to 1 / 65,536) or 1 / (1 - p).

    Four 16-bit numbers are cut from each random word: four times as fast as ``bernoulli_``, which
    would otherwise be a third of a small network's step.
    """
    n = mask.numel()
    words = torch.empty((n + 3) // 4, dtype=torch.int64, device=mask.device)
    words.random_(-(2**63), None, generator=source)
    keep = words.view(torch.int16)[:n] >= round(p * 2**16) - 2**15
    mask.copy_(keep.view(mask.shape)).mul_(1 / (1 - p))


class _Dropout(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, p: float) -> tuple[Tensor, Tensor]:
        mask = torch.empty_like(x, memory_format=torch.contiguous_format)
        _fill(mask, p, generator())
        return x * mask, mask

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(output[1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        return grad * ctx.saved_tensors[0], None

    @staticmethod
    def vmap(info: Any, in_dims: Any, x: Tensor, p: float):  # type: ignore[no-untyped-def]
        if in_dims[0] is None:
            raise RuntimeError("dropout of a tensor that all fits share is not supported.")
        x = x.movedim(in_dims[0], 0)
        source = _source.get()
        assert source is not None
        mask = torch.zeros_like(x, memory_format=torch.contiguous_format)
        real = source.rows.get(x.shape[1], [x.shape[1]] * len(x))
        for part, n, stream in zip(mask, real, source.generators, strict=True):
            _fill(part[:n], p, stream)
        return (x * mask, mask), (0, 0)


class _Normal(torch.autograd.Function):
    @staticmethod
    def forward(like: Tensor) -> Tensor:
        drawn = torch.empty_like(like, memory_format=torch.contiguous_format)
        return drawn.normal_(generator=generator())

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.mark_non_differentiable(output)

    @staticmethod
    def backward(ctx: Any, _: Tensor) -> None:
        return None

    @staticmethod
    def vmap(info: Any, in_dims: Any, like: Tensor):  # type: ignore[no-untyped-def]
        like = like.movedim(in_dims[0], 0)
        source = _source.get()
        assert source is not None
        drawn = torch.empty_like(like, memory_format=torch.contiguous_format)
        for part, stream in zip(drawn, source.generators, strict=True):
            part.normal_(generator=stream)
        return drawn, 0


def normal(like: Tensor) -> Tensor:
    """Standard normal numbers of the shape, type and device of ``like``, without a gradient.

    In a stack, ``like`` must be each fit's own (made from its weights), with no padded rows.
    """
    return _Normal.apply(like)


class Dropout(nn.Module):
    """Zero each value with probability ``p`` in training; see the module's docstring."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Same shape as ``x``."""
        return _Dropout.apply(x, self.p)[0] if self.training and self.p else x

    def extra_repr(self) -> str:
        """For ``print``."""
        return f"p={self.p}"
