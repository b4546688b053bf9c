"""A linear autoencoder of all modalities."""

from typing import ClassVar

import torch
from torch import Tensor, nn

from smalti.batch import Batch, Output, Shape
from smalti.integrate.network import NetworkIntegration
from smalti.nn.modalities import Blocks, squared_errors


class LinearCode(NetworkIntegration):
    """A linear code of the joined modalities, from which each of them is given back."""

    name: ClassVar[str] = "linear_code"
    reference: ClassVar[str] = "Example (2025). A linear code"
    cite: ClassVar[tuple[str, ...]] = ("vincent2008",)
    missing: ClassVar[bool] = False

    def network(self, shape: Shape) -> nn.Module:
        """Blocks, code, decoder."""
        return _Net(self, shape)

    @classmethod
    def example(cls) -> "LinearCode":
        """Small and quick."""
        return cls(width=8, epochs=20, batch_size=32, lr=1e-2, l2=0.0)


class _Net(nn.Module):
    def __init__(self, method: LinearCode, shape: Shape) -> None:
        super().__init__()
        self.blocks = Blocks(shape.views, clip=method.clip)
        total = sum(self.blocks.sizes)
        self.code, self.back = nn.Linear(total, method.width), nn.Linear(method.width, total)

    def forward(self, batch: Batch) -> Output:
        x, present = self.blocks(batch)
        z = self.code(torch.cat(x, dim=1))
        if not self.training:
            return Output(z)
        out = self.back(z).split(self.blocks.sizes, dim=1)
        loss = squared_errors(x, out, present, [1.0] * len(x), "modality")
        return Output(z, extra={"loss": loss})

    def decode(self, z: Tensor) -> dict[str, Tensor]:
        """Each view from the code."""
        return self.blocks.undo(self.back(z).split(self.blocks.sizes, dim=1))
