"""Which tiles of a slide are neighbours, in place or in looks, and the mean over them.

The two kinds of edges of SGN (Yang et al. 2024, MICCAI): "near" links windows within sqrt(2) of
each other on a grid of integer coordinates, at most five; "knn" links the five nearest in feature
space. Design:

- Plain PyTorch, a slide at a time, distances in blocks of at most 32 MiB. No edge joins two slides.
- The authors make the grid by ``pixel // 256``, which takes windows of that size side by side for
  granted. Here the pitch is measured in each slide, so that other sizes, and hexagonal arrays, have
  the neighbours that were meant.
- Of equally near tiles the one further to the left (then up) is taken, whatever the order of the
  tiles: on a square grid four tiles compete for the fifth place, so ties are the rule.
- Edges are held in both directions, so that the gradient of the mean is a sum over slices too,
  without the atomics that make a GPU's result differ from run to run.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from smalti.errors import InputError
from smalti.segment import Segments
from smalti.solve.nearest import nearest_columns, rows_of

_SAME = 1e-6  # of the pitch: distances that differ by less differ by rounding alone


class Neighbours(NamedTuple):
    """Directed edges between the rows of a flat tensor.

    Attributes
    ----------
    offsets
        (n + 1,) int64; row i listens to ``index[offsets[i]:offsets[i + 1]]``, the nearest first.
    index
        (n_edges,) int64 rows.
    back_offsets, back_index
        The same edges the other way: which rows listen to row i. For the gradient.
    """

    offsets: Tensor
    index: Tensor  # type: ignore[assignment]  # the field hides tuple.index
    back_offsets: Tensor
    back_index: Tensor

    @classmethod
    def of(cls, row: Tensor, column: Tensor, n: int) -> Neighbours:
        """From edges: ``row`` (n_edges,), which rises, listens to ``column`` (n_edges,)."""
        back = column.argsort(stable=True)  # the edges once more, sorted by who is listened to
        return cls(_ends(row, n), column, _ends(column, n), row[back])

    @classmethod
    def of_steps(cls, steps: Tensor) -> Neighbours:
        """From the (n, k) numbers that :meth:`steps` gives."""
        row, place = steps.nonzero(as_tuple=True)
        return cls.of(row, row + steps[row, place].round().to(torch.int64), len(steps))

    def steps(self, k: int) -> Tensor:
        """Edges as numbers of the tiles: (n, k) steps to each neighbour, 0 for none.

        Steps, not places: a batch holds a slide wherever it stands in it. No tile has more than k.
        """
        rows = torch.arange(len(self.degrees), device=self.index.device)
        row = torch.repeat_interleave(rows, self.degrees)
        place = torch.arange(len(row), device=row.device) - self.offsets[row]
        out = torch.zeros(len(rows), k, device=row.device)
        out[row, place] = (self.index - row).to(out.dtype)
        return out

    @property
    def degrees(self) -> Tensor:
        """(n,) int64, how many rows each listens to."""
        return self.offsets.diff()

    def mean(self, x: Tensor) -> Tensor:
        """Mean over the neighbours of each row: (n, d) to (n, d); zero where there are none."""
        return _Mean.apply(x, *self)


def near_edges(
    position: Tensor, segments: Segments, *, radius: float | None = None, k: int = 5
) -> Neighbours:
    """Link each tile to the nearest of its slide, at most k, none further than ``radius``.

    Parameters
    ----------
    position
        (n, 2) µm.
    segments
        The slides.
    radius
        µm; left out, sqrt(2) times the pitch of each slide, the median distance of a tile to its
        nearest. That is SGN's radius on a square grid, and one ring of a hexagonal one.
    k
        SGN: 5.

    Returns
    -------
    Neighbours
        Not symmetric. A slide of one tile has no edges.

    Raises
    ------
    InputError
        If positions are not (n, 2) and finite, radius is negative or k < 1.
    """
    if position.ndim != 2 or position.shape[1] != 2 or not position.isfinite().all():
        raise InputError(f"position has shape {tuple(position.shape)}: give finite (n, 2).")
    if k < 1 or (radius is not None and not radius >= 0):
        raise InputError(f"k={k}, radius={radius}: give k of at least 1, and a radius in µm.")

    def slide(xy: Tensor) -> tuple[Tensor, Tensor]:
        pitch = _pitch(xy)
        # to spare: on a square grid the diagonal lies on the very edge, and positions are rounded
        reach = pitch * (2**0.5 * (1 + 1e-3)) if radius is None else radius + _SAME * pitch
        grain = max(_SAME * pitch, 1e-12)  # pitch is 0 where tiles lie on top of each other

        def apart(rows: slice) -> Tensor:
            gap = _apart(xy, rows)  # (rows, n)
            # whole grains: equal distances are equal numbers, so that the order decides among them
            return (gap / grain).round_().masked_fill_(gap > reach, torch.inf)

        return _edges(apart, len(xy), k)

    return _by_slide(position, segments, slide)


def feature_edges(x: Tensor, segments: Segments, k: int = 5) -> Neighbours:
    """Link each tile to the k that look most alike in its slide (Euclidean), itself left out.

    Parameters
    ----------
    x
        (n, d) features; no gradient flows into which edges there are.
    segments
        The slides.
    k
        SGN: 5. A slide with no more than k tiles links all.

    Returns
    -------
    Neighbours
        Not symmetric. Of equally near tiles the one with the smaller sum of features is taken, of
        copies of one tile the first of the slide.

    Raises
    ------
    InputError
        If k < 1.
    """
    if k < 1:
        raise InputError(f"k={k}: give at least 1.")

    def slide(rows: Tensor) -> tuple[Tensor, Tensor]:
        # about the mean: |a|^2 + |b|^2 - 2ab loses digits where |a| is large beside |a - b|
        rows = rows - rows.mean(0)  # (n, d)
        size = rows.square().sum(1)  # (n,)
        grain = max(1e-12 * float(size.max()), 1e-300)  # what that sum cannot tell apart

        def apart(some: slice) -> Tensor:
            # (some, n) squared distances: a root would not change their order
            gap = torch.addmm(size[None], rows[some], rows.T, alpha=-2).add_(size[some, None])
            gap = gap.div_(grain).round_()
            return _without_self(gap, some)

        return _edges(apart, len(rows), k)

    return _by_slide(x, segments, slide)


def _by_slide(
    x: Tensor, segments: Segments, slide: Callable[[Tensor], tuple[Tensor, Tensor]]
) -> Neighbours:
    """Edges of each slide alone, its tiles in an order that their content gives.

    ``slide`` gets the (n, d) float64 tiles of one slide and gives its edges, (n_edges,) who listens
    and (n_edges,) to whom, the nearest first. Among equally near ones it takes the first: put in
    order by content, the same tiles have the same edges in whatever order the user lists them.
    """
    row, column = [], []
    for start, stop in pairwise(segments.offsets.tolist()):
        if stop - start < 2:
            continue  # nobody to listen to
        # float64: whether two tiles are equally near must not depend on the precision of a fit
        tiles = x[start:stop].detach().double()
        # leftmost first, if these are positions; else some order that is the tiles' own
        keys = tiles.unbind(1) if x.shape[1] == 2 else [tiles.sum(1)]
        order = torch.arange(stop - start, device=x.device)  # (n,)
        for key in reversed(keys):  # the last key first: stable sorts keep what they find
            order = order[key[order].argsort(stable=True)]
        here, there = slide(tiles[order])
        row.append(order[here] + start)  # back to the rows of x
        column.append(order[there] + start)
    if not row:  # no slide has two tiles
        row = column = [torch.zeros(0, dtype=torch.int64, device=x.device)]
    edge_row, edge_column = torch.cat(row), torch.cat(column)
    order = edge_row.argsort(stable=True)  # rows rise again, and the nearest stay first
    return Neighbours.of(edge_row[order], edge_column[order], len(x))


def _edges(apart: Callable[[slice], Tensor], n: int, k: int) -> tuple[Tensor, Tensor]:
    """Edges of n tiles, block by block of the (rows, n) distances that ``apart`` gives."""
    row, column = [], []
    for part in _blocks(n):
        here, there, _ = nearest_columns(apart(part), k)
        row.append(here + part.start)
        column.append(there)
    return torch.cat(row), torch.cat(column)


def _pitch(xy: Tensor) -> float:
    """Median distance of a tile to its nearest, which a hole or a few lone tiles do not move."""
    least = torch.cat([_apart(xy, part).amin(1) for part in _blocks(len(xy))])
    return float(least.quantile(0.5))


def _apart(xy: Tensor, rows: slice) -> Tensor:
    """(rows, n) distances, inf to itself.

    Of differences, not by |a|^2 + |b|^2 - 2ab: so equal gaps are equal numbers, wherever they lie.
    """
    gap = (xy[rows, None, 0] - xy[:, 0]).square_()
    gap = gap.add_((xy[rows, None, 1] - xy[:, 1]).square_()).sqrt_()
    return _without_self(gap, rows)


def _without_self(apart: Tensor, rows: slice) -> Tensor:
    """The same (rows, n) block: tile i of all is row i - rows.start of it."""
    apart.diagonal(rows.start).fill_(torch.inf)
    return apart


def _blocks(n: int) -> list[slice]:
    step = rows_of(n)
    return [slice(i, min(i + step, n)) for i in range(0, n, step)]


def _ends(row: Tensor, n: int) -> Tensor:
    """(n + 1,) where the edges of each row begin once edges are sorted by row."""
    return F.pad(row.bincount(minlength=n).cumsum(0), (1, 0))


class _Mean(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, offsets: Tensor, index: Tensor, back_offsets: Tensor,
        back_index: Tensor,
    ) -> Tensor:  # fmt: skip
        # (n, 1); of a tile without neighbours the sum is 0, and so is the mean
        count = offsets.diff().clamp(min=1).to(x.dtype)[:, None]
        ctx.save_for_backward(count, back_offsets, back_index)
        return _gather(x, index, offsets).div_(count)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        # out_i = sum of x_j / c_i over its neighbours j: dx_j = sum of grad_i / c_i over the i that
        # listen to j, which is the same kind of sum, over the edges turned round
        count, back_offsets, back_index = ctx.saved_tensors
        return _gather(grad / count, back_index, back_offsets), None, None, None, None


def _gather(x: Tensor, index: Tensor, offsets: Tensor) -> Tensor:
    """(n, d) sum of the rows of x (n, d) that each slice of ``index`` names.

    Without the (n_edges, d) copy that a gather and a sum would make.
    """
    if not len(index):
        return torch.zeros_like(x)
    return F.embedding_bag(index, x, offsets, mode="sum", include_last_offset=True)
