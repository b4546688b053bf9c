"""Encoders of the hub by name, from a server in the hub's layout, with small models of their kind.

No weights of theirs are here: what is tested is which files are asked for, how their constructors
are told, and what of their output becomes the features.
"""

import dataclasses
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch
from safetensors.torch import save

from smalti.errors import InputError
from smalti.features import presets
from smalti.features.encoders import Backbone
from smalti.features.presets import PRESETS
from smalti.features.pretrained import timm

SMALL = {"embed_dim": 48, "depth": 2, "num_heads": 3}
# repository -> architecture and arguments in its config.json, as far as the cards say
CARDS = {
    "uni": ("vit_large_patch16_224", {"init_values": 1e-5}),
    "uni2-h": ("vit_giant_patch14_224", {}),
    "virchow2": ("vit_huge_patch14_224", {"reg_tokens": 4, "mlp_ratio": 5.3375, "init_values": 1e-5,
                                          "global_pool": ""}),
    "gigapath": ("vit_giant_patch14_dinov2",
                 {"patch_size": 16, "img_size": 224, "mlp_ratio": 5.33334}),
    "h-optimus-0": ("vit_giant_patch14_reg4_dinov2", {"img_size": 224, "global_pool": "token"}),
    "h-optimus-1": ("vit_giant_patch14_reg4_dinov2", {"img_size": 224, "global_pool": "token"}),
    "h0-mini": ("vit_base_patch14_reg4_dinov2", {"img_size": 224, "global_pool": ""}),
    "phikon": ("vit_base_patch16_224", {}),
}  # fmt: skip
FILES: dict[str, bytes] = {}


class Hub(BaseHTTPRequestHandler):
    """Answers as the hub does."""

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = self.path.split("?")[0]
        if path.startswith("/api/models/"):
            return self.answer(json.dumps({"id": path[12:], "siblings": []}).encode())
        data = FILES.get(path.replace("/resolve/main", ""))
        if data is None:
            return self.answer(b"", 404, {"X-Error-Code": "EntryNotFound"})
        return self.answer(data, 200, {"ETag": f'"{hashlib.sha1(data).hexdigest()}"',
                                       "X-Repo-Commit": "0" * 40})  # fmt: skip

    def answer(self, data, code=200, headers=()):
        self.send_response(code)
        for name, value in {"Content-Length": str(len(data)), **dict(headers)}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def log_message(self, *args):
        """Quiet."""


@pytest.fixture(scope="module", autouse=True)
def hub(tmp_path_factory):
    import huggingface_hub
    from huggingface_hub import constants

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, args=[0.02], daemon=True)
    thread.start()
    address = f"http://127.0.0.1:{server.server_port}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "ENDPOINT", address)  # what HF_ENDPOINT sets
        patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE",
                      address + "/{repo_id}/resolve/{revision}/{filename}")  # fmt: skip
        patch.setattr(constants, "HF_HUB_CACHE", str(tmp_path_factory.mktemp("hub")))
        assert huggingface_hub.constants is constants
        yield address
    server.shutdown()
    server.server_close()


def small(monkeypatch, name):
    """The preset of an encoder with a small network; its settings otherwise."""
    preset = PRESETS[name]
    preset = dataclasses.replace(preset, settings={**preset.settings, **SMALL})
    monkeypatch.setitem(presets.PRESETS, name, preset)
    return preset


def made(architecture, args, preset):
    settings = {**args, **preset.settings, "num_classes": 0}
    if "mlp_layer" in settings:
        settings["mlp_layer"] = getattr(timm().layers, settings["mlp_layer"])
    torch.manual_seed(0)
    return timm().create_model(architecture, **settings).eval()


def put(repository, model=None, config=None):
    if config is not None:
        FILES[f"/{repository}/config.json"] = json.dumps(config).encode()
    if model is not None:
        FILES[f"/{repository}/model.safetensors"] = save(model)


