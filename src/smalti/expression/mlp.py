"""A perceptron on frozen features."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from smalti.bags import Bags
from smalti.batch import Batch, Output, Shape
from smalti.core import noise
from smalti.core.settings import Count, Part
from smalti.errors import InputError
from smalti.expression.network import NetworkExpression
from smalti.nn import Standardize, encoder
from smalti.nn.gene_head import GeneHead


class MLP(NetworkExpression):
    """A perceptron on frozen features, with the competition's loss and groups of genes.

    One trunk over the features and a head per group of genes. ``mlp:team`` is the recipe as the
    team's slides tell it: five k-means groups and the composite loss; they give no weights for the
    three terms, so these are ours.
    """

    name: ClassVar[str] = "mlp"
    reference: ClassVar[str] = "Rumelhart, Hinton & Williams (1986), Nature 323:533"
    cite: ClassVar[tuple[str, ...]] = ("rumelhart1986",)
    presets: ClassVar[dict] = {
        "team": {"alpha": 0.5, "beta": 0.4, "groups": "kmeans"},
        "loss": {"alpha": 0.5, "beta": 0.4},
        "groups": {"groups": "kmeans"},
    }

    widths: tuple[Count, ...] = (256,)  # units of the layers of the trunk
    dropout: Part = 0.3  # probability, after each layer
    flips: bool = False  # train on views X_NAME, X_NAME_1 .. X_NAME_7; predict by their mean

    def views(self, bags: Bags) -> list[str]:
        """The view of features; with ``flips`` also those of the turned tiles."""
        names = super().views(bags)
        if not self.flips:
            return names
        names += [f"{names[0]}_{k}" for k in range(1, 8)]
        if names[1] not in bags.x:
            raise InputError(
                f"mlp that trains on flips needs views {names[1]} .. {names[-1]} of the turned "
                "tiles: extract features with flips='all'."
            )
        return names

    def network(self, shape: Shape) -> nn.Module:
        """Scale, trunk, head."""
        return _Net(self, shape)

    @classmethod
    def example(cls) -> MLP:
        """Small and quick."""
        return cls(widths=(32,), head=16, dropout=0.1, epochs=30, lr=5e-3)


class _Net(nn.Module):
    def __init__(self, method: MLP, shape: Shape) -> None:
        super().__init__()
        self.scale = Standardize(shape.x)
        self.trunk, width = encoder("mlp", shape.x, method.widths, method.dropout)
        self.head = GeneHead(width, shape.groups, method.head, method.dropout)

    def forward(self, batch: Batch) -> Output:
        views = list(batch.views.values())
        generator = noise.generator()
        if not self.training or generator is None:
            parts = [self.head(self.trunk(self.scale(x)))[0] for x in views]
            return Output(parts[0] if len(parts) == 1 else torch.stack(parts).mean(0))
        x = views[0]
        if len(views) > 1:  # each tile turned its own way
            pick = torch.randint(len(views), (len(x),), generator=generator, device=x.device)
            x = torch.stack(views)[pick, torch.arange(len(x), device=x.device)]
        raw, scaled = self.head(self.trunk(self.scale(x)))
        return Output(raw, extra={"scaled": scaled, "head": self.head})
