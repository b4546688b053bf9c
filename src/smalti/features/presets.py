"""Encoders by a short name: which model of timm or the hub that is, and what it must be told."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from smalti.features.wheels import WHEELS


@dataclasses.dataclass(frozen=True)
class Preset:
    """A model and how it is used.

    Attributes
    ----------
    model
        Its name in timm, or of its repository on the hub.
    settings
        Arguments of its constructor.
    """

    model: str
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)


PRESETS: dict[str, Preset] = {
    **{name: Preset(wheel.model) for name, wheel in WHEELS.items()},
    "coatnet": Preset("coatnet_rmlp_1_rw2_224.sw_in12k_ft_in1k"),
    "convnextv2": Preset("convnextv2_large.fcmae_ft_in22k_in1k"),
    "xcit": Preset("xcit_large_24_p16_224.fb_in1k"),
    "resnet50": Preset("resnet50.a1_in1k"),
    "densenet121": Preset("densenet121.tv_in1k"),
    "dino": Preset("vit_small_patch16_224.dino"),
    "uni": Preset("hf-hub:MahmoodLab/UNI", {"init_values": 1e-5, "dynamic_img_size": True}),
    "gigapath": Preset("hf-hub:prov-gigapath/prov-gigapath"),
    "h-optimus-0": Preset("hf-hub:bioptimus/H-optimus-0",
                          {"init_values": 1e-5, "dynamic_img_size": False}),
    "h0-mini": Preset("hf-hub:bioptimus/H0-mini"),
    "phikon": Preset("hf-hub:1aurent/vit_base_patch16_224.owkin_pancancer"),
}  # fmt: skip
"""Short names of encoders."""


def preset_of(name: str) -> Preset:
    """The preset of a short name; any other name is that of a model, "timm:" before it or not."""
    short = name.removeprefix("timm:")
    return PRESETS.get(short, Preset(short))
