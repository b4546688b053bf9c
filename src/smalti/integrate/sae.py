"""The sparse autoencoder of the joined modalities."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from smalti.batch import Shape
from smalti.core.settings import Count, Inner, Weight
from smalti.integrate.network import NetworkIntegration
from smalti.nn.autoencoder import Autoencoder


class SAE(NetworkIntegration):
    """An autoencoder whose units are seldom active: their mean is pulled towards ``rho``.

    Of the mean activation m_j of unit j over the cells of the step:

        penalty = beta sum_j KL(rho || m_j)
        KL(p || q) = p log(p / q) + (1 - p) log((1 - p) / (1 - q))

    Units are sigmoid, so that means are probabilities. (The script that UMINT was compared with
    wrote the second term as ``1 - p / 1 - q`` and used ReLU units, whose means may exceed 1.) As in
    Ng's notes beta is relative to the *summed* squared error; the mean is taken here, so both are
    divided by the number of features.
    """

    name: ClassVar[str] = "sae"
    reference: ClassVar[str] = "Ng (2011), Sparse autoencoder, CS294A lecture notes"
    cite: ClassVar[tuple[str, ...]] = ("ng2011",)
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        **NetworkIntegration.presets,
        "modality": {"per": "modality"},
        "modality-fast": {"per": "modality"} | NetworkIntegration.presets["fast"],
    }

    l1: Weight = 0.0  # on activations: the penalty takes its place
    hidden: Count = 128  # units of the hidden layers
    per: Literal["feature", "modality"] = "feature"  # what the error is a mean over
    rho: Inner = 0.01  # mean activation that is wanted
    beta: Weight = 3.0  # weight of the penalty

    def network(self, shape: Shape) -> nn.Module:
        """One autoencoder."""
        features = sum(int(size[0]) for size in shape.views.values())
        return Autoencoder(
            shape.views, hidden=self.hidden, width=self.width, per=self.per, l1=self.l1,
            n_batches=len(shape.batches), l2=self.l2, clip=self.clip, activation=torch.sigmoid,
            penalty=lambda layers: self.beta / features * torch.stack(
                [kl_divergence(self.rho, a.mean(0)).sum() for a in layers]
            ).sum(),
        )  # fmt: skip

    @classmethod
    def example(cls) -> SAE:
        """Small and quick."""
        return cls(hidden=32, width=16, per="modality", rho=0.1, beta=0.1, epochs=40,
                   batch_size=32, lr=1e-2)  # fmt: skip


def kl_divergence(p: float, q: Tensor) -> Tensor:
    """KL(Bernoulli(p) || Bernoulli(q)) in nats, element by element: the same shape as ``q``."""
    q = q.clamp(1e-6, 1 - 1e-6)
    return p * torch.log(p / q) + (1 - p) * torch.log((1 - p) / (1 - q))
