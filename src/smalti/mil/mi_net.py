"""Instance-level pooling: each instance is classified, the bag follows (mi-Net)."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import nn

from smalti import segment
from smalti.batch import Batch, Output, Shape
from smalti.mil.base import NetworkMethod
from smalti.nn import Standardize, encoder


class MiNet(NetworkMethod):
    """Predictions of the instances, pooled to that of the bag.

    ``pool="max"``: the bag is as positive as its most positive instance (mi-Net). ``"mean"``: the
    mean of the instances' probabilities. With several classes the maximum is taken of each
    class's logit. ``score`` is the logit of each instance alone, comparable across bags.

    With the maximum, each bag moves one instance only, so a start that picks the wrong instances
    may never leave them: compare several seeds. Not to be confused with MI-Net, which pools
    embeddings (:class:`MaxPooling`).
    """

    name: ClassVar[str] = "mi_net"
    reference: ClassVar[str] = (
        "Wang, Yan, Tang, Bai & Liu (2018). Revisiting multiple instance neural networks. "
        "Pattern Recognition 74. arXiv:1610.02501"
    )
    cite: ClassVar[tuple[str, ...]] = ("wang2018",)
    embeds: ClassVar[bool] = False

    pool: Literal["max", "mean"] = "max"  # of the instances' predictions

    def network(self, shape: Shape) -> nn.Module:
        """Scale, encoder, head, pooling."""
        return _Net(self, shape)

    @classmethod
    def example(cls) -> MiNet:
        """A tiny one."""
        return cls(widths=(16,), dropout=0.1, epochs=60, lr=0.01, batch_size=8)


class _Net(nn.Module):
    def __init__(self, method: MiNet, shape: Shape) -> None:
        super().__init__()
        self.scale = Standardize(shape.x) if method.standardize else nn.Identity()
        self.encoder, width = encoder(method.encoder, shape.x, method.widths, method.dropout)
        self.head = shape.task.head(width)
        self.task, self.pool = shape.task, method.pool

    def forward(self, batch: Batch) -> Output:
        score = self.head(self.encoder(self.scale(batch.x)))  # (n, n_outputs)
        if self.pool == "max":
            raw = segment.peak(score, batch.segments)
        else:
            raw = self.task.raw(segment.mean(self.task.values(score), batch.segments))
        return Output(raw, instance={} if self.training else {"score": score})
