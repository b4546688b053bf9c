"""MI-Net with deep supervision."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from smalti import segment
from smalti.batch import Batch, Output, Shape
from smalti.errors import InputError
from smalti.mil.base import NetworkMethod
from smalti.nn import Dropout, Standardize
from smalti.task import Task


class MINetDS(NetworkMethod):
    """A pooled head after each layer, all trained at once; their mean is the prediction.

    The losses of the heads count 1 each and that of the mean 0, as published. The mean is taken
    of probabilities (of values in a regression).
    """

    name: ClassVar[str] = "mi_net_ds"
    reference: ClassVar[str] = (
        "Wang, Yan, Tang, Bai & Liu (2018). Revisiting multiple instance neural networks. "
        "Pattern Recognition 74. arXiv:1610.02501"
    )
    cite: ClassVar[tuple[str, ...]] = ("wang2018",)

    pool: Literal["max", "mean"] = "max"  # of each layer's instances

    def network(self, shape: Shape) -> nn.Module:
        """Scale, layers, a head on each."""
        if len(shape.x) != 1 or self.encoder not in ("auto", "mlp"):
            raise InputError(
                f"MINetDS supervises the layers of a perceptron: instances must be vectors, not "
                f"of shape {shape.x}, and encoder 'mlp'."
            )
        return _Net(self, shape)

    def loss(self, task: Task, output: Output, target: Tensor) -> Tensor:
        """Sum over the heads."""
        losses = [task.loss(raw, target) for raw in output.extra["heads"]]
        return torch.stack(losses).sum(0)

    @classmethod
    def example(cls) -> MINetDS:
        """A tiny one."""
        return cls(widths=(16, 8), dropout=0.1, epochs=60, lr=0.01, batch_size=8)


class _Net(nn.Module):
    def __init__(self, method: MINetDS, shape: Shape) -> None:
        super().__init__()
        self.scale = Standardize(shape.x) if method.standardize else nn.Identity()
        widths = [shape.x[0], *method.widths]
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Linear(a, b), nn.ReLU(), Dropout(method.dropout))
            for a, b in pairwise(widths)
        )
        self.heads = nn.ModuleList(shape.task.head(w) for w in method.widths)
        self.pool = segment.peak if method.pool == "max" else segment.mean
        self.task = shape.task

    def forward(self, batch: Batch) -> Output:
        h = self.scale(batch.x)
        raws, pooled = [], []
        for layer, head in zip(self.layers, self.heads, strict=True):
            h = layer(h)  # (n, width)
            pooled.append(self.pool(h, batch.segments))  # (n_bags, width)
            raws.append(head(pooled[-1]))
        mean = torch.stack([self.task.values(r) for r in raws]).mean(0)
        bag = {} if self.training else {"embedding": torch.cat(pooled, 1)}
        return Output(self.task.raw(mean), bag=bag, extra={"heads": raws})
