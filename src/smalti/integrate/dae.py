"""The denoising autoencoder of the joined modalities."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from torch import nn

from smalti.batch import Shape
from smalti.core.settings import Count, Part, Weight
from smalti.integrate.network import NetworkIntegration
from smalti.nn.autoencoder import Autoencoder


class DAE(NetworkIntegration):
    """An autoencoder that sees its input with noise and has to give it back without.

    The noise is drawn afresh in each step; the published one, of 0.01 standard deviations, was
    drawn once. ``mask`` hides features instead, which is the usual corruption (Vincent et al.
    2010).
    """

    name: ClassVar[str] = "dae"
    reference: ClassVar[str] = "Vincent, Larochelle, Bengio & Manzagol (2008), ICML"
    cite: ClassVar[tuple[str, ...]] = ("vincent2008",)
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        **NetworkIntegration.presets,
        "modality": {"per": "modality"},
        "modality-fast": {"per": "modality"} | NetworkIntegration.presets["fast"],
    }

    hidden: Count = 128  # units of the hidden layers
    per: Literal["feature", "modality"] = "feature"  # what the error is a mean over
    noise: Weight = 0.01  # standard deviations of the noise on the standardised input
    mask: Part = 0.0  # probability of setting a feature to its mean

    def network(self, shape: Shape) -> nn.Module:
        """One autoencoder."""
        return Autoencoder(
            shape.views, hidden=self.hidden, width=self.width, per=self.per, l1=self.l1,
            n_batches=len(shape.batches), l2=self.l2, clip=self.clip, noise=(self.noise, self.mask),
        )  # fmt: skip

    @classmethod
    def example(cls) -> DAE:
        """Small and quick."""
        return cls(
            hidden=32, width=16, per="modality", noise=0.1, mask=0.1, epochs=12, batch_size=32,
            lr=3e-3,
        )  # fmt: skip
