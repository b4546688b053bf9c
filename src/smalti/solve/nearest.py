"""The nearest columns of each row of a block of distances: one rule for every graph."""

from __future__ import annotations

import torch
from torch import Tensor

BLOCK = 2**22  # distances held at once: 32 MiB in double precision


def rows_of(columns: int) -> int:
    """How many rows of so many columns make a block."""
    return max(1, BLOCK // max(columns, 1))


def nearest_columns(apart: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """The k smallest finite values of each row; equal values in the order of their columns.

    ``topk`` alone says nothing of the order of equal values, which on a grid of tiles are the rule.

    Parameters
    ----------
    apart
        (b, m) distances; inf where there is to be no edge.
    k
        At most so many of a row.

    Returns
    -------
    tuple
        Row, column and place in its row (0: nearest) of each edge, each (n_edges,) int64, sorted by
        row, then by place. A row with fewer than k finite values has fewer edges.
    """
    b, m = apart.shape
    k = min(k, m)
    if k < 1 or not b:
        none = torch.zeros(0, dtype=torch.int64, device=apart.device)
        return none, none, none
    last = apart.topk(k, dim=1, largest=False).values.amax(1, keepdim=True)
    # more than k of a row where others are as far as the last
    row, column = ((apart <= last) & apart.isfinite()).nonzero(as_tuple=True)
    order = apart[row, column].argsort(stable=True)
    order = order[row[order].argsort(stable=True)]
    row, column = row[order], column[order]
    count = row.bincount(minlength=b)
    place = torch.arange(len(row), device=row.device) - (count.cumsum(0) - count)[row]
    keep = place < k
    return row[keep], column[keep], place[keep]
