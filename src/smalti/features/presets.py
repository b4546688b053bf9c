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
        Arguments of its constructor; layers by their names in ``timm.layers``.
    tokens
        What its features are: "pooled", as the model does it; "cls", its class token; "cls+mean",
        that and the mean of the tokens of the patches.
    pixels
        Mean, s.d. and size of the pictures that it wants, where its own configuration may not say.
    repository
        On the hub, whose weights fill a model of timm.
    layers
        Whose names the layers have there: "timm", or "dinov2" (of transformers).
    """

    model: str
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    tokens: str = "pooled"
    pixels: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    repository: str | None = None
    layers: str = "timm"


_IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225),
             "input_size": (3, 224, 224)}  # fmt: skip
_BIOPTIMUS = {"mean": (0.707223, 0.578729, 0.703617), "std": (0.211883, 0.230117, 0.177517),
              "input_size": (3, 224, 224)}  # fmt: skip
_SWIGLU = {"mlp_layer": "SwiGLUPacked", "act_layer": "silu"}
_OPTIMUS = {"init_values": 1e-5, "dynamic_img_size": False}

PRESETS: dict[str, Preset] = {
    **{name: Preset(wheel.model) for name, wheel in WHEELS.items()},
    "coatnet": Preset("coatnet_rmlp_1_rw2_224.sw_in12k_ft_in1k"),
    "convnextv2": Preset("convnextv2_large.fcmae_ft_in22k_in1k"),
    "xcit": Preset("xcit_large_24_p16_224.fb_in1k"),
    "resnet50": Preset("resnet50.a1_in1k"),
    "densenet121": Preset("densenet121.tv_in1k"),
    "dino": Preset("vit_small_patch16_224.dino"),
    "uni": Preset("hf-hub:MahmoodLab/UNI", {"init_values": 1e-5, "dynamic_img_size": True},
                  pixels=_IMAGENET),
    "uni2-h": Preset(
        "hf-hub:MahmoodLab/UNI2-h",
        {"img_size": 224, "patch_size": 14, "depth": 24, "num_heads": 24, "embed_dim": 1536,
         "mlp_ratio": 2.66667 * 2, "init_values": 1e-5, "no_embed_class": True, "reg_tokens": 8,
         "dynamic_img_size": True, **_SWIGLU},
        pixels=_IMAGENET,
    ),
    "virchow2": Preset("hf-hub:paige-ai/Virchow2", _SWIGLU, "cls+mean", _IMAGENET),
    "gigapath": Preset("hf-hub:prov-gigapath/prov-gigapath", pixels=_IMAGENET),
    "h-optimus-0": Preset("hf-hub:bioptimus/H-optimus-0", _OPTIMUS, pixels=_BIOPTIMUS),
    "h-optimus-1": Preset("hf-hub:bioptimus/H-optimus-1", _OPTIMUS, pixels=_BIOPTIMUS),
    "h0-mini": Preset("hf-hub:bioptimus/H0-mini", _SWIGLU, "cls"),
    "phikon": Preset("hf-hub:1aurent/vit_base_patch16_224.owkin_pancancer"),
    "phikon-v2": Preset(
        "vit_large_patch16_224", {"init_values": 1.0}, "cls", _IMAGENET, "owkin/phikon-v2",
        "dinov2",
    ),
}  # fmt: skip
"""Short names of encoders."""


def preset_of(name: str) -> Preset:
    """The preset of a short name; any other name is that of a model, "timm:" before it or not."""
    short = name.removeprefix("timm:")
    return PRESETS.get(short, Preset(short))