@pytest.mark.slow
@pytest.mark.parametrize("name", CARDS)
def test_an_encoder_of_the_hub_is_that_of_its_card(name, monkeypatch):
    preset = small(monkeypatch, name)
    architecture, args = CARDS[name]
    model = made(architecture, args, preset)
    put(preset.model.removeprefix("hf-hub:"), model.state_dict(), {
        "architecture": architecture, "num_classes": 0, "num_features": 48, "model_args": args,
        "pretrained_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25], "num_classes": 0,
                           "input_size": [3, 224, 224], "classifier": "head"},
    })  # fmt: skip
    encoder = Backbone(name, "pretrained", "32", "cpu", 0)
    tiles = np.random.default_rng(0).integers(0, 255, (2, 3, 224, 224), dtype=np.uint8)
    mean = preset.pixels.get("mean", (0.5,) * 3)
    sd = preset.pixels.get("std", (0.25,) * 3)
    x = torch.from_numpy(tiles).float() / 255
    x = (x - torch.tensor(mean).reshape(3, 1, 1)) / torch.tensor(sd).reshape(3, 1, 1)
    with torch.inference_mode():
        tokens = model.forward_features(x)
    registers = preset.settings.get("reg_tokens", 4 if "reg4" in architecture else
                                    args.get("reg_tokens", 0))  # fmt: skip
    want = {
        "cls": tokens[:, 0],
        "pooled": tokens[:, 0],
        "cls+mean": torch.cat([tokens[:, 0], tokens[:, 1 + registers :].mean(1)], 1),
    }
    found = encoder.encode(tiles, np.ones(2))
    assert found.shape == (2, 96 if preset.tokens == "cls+mean" else 48) == (2, encoder.width)
    np.testing.assert_allclose(found, want[preset.tokens], atol=1e-4)


def dinov2(model):
    """A vision transformer of timm under the names of transformers."""
    out = {"embeddings.mask_token": torch.zeros(1, 48)}
    for name, v in model.state_dict().items():
        name = name.replace("cls_token", "embeddings.cls_token")
        name = name.replace("pos_embed", "embeddings.position_embeddings")
        name = name.replace("patch_embed.proj", "embeddings.patch_embeddings.projection")
        if name.startswith("norm"):
            name = name.replace("norm", "layernorm", 1)
        name = name.replace("blocks.", "encoder.layer.").replace(
            "ls1.gamma", "layer_scale1.lambda1"
        )
        name = name.replace("ls2.gamma", "layer_scale2.lambda1")
        name = name.replace("attn.proj", "attention.output.dense")
        if "attn.qkv" in name:
            for part, values in zip(("query", "key", "value"), v.chunk(3), strict=True):
                out[name.replace("attn.qkv", f"attention.attention.{part}")] = values.clone()
        else:
            out[name] = v.clone()
    return out


def test_phikon_v2_is_read_from_the_names_of_transformers(monkeypatch):
    preset = small(monkeypatch, "phikon-v2")
    model = made("vit_large_patch16_224", {}, preset)
    put("owkin/phikon-v2", dinov2(model))
    encoder = Backbone("phikon-v2", "pretrained", "32", "cpu", 0)
    ours = encoder.model.net.state_dict()
    assert all(torch.equal(v, ours[k]) for k, v in model.state_dict().items())
    assert "state_dict" not in encoder.model.net.pretrained_cfg


def test_layers_of_another_network_are_refused(monkeypatch):
    preset = small(monkeypatch, "phikon-v2")
    tensors = dinov2(made("vit_large_patch16_224", {}, preset))
    tensors.pop("encoder.layer.1.attention.attention.key.weight")
    monkeypatch.setitem(presets.PRESETS, "phikon-v2",
                        dataclasses.replace(preset, repository="owkin/cut"))  # fmt: skip
    put("owkin/cut", tensors)
    with pytest.raises(InputError, match=r"blocks\.1\.attn\.qkv\.weight"):
        Backbone("phikon-v2", "pretrained", "32", "cpu", 0)


def test_a_repository_of_pickles_is_named(monkeypatch):
    preset = small(monkeypatch, "uni")
    repository = "someone/pickles"
    monkeypatch.setitem(presets.PRESETS, "uni",
                        dataclasses.replace(preset, model=f"hf-hub:{repository}"))  # fmt: skip
    put(repository, config={"architecture": "vit_large_patch16_224"})
    FILES[f"/{repository}/pytorch_model.bin"] = b"never asked for"
    with pytest.raises(InputError, match=r"has no model\.safetensors.*never opened: convert"):
        Backbone("uni", "pretrained", "32", "cpu", 0)
