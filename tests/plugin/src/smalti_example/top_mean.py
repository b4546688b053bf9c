"""The mean of the highest logits of a bag."""

from typing import ClassVar

import torch
from torch import nn

from smalti.batch import Batch, Output, Shape
from smalti.mil.base import NetworkMethod
from smalti.nn import Standardize, encoder


class TopMean(NetworkMethod):
    """The mean of the instances' logits, of each output over its k highest."""

    name: ClassVar[str] = "top_mean"
    reference: ClassVar[str] = "Example (2025). The top of a bag"
    bibtex: ClassVar[str] = """@misc{example2025,
  author = {Example, Ann},
  title = {The top of a bag},
  year = {2025}
}"""
    embeds: ClassVar[bool] = False
    stacks: ClassVar[bool] = False  # bags are taken one by one

    k: int = 5  # instances

    def network(self, shape: Shape) -> nn.Module:
        """Scale, encoder, head, mean of the highest."""
        return _Net(self, shape)

    @classmethod
    def example(cls) -> "TopMean":
        """A tiny one."""
        return cls(widths=(16,), dropout=0.1, epochs=60, lr=0.01, batch_size=8)


class _Net(nn.Module):
    def __init__(self, method: TopMean, shape: Shape) -> None:
        super().__init__()
        self.scale = Standardize(shape.x)
        self.encoder, width = encoder(method.encoder, shape.x, method.widths, method.dropout)
        self.head = shape.task.head(width)
        self.k = method.k

    def forward(self, batch: Batch) -> Output:
        score = self.head(self.encoder(self.scale(batch.x)))  # (n, n_outputs)
        lengths = batch.segments.lengths.tolist()
        raw = torch.stack([
            part.topk(min(self.k, len(part)), dim=0).values.mean(0)
            for part in score.split(lengths)
        ])  # fmt: skip
        return Output(raw, instance={} if self.training else {"score": score})
