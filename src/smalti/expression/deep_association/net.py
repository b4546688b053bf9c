"""The network of Deep Association."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smalti.batch import Batch, Output, Shape
from smalti.core.noise import Dropout
from smalti.errors import InputError
from smalti.expression.deep_association.nuclei_fusion import NucleiFusion
from smalti.expression.deep_association.prompter import LocalPrompt, Prompter
from smalti.expression.deep_association.word_reader import WordReader
from smalti.expression.zero_shot_network import TargetScale
from smalti.nn import Standardize
from smalti.nn.gene_graph import GeneGraphAttention, nearest_genes
from smalti.nn.gene_table import GeneTable
from smalti.nn.window_graph import Neighbours, near_edges
from smalti.segment import Segments


class Net(nn.Module):
    """Tiles, genes, and where they meet.

    Parameters
    ----------
    method
        The settings.
    shape
        Of the data.

    Attributes
    ----------
    near
        (n_seen, k) int64, the nearest of each seen gene: positions in the bank.
    gene_center, gene_scale
        (meaning,) mean and () s.d. of the vectors of the seen genes.
    """

    near: Tensor
    gene_center: Tensor
    gene_scale: Tensor

    def __init__(self, method: Any, shape: Shape) -> None:
        super().__init__()
        width, names = method.width, list(shape.views)
        self.width, self.k = width, min(method.near, len(shape.outputs) - 1)
        self.scale = Standardize(shape.x)
        self.straight = nn.Linear(shape.x[0], width)
        self.curved = nn.Sequential(
            nn.Linear(shape.x[0], method.hidden), nn.GELU(), Dropout(method.dropout),
            nn.Linear(method.hidden, width),
        )  # fmt: skip
        self.nuclei = names[1] if len(names) > 1 else None
        if self.nuclei is not None:
            self._with_nuclei(method, shape.views[self.nuclei][0])
        self.register_buffer("gene_center", torch.zeros(shape.meaning[0]))
        self.register_buffer("gene_scale", torch.ones(()))
        self.register_buffer(
            "near", torch.zeros(len(shape.outputs), max(self.k, 0), dtype=torch.int64)
        )
        self.project = nn.Linear(shape.meaning[0], width)
        self.dropout = Dropout(method.dropout)
        self.prompter = Prompter(width, method.context, method.rounds, heads=method.heads)
        self.graph = GeneGraphAttention(width, method.heads) if self.k > 0 else None
        self.bias = nn.Linear(width, 1)
        self.weight_kept = method.keep
        self.edges = method.edges
        self.reader = None
        if method.text == "words":
            self.reader = WordReader(shape.meaning[1], width, method.heads)
        self.around, self.local = method.local, None
        if method.local:
            self.local = LocalPrompt(width)
        self.expression = TargetScale()

    def _with_nuclei(self, method: Any, size: int) -> None:
        cells = method.grid**2
        if size % cells:
            raise InputError(
                f"deep_association: view {self.nuclei!r} has {size} numbers, which are no "
                f"{method.grid} x {method.grid} cells: say grid=."
            )
        self.nuclei_scale = Standardize((size,))
        self.fusion = NucleiFusion(self.width, method.grid, size // cells, method.heads)

    # ---------------------------------------------------------------- tiles

    def tiles(self, batch: Batch) -> Tensor:
        """(n_tiles, width)."""
        x = self.scale(batch.x)
        z = self.straight(x) + self.curved(x)
        if self.nuclei is None:
            return z
        cells = batch.views[self.nuclei]
        there = cells.unflatten(1, (len(self.fusion.position), -1)).ne(0).any(2)
        return self.fusion(z, self.nuclei_scale(cells), there)[0]

    # ---------------------------------------------------------------- genes

    def fit_genes(self, table: GeneTable) -> None:
        """Centre and scale of the vectors, and who is near whom, of the (n_seen,) seen genes."""
        x = F.normalize(table.x, dim=1)
        self.gene_center.copy_(x.mean(0))
        self.gene_scale.copy_((x - x.mean(0)).square().mean().sqrt().clamp(min=1e-6))
        if self.k > 0:
            bank = self.placed(table.seen.x)
            self.near.copy_(nearest_genes(self.placed(table.x), bank, self.k, table.own))

    def placed(self, x: Tensor) -> Tensor:
        """Vectors, (g, meaning), of length 1 about the mean of the seen ones: the same shape."""
        return (F.normalize(x, dim=1) - self.gene_center) / self.gene_scale

    def meaning(self, table: GeneTable) -> Tensor:
        """(g, width) of the texts, with noise while training."""
        v = self.project(self.dropout(self.placed(table.x)))
        return v if self.reader is None else v + self.reader(table.words, table.offsets)

    def genes(self, table: GeneTable) -> dict[str, Tensor]:
        """What does not depend on a slide: (g, width) vectors, the bank's, who is near whom."""
        out = {"v": self.meaning(table)}
        if self.k <= 0:
            return out
        if self.edges == "refined":
            return out | {"own": table.own, "bank": self.meaning(table.seen)}
        new = ((table.own < 0) | (table.own >= len(self.near))).nonzero()[:, 0]
        found = self.near[table.own.clamp(min=0, max=len(self.near) - 1)]
        if len(new):  # in training there are none
            x, bank = self.placed(table.x[new]), self.placed(table.seen.x)
            found[new] = nearest_genes(x, bank, self.k, table.own[new])
        at, back = found.unique(return_inverse=True)
        return out | {"near": back, "bank": self.meaning(table.seen.take(at))}

    def refined(self, genes: dict[str, Tensor], z: Tensor, segments: Segments) -> Tensor:
        """(n_slides, g, width) genes as each slide and their neighbours have made them."""
        v, n = genes["v"], len(genes["v"])
        if self.graph is None:
            return self.prompter(v, z, segments)
        both = torch.cat([v, genes["bank"]])
        if self.edges == "refined":
            return self.prompter(both, z, segments, lambda out: self._heard(out, genes["own"]))[
                :, :n
            ]
        out = self.prompter(both, z, segments)
        return torch.stack([self.graph(s[:n], genes["near"], s[n:])[0] for s in out])

    def _heard(self, both: Tensor, own: Tensor) -> Tensor:
        """Genes and, after them, the bank, (n_slides, g + m, width), as they now hear the bank.

        ``own`` (g,) is where each gene is in the bank, or -1.
        """
        assert self.graph is not None
        n, out = len(own), []
        own = torch.cat([own, torch.arange(both.shape[1] - n, device=own.device)])
        for slide in both:
            near = nearest_genes(slide, slide[n:], self.k, own)
            out.append(self.graph(slide, near, slide[n:])[0])
        return torch.stack(out)

    def forward(self, batch: Batch) -> Output:
        """(n_tiles, n_genes) of whole slides."""
        genes: Any = batch.genes
        if isinstance(genes, GeneTable):
            genes = self.genes(genes)
        z = self.tiles(batch)
        v = self.refined(genes, z, batch.segments)
        # z . v / sqrt(width) + b(v) is one product: (z / sqrt(width) + w) . v, then the constant
        asks = z / self.width**0.5 + self.bias.weight
        if self.local is not None:
            asks = asks * self.local(z, self._around(batch))  # v_i = m_i * v, moved to the tile
        parts = [torch.addmm(self.bias.bias, tiles, g.t()) for tiles, g in
                 zip(asks.split(batch.segments.lengths.tolist()), v, strict=True)]  # fmt: skip
        scaled = torch.cat(parts)
        penalty = self.weight_kept * (v - genes["v"]).square().mean() if self.training else None
        out = self.expression.output(scaled, penalty)
        if self.training:
            out.extra |= {"tiles": z, "genes": v[0]}
        return out

    def _around(self, batch: Batch) -> Neighbours:
        if "around" in batch.views:
            return Neighbours.of_steps(batch.views["around"])
        return near_edges(batch.instance["position"], batch.segments, k=self.around)


def edges_around(network: Any, batch: Batch) -> dict[str, Tensor]:
    """(n_tiles, local) steps to the neighbours of each tile, which training does not move."""
    return {"around": network._around(batch).steps(network.around)}
