"""The plain autoencoder of the joined modalities."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from torch import nn

from smalti.batch import Shape
from smalti.integration import Cells, Integration, own_loss
from smalti.nn.autoencoder import Autoencoder
from smalti.nn.modalities import blocks_sweep
from smalti.stage import Gradient, Stage, warm_cosine


class AE(Integration):
    """All modalities side by side as one table, one hidden layer, one code.

    With ``per="feature"`` (published) the error is the mean over all features, so that 10 proteins
    beside 2,000 genes weigh half a per cent; ``per="modality"`` gives each modality the same
    weight, which is the comparison that isolates UMINT's separate encoders.
    """

    name: ClassVar[str] = "ae"
    reference: ClassVar[str] = "Maitra, Seal, Das & De (2023), Front. Mol. Biosci. 10:1184748"
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "fast": {"batch_size": 256, "lr": 4e-3, "epochs": 8, "anneal": True},
        "modality": {"per": "modality"},
    }

    hidden: int = 128  # units of the hidden layers
    width: int = 64  # of the code
    per: str = "feature"  # or "modality": what the error is a mean over
    l1: float = 1e-4  # on activations
    l2: float = 1e-3  # on weights
    epochs: int = 25  # passes over the cells
    batch_size: int = 16  # cells in a step
    lr: float = 1e-3  # learning rate of Adam
    anneal: bool = False  # lr up over the first tenth of the epochs, then down to 0 as a cosine
    clip: float | None = 10.0  # standardised values beyond it are cut

    def network(self, shape: Shape) -> nn.Module:
        """One autoencoder."""
        return Autoencoder(
            shape.views, hidden=self.hidden, width=self.width, per=self.per, l1=self.l1,
            l2=self.l2, clip=self.clip,
        )  # fmt: skip

    def plan(self, shape: Shape) -> Iterator[Stage]:
        """Standardise, then follow the gradient over cells."""
        yield blocks_sweep()
        yield Gradient(
            epochs=self.epochs, lr=self.lr, batch_size=self.batch_size, sampler=Cells(),
            loss=own_loss, schedule=warm_cosine(self.epochs) if self.anneal else None,
            epsilon=1e-7, name="train",
        )  # fmt: skip

    @classmethod
    def example(cls) -> AE:
        """Small and quick."""
        return cls(hidden=32, width=16, per="modality", epochs=12, batch_size=32, lr=3e-3)
