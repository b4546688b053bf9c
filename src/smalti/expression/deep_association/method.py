"""Deep Association: tiles that know their nuclei, genes that know the slide and one another."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from smalti.bags import Bags
from smalti.batch import Output, Shape
from smalti.core.settings import Count, Part, Positive, Share, Weight, Whole
from smalti.core.stage import Gradient, Stage, Sweep
from smalti.errors import InputError
from smalti.expression.base import NUCLEI
from smalti.expression.deep_association.alignment import alignment
from smalti.expression.deep_association.net import Net, edges_around
from smalti.expression.zero_shot_network import NetworkZeroShot
from smalti.genes.vectors import GeneVectors
from smalti.nn.gene_table import GeneTable
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

    Notes
    -----
    Features of a network are more than the tiles of a few slides can tell apart: with 550 tiles and
    1,280 features give ``preprocess="scale,pca=64"``, without which it was below vectors that mean
    nothing. The 115 features of morphology are better as they are.

    Four readings of the paper are switches, and off: see the results on unseen genes for what each
    adds.

    - ``edges="refined"``: after each round of (b) the graph of (c) is built anew for each slide, of
      the genes as the slide has refined them, and heard; the seen genes hear each other too. A step
      refines all genes of the bank in place of the neighbours alone.
    - ``bank="all"``: genes hear all genes of the table of vectors, unseen ones too. The table is
      saved with the model, so that a gene is predicted alike whichever others are asked for. Genes
      that are asked for together never hear each other for that.
    - ``local=8``: a factor of each column of the genes, made of a tile and of its neighbours in
      place, beside the prompts of the slide. Needs positions.
    - ``text="words"``: beside its vector, a gene is what attention over its words finds. Needs
      vectors with words (``tokens=True``), best of a language model.
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
        "refined_edges": {"edges": "refined"},
        "all_genes": {"bank": "all"},
        "local_prompts": {"local": 8},
        "words": {"text": "words"},
    }

    width: Count = 128  # of tiles and genes where they meet
    hidden: Count = 256  # units of the perceptron of a tile
    nuclei: str = "auto"  # view of the map of nuclei; "auto": X_nuclei where there is one; "off"
    grid: Count = 4  # cells of that map along the edge of a tile
    rounds: Whole = 3  # looks of the genes at the slide; 0: none
    context: Count = 8  # tokens of a slide
    near: Whole = 10  # nearest genes in meaning; 0: no graph
    edges: Literal["text", "refined"] = "text"  # meaning as the text has it, or each round's
    bank: Literal["seen", "all"] = "seen"  # genes that are heard; "all": of the table of vectors
    local: Whole = 0  # tiles around a tile, within sqrt(2) of the pitch, that prompt too; 0: none
    text: Literal["vector", "words"] = "vector"  # of a gene; "words": its words beside its vector
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
        return Net(self, shape)

    def plan(self, shape: Shape) -> Iterator[Stage]:
        """Standardise, place the seen genes, then follow the gradient."""
        yield Sweep(step=self._place, name="genes")
        for stage in super().plan(shape):
            keep = isinstance(stage, Gradient) and self.local
            yield dataclasses.replace(stage, cache=edges_around) if keep else stage  # type: ignore[arg-type]

    def _place(self, network: Any, training: Any) -> None:
        """Scale of vectors and nuclei, and the nearest of each seen gene."""
        network.fit_genes(self.gene_table(self.genes_, training.store.device))
        if network.nuclei is not None:
            bags = training.bags
            view = {network.nuclei: bags.x[network.nuclei]}
            network.nuclei_scale.fit(dataclasses.replace(bags, x=view, features={}, present={}))

    # ---------------------------------------------------------------- what the switches need

    def _needs_positions(self) -> bool:
        return self.local > 0

    def _reads_words(self) -> bool:
        return self.text == "words"

    def _read_vectors(self) -> GeneVectors | None:
        found = super()._read_vectors()
        if self._reads_words() and found is not None and found.tokens is None:
            raise InputError(
                f"deep_association: text='words', and the vectors ({found.source}) have no words: "
                "make them with tokens=True, or say text='vector'."
            )
        return found

    def gene_table(self, names: tuple[str, ...], device: torch.device) -> GeneTable:
        """As for all such methods; with ``bank="all"`` the other genes follow in the bank."""
        if self.bank == "seen" or self.vectors_ is None:
            return super().gene_table(names, device)
        vectors = self.vectors_
        seen = vectors.positions(self.genes_)
        order = np.append(seen, np.setdiff1d(np.arange(len(vectors)), seen))
        place = np.argsort(order)  # of each gene of the table in the bank
        all_genes = (*self.genes_, *(vectors.names[i] for i in order[len(seen) :]))
        known = self._fitting_width(vectors.take(all_genes))
        bank = GeneTable.of(known, np.arange(len(order)), device, self._dtype)
        return bank.take(torch.as_tensor(place[self._known_at(names)], device=device))

    def _known_at(self, names: tuple[str, ...]) -> np.ndarray:
        """(len(names),) of genes in the table of vectors; an InputError says which have none."""
        assert self.vectors_ is not None
        at = self.vectors_.positions(names)
        if (at < 0).any():
            self.vectors_.take(names)
        return at

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
