"""The plain autoencoder of the joined modalities."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from torch import nn

from smalti.batch import Shape
from smalti.core.settings import Count
from smalti.integrate.network import NetworkIntegration
from smalti.nn.autoencoder import Autoencoder


class AE(NetworkIntegration):
    """All modalities side by side as one table, one hidden layer, one code.

    With ``per="feature"`` (published) the error is the mean over all features, so that 10 proteins
    beside 2,000 genes weigh half a per cent; ``per="modality"`` gives each modality the same
    weight, which is the comparison that isolates UMINT's separate encoders.
    """

    name: ClassVar[str] = "ae"
    reference: ClassVar[str] = "Maitra, Seal, Das & De (2023), Front. Mol. Biosci. 10:1184748"
    cite: ClassVar[tuple[str, ...]] = ("maitra2023",)
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        **NetworkIntegration.presets,
        "modality": {"per": "modality"},
        "modality-fast": {"per": "modality"} | NetworkIntegration.presets["fast"],
    }

    hidden: Count = 128  # units of the hidden layers
    per: Literal["feature", "modality"] = "feature"  # what the error is a mean over

    def network(self, shape: Shape) -> nn.Module:
        """One autoencoder."""
        return Autoencoder(
            shape.views, hidden=self.hidden, width=self.width, per=self.per, l1=self.l1,
            n_batches=len(shape.batches), l2=self.l2, clip=self.clip,
        )  # fmt: skip

    @classmethod
    def example(cls) -> AE:
        """Small and quick."""
        return cls(hidden=32, width=16, per="modality", epochs=12, batch_size=32, lr=3e-3)
