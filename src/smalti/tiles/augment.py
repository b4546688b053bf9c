"""Augmentations of tiles: each image its own draw, all from one generator."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor
from torch.nn.functional import affine_grid, grid_sample

from smalti.errors import InputError
from smalti.names import meant
from smalti.system.extras import need


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of augmentation.

    Attributes
    ----------
    apply
        (images (n, 3, H, W) float32 in 0..1, strength, generator) -> images; every image with its
        own draw.
    strength
        The default strength; 0 does nothing. None for symmetries, which have none.
    order
        For a symmetry the size of its group: images of tissue have no up, so that these change no
        label. 1 for everything else.
    moves
        Whether pixels move, so that pixel-by-pixel distances say nothing.
    keeps_label
        False where the target has to change as well.
    """

    apply: Callable[[Tensor, float, Generator], Tensor]
    strength: float | None = None
    order: int = 1
    moves: bool = False
    keeps_label: bool = True


@dataclasses.dataclass(frozen=True)
class Augment:
    """Augmentations one after another, drawn anew for each image.

    Parameters
    ----------
    names
        Names in :data:`KINDS`, with a strength after ``=`` where the default will not do: ``"d4"``,
        ``"shift_scale_rotate"``, ``"brightness_contrast=0.2"``.
    p
        Chance that an image undergoes each of them. Symmetries are drawn uniformly from their
        group instead, as each image of the group is as likely a tile as the others.

    Raises
    ------
    InputError
        If a name is not known, a strength is none, or a target would have to change (mixup).
    """

    names: tuple[str, ...] = ("d4",)
    p: float = 0.5

    def __post_init__(self) -> None:
        names = (self.names,) if isinstance(self.names, str) else tuple(self.names)
        object.__setattr__(self, "names", names)
        if not 0 <= self.p <= 1:
            raise InputError(f"p={self.p} is no probability: give one of 0 to 1.")
        for name in self.names:
            if not parse(name)[0].keeps_label:
                raise InputError(f"{name!r} changes targets too: call smalti.tiles.augment.mixup"
                                 " on images and targets instead.")  # fmt: skip

    def __call__(self, images: Tensor, generator: Generator) -> Tensor:
        """Augment a batch.

        Parameters
        ----------
        images
            (n, 3, H, W) uint8, or floating point in 0..1 (not yet standardised).
        generator
            All draws come from it: its state determines the result.

        Returns
        -------
        Tensor
            New images of the same shape and dtype.

        Raises
        ------
        InputError
            If shape or range is another one, or a rotation meets images that are not square.
        """
        images = _check(images)
        if not images.is_floating_point():
            if all(parse(n)[0].order > 1 for n in self.names):  # exact, in any dtype
                return self._all(images, generator)
            return to_bytes(self._all(images.float() / 255, generator))
        return self._all(images.float(), generator).to(images.dtype)

    def _all(self, images: Tensor, generator: Generator) -> Tensor:
        images = images.clone()
        for name in self.names:
            kind, strength = parse(name)
            chance = self.p if kind.order == 1 else 1 - 1 / kind.order
            hit = (_uniform(len(images), 0, 1, generator) < chance).nonzero()[:, 0]
            if len(hit):
                at = hit.to(images.device)
                images[at] = kind.apply(images[at], strength, generator)
        return images


def parse(name: str) -> tuple[Kind, float]:
    """The kind and strength that a name such as ``"cutout=0.3"`` asks for.

    Raises
    ------
    InputError
        If the name is not known, or what follows ``=`` is no positive number.
    """
    word, _, text = name.partition("=")
    kind = KINDS.get(word)
    if kind is None:
        raise InputError(
            f"no augmentation {word!r}; there are {', '.join(KINDS)}.{meant(word, KINDS)}"
        )
    if not text:
        return kind, kind.strength or 0.0
    try:
        strength = float(text)
    except ValueError:
        strength = math.nan
    if kind.strength is None or not 0 < strength < math.inf:
        takes = "takes no strength" if kind.strength is None else "takes a positive strength"
        raise InputError(f"{name!r}: {word} {takes}.")
    return kind, strength


def apply(name: str, images: Tensor, generator: Generator) -> Tensor:
    """Apply one augmentation to every image, symmetries never as the identity.

    Parameters
    ----------
    name
        As in :class:`Augment`; here also ``"mixup"``, which mixes images in pairs.
    images
        (n, 3, H, W) uint8.
    generator
        Of the draws.

    Returns
    -------
    Tensor
        (n, 3, H, W) uint8.
    """
    kind, strength = parse(name)
    images = _check(images)
    if kind.order > 1:
        return kind.apply(images, strength, generator)
    return to_bytes(kind.apply(images.float() / 255, strength, generator))


def to_bytes(images: Tensor) -> Tensor:
    """Images in 0..1 as uint8 of the same shape, rounded."""
    return (images.clamp(0, 1) * 255).round().to(torch.uint8)


