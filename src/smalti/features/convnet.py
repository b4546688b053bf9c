"""A small convolutional net that learns from tiles without labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from smalti.bags import Bags
from smalti.batch import Batch, Output, Shape
from smalti.columns import Columns
from smalti.core import noise
from smalti.core.estimator import Estimator
from smalti.core.fit import Fit, fresh
from smalti.core.instances import Rows, own_loss
from smalti.core.stage import Gradient, Stage, Sweep, Training, warm_cosine
from smalti.errors import InputError
from smalti.nn.tile_net import TileNet
from smalti.task import NOTHING
from smalti.tiles.augment import Augment

_AUGMENT = ("d4", "shift_scale_rotate", "brightness_contrast", "hed_jitter")


class SelfSupervised(Estimator):
    """Features that two augmentations of a tile share, by VICReg.

    The loss draws the projections of two views of a tile together (invariance), keeps the s.d. of
    each dimension over the batch above 1 (variance) and their covariances at 0 (covariance), with
    the paper's weights 25, 25 and 1. No label is looked at; it is fitted on training slides like
    any method, and gives an encoder: ``features.extract(bags, model)``.
    """

    room: ClassVar[str] = "features"
    name: ClassVar[str] = "self_supervised"
    reference: ClassVar[str] = "Bardes, Ponce & LeCun (2022), ICLR (VICReg)"
    cite: ClassVar[tuple[str, ...]] = ("bardes2022",)

    view: str = "tile"  # view of tiles
    width: int = 160  # features
    projection: int = 512  # units of the two layers that only training has
    augment: tuple[str, ...] = _AUGMENT  # see smalti.tiles.augment
    epochs: int = 20  # passes over the tiles
    batch_size: int = 64  # tiles in a step
    lr: float = 2e-3  # learning rate, up over the first tenth, then down to 0 as a cosine
    weight_decay: float = 1e-4  # decoupled (AdamW)

    def fit(
        self, X: Bags, y: Any = None, *, checkpoint: str | Path | None = None, callbacks: Any = None
    ) -> Self:
        """Learn from the tiles of training slides; labels are not looked at.

        Raises
        ------
        InputError
            If there is no view of tiles.
        """
        with fresh(self):
            return self._train(self._tiles(X), None, checkpoint, callbacks, self.prepare)

    def transform(self, X: Bags) -> np.ndarray:
        """(n_tiles, width) float32."""
        bags = self.recut(self._tiles(X))
        store = self._store(bags, torch.device("cpu"))
        network, parts = self.network_.cpu().eval(), []
        with torch.inference_mode():
            for start in range(0, bags.n_instances, 256):
                rows = np.arange(start, min(start + 256, bags.n_instances))
                parts.append(network(store.instances(rows)).raw.numpy())
        return np.concatenate(parts)

    def encoder(self) -> FittedEncoder:
        """What :func:`smalti.features.extract` takes."""
        check_is_fitted(self)
        return FittedEncoder(self)

    def network(self, shape: Shape) -> nn.Module:
        """The net, and the projection that only training uses."""
        return _Net(self)

    def plan(self, shape: Shape) -> Iterator[Stage]:
        """Centre colours, then follow the gradient over tiles."""

        def colours(network: Any, training: Training) -> None:
            from smalti.solve.moments import center_and_spread

            mean, sd = center_and_spread(training.bags.view()[1])
            network.mean.copy_(torch.as_tensor(mean / 255).reshape(3, 1, 1))
            network.sd.copy_(torch.as_tensor(sd / 255).reshape(3, 1, 1))

        yield Sweep(step=colours, name="colours")
        yield Gradient(
            epochs=self.epochs, lr=self.lr, optimizer="adamw", weight_decay=self.weight_decay,
            batch_size=self.batch_size, sampler=Rows(), loss=own_loss,
            schedule=warm_cosine(self.epochs), name="train",
        )  # fmt: skip

    def prepare(self, bags: Bags, members: np.ndarray, device: torch.device) -> Fit:
        """Set up a fit on some of the slides, (k,) positions."""
        self.task_, self.columns_ = NOTHING, Columns()
        self.shape_ = Shape({k: v.shape[1:] for k, v in bags.x.items()}, NOTHING, bags.n_instances)
        return self._unlabelled(bags, members, device)

    def _tiles(self, bags: Bags) -> Bags:
        view = bags.view(self.view)[1]
        if len(view.shape) != 4 or view.shape[1] != 3:
            raise InputError(
                f"view {self.view!r} holds instances of shape {tuple(view.shape[1:])}, not tiles "
                "(3, height, width): name the view of tiles."
            )
        return dataclasses.replace(bags, x={self.view: view}, features={}, present={}, target=None)

    @classmethod
    def example(cls) -> SelfSupervised:
        """Small and quick."""
        return cls(width=32, projection=64, epochs=6, batch_size=32)


class FittedEncoder:
    """A fitted net as an encoder of :func:`smalti.features.extract`."""

    half = True

    def __init__(self, model: SelfSupervised) -> None:
        self.network = model.network_.cpu().eval()
        self.name, self.recut = model.name, model.recut
        self.features = tuple(f"{model.name}_{i}" for i in range(model.width))
        settings = {k: v for k, v in model.get_params().items() if k != "progress"}
        self.identity = f"{settings} {model.digest_}"

    @torch.inference_mode()
    def encode(self, tiles: np.ndarray, um_per_px: np.ndarray) -> np.ndarray:
        """(n, 3, H, W) uint8 to (n, width) float32."""
        x = torch.from_numpy(np.ascontiguousarray(tiles)).float()
        network: Any = self.network
        return network.embed(x).numpy()


class _Net(nn.Module):
    mean: Tensor
    sd: Tensor

    def __init__(self, method: SelfSupervised) -> None:
        super().__init__()
        self.register_buffer("mean", torch.full((3, 1, 1), 0.5))
        self.register_buffer("sd", torch.full((3, 1, 1), 0.25))
        self.net = TileNet(method.width)
        self.project = nn.Sequential(
            nn.Linear(method.width, method.projection), nn.ReLU(),
            nn.Linear(method.projection, method.projection),
        )  # fmt: skip
        self.augment = Augment(method.augment)

    def embed(self, x: Tensor) -> Tensor:
        """Pixels in 0 .. 255 to features."""
        return self.net((x / 255 - self.mean) / self.sd)

    def forward(self, batch: Batch) -> Output:
        generator = noise.generator()
        if not self.training or generator is None:
            return Output(self.embed(batch.x))
        views = [self.augment((batch.x / 255).float(), generator) * 255 for _ in range(2)]
        a, b = (self.project(self.embed(v)) for v in views)
        loss = vicreg(a, b)
        return Output(a, extra={"loss": loss.expand(len(a))})


def vicreg(a: Tensor, b: Tensor) -> Tensor:
    """25 invariance + 25 variance + 1 covariance of two views, (n, d) each (equation 6)."""
    loss = 25 * (a - b).square().mean()
    for z in (a, b):
        about = z - z.mean(0)
        if len(z) < 2:
            continue
        sd = (about.square().sum(0) / (len(z) - 1) + 1e-4).sqrt()
        loss = loss + 12.5 * torch.relu(1 - sd).mean()
        covariance = about.t() @ about / (len(z) - 1)
        rest = covariance.square().sum() - covariance.diagonal().square().sum()
        loss = loss + rest / z.shape[1]
    return loss
