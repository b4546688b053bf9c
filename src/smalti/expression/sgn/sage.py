"""A GraphSAGE layer over several kinds of edges."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from smalti.nn.window_graph import Neighbours


class HeteroSAGE(nn.Module):
    """h'_i = W h_i + b + 1/R sum_r W_r mean_{j in N_r(i)} h_j over R kinds of edges.

    GraphSAGE with the mean aggregator (Hamilton, Ying & Leskovec 2017) on a graph of one kind of
    node and R of edges, as the window graph of SGN (Yang et al. 2024). Kinds are averaged, not
    summed, as that paper has it (PyTorch Geometric's ``aggr="mean"``; its default is the sum). A
    layer per kind would have its own W^self_r and b_r; their mean is all that the output sees, so
    here they are one W and one b: the same functions for R - 1 fewer products. The non-linearity
    (SGN: LeakyReLU 0.2) is the caller's.

    Parameters
    ----------
    width
        Of h, in and out.
    n_edge_types
        R.
    """

    def __init__(self, width: int, n_edge_types: int = 2) -> None:
        super().__init__()
        self.own = nn.Linear(width, width)
        self.kinds = nn.ModuleList(nn.Linear(width, width, bias=False) for _ in range(n_edge_types))

    def forward(self, h: Tensor, neighbours: Sequence[Neighbours]) -> Tensor:
        """(n, width) to the same; a tile without neighbours of a kind takes zero for that kind.

        ``neighbours`` has one entry per kind of edge; another number raises ``ValueError``.
        """
        out = self.own(h)
        for kind, edges in zip(self.kinds, neighbours, strict=True):
            out = out + kind(edges.mean(h)) / len(self.kinds)
        return out