def mixup(
    images: Tensor, targets: Tensor, generator: Generator, alpha: float = 0.4
) -> tuple[Tensor, Tensor]:
    """Mix each image, and its target, with another one of the batch.

    x' = l x + (1 - l) x_other with l from Beta(alpha, alpha), one for each image; the same for
    the targets [1]. Not label-preserving: a mixture of tiles is not a tile.

    Parameters
    ----------
    images
        (n, 3, H, W) floating point.
    targets
        (n, ...) floating point.
    generator
        Of the draws.
    alpha
        Of the Beta distribution.

    Returns
    -------
    images, targets
        Mixed.

    References
    ----------
    - [1] Zhang, H., Cisse, M., Dauphin, Y. N. & Lopez-Paz, D. (2018). mixup: beyond empirical
      risk minimization. ICLR. arXiv:1710.09412
    """
    import numpy as np

    n = len(images)
    seed = int(torch.randint(2**31, (1,), generator=generator, device=generator.device))
    share = torch.from_numpy(np.random.default_rng(seed).beta(alpha, alpha, n))
    shift = torch.randint(1, max(2, n), (1,), generator=generator, device=generator.device)
    other = (torch.arange(n) + int(shift)) % n

    def mix(x: Tensor) -> Tensor:
        part = share.to(x.device, x.dtype).view(-1, *[1] * (x.ndim - 1))
        return part * x + (1 - part) * x[other.to(x.device)]

    return mix(images), mix(targets)


# -------------------------------------------------------------------- helpers


def _check(images: Any) -> Tensor:
    if not isinstance(images, Tensor) or images.ndim != 4 or images.shape[1] != 3:
        raise InputError(
            f"augmentations take tensors (n, 3, height, width), not {type(images).__name__} of "
            f"shape {tuple(getattr(images, 'shape', ()))}."
        )
    if images.is_floating_point():
        low, high = (float(v) for v in images.detach().aminmax()) if images.numel() else (0.0, 0.0)
        if low < -1e-4 or high > 1.0001:
            raise InputError(f"images in {low:.3g}..{high:.3g}: augment before standardising, as "
                             "uint8 or in 0..1.")  # fmt: skip
    elif images.dtype != torch.uint8:
        raise InputError(f"images are {images.dtype}: give uint8, or floating point in 0..1.")
    return images


def _uniform(n: int, low: float, high: float, generator: Generator) -> Tensor:
    draws = torch.rand(n, generator=generator, device=generator.device).cpu()
    return low + (high - low) * draws


def _each(function: str, images: Tensor, *draws: Tensor) -> Tensor:
    """Call a function of torchvision for each image with its own numbers."""
    call = getattr(_torchvision(), function)
    rows = zip(*(d.tolist() for d in draws), strict=True)
    return torch.stack([call(i, *row) for i, row in zip(images, rows, strict=True)])


def _torchvision() -> Any:
    return need("torchvision.transforms.v2.functional", extra="slides")


# -------------------------------------------------------------------- the kinds


def _d4(elements: tuple[int, ...]) -> Callable[[Tensor, float, Generator], Tensor]:
    """Element k of the group of the square: k % 4 quarter turns, and before them a flip if > 3."""

    def draw(images: Tensor, strength: float, generator: Generator) -> Tensor:
        pick = torch.randint(len(elements), (len(images),), generator=generator,
                             device=generator.device).to(images.device)  # fmt: skip
        result = images.clone()
        for i, k in enumerate(elements):
            rows = pick == i
            part = images[rows].flip(-1) if k > 3 else images[rows]
            if k % 2 and images.shape[-1] != images.shape[-2]:
                raise InputError(f"images of {images.shape[-2]} x {images.shape[-1]} pixels are "
                                 "not square: use hflip and vflip, not rotations.")  # fmt: skip
            result[rows] = part.rot90(k % 4, (-2, -1))
        return result

    return draw


def _shift_scale_rotate(images: Tensor, strength: float, generator: Generator) -> Tensor:
    n = len(images)
    turn = torch.deg2rad(min(450 * strength, 45.0) * _uniform(n, -1, 1, generator))
    scale = 1 / (1 + strength * _uniform(n, -1, 1, generator)).clamp(min=0.1)
    ratio = images.shape[-1] / images.shape[-2]
    cos, sin = scale * turn.cos(), scale * turn.sin()
    shift = [2 * strength * _uniform(n, -1, 1, generator) for _ in range(2)]
    theta = torch.stack([torch.stack([cos, -sin / ratio, shift[0]], 1),
                         torch.stack([sin * ratio, cos, shift[1]], 1)], 1)  # fmt: skip
    grid = affine_grid(theta.to(images), list(images.shape), align_corners=False)
    return grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def _factors(n: int, strength: float, generator: Generator) -> Tensor:
    return _uniform(n, max(0.0, 1 - strength), 1 + strength, generator)


