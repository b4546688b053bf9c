"""SGN: a window graph on one side, texts of genes on the other."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smalti.batch import Batch, Output, Shape
from smalti.core.noise import Dropout
from smalti.core.settings import Count, Part, Whole
from smalti.core.stage import Gradient, Stage
from smalti.expression.sgn.sage import HeteroSAGE
from smalti.expression.sgn.words import GeneTower
from smalti.expression.zero_shot_network import NetworkZeroShot, TargetScale
from smalti.nn import Standardize
from smalti.nn.gene_table import GeneTable
from smalti.nn.window_graph import Neighbours, feature_edges, near_edges


class SGN(NetworkZeroShot):
    """Zero-shot expression by a graph of windows and a transformer over the text of a gene.

    Tiles of a slide are linked to the nearest in place and to those that look most alike; layers of
    heterogeneous GraphSAGE make z_i of tile i. A transformer over the words of a gene makes its
    vector v_c, of length 1, and its bias b_c:

        y_ic = z_i' v_c + b_c

    Written from the paper and the equations alone. Without words, a gene's vector is its one word.

    A tile is predicted from its neighbours too: give whole slides to ``predict`` and take rows.

    Notes
    -----
    What is published and kept: both kinds of edges and their five neighbours, four layers of 512
    with LeakyReLU 0.2, vectors of 256, two blocks of four heads with class token, register and five
    slots for genes of one name, squared error + 0.5 (1 - Pearson), a slide and 64 genes a step,
    AdamW with 5e-4 and 1e-4, 300 epochs.

    What differs from the released code, on purpose:

    - The Pearson term is of the genes of the step; there it was of the first columns of the table.
    - Targets are log1p counts per 10,000, centred and scaled by two numbers of the training tiles;
      there log10 counts between minimum and maximum over all slides, those of the test too.
    - The last epoch is kept; there the best one on the slides of the test.
    - The pitch of the tiles is measured in each slide; there it is 256 pixels. So tiles of
      other sizes, and hexagonal arrays, have the neighbours that were meant.
    - One text of a gene is read, whatever made it; there the first of ten samples of a 7B model.

    What is open, and our choice:

    - Features are standardised over the training tiles; "alike" is Euclidean distance after that.
    - Edges have a direction. Ties are settled by place; a tile has no edge to itself.
    - The kinds of edges are averaged and share one matrix for the tile itself, which are the same
      functions as a matrix for each kind. The first layer of features has no bias.
    - Words are normalised each (no learned scale), then projected; there are no positions. A block
      is pre-norm with a perceptron of 4 x width, GELU and LayerScale 0.1; a LayerNorm ends them.
      Class token and register start with s.d. 0.02. The first 512 words are read.
    - v_c has length 1 and no temperature; b_c is one number of the text, not learned for each gene.
    - Genes are drawn anew for each slide, without repeats. A gene that stands still on a slide
      counts with a correlation of 0.
    - The learning rate goes up over the first tenth of the epochs and down as a cosine. No dropout,
      no clipping, no early stopping; layers start as PyTorch starts them.
    """

    name: ClassVar[str] = "sgn"
    reference: ClassVar[str] = "Yang et al. (2024), MICCAI (SGN)"
    cite: ClassVar[tuple[str, ...]] = ("yang2024",)
    positions: ClassVar[bool] = True
    words: ClassVar[bool] = True

    width: Count = 512  # of the layers over the graph
    layers: Count = 4  # of GraphSAGE
    near: Whole = 5  # nearest tiles in place, within sqrt(2) of the pitch; 0: none
    alike: Whole = 5  # nearest tiles in looks, on the same slide; 0: none
    gene_width: Count = 256  # of the vectors that meet
    text_layers: Count = 2  # of the transformer over words
    heads: Count = 4  # of its attention
    max_words: Count = 512  # of a gene's text, the first
    dropout: Part = 0.0  # probability, in both towers

    def network(self, shape: Shape) -> nn.Module:
        """Both towers."""
        return _Net(self, shape)

    def plan(self, shape: Shape) -> Iterator[Stage]:
        """The edges do not change in training: they are found once."""
        for stage in super().plan(shape):
            yield dataclasses.replace(stage, cache=_edges_of) if isinstance(stage, Gradient) \
                else stage  # fmt: skip

    @classmethod
    def example(cls) -> SGN:
        """Small and quick."""
        return cls(vectors="random", width=32, layers=2, gene_width=32, text_layers=1, epochs=60,
                   lr=5e-3, genes_per_step=40)  # fmt: skip


class _Net(nn.Module):
    def __init__(self, method: SGN, shape: Shape) -> None:
        super().__init__()
        self.near, self.alike = method.near, method.alike
        self.scale = Standardize(shape.x)
        self.first = nn.Linear(shape.x[0], method.width, bias=False)
        kinds = (method.near > 0) + (method.alike > 0)
        self.graph = nn.ModuleList(HeteroSAGE(method.width, kinds) for _ in range(method.layers))
        self.dropout = Dropout(method.dropout)
        self.last = nn.Linear(method.width, method.gene_width)
        self.tower = GeneTower(
            shape.meaning[1], method.gene_width, layers=method.text_layers, heads=method.heads,
            max_tokens=method.max_words, dropout=method.dropout,
        )  # fmt: skip
        self.expression = TargetScale()

    def edges(self, batch: Batch) -> list[Neighbours]:
        """Near tiles and tiles that look alike, on the same slide."""
        if "edges" in batch.views:
            table = batch.views["edges"]
            return [Neighbours.of_steps(part) for part in table.split(self._sizes(), dim=1)]
        x, found = self.scale(batch.x), []
        if self.near:
            found.append(near_edges(batch.instance["position"], batch.segments, k=self.near))
        if self.alike:
            found.append(feature_edges(x, batch.segments, self.alike))
        return found

    def _sizes(self) -> list[int]:
        return [k for k in (self.near, self.alike) if k]

    def tiles(self, batch: Batch) -> Tensor:
        """(n_tiles, gene_width) of each tile in its surroundings."""
        h, edges = self.first(self.scale(batch.x)), self.edges(batch)
        for layer in self.graph:
            h = self.dropout(F.leaky_relu(layer(h, edges), 0.2))
        return self.last(h)

    def genes(self, table: GeneTable) -> tuple[Tensor, Tensor]:
        """(g, gene_width) vectors and (g,) biases: once for all slides."""
        words = F.layer_norm(table.words, table.words.shape[1:])
        return self.tower(words, table.offsets, table.segment)

    def forward(self, batch: Batch) -> Output:
        genes: Any = batch.genes
        vectors, bias = self.genes(genes) if isinstance(genes, GeneTable) else genes
        return self.expression.output(torch.addmm(bias, self.tiles(batch), vectors.t()))


def _edges_of(network: Any, batch: Batch) -> dict[str, Tensor]:
    """Both kinds of edges as steps: (n, near + alike)."""
    sizes = network._sizes()
    if not sizes:
        return {}
    parts = [e.steps(k) for e, k in zip(network.edges(batch), sizes, strict=True)]
    return {"edges": torch.cat(parts, dim=1)}
