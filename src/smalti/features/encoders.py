"""What makes features of tiles: an encoder knows its name, its width, and what it depends on."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch

from smalti.errors import InputError


class Encoder(Protocol):
    """Tiles to features.

    Attributes
    ----------
    name
        Of the view, ``X_NAME``.
    identity
        All that the features depend on besides the tiles: part of the key of a cache.
    features
        Names of the features.
    half
        Whether float16 holds them.
    """

    name: str
    identity: str
    half: bool

    @property
    def features(self) -> Sequence[str]:
        """One name per feature."""
        ...

    def encode(self, tiles: np.ndarray, um_per_px: np.ndarray) -> np.ndarray:
        """(n, 3, H, W) uint8 and (n,) µm per pixel (NaN: not known) to (n, width) float32."""
        ...


def make_encoder(
    encoder: Any, *, weights: str = "pretrained", precision: str = "32", device: str = "auto",
    n_jobs: int = 1, seed: int = 0,
) -> Encoder:  # fmt: skip
    """An encoder by name, or the user's own as it is.

    Parameters
    ----------
    encoder
        "morphology"; "nuclei"; a model of timm or the hub, or a preset of it (see
        :data:`smalti.features.presets.PRESETS`); a fitted
        :class:`~smalti.features.convnet.SelfSupervised`; or anything with the attributes of
        :class:`Encoder`.
    weights
        Of a model: "pretrained", "random", or a .safetensors file.
    precision
        "32" or "bf16".
    device
        "cpu", "cuda"; auto takes a GPU where there is one.
    n_jobs
        Processes of "morphology" and "nuclei".
    seed
        Of random weights.

    Raises
    ------
    InputError
        If ``precision`` is neither.
    """
    if not isinstance(encoder, str):
        return encoder.encoder() if hasattr(encoder, "encoder") else encoder
    if encoder == "morphology":
        return Morphology(n_jobs)
    if encoder == "nuclei":
        from smalti.features.nuclei import NucleiMap

        return NucleiMap(n_jobs=n_jobs)
    if precision not in ("32", "bf16"):
        raise InputError(f"precision={precision!r} is neither '32' nor 'bf16'.")
    return Backbone(encoder, weights, precision, device, seed)


@dataclasses.dataclass
class Morphology:
    """Stains, texture and nuclei (see :func:`smalti.features.morphology.describe_tile`)."""

    n_jobs: int = 1
    name: str = "morphology"
    identity: str = "morphology 2"
    half: bool = False

    @property
    def features(self) -> tuple[str, ...]:
        """Names, from a blank tile."""
        from smalti.features.morphology import describe_tile

        return tuple(describe_tile(np.full((32, 32, 3), 255, dtype=np.uint8)))

    def encode(self, tiles: np.ndarray, um_per_px: np.ndarray) -> np.ndarray:
        """Tiles (n, 3, H, W) to (n, width), one after another, or in processes."""
        if self.n_jobs == 1:
            return np.stack([_row(t, u) for t, u in zip(tiles, um_per_px, strict=True)])
        from joblib import Parallel, delayed

        pool = Parallel(n_jobs=self.n_jobs, inner_max_num_threads=1)
        return np.stack(pool(delayed(_row)(t, u) for t, u in zip(tiles, um_per_px, strict=True)))


def _row(tile: np.ndarray, um_per_px: float) -> np.ndarray:
    from smalti.features.morphology import describe_tile

    pixel = None if np.isnan(um_per_px) else float(um_per_px)
    found = describe_tile(np.ascontiguousarray(tile.transpose(1, 2, 0)), pixel)
    return np.fromiter(found.values(), dtype=np.float32, count=len(found))


class Backbone:
    """A model of timm, frozen."""

    half = True

    def __init__(self, name: str, weights: str, precision: str, device: str, seed: int) -> None:
        from smalti.features.pretrained import backbone, weights_digest

        model, self.width, mean, sd, self.size = backbone(name, weights=weights, seed=seed)
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self.device, self.bf16 = torch.device(device), precision == "bf16"
        convolutional = any(isinstance(m, torch.nn.Conv2d) and m.kernel_size != m.stride
                            for m in model.modules())  # fmt: skip
        self.layout = torch.channels_last if convolutional else torch.contiguous_format
        self.model = model.to(self.device, memory_format=self.layout)  # type: ignore[call-overload]
        # (x / 255 - mean) / sd as one product and one sum
        self.scale, self.shift = (t.to(self.device) for t in (1 / (255 * sd), -mean / sd))
        short = name.removeprefix("timm:").removeprefix("hf-hub:").replace("/", "_")
        self.name = short.split(".")[0] + ("_random" if weights == "random" else "")
        self.identity = f"{name} {weights_digest(weights, seed)} {precision} {self.size}"

    @property
    def features(self) -> tuple[str, ...]:
        """Numbered: the features of a network have no names."""
        return tuple(f"{self.name}_{i}" for i in range(self.width))

    @torch.inference_mode()
    def encode(self, tiles: np.ndarray, um_per_px: np.ndarray) -> np.ndarray:
        """Tiles (n, 3, H, W) to (n, width), one batch, in the precision asked for."""
        x = torch.from_numpy(np.ascontiguousarray(tiles)).to(self.device).float()
        if x.shape[-1] != self.size:
            resize = partial(torch.nn.functional.interpolate, mode="bilinear", antialias=True)
            x = resize(x, (self.size, self.size), align_corners=False)
        with self.precise():
            return self.model(self.scaled(x)).float().cpu().numpy()

    def scaled(self, x: torch.Tensor) -> torch.Tensor:
        """Pixels in 0 .. 255, (n, 3, H, W), as the network wants them."""
        return torch.addcmul(self.shift, x, self.scale).contiguous(memory_format=self.layout)

    def precise(self) -> Any:
        """A context in the precision asked for."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)


def turned(tiles: np.ndarray, k: int) -> np.ndarray:
    """Tiles (n, 3, H, W) turned by k % 4 quarters, mirrored before that where k > 3."""
    out = tiles[..., ::-1] if k > 3 else tiles
    return np.ascontiguousarray(np.rot90(out, k % 4, axes=(2, 3)))
