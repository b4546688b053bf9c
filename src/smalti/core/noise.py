"""Dropout and normal noise, drawn from the fit's own source of randomness.

PyTorch's layers draw from one global stream, so that a fit would depend on what else was drawn in
its process, and a resumed fit would need the global state. Here the training loop says whose
stream it is. The stream belongs to one fit and is part of its checkpoint, so that a fit that was
killed draws the masks that it would have drawn.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, nn

_stream: ContextVar[torch.Generator | None] = ContextVar("smalti_noise", default=None)


@contextmanager
def drawn_from(stream: torch.Generator) -> Iterator[None]:
    """Let every :class:`Dropout` and :func:`normal` inside draw from ``stream``."""
    token = _stream.set(stream)
    try:
        yield
    finally:
        _stream.reset(token)


def generator() -> torch.Generator | None:
    """The current fit's stream, for networks that draw noise themselves; None outside of one."""
    return _stream.get()


def _mask(like: Tensor, p: float) -> Tensor:
    """0 with probability p (to 1 / 65,536), else 1 / (1 - p): as ``like`` in shape and type.

    Four 16-bit numbers are cut from each random word: four times as fast as ``bernoulli_``, which
    would otherwise be a third of a small network's step.
    """
    mask = torch.empty_like(like, memory_format=torch.contiguous_format)
    n = mask.numel()
    words = torch.empty((n + 3) // 4, dtype=torch.int64, device=mask.device)
    words.random_(-(2**63), None, generator=generator())  # all 64 bits
    # as int16 the numbers are -2^15 .. 2^15 - 1, each as likely: the lowest p 2^16 are dropped;
    # 0 or 1 straight as a number, for to write truths takes five times as long
    drawn = words.view(torch.int16)[:n].view(mask.shape)
    return torch.ge(drawn, round(p * 2**16) - 2**15, out=mask).mul_(1 / (1 - p))


def normal(like: Tensor) -> Tensor:
    """Standard normal numbers of the same shape, type and device as ``like``; no gradient."""
    drawn = torch.empty_like(like, memory_format=torch.contiguous_format)
    return drawn.normal_(generator=generator())


class Dropout(nn.Module):
    """Zero each value with probability ``p`` in training; see the module's docstring."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """To the same shape as ``x``, which may have any."""
        return x * _mask(x, self.p) if self.training and self.p else x

    def extra_repr(self) -> str:
        """For ``print``."""
        return f"p={self.p}"
