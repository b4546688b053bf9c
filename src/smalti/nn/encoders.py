"""Encoders of one instance: perceptron for vectors, the two small convolutional nets of ABMIL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import nn

from smalti.core.noise import Dropout
from smalti.errors import InputError

Encoder: TypeAlias = Literal["auto", "mlp", "lenet", "histology", "none"]
ENCODERS: tuple[str, ...] = get_args(Encoder)


def encoder(
    kind: str, shape: tuple[int, ...], widths: Sequence[int], dropout: float
) -> tuple[nn.Module, int]:
    """Build an encoder and say how wide its output is.

    Parameters
    ----------
    kind
        "mlp": fully connected, ReLU and dropout after each layer of ``widths``. "lenet" and
        "histology": the nets of Ilse et al. 2018 for digits and for nuclei. "none": the instance
        as it is. "auto": "mlp" for vectors, "lenet" for images of up to 32 pixels and one
        channel, "histology" for all others.
    shape
        (n_features,) or (channels, height, width).
    widths
        Widths of the perceptron; the convolutional nets have the paper's own.
    dropout
        Probability of dropping a unit (perceptron, and the full layers of "histology").

    Raises
    ------
    InputError
        If there is no such kind, or it does not fit the shape.
    """
    if kind not in ENCODERS:
        raise InputError(f"encoder={kind!r} is not one of {ENCODERS}.")
    image = len(shape) == 3
    if kind == "auto":
        kind = (
            "mlp" if not image else "lenet" if shape[0] == 1 and max(shape) <= 32 else "histology"
        )
    if kind == "none" and not image:
        return nn.Identity(), shape[0]
    if (kind in ("lenet", "histology")) != image:
        raise InputError(
            f"encoder={kind!r} does not fit instances of shape {shape}: 'mlp' takes vectors, "
            "'lenet' and 'histology' take images (channels, height, width)."
        )
    if kind == "lenet":
        return _lenet(shape), 500
    if kind == "histology":
        return _histology(shape, dropout), 512
    layers: list[nn.Module] = []
    for before, after in zip([shape[0], *widths], widths, strict=False):
        # in place, for nobody needs what a layer gives before it is cut at 0
        layers += [nn.Linear(before, after), nn.ReLU(inplace=True), Dropout(dropout)]
    return nn.Sequential(*layers), [shape[0], *widths][-1]


def _flat(convolutions: nn.Module, shape: tuple[int, ...]) -> int:
    with torch.no_grad():
        return int(convolutions(torch.zeros(1, *shape)).shape[1])


def _lenet(shape: tuple[int, ...]) -> nn.Module:
    # 5 x 5 windows need 16 pixels; smaller images (8 x 8 digits) get padded 3 x 3 ones
    small = {"kernel_size": 3, "padding": 1}
    window: dict[str, Any] = small if min(shape[1:]) < 16 else {"kernel_size": 5}
    convolutions = nn.Sequential(
        nn.Conv2d(shape[0], 20, **window), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(20, 50, **window), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(),
    )  # fmt: skip
    return nn.Sequential(convolutions, nn.Linear(_flat(convolutions, shape), 500), nn.ReLU())


def _histology(shape: tuple[int, ...], dropout: float) -> nn.Module:
    if min(shape[1:]) < 12:
        raise InputError(f"encoder='histology' needs tiles of 12 pixels or more, got {shape[1:]}.")
    convolutions = nn.Sequential(
        nn.Conv2d(shape[0], 36, 4), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(36, 48, 3), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(),
    )  # fmt: skip
    return nn.Sequential(
        convolutions,
        nn.Linear(_flat(convolutions, shape), 512), nn.ReLU(), Dropout(dropout),
        nn.Linear(512, 512), nn.ReLU(), Dropout(dropout),
    )  # fmt: skip
