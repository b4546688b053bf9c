"""Deep Association: tiles that know their nuclei, genes that know the slide and one another."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from smalti.bags import Bags
from smalti.batch import Batch, Output, Shape
from smalti.core.noise import Dropout
from smalti.core.settings import Count, Part, Positive, Share, Weight, Whole
from smalti.core.stage import Stage, Sweep
from smalti.errors import InputError
from smalti.expression.base import NUCLEI
from smalti.expression.deep_association.alignment import alignment
from smalti.expression.deep_association.nuclei_fusion import NucleiFusion
from smalti.expression.deep_association.prompter import Prompter
from smalti.expression.zero_shot_network import NetworkZeroShot, TargetScale
from smalti.nn import Standardize
from smalti.nn.gene_graph import GeneGraphAttention, nearest_genes
from smalti.nn.gene_table import GeneTable
from smalti.segment import Segments
from smalti.task import Task


class DeepAssociation(NetworkZeroShot):
    """Zero-shot expression by towers that are tied together (DAM / ALIGN-ST).

    (a) A tile is z = A x + MLP(x) of its features, fused by cross-attention with the map of its
    nuclei (view "X_nuclei", ``sm.features.extract(bags, "nuclei")``). (b) A gene is v = B t of its
    vector t, refined in ``rounds`` by ``context`` tokens that each slide pools from its tiles, by
    cross-attention with a gate: slides x genes x tokens, never tiles x genes. (c) Each gene attends
    to its ``near`` nearest seen genes in meaning, through a tanh gate and an element-wise product.
    (d) y = z . v / sqrt(width) + b(v) for any gene, seen or not. The loss is error + ``pearson``
    (1 - Pearson) + ``align`` (alignment) + ``keep`` (regularisation): alignment is a symmetric
    InfoNCE between a tile and the genes weighed by how much more than usual it has of each;
    regularisation is the mean square by which (b) and (c) move a gene.

    The paper's text leaves open the tool that finds nuclei, the equations of (a) and (b), the loss
    weights and the widths, and no code is public: what stands here is our choice. Each part can be
    switched off: ``nuclei="off"``, ``rounds=0``, ``near=0``, ``align=0``, ``keep=0``.

    By (b) a tile is predicted from all tiles of its slide: give whole slides to ``predict`` and
    take rows.
    """

    name: ClassVar[str] = "deep_association"
    reference: ClassVar[str] = "Zhou et al. (2025), MICCAI (DAM, ALIGN-ST)"
    cite: ClassVar[tuple[str, ...]] = ("zhou2025",)
    presets: ClassVar[dict] = {
        "no_nuclei": {"nuclei": "off"},
        "no_prompts": {"rounds": 0},
        "no_graph": {"near": 0},
        "no_alignment": {"align": 0.0, "keep": 0.0},
        "towers": {"nuclei": "off", "rounds": 0, "near": 0, "align": 0.0, "keep": 0.0},
    }

    width: Count = 128  # of tiles and genes where they meet
    hidden: Count = 256  # units of the perceptron of a tile
    nuclei: str = "auto"  # view of the map of nuclei; "auto": X_nuclei where there is one; "off"
    grid: Count = 4  # cells of that map along the edge of a tile
    rounds: Whole = 3  # looks of the genes at the slide; 0: none
    context: Count = 8  # tokens of a slide
    near: Whole = 10  # nearest seen genes in meaning; 0: no graph
    heads: Count = 4  # of every attention
    dropout: Part = 0.2  # probability, of the perceptron and of the genes' vectors
    align: Weight = 0.05  # weight of the alignment
    keep: Share = 0.01  # weight of the regularisation
    huber: Positive | None = 1.0  # Huber's loss of this width; None: squared error

    def views(self, bags: Bags) -> list[str]:
        """Features, and the map of nuclei."""
        names = super().views(bags)
        if self.nuclei == "off" or (self.nuclei == "auto" and NUCLEI not in bags.x):
            return names
        name = NUCLEI if self.nuclei == "auto" else self.nuclei
        if name not in bags.x:
            raise InputError(
                f"deep_association: no view {name!r} of nuclei; there are {', '.join(bags.x)}. "
                "Make it: sm.features.extract(bags, 'nuclei'), or say nuclei='off'."
            )
        if name in names:
            raise InputError(
                f"deep_association: view {name!r} is both features and nuclei: name the features, "
                "x=..."
            )
        return [*names, name]

    def network(self, shape: Shape) -> nn.Module:
        """Everything."""
        if self.width % self.heads:
            raise InputError(
                f"deep_association: width={self.width} must be a multiple of heads={self.heads}."
            )
        return _Net(self, shape)

    def plan(self, shape: Shape) -> Iterator[Stage]:
        """Standardise, place the seen genes, then follow the gradient."""
        yield Sweep(step=self._place, name="genes")
        yield from super().plan(shape)

    def _place(self, network: Any, training: Any) -> None:
        """Scale of vectors and nuclei, and the nearest of each seen gene."""
        network.fit_genes(self.gene_table(self.genes_, training.store.device))
        if network.nuclei is not None:
            bags = training.bags
            view = {network.nuclei: bags.x[network.nuclei]}
            network.nuclei_scale.fit(dataclasses.replace(bags, x=view, features={}, present={}))

    def loss(self, task: Task, output: Output, target: Tensor) -> Tensor:
        """(1,) the loss of a slide, with the alignment."""
        value = super().loss(task, output, target)
        if not self.align or len(output.raw) < 2:
            return value
        scale = output.extra["scale"]
        wanted = ((target - scale.center) / scale.spread).float()
        z, v = output.extra["tiles"].float(), output.extra["genes"].float()
        return value + self.align * alignment(z, v, wanted)

    @classmethod
    def example(cls) -> DeepAssociation:
        """Small and quick."""
        return cls(vectors="random", width=32, hidden=32, rounds=1, context=4, near=3, epochs=60,
                   lr=5e-3, genes_per_step=40, dropout=0.0)  # fmt: skip


class _Net(nn.Module):
    near: Tensor
    gene_center: Tensor
    gene_scale: Tensor

    def __init__(self, method: DeepAssociation, shape: Shape) -> None:
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
        self.expression = TargetScale()

    def _with_nuclei(self, method: DeepAssociation, size: int) -> None:
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
        """Centre and scale of the vectors, and who is near whom, among the seen genes."""
        x = F.normalize(table.x, dim=1)
        self.gene_center.copy_(x.mean(0))
        self.gene_scale.copy_((x - x.mean(0)).square().mean().sqrt().clamp(min=1e-6))
        if self.k > 0:
            self.near.copy_(nearest_genes(self.placed(table.x), self.placed(table.x), self.k,
                                          table.own))  # fmt: skip

    def placed(self, x: Tensor) -> Tensor:
        """Vectors of length 1 about the mean of the seen ones."""
        return (F.normalize(x, dim=1) - self.gene_center) / self.gene_scale

    def genes(self, table: GeneTable) -> dict[str, Tensor]:
        """What does not depend on a slide: vectors, those of the seen genes, who is near whom."""
        x, bank = self.placed(table.x), self.placed(table.seen.x)
        out = {"v": self.project(x)}
        if self.k > 0:
            unseen = (table.own < 0).nonzero()[:, 0]
            found = self.near[table.own.clamp(min=0)]
            found[unseen] = nearest_genes(x[unseen], bank, self.k)
            at, back = found.unique(return_inverse=True)
            out |= {"near": back, "bank": self.project(bank[at])}
        return out

    def drawn(self, table: GeneTable) -> dict[str, Tensor]:
        """The same for genes of a training step, with their noise; a gene is not near itself."""
        v = self.project(self.dropout(self.placed(table.x)))
        if self.k <= 0:
            return {"v": v}
        at, back = self.near[table.own].unique(return_inverse=True)
        bank = self.project(self.dropout(self.placed(table.seen.x[at])))
        return {"v": v, "near": back, "bank": bank}

    def refined(self, genes: dict[str, Tensor], z: Tensor, segments: Segments) -> Tensor:
        """(n_slides, g, width) genes as each slide and their neighbours have made them."""
        v, n = genes["v"], len(genes["v"])
        if self.graph is None:
            return self.prompter(v, z, segments)
        both = self.prompter(torch.cat([v, genes["bank"]]), z, segments)
        return torch.stack([self.graph(s[:n], genes["near"], s[n:])[0] for s in both])

    def forward(self, batch: Batch) -> Output:
        genes: Any = batch.genes
        if isinstance(genes, GeneTable):
            genes = self.drawn(genes)
        z = self.tiles(batch)
        v = self.refined(genes, z, batch.segments)
        bias = self.bias(v)[..., 0]  # (n_slides, g)
        parts = [torch.addmm(b, tiles / self.width**0.5, g.t()) for tiles, g, b in
                 zip(z.split(batch.segments.lengths.tolist()), v, bias, strict=True)]  # fmt: skip
        scaled = torch.cat(parts)
        penalty = self.weight_kept * (v - genes["v"]).square().mean() if self.training else None
        out = self.expression.output(scaled, penalty)
        if self.training:
            out.extra |= {"tiles": z, "genes": v[0]}
        return out
