"""A backbone trained end to end on the tiles."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from smalti.batch import Batch, Output, Shape
from smalti.core import noise
from smalti.core.settings import Count, Part, Whole
from smalti.core.stage import Stage, Sweep, Training
from smalti.errors import InputError
from smalti.expression.network import NetworkExpression
from smalti.nn.gene_head import GeneHead, targets_sweep
from smalti.nn.tile_net import TileNet
from smalti.tiles.augment import Augment


class FineTune(NetworkExpression):
    """A backbone trained end to end, with the competition's loss, groups and augmentations.

    First the head alone learns (``warm``), then everything moves. ``backbone="small"`` is a
    convolutional net of our own that starts from nothing; any model of timm goes by its name or a
    preset (see :func:`smalti.features.encoders`), with its pretrained weights, a local safetensors
    file, or random ones. Large backbones: ``precision="bf16-mixed"``, ``accumulate=8``.
    """

    name: ClassVar[str] = "fine_tune"
    reference: ClassVar[str] = "He et al. (2020), Nat. Biomed. Eng. 4:827 (ST-Net)"
    cite: ClassVar[tuple[str, ...]] = ("he2020",)
    images: ClassVar[bool] = True
    presets: ClassVar[dict] = {"team": {"alpha": 0.5, "beta": 0.4, "groups": "kmeans"}}

    backbone: str = "small"  # or a model of timm: "coatnet", "convnextv2", "xcit", "resnet50", ...
    weights: str = "pretrained"  # of timm's; "random", or the path of a .safetensors file
    width: Count = 160  # channels of the small backbone
    augment: tuple[str, ...] = ("d4",)  # see smalti.tiles.augment; () none
    flips: bool = False  # predict by the mean over the eight flips and rotations
    warm: Whole = 0  # epochs of the head alone, before
    dropout: Part = 0.3  # probability, before and in the head
    epochs: Count = 10  # passes over the tiles
    batch_size: Count = 32  # tiles in a step

    def network(self, shape: Shape) -> nn.Module:
        """Backbone and head; weights come in a stage, so that a saved model needs none."""
        return _Net(self, shape)

    def plan(self, shape: Shape) -> Iterator[Stage]:
        """Weights, the genes' means, the head, then everything."""
        yield Sweep(step=self._fetch, name="weights")
        yield targets_sweep(self.scale_targets)
        train = self.train_stage()
        if self.warm:
            yield dataclasses.replace(train, epochs=self.warm, schedule=None, moves=("head",),
                                      name="head")  # fmt: skip
        yield train

    def _fetch(self, network: nn.Module, training: Training) -> None:
        assert isinstance(network, _Net)
        if self.backbone == "small":
            network.center_on(training)
        elif self.weights != "random":
            from smalti.features.pretrained import load_weights

            load_weights(network.backbone, self.backbone, self.weights)

    @classmethod
    def example(cls) -> FineTune:
        """Small, on small tiles."""
        return cls(width=32, head=16, dropout=0.0, epochs=12, lr=5e-3, batch_size=16)


class _Net(nn.Module):
    mean: Tensor
    sd: Tensor

    def __init__(self, method: FineTune, shape: Shape) -> None:
        super().__init__()
        mean, sd = torch.full((3, 1, 1), 0.5), torch.full((3, 1, 1), 0.25)
        self.size = shape.x[1]
        self.backbone: Any
        if method.backbone == "small":
            if min(shape.x[1:]) < 16:
                raise InputError(f"fine_tune needs tiles of 16 pixels or more, got {shape.x[1:]}.")
            self.backbone, width = TileNet(method.width), method.width
        else:
            from smalti.features.pretrained import backbone

            self.backbone, width, mean, sd, self.size = backbone(method.backbone)
        self.register_buffer("mean", mean)
        self.register_buffer("sd", sd)
        self.dropout = noise.Dropout(method.dropout)
        self.head = GeneHead(width, shape.groups, method.head, method.dropout)
        self.augment = Augment(method.augment) if method.augment else None
        self.flips = method.flips

    def center_on(self, training: Training) -> None:
        """Take mean and s.d. of each channel from the training tiles."""
        from smalti.solve.moments import center_and_spread

        mean, sd = center_and_spread(training.bags.view()[1])
        self.mean.copy_(torch.as_tensor(mean / 255).reshape(3, 1, 1))
        self.sd.copy_(torch.as_tensor(sd / 255).reshape(3, 1, 1))

    def features(self, x: Tensor) -> Tensor:
        """(n, 3, H, W) in 0 .. 255 to what the head reads."""
        x = (x / 255 - self.mean) / self.sd
        if x.shape[-1] != self.size:
            x = nn.functional.interpolate(x, (self.size, self.size), mode="bilinear",
                                          antialias=True, align_corners=False)  # fmt: skip
        # channels last: on a processor a step of a convolutional net takes a third less time
        return self.backbone(x.contiguous(memory_format=torch.channels_last))

    def forward(self, batch: Batch) -> Output:
        x = batch.x
        generator = noise.generator()
        if self.training and self.augment is not None and generator is not None:
            x = self.augment((x / 255).float(), generator).to(x.dtype) * 255
        if self.flips and not self.training:
            turned = [t.rot90(k, (2, 3)) for t in (x, x.flip(3)) for k in range(4)]
            raw = torch.stack([self.head(self.features(t))[0] for t in turned]).mean(0)
            return Output(raw)
        raw, scaled = self.head(self.dropout(self.features(x)))
        return Output(raw, extra={"scaled": scaled, "head": self.head})
