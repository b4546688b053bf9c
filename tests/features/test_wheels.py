"""Weights that come in packages: what they see, what is kept of them, what is refused."""

import dataclasses

import numpy as np
import pytest
import torch

import smalti as sm
from smalti.errors import InputError
from smalti.features import wheels
from smalti.features.pretrained import backbone, load_weights, timm
from smalti.features.wheels import WHEELS, is_installed, weights_of
from smalti.system.tensors import read_tensors

NAMES = [
    pytest.param(name, marks=pytest.mark.skipif(
        not is_installed(name), reason=f"{WHEELS[name].package.replace('_', '-')} or timm is not "
        "installed"))
    for name in WHEELS
]  # fmt: skip
lite0 = NAMES[0].marks[0]


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """A cache of these tests' own."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SMALTI_CACHE", str(folder))
        yield folder


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("picture", "kind", "least"), [("chelsea", 285, 0.7), ("coffee", 967, 0.6)]
)  # ImageNet's "Egyptian cat" and "espresso"
@pytest.mark.slow  # scikit-image's pictures, and three networks
def test_a_cat_is_a_cat(name, picture, kind, least):
    """Layers in another order, or pixels of another range, would see anything else."""
    from skimage import data

    model = timm().create_model(WHEELS[name].model).eval()
    model.load_state_dict(read_tensors(weights_of(name), "weights")[0], strict=False)
    _, _, mean, sd, size = backbone(name, weights="pretrained")
    x = torch.from_numpy(getattr(data, picture)()).permute(2, 0, 1)[None].float() / 255
    x = torch.nn.functional.interpolate(x, (size, size), mode="bilinear", antialias=True)
    with torch.inference_mode():
        found = model((x - mean) / sd).softmax(1)[0]
    assert found.argmax() == kind
    assert found[kind] > least


@pytest.mark.slow
@lite0
def test_features_are_those_before_the_classifier_of_pixels_in_minus_one_to_one():
    rng = np.random.default_rng(0)
    tiles = rng.integers(0, 255, (3, 3, 224, 224), dtype=np.uint8)
    bags = sm.Bags.from_rows({"tile": tiles}, ["a", "a", "b"])
    out = sm.features.extract(bags, "efficientnet-lite0", progress=False)
    name, table = out.view()
    assert (name, table.shape) == ("X_efficientnet-lite0", (3, 1280))
    model = timm().create_model("tf_efficientnet_lite0", num_classes=0).eval()
    kept = read_tensors(weights_of("efficientnet-lite0"), "weights")[0]
    model.load_state_dict({k: v for k, v in kept.items() if "classifier" not in k}, strict=False)
    with torch.inference_mode():
        wanted = model(torch.from_numpy(tiles).float() / 127.5 - 1)
    np.testing.assert_allclose(table, wanted, atol=2e-4)


@lite0
def test_a_network_to_be_tuned_begins_with_them():
    model = backbone("efficientnet-lite0")[0]
    load_weights(model, "efficientnet-lite0", "pretrained")
    kept = read_tensors(weights_of("efficientnet-lite0"), "weights")[0]
    ours = model.state_dict()
    assert all(torch.equal(v, ours[k]) for k, v in kept.items() if "classifier" not in k)


@lite0
@pytest.mark.slow  # a network of timm, trained
def test_fine_tune_takes_the_same_names():
    bags = sm.datasets.planted_slides(2, 4, images=True, size=32)
    model = sm.make("fine_tune", backbone="efficientnet-lite0", epochs=1, warm=1, progress=False)
    assert np.isfinite(model.fit(bags).predict(bags)).all()


@lite0
def test_the_package_is_opened_once_and_what_is_kept_is_whole(cache, monkeypatch):
    kept = weights_of("efficientnet-lite0")
    assert cache in kept.parents
    whole = kept.read_bytes()
    monkeypatch.setattr(wheels, "_opened", lambda *a: pytest.fail("opened again"))
    assert weights_of("efficientnet-lite0") == kept
    monkeypatch.undo()
    kept.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    monkeypatch.setenv("SMALTI_CACHE", str(cache))
    with pytest.warns(UserWarning, match="damaged .*made anew"):
        weights_of("efficientnet-lite0")
    assert kept.read_bytes() == whole


@lite0
def test_another_file_in_the_place_of_the_weights_is_never_opened(tmp_path, monkeypatch):
    monkeypatch.setenv("SMALTI_CACHE", str(tmp_path / "cache"))
    other = dataclasses.replace(WHEELS["efficientnet-lite0"], sha256="0" * 64)
    monkeypatch.setitem(WHEELS, "efficientnet-lite0", other)
    monkeypatch.setattr(torch, "load", lambda *a, **k: pytest.fail("opened"))
    with pytest.raises(InputError, match=r"lite0-57934424\.pth is not the file.*install"):
        weights_of("efficientnet-lite0")
    assert not list(tmp_path.rglob("*.safetensors"))


@lite0
def test_layers_of_another_model_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("SMALTI_CACHE", str(tmp_path / "cache"))
    other = dataclasses.replace(WHEELS["efficientnet-lite0"], model="tf_efficientnet_lite1")
    monkeypatch.setitem(WHEELS, "efficientnet-lite0", other)
    with pytest.raises(InputError, match="does not fit tf_efficientnet_lite1"):
        weights_of("efficientnet-lite0")


def test_a_package_that_is_not_there_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("SMALTI_CACHE", str(tmp_path))
    other = dataclasses.replace(WHEELS["efficientnet-lite1"], package="no_such_lite1_model")
    monkeypatch.setitem(WHEELS, "efficientnet-lite1", other)
    assert not is_installed("efficientnet-lite1")
    with pytest.raises(InputError, match=r"pip install \"smalti\[vision\]\" .or no-such-lite1"):
        weights_of("efficientnet-lite1")
