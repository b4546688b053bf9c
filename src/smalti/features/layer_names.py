"""Layers of a network under the names that timm has for them."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

# of transformers' Dinov2Model -> of timm's vision transformer
_DINOV2 = {
    "embeddings.cls_token": "cls_token",
    "embeddings.position_embeddings": "pos_embed",
    "embeddings.patch_embeddings.projection": "patch_embed.proj",
    "layernorm": "norm",
}
_BLOCK = {
    "norm1": "norm1", "norm2": "norm2", "attention.output.dense": "attn.proj",
    "layer_scale1.lambda1": "ls1.gamma", "layer_scale2.lambda1": "ls2.gamma",
    "mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2",
}  # fmt: skip
_UNUSED = "embeddings.mask_token"  # of its training


def of_dinov2(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The layers of transformers' Dinov2Model, of any shape (...), under timm's names."""
    out: dict[str, Tensor] = {}
    for name, values in tensors.items():
        if name == _UNUSED:
            continue
        block = re.fullmatch(r"encoder\.layer\.(\d+)\.(.+?)(\.weight|\.bias)?", name)
        if block is None:
            stem, kind = re.fullmatch(r"(.+?)(\.weight|\.bias)?", name).groups(default="")  # type: ignore[union-attr]
            out[_DINOV2.get(stem, stem) + kind] = values
            continue
        number, stem, kind = block.groups(default="")
        if stem == "attention.attention.query":  # the three are one matrix in timm
            parts = [tensors.get(name.replace("query", part)) for part in ("query", "key", "value")]
            if all(part is not None for part in parts):
                out[f"blocks.{number}.attn.qkv{kind}"] = torch.cat(parts)  # type: ignore[arg-type]
        elif stem not in ("attention.attention.key", "attention.attention.value"):
            out[f"blocks.{number}.{_BLOCK.get(stem, stem)}{kind}"] = values
    return out
