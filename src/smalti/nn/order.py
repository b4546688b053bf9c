"""An order of the instances of a bag that is their own, however the user lists them.

A method that needs an order, or parts drawn at random that are the same at every prediction, takes
it from what the instances hold: so neither their order in the file nor the other bags matter.
"""

from __future__ import annotations

import torch
from torch import Tensor

from smalti.segment import Segments

_ROWS = 4096  # that are widened to 64 bits at a time


def odd_numbers(shape: tuple[int, ...]) -> Tensor:
    """(n_features,) int64 factors of :func:`content_hash`; of an image's shape, for images."""
    drawn = torch.randint(-(2**62), 2**62, shape, generator=torch.Generator().manual_seed(0))
    return 2 * drawn + 1


def content_hash(x: Tensor, odd: Tensor) -> Tensor:
    """Numbers that look drawn, but are those of the bits of each instance.

    Parameters
    ----------
    x
        (n, ...) instances.
    odd
        Of :func:`odd_numbers`, (...).

    Returns
    -------
    Tensor
        (n,) int64.
    """
    code = torch.cat([_mixed(part, odd) for part in x.split(_ROWS)])
    code = (code ^ (code >> 29)) * -4658895280553007687
    return code ^ (code >> 32)


def _mixed(x: Tensor, odd: Tensor) -> Tensor:
    bits = x.float().contiguous().view(torch.int32).to(torch.int64)
    return (bits * odd).flatten(1).sum(1)


def in_order(segments: Segments, *keys: Tensor) -> Tensor:
    """(n,) rows, slice after slice, in each by rising (n,) keys, of which the first counts most."""
    rows = torch.arange(len(segments.index), device=segments.index.device)
    for key in (*reversed(keys), segments.index):  # a stable sort keeps what it finds
        rows = rows[key[rows].argsort(stable=True)]
    return rows
