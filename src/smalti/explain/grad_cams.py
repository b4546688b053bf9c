"""Grad-CAM: where in a tile the evidence for a gene stands, and whether the map can be believed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from smalti.errors import InputError

_ENTRIES = 2**24  # numbers in the upsampled maps that are worked on at a time: 64 MiB


def grad_cam(
    network: nn.Module,
    images: Any,
    outputs: Sequence[int] | Tensor | np.ndarray,
    *,
    layer: str | nn.Module | None = None,
    raw: bool = False,
    upsample: bool = True,
    batch_size: int = 32,
) -> np.ndarray:
    """Map where an image holds evidence for each of some outputs (genes).

    With A_c the map of channel c of a late layer and y an output, the weight of a channel is
    w_c = mean over the positions of dy / dA_c, and the map is relu(sum_c w_c A_c) [1]. One
    forward pass serves all outputs, and the backward pass of each ends at the layer, so that many
    genes cost little more than one.

    Parameters
    ----------
    network
        Takes images, returns (n, n_outputs). It is run in evaluation mode and left as it was.
    images
        (n, 3, height, width), scaled as the network expects.
    outputs
        Positions of the outputs to explain.
    layer
        Name in ``network.named_modules()``, or a module, of an output (n, channels, h, w), or
        (n, tokens, channels), or (n, h, w, channels) of timm's models of that layout. When left
        out: the first normalisation of the last block of a vision transformer (the patch tokens
        after it no longer reach a class token), the last block before the class attention of XCiT,
        the last stage of timm's other models, and the last convolution of anything else.
    raw
        The weighted sum itself, signed and not scaled. Otherwise it is cut off at zero and divided
        by its largest value, so that a map is in 0..1; one without positive evidence is all zero.
    upsample
        To the size of the image, bilinearly; otherwise maps keep the layer's (h, w).
    batch_size
        Images in a forward pass.

    Returns
    -------
    ndarray
        (n, len(outputs), height, width) float32. Tokens that stand for no patch are left out.

    Raises
    ------
    InputError
        If an output does not exist, or the layer is not there, not used or has no positions.

    References
    ----------
    - [1] Selvaraju, R. R. et al. (2017). Grad-CAM: visual explanations from deep networks via
      gradient-based localization. ICCV. arXiv:1610.02391
    """
    chosen = [int(o) for o in torch.as_tensor(outputs).flatten()]
    pixels = torch.as_tensor(images)
    if pixels.ndim != 4 or not len(pixels) or not chosen:
        raise InputError(
            f"grad_cam needs images (n, channels, height, width) and an output, not images of "
            f"shape {tuple(pixels.shape)} and {len(chosen)} outputs."
        )
    tap = _Tap(network, layer, (int(pixels.shape[-2]), int(pixels.shape[-1])))
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    parts = []
    with _quiet(network):
        for batch in pixels.split(batch_size):
            maps = tap.maps(batch.to(device), chosen)
            parts.append(_finish(maps, tap.size if upsample else None, raw))
    return np.concatenate(parts)


class _Tap:
    """A layer of a network, and how its output is read as maps."""

    def __init__(
        self, network: nn.Module, layer: str | nn.Module | None, size: tuple[int, int]
    ) -> None:
        self.network, self.size = network, size
        backbone = _backbone(network)
        late = hasattr(backbone, "cls_attn_blocks")  # XCiT: the class token comes after the blocks
        self.prefix = 0 if late else int(getattr(backbone, "num_prefix_tokens", 0))
        self.channels_last = getattr(backbone, "output_fmt", None) == "NHWC"
        self.module = _find(network, backbone, layer)
        if isinstance(layer, nn.Module) and not any(layer is m for m in network.modules()):
            raise InputError("layer is not a part of the network.")

    def maps(self, images: Tensor, outputs: list[int]) -> Tensor:
        """(n, n_outputs, h, w) weighted sums of the layer's channels."""
        seen: list[Tensor] = []

        def start(module: nn.Module, args: Any, output: Any) -> Tensor:
            if not isinstance(output, Tensor) or output.ndim not in (3, 4):
                raise InputError(
                    f"layer {type(module).__name__} returns no maps (n, channels, h, w) or tokens "
                    "(n, tokens, channels): choose another layer."
                )
            torch.set_grad_enabled(True)  # also where the network runs its backbone without
            seen.append(output.detach().requires_grad_())
            return seen[-1].clone()  # what follows may work in place

        handle = self.module.register_forward_hook(start)
        try:
            scores = self.network(images)
        finally:
            handle.remove()
        if len(seen) != 1:
            raise InputError(f"the layer runs {len(seen)} times in a forward pass: choose another.")
        if scores.ndim != 2 or not 0 <= min(outputs) <= max(outputs) < scores.shape[1]:
            raise InputError(
                f"outputs {min(outputs)}..{max(outputs)} do not exist: the network returns "
                f"{tuple(scores.shape)}."
            )
        if not scores.requires_grad:
            raise InputError("the outputs do not depend on the layer: choose another layer.")
        values = self._as_maps(seen[0].detach())
        sums = []
        for output in outputs:
            (slope,) = torch.autograd.grad(scores[:, output].sum(), seen[0], retain_graph=True)
            weight = self._as_maps(slope).mean(dim=(2, 3))
            sums.append(torch.einsum("nc,nchw->nhw", weight, values))
        return torch.stack(sums, 1)

    def _as_maps(self, x: Tensor) -> Tensor:
        if x.ndim == 4:
            return x.movedim(-1, 1) if self.channels_last else x
        tokens = x[:, self.prefix :].transpose(1, 2)
        count = tokens.shape[-1]
        rows = max(1, round((count * self.size[0] / self.size[1]) ** 0.5))
        if count % rows:
            raise InputError(
                f"{count} tokens make no grid over images of {self.size[0]} x {self.size[1]} "
                "pixels: choose another layer."
            )
        return tokens.unflatten(2, (rows, count // rows))


def _finish(maps: Tensor, size: tuple[int, int] | None, raw: bool) -> np.ndarray:
    """Cut off, upsample and scale; a few images at a time, as full-size maps are large."""
    maps = maps.float() if raw else maps.float().relu()
    if size is not None:
        step = max(1, _ENTRIES // (maps.shape[1] * size[0] * size[1]))
        parts = [interpolate(m, size, mode="bilinear", align_corners=False).cpu()
                 for m in maps.split(step)]  # fmt: skip
        maps = torch.cat(parts)
    if not raw:
        top = maps.amax(dim=(2, 3), keepdim=True)
        maps = maps / torch.where(top > 0, top, 1.0)
    return maps.cpu().numpy()


@contextmanager
def _quiet(network: nn.Module) -> Iterator[None]:
    """Evaluation mode, with no gradient to any weight: the graph then begins at the layer."""
    modes = [(m, m.training) for m in network.modules()]
    moving = [p for p in network.parameters() if p.requires_grad]
    try:
        network.eval()
        for p in moving:
            p.requires_grad_(False)
        with torch.enable_grad():
            yield
    finally:
        for p in moving:
            p.requires_grad_(True)
        for module, mode in modes:
            module.training = mode


def _backbone(network: nn.Module) -> nn.Module | None:
    """The first of timm's models inside a network: those say what their stages are called."""
    return next((m for m in network.modules() if hasattr(m, "feature_info")), None)


def _find(
    network: nn.Module, backbone: nn.Module | None, layer: str | nn.Module | None
) -> nn.Module:
    if isinstance(layer, nn.Module):
        return layer
    if layer is not None:
        return find_layer(network, layer)
    if backbone is not None:
        blocks: Any = getattr(backbone, "blocks", None)
        if hasattr(backbone, "cls_attn_blocks"):  # XCiT
            return blocks[-1]
        if hasattr(backbone, "num_prefix_tokens") and hasattr(blocks[-1], "norm1"):
            return blocks[-1].norm1
        stages: Any = backbone.feature_info
        last = list(stages.info if hasattr(stages, "info") else stages)[-1]
        return backbone.get_submodule(last["module"])
    found = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    if not found:
        raise InputError("the network has no convolution: name the layer to explain, layer=...")
    return found[-1]


def find_layer(network: nn.Module, name: str) -> nn.Module:
    """The part of a network of that name.

    Raises
    ------
    InputError
        If there is none.
    """
    try:
        return network.get_submodule(name)
    except AttributeError as error:
        some = [n for n, _ in network.named_modules() if n][-6:]
        raise InputError(f"no layer {name!r}; there are ..., {', '.join(some)}.") from error


def cam_faithfulness(
    network: nn.Module,
    images: Any,
    outputs: Sequence[int] | Tensor | np.ndarray,
    *,
    cams: np.ndarray | None = None,
    top: float = 0.2,
    n_random: int = 10,
    seed: int = 0,
    layer: str | nn.Module | None = None,
) -> pd.DataFrame:
    """Compare what a prediction loses without the map's top area and without some other area.

    The pixels of the largest values of a map are painted in the image's mean colour. The control
    is the same area moved to random places (with wrap-around), so that size and shape, which
    matter by themselves, are equal.

    Parameters
    ----------
    network, images, outputs, layer
        As for :func:`grad_cam`.
    cams
        (n, len(outputs), height, width) maps to test; those of Grad-CAM when left out.
    top
        Share of the image's area to paint over.
    n_random
        Random places.
    seed
        Of the places.

    Returns
    -------
    DataFrame
        A row per output: ``output``; ``top`` and ``random``, the mean fall of the prediction when
        the map's area or a random one is painted over; ``wins``, the share of images where the
        first is larger than the mean of the second; ``n``, how many images these are: flat maps,
        without any evidence, say nothing and are left out. A map that means something has ``top``
        well above ``random``; with ``wins`` near one half it does not.

    Raises
    ------
    InputError
        If ``top`` is not in (0, 1), or the maps do not fit the images.
    """
    if not 0 < top < 1 or n_random < 1:
        raise InputError("top must lie between 0 and 1, and n_random be at least 1.")
    chosen = [int(o) for o in torch.as_tensor(outputs).flatten()]
    pixels = torch.as_tensor(images)
    maps = grad_cam(network, pixels, chosen, layer=layer) if cams is None else np.asarray(cams)
    if maps.shape != (len(pixels), len(chosen), *pixels.shape[-2:]):
        raise InputError(f"maps of shape {maps.shape} do not fit {len(chosen)} outputs of images "
                         f"of shape {tuple(pixels.shape)}.")  # fmt: skip
    draw = np.random.default_rng(seed)
    paint = pixels.mean(dim=(2, 3), keepdim=True, dtype=torch.float32).to(pixels.dtype)
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    n, _, height, width = pixels.shape
    count = max(1, round(top * height * width))
    rows = []

    def predict(x: Tensor, output: int) -> np.ndarray:
        return network(x.to(device))[:, output].double().cpu().numpy()

    with _quiet(network), torch.no_grad():
        for j, output in enumerate(chosen):
            order = np.argsort(-maps[:, j].reshape(n, -1), axis=1, kind="stable")[:, :count]
            area = np.zeros((n, height * width), dtype=bool)
            np.put_along_axis(area, order, True, axis=1)
            shape = area.reshape(n, 1, height, width)
            whole, falls = predict(pixels, output), []
            for k in range(n_random + 1):
                shift = (int(draw.integers(height)), int(draw.integers(width))) if k else (0, 0)
                mask = torch.from_numpy(np.roll(shape, shift, axis=(2, 3)))
                falls.append(whole - predict(torch.where(mask, paint, pixels), output))
            says = np.ptp(maps[:, j], axis=(1, 2)) > 0
            fall, control = falls[0][says], np.mean(falls[1:], axis=0)[says]
            table = {"top": fall, "random": control, "wins": fall > control}
            means = {k: float(v.mean()) if says.any() else np.nan for k, v in table.items()}
            rows.append({"output": output, **means, "n": int(says.sum())})
    return pd.DataFrame(rows)
