"""Embedding-level pooling: mean or maximum of the encoded instances."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from smalti import segment
from smalti.batch import Batch, Output, Shape
from smalti.mil.base import NetworkMethod
from smalti.nn import Standardize, encoder
from smalti.segment import Segments

_REFERENCE = (
    "Wang, Yan, Tang, Bai & Liu (2018). Revisiting multiple instance neural networks. "
    "Pattern Recognition 74. arXiv:1610.02501"
)


class MeanPooling(NetworkMethod):
    """The mean of the encoded instances, read by a head.

    ``contribution`` is c'h_k / n: signed, on the logit scale, summing over the bag to the logit
    less its constant.
    """

    name: ClassVar[str] = "mean_pooling"
    reference: ClassVar[str] = _REFERENCE
    cite: ClassVar[tuple[str, ...]] = ("wang2018",)

    def network(self, shape: Shape) -> nn.Module:
        """Scale, encoder, mean, head."""
        return _Mean(self, shape)

    @classmethod
    def example(cls) -> MeanPooling:
        """A tiny one."""
        return cls(widths=(16,), dropout=0.1, epochs=60, lr=0.01, batch_size=8)


class MaxPooling(NetworkMethod):
    """The largest value of each unit over the instances, read by a head (MI-Net).

    ``contribution``: each unit's share c_j z_j is given to the instances that reach the maximum.
    """

    name: ClassVar[str] = "max_pooling"
    reference: ClassVar[str] = _REFERENCE
    cite: ClassVar[tuple[str, ...]] = ("wang2018",)

    def network(self, shape: Shape) -> nn.Module:
        """Scale, encoder, maximum, head."""
        return _Max(self, shape)

    @classmethod
    def example(cls) -> MaxPooling:
        """A tiny one."""
        return cls(widths=(16,), dropout=0.1, epochs=60, lr=0.01, batch_size=8)


class _Pooled(nn.Module):
    def __init__(self, method: NetworkMethod, shape: Shape) -> None:
        super().__init__()
        self.scale = Standardize(shape.x) if method.standardize else nn.Identity()
        self.encoder, width = encoder(method.encoder, shape.x, method.widths, method.dropout)
        self.head = shape.task.head(width)

    def pool(self, h: Tensor, segments: Segments) -> Tensor:
        raise TypeError("a pooling must say how.")

    def share(self, h: Tensor, z: Tensor, segments: Segments) -> Tensor:
        """What each instance brings to z, (n, width); sums to z."""
        raise TypeError("a pooling must say how.")

    def forward(self, batch: Batch) -> Output:
        h = self.encoder(self.scale(batch.x))  # (n, width)
        z = self.pool(h, batch.segments)  # (n_bags, width)
        raw = self.head(z)
        if self.training:
            return Output(raw)
        part = self.share(h, z, batch.segments)
        part = self.head(part) - self.head(part.new_zeros(1, part.shape[1]))
        return Output(raw, instance={"contribution": part}, bag={"embedding": z})


class _Mean(_Pooled):
    def pool(self, h: Tensor, segments: Segments) -> Tensor:
        return segment.mean(h, segments)

    def share(self, h: Tensor, z: Tensor, segments: Segments) -> Tensor:
        return h / segments.lengths[segments.index].to(h.dtype)[:, None]


class _Max(_Pooled):
    def pool(self, h: Tensor, segments: Segments) -> Tensor:
        return segment.peak(h, segments)

    def share(self, h: Tensor, z: Tensor, segments: Segments) -> Tensor:
        top = (h == z[segments.index]).to(h.dtype)
        return h * top / segment.total(top, segments)[segments.index]