def _brightness_contrast(images: Tensor, strength: float, generator: Generator) -> Tensor:
    images = _each("adjust_brightness", images, _factors(len(images), strength, generator))
    return _each("adjust_contrast", images, _factors(len(images), strength, generator))


def _color_jitter(images: Tensor, strength: float, generator: Generator) -> Tensor:
    images = _brightness_contrast(images, strength, generator)
    images = _each("adjust_saturation", images, _factors(len(images), strength, generator))
    hue = min(strength, 0.5)
    return _each("adjust_hue", images, _uniform(len(images), -hue, hue, generator))


def _equalize(images: Tensor, strength: float, generator: Generator) -> Tensor:
    return torch.lerp(images, _torchvision().equalize(images), min(strength, 1.0))


def _hue_saturation_value(images: Tensor, strength: float, generator: Generator) -> Tensor:
    """Add to hue (in turns), saturation and value; the latter two need no other colour space."""
    hue, add_s, add_v = (
        _uniform(len(images), -strength, strength, generator).view(-1, 1, 1, 1).to(images)
        for _ in range(3)
    )
    images = _each("adjust_hue", images, hue.flatten().clamp(-0.5, 0.5))
    value, low = images.amax(1, keepdim=True), images.amin(1, keepdim=True)
    chroma = value - low
    saturation = chroma / value.clamp(min=1e-6)
    wanted = torch.where(chroma > 0, (saturation + add_s).clamp(0, 1), 0.0)  # grey has no hue
    bright = (value + add_v).clamp(0, 1)
    return bright * (1 - wanted * (value - images) / chroma.clamp(min=1e-6))


def _hed_jitter(images: Tensor, strength: float, generator: Generator) -> Tensor:
    """As :func:`smalti.tiles.stain.hed_jitter`, on the images' device."""
    from smalti.tiles.stain import jitter_map

    scale, shift = (
        _uniform(3 * len(images), -strength, strength, generator).view(-1, 3).double().numpy()
        for _ in range(2)
    )
    turn, add = (torch.from_numpy(m).to(images) for m in jitter_map(1 + scale, shift))
    density = -images.clamp(min=1e-6).log()
    changed = torch.einsum("nchw,ncd->ndhw", density, turn) + add[:, :, None, None]
    return changed.clamp(min=0).neg().exp()


def _gaussian_blur(images: Tensor, strength: float, generator: Generator) -> Tensor:
    size = min(2 * math.ceil(3 * strength) + 1, 2 * min(images.shape[-2:]) - 1)
    blur = _torchvision().gaussian_blur
    draws = _uniform(len(images), 0.1 * strength, strength, generator).tolist()
    return torch.stack([blur(i, [size, size], [s, s]) for i, s in zip(images, draws, strict=True)])


def _cutout(images: Tensor, strength: float, generator: Generator) -> Tensor:
    height, width = images.shape[-2:]
    h, w = (max(1, round(min(strength, 1.0) * edge)) for edge in (height, width))
    tops = (_uniform(len(images), 0, 1, generator) * (height - h + 1)).long()
    lefts = (_uniform(len(images), 0, 1, generator) * (width - w + 1)).long()
    erase = _torchvision().erase
    return torch.stack([
        erase(i, y, x, h, w, i.mean((1, 2), keepdim=True))
        for i, y, x in zip(images, tops.tolist(), lefts.tolist(), strict=True)
    ])  # fmt: skip


def _mixup(images: Tensor, strength: float, generator: Generator) -> Tensor:
    return mixup(images, images.new_zeros(len(images)), generator, strength)[0]


KINDS: dict[str, Kind] = {
    "hflip": Kind(_d4((4,)), order=2, moves=True),
    "vflip": Kind(_d4((6,)), order=2, moves=True),
    "rot90": Kind(_d4((1, 2, 3)), order=4, moves=True),
    "d4": Kind(_d4((1, 2, 3, 4, 5, 6, 7)), order=8, moves=True),
    # shift by up to this share of the edge, scale 1 -+ this, turn by up to 45 degrees at 0.1
    "shift_scale_rotate": Kind(_shift_scale_rotate, 0.1, moves=True),
    "brightness_contrast": Kind(_brightness_contrast, 0.2),  # factors 1 -+ this
    "color_jitter": Kind(_color_jitter, 0.2),  # the same, of saturation too; hue -+ this, in turns
    "equalize": Kind(_equalize, 1.0),  # share of the equalised image
    "hue_saturation_value": Kind(_hue_saturation_value, 0.1),  # added to each, -+ this
    "hed_jitter": Kind(_hed_jitter, 0.05),  # see smalti.tiles.stain.hed_jitter
    "gaussian_blur": Kind(_gaussian_blur, 1.5),  # standard deviation up to this, in pixels
    "cutout": Kind(_cutout, 0.3),  # edge of the square, as a share of the tile's
    "mixup": Kind(_mixup, 0.4, keeps_label=False),  # alpha of the Beta distribution
}
