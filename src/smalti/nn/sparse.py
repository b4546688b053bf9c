"""A layer that reads sparse rows, and a loss against sparse rows; neither makes them dense.

Gene counts are zero in nine of ten places. Design:

- A product of CSR rows with a matrix is a weighted sum of the matrix's rows: ``embedding_bag``. Its
  gradient is the same product with the transpose, so it is made the same way; PyTorch's own
  gradients, of ``embedding_bag`` as of ``torch.sparse.mm``, take three to five times as long.
- A reconstruction *is* dense, so its error is taken over chunks of rows: the target is subtracted
  from the chunk where it is not zero. Expanding the square would avoid nothing and cancel digits.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import scipy.sparse as sp
import torch
import torch.nn.functional as F
from torch import Tensor

_CHUNK = 2**24  # numbers of a reconstruction that exist at one time
_KEEP = 2**26  # numbers that are kept for the backward pass instead of being computed again


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``x @ weight.T + bias``, of dense or sparse rows.

    Parameters
    ----------
    x
        (n, n_features), dense or ``torch.sparse_csr``; it gets no gradient when sparse.
    weight
        (width, n_features).
    bias
        (width,).

    Returns
    -------
    Tensor
        (n, width), dense.
    """
    if x.layout != torch.sparse_csr:
        return F.linear(x, weight, bias)
    return _Product.apply(x, weight) + bias


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return _product(x.crow_indices(), x.col_indices(), x.values(), weight.t().contiguous())

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor]:
        return None, _product(*_transposed(ctx.saved_tensors[0]), grad.contiguous()).t()


def _product(crow: Tensor, column: Tensor, value: Tensor, table: Tensor) -> Tensor:
    return F.embedding_bag(
        column, table, crow, mode="sum", per_sample_weights=value.to(table.dtype),
        include_last_offset=True,
    )  # fmt: skip


def _transposed(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Row pointers, columns and values of the transpose. SciPy counts where PyTorch sorts."""
    if x.is_cuda:
        t = x.to_sparse_csc()
        return t.ccol_indices(), t.row_indices(), t.values()
    parts = (x.values().numpy(), x.col_indices().numpy(), x.crow_indices().numpy())
    t = sp.csr_array(parts, shape=tuple(x.shape)).tocsc()
    return torch.from_numpy(t.indptr), torch.from_numpy(t.indices), torch.from_numpy(t.data)


def squared_error(
    h: Tensor,
    weight: Tensor,
    bias: Tensor,
    x: Tensor,
    *,
    relu: bool,
    center: Tensor | None = None,
    scale: Tensor | None = None,
) -> Tensor:
    """Squared error of a linear last layer, summed over the features of each row.

    Parameters
    ----------
    h
        (n, width) input of the layer.
    weight, bias
        (n_features, width) and (n_features,).
    x
        (n, n_features) target, dense or ``torch.sparse_csr``; it gets no gradient.
    relu
        Whether a ReLU follows the layer.
    center, scale
        (n_features,); then the target is ``(x - center) / scale``.

    Returns
    -------
    Tensor
        (n,). Memory: 16 million numbers at a time, or up to 64 million that the backward pass
        would otherwise compute again.
    """
    if center is None or scale is None:
        center, scale = bias.new_zeros(1), bias.new_ones(1)
    return _SquaredError.apply(h, weight, bias, x, center, scale, relu)


class _SquaredError(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, h: Tensor, weight: Tensor, bias: Tensor, x: Tensor, center: Tensor,
        scale: Tensor, relu: bool,
    ) -> Tensor:  # fmt: skip
        ctx.save_for_backward(h, weight, bias, x, center, scale)
        ctx.relu, kept, sums = relu, [], []
        keep = len(h) * len(bias) <= _KEEP and any(ctx.needs_input_grad)
        for rows in _chunks(len(h), len(bias)):
            gap, live = _gap(rows, h, weight, bias, x, center, scale, relu)
            sums.append(torch.linalg.vecdot(gap, gap))
            if keep:
                kept.append(gap if live is None else gap.mul_(live))
        ctx.kept = kept
        return torch.cat(sums)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        h, weight, bias, x, center, scale = ctx.saved_tensors
        grad_h, grad_weight = torch.empty_like(h), torch.zeros_like(weight)
        grad_bias, twice = torch.zeros_like(bias), 2 * grad
        for i, rows in enumerate(_chunks(len(h), len(bias))):
            if ctx.kept:
                gap = ctx.kept[i]
            else:
                gap, live = _gap(rows, h, weight, bias, x, center, scale, ctx.relu)
                gap = gap if live is None else gap.mul_(live)
            factor = twice[rows, None]
            grad_h[rows] = (gap @ weight).mul_(factor)
            grad_weight.addmm_(gap.t(), h[rows] * factor)
            grad_bias.addmv_(gap.t(), twice[rows])
        return grad_h, grad_weight, grad_bias, None, None, None, None


def _chunks(n: int, width: int) -> Iterator[slice]:
    step = max(1, _CHUNK // width)
    for start in range(0, max(n, 1), step):
        yield slice(start, min(start + step, n))


def _gap(
    rows: slice, h: Tensor, weight: Tensor, bias: Tensor, x: Tensor, center: Tensor,
    scale: Tensor, relu: bool,
) -> tuple[Tensor, Tensor | None]:  # fmt: skip
    """Reconstruction less target of some rows, and where the ReLU lets a gradient through."""
    gap = torch.addmm(bias, h[rows], weight.t())
    live = gap > 0 if relu else None
    if relu:
        gap.clamp_(min=0)
    if x.layout != torch.sparse_csr:
        return gap.sub_((x[rows] - center) / scale), live
    gap.add_(center / scale)
    crow = x.crow_indices()[rows.start : rows.stop + 1]
    first, last = int(crow[0]), int(crow[-1])
    column, value = x.col_indices()[first:last], x.values()[first:last]
    if len(scale) > 1:
        value = value / scale[column]
    row = torch.repeat_interleave(
        torch.arange(len(gap), device=gap.device), crow.diff(), output_size=last - first
    )
    gap.view(-1).index_add_(0, row * len(bias) + column, value.to(gap.dtype), alpha=-1)
    return gap, live
