"""Features of tiles: against their libraries, the cache, flips, weights from files."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.base import clone

import smalti as sm
from smalti.contract.fitted import resumes
from smalti.datasets import planted_slides
from smalti.errors import InputError
from smalti.features.convnet import SelfSupervised, vicreg
from smalti.features.encoders import turned
from smalti.features.morphology import _colour, describe_tile
from smalti.features.sources import tile_pixels
from smalti.system.tensors import read_tensors


@pytest.fixture(scope="module")
def bags():
    return planted_slides(2, 9, images=True, size=64)


def tile(bags, i):
    return np.ascontiguousarray(bags.x["tile"][i].transpose(1, 2, 0))


# ---------------------------------------------------------------- morphology


def test_morphology_is_named_finite_and_the_first_view(bags):
    out = sm.features.extract(bags, "morphology")
    name, table = out.view()
    assert name == "X_morphology"
    assert table.dtype == np.float32
    assert table.shape == (18, len(out.features[name]))
    assert len(set(out.features[name])) == table.shape[1] > 100
    assert np.isfinite(table).all()
    assert list(out.x)[1:] == list(bags.x)
    wanted = describe_tile(tile(bags, 7), 1.0)
    np.testing.assert_allclose(table[7], list(wanted.values()), rtol=1e-5)


def test_morphology_is_what_its_names_say(bags):
    from skimage.color import rgb2hed
    from skimage.feature import graycomatrix, graycoprops, local_binary_pattern

    rgb = tile(bags, 3)
    found = describe_tile(rgb, 1.0)
    hed = rgb2hed(rgb)
    assert found["h_mean"] == pytest.approx(hed[..., 0].mean(), abs=1e-4)
    assert found["e_q75"] == pytest.approx(np.quantile(hed[..., 1], 0.75), abs=1e-4)
    assert found["r_sd"] == pytest.approx(rgb[..., 0].std() / 255, rel=1e-4)
    codes = local_binary_pattern((rgb.mean(2)).astype(np.uint8), 8, 1, "uniform")
    assert found["lbp1_8"] == pytest.approx((codes == 8).mean(), abs=0.02)
    levels = np.clip(hed[..., 0] / 0.3 * 16, 0, 15).astype(np.uint8)
    table = graycomatrix(levels, [1], [0, np.pi / 4, np.pi / 2, 3 * np.pi / 4], 16, True, True)
    assert found["h_glcm1_contrast"] == pytest.approx(
        graycoprops(table, "contrast").mean(), rel=1e-3
    )


def test_blank_and_black_tiles_have_no_nan():
    for value in (0, 255, 128):
        found = describe_tile(np.full((48, 48, 3), value, np.uint8))
        assert np.isfinite(list(found.values())).all()
        assert found["nuclei_count"] == 0


def test_nuclei_are_counted(bags):
    out = sm.features.extract(bags, "morphology")
    at = out.features["X_morphology"].index("nuclei_count")
    drawn = bags.instance["n_nuclei"].to_numpy()
    assert np.corrcoef(out.table()[:, at], drawn)[0, 1] > 0.95


@pytest.mark.parametrize("edge", [224, 768])
def test_colours_of_a_pale_tile_are_right(edge):
    """Sums of many near numbers, of which float32 loses the spread."""
    rgb = np.random.default_rng(0).integers(243, 246, (edge, edge, 3)).astype(np.uint8)
    found = _colour(rgb)
    for c, values in zip("rgb", rgb.reshape(-1, 3).T / 255, strict=True):
        assert found[f"{c}_mean"] == pytest.approx(values.mean(), rel=1e-6)
        assert found[f"{c}_sd"] == pytest.approx(values.std(), rel=1e-4)


def test_most_morphology_does_not_turn_with_the_tile(bags):
    rgb = tile(bags, 4)
    one, two = (describe_tile(x, 1.0) for x in (rgb, np.ascontiguousarray(np.rot90(rgb))))
    same = [k for k in one if abs(one[k] - two[k]) <= 0.02 * max(abs(one[k]), 1e-3) + 1e-6]
    assert len(same) > 0.9 * len(one)


def test_pixels_of_a_tile_come_from_its_size_on_the_slide(bags):
    assert (tile_pixels(bags, bags.x["tile"]) == 1.0).all()
    bare = dataclasses.replace(bags, bag=bags.bag.drop(columns="um_per_px"))
    assert np.isnan(tile_pixels(bare, bare.x["tile"])).all()
    assert np.isfinite(sm.features.extract(bare, "morphology").table()).all()


@pytest.mark.slow
def test_processes_give_the_same(bags):
    np.testing.assert_array_equal(
        sm.features.extract(bags, "morphology", n_jobs=2).table(),
        sm.features.extract(bags, "morphology").table(),
    )


# ---------------------------------------------------------------- flips and cache


def test_turns_are_the_eight_of_the_square(bags):
    tiles = bags.x["tile"][:2]
    seen = {turned(tiles, k).tobytes() for k in range(8)}
    assert len(seen) == 8
    np.testing.assert_array_equal(turned(tiles, 1), np.rot90(tiles, axes=(2, 3)))
    np.testing.assert_array_equal(turned(tiles, 4), tiles[..., ::-1])


@pytest.mark.slow  # eight passes of the encoder
def test_flips(bags):
    bags = bags.keep(range(4))
    each = sm.features.extract(bags, "morphology", flips="all")
    mean = sm.features.extract(bags, "morphology", flips="mean")
    plain = sm.features.extract(bags, "morphology")
    np.testing.assert_array_equal(each.table("X_morphology"), plain.table())
    names = ["X_morphology", *(f"X_morphology_{k}" for k in range(1, 8))]
    stack = np.stack([each.table(n) for n in names])
    np.testing.assert_allclose(stack.mean(0), mean.table(), rtol=1e-4, atol=1e-5)


class Counting:
    """An encoder that counts its tiles, and may die."""

    name, identity, features, half = "mine", "mine 1", ("a", "b"), True

    def __init__(self, dies_at=None):
        self.seen, self.dies_at = 0, dies_at

    def encode(self, tiles, um_per_px):
        self.seen += len(tiles)
        if self.dies_at is not None and self.seen > self.dies_at:
            raise KeyboardInterrupt
        return tiles.reshape(len(tiles), -1)[:, :2].astype(np.float32)


def test_cache_is_read_and_knows_what_it_depends_on(bags, tmp_path):
    first = Counting()
    one = sm.features.extract(bags, first, cache=tmp_path)
    again = Counting()
    two = sm.features.extract(bags, again, cache=tmp_path)
    assert (first.seen, again.seen) == (18, 0)
    np.testing.assert_array_equal(one.table("X_mine"), two.table("X_mine"))
    third = Counting()
    sm.features.extract(bags[[1]], third, cache=tmp_path)  # a slide of its own is known
    assert third.seen == 0
    changed = bags.x["tile"].copy()
    changed[0, 0, 0, 0] ^= 1
    fourth = Counting()
    sm.features.extract(
        dataclasses.replace(bags, x={**bags.x, "tile": changed}), fourth, cache=tmp_path
    )
    assert fourth.seen == 9  # the slide with that tile alone
    other = Counting()
    other.identity = "mine 2"
    sm.features.extract(bags, other, cache=tmp_path)
    assert other.seen == 18
    flipped = Counting()
    sm.features.extract(bags, flipped, cache=tmp_path, flips="mean")
    assert flipped.seen == 8 * 18
    kept = [read_tensors(f, "features")[0]["x"] for f in tmp_path.rglob("*.safetensors")]
    assert {x.dtype for x in kept} == {torch.float16}


def test_a_killed_run_goes_on(bags, tmp_path, monkeypatch):
    monkeypatch.setattr("smalti.features.sources.BLOCK", 3)
    dying = Counting(dies_at=7)
    with pytest.raises(KeyboardInterrupt):
        sm.features.extract(bags, dying, cache=tmp_path, batch_size=3)
    assert len(list(tmp_path.rglob("*.safetensors"))) == 2
    left = Counting()
    out = sm.features.extract(bags, left, cache=tmp_path, batch_size=3)
    assert left.seen == 12
    np.testing.assert_array_equal(out.table(), sm.features.extract(bags, Counting()).table())


def test_damaged_blocks_are_made_anew(bags, tmp_path):
    wanted = sm.features.extract(bags, Counting(), cache=tmp_path).table()
    for file in tmp_path.rglob("*.safetensors"):
        file.write_bytes(file.read_bytes()[:100])
    with pytest.warns(UserWarning, match="damaged"):
        again = sm.features.extract(bags, Counting(), cache=tmp_path)
    np.testing.assert_array_equal(again.table(), wanted)


# ---------------------------------------------------------------- backbones


@pytest.mark.slow  # a whole resnet18
def test_a_backbone_is_that_of_timm(bags, tmp_path):
    bags = bags.keep([0, 4, 11])
    from safetensors.torch import save_file

    from smalti.features.pretrained import timm

    library = timm()
    torch.manual_seed(3)
    model = library.create_model("resnet18", pretrained=False).eval()
    save_file(model.state_dict(), tmp_path / "r.safetensors")
    out = sm.features.extract(bags, "resnet18", weights=str(tmp_path / "r.safetensors"))
    config = library.data.resolve_model_data_config(model)
    x = torch.from_numpy(bags.x["tile"]).float() / 255
    x = torch.nn.functional.interpolate(x, (224, 224), mode="bilinear", antialias=True)
    mean, sd = (torch.tensor(config[k]).reshape(3, 1, 1) for k in ("mean", "std"))
    with torch.inference_mode():
        wanted = model.forward_head(model.forward_features((x - mean) / sd), pre_logits=True)
    np.testing.assert_allclose(out.table("X_resnet18"), wanted, atol=1e-3)


@pytest.mark.slow  # two networks of timm
def test_random_weights_are_a_control_with_a_seed(bags):
    bags = bags.keep([0, 4])
    one, two, other = (
        sm.features.extract(bags, "resnet18", weights="random", seed=s).table() for s in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, two)
    assert np.abs(one - other).max() > 1e-2
    half = sm.features.extract(bags, "resnet18", weights="random", precision="bf16").table()
    assert np.corrcoef(half.ravel(), one.ravel())[0, 1] > 0.999


def test_weights_of_another_model_are_refused(bags, tmp_path):
    from safetensors.torch import save_file

    from smalti.features.pretrained import timm

    file = tmp_path / "r.safetensors"
    save_file(timm().create_model("resnet18", pretrained=False).state_dict(), file)
    with pytest.raises(InputError, match="does not fit vit_tiny"):
        sm.features.extract(bags, "vit_tiny_patch16_224", weights=str(file))
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"r\.safetensors"):
        sm.features.extract(bags, "resnet18", weights=str(file))
    with pytest.raises(InputError, match="never opened"):
        sm.features.extract(bags, "resnet18", weights=str(tmp_path / "r.pt"))
    with pytest.raises(InputError, match=r"no file .*nope"):
        sm.features.extract(bags, "resnet18", weights=str(tmp_path / "nope.safetensors"))
    with pytest.raises(InputError, match="no model 'resnet1888'"):
        sm.features.extract(bags, "resnet1888", weights="random")


def test_weights_that_cannot_be_fetched(bags, monkeypatch):
    import huggingface_hub

    def gone(*args, **kwargs):
        raise OSError("no network here")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", gone)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", gone)
    for name in ("resnet18", "uni", "coatnet"):
        with pytest.raises(InputError, match=r"cannot be fetched.*weights='path") as caught:
            sm.features.extract(bags, name)
        assert "morphology" in str(caught.value)


@pytest.mark.parametrize(
    ("kwargs", "word"),
    [({"tiles": "nope"}, "nope"), ({"tiles": "X_planted"}, "uint8"), ({"flips": "some"}, "flips"),
     ({"batch_size": 0}, "batch_size"), ({"encoder": "resnet18", "precision": "8"}, "precision")],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_extracted(bags, kwargs, word):
    with pytest.raises(InputError, match=word):
        sm.features.extract(bags, **kwargs)


# ---------------------------------------------------------------- the torchvision shim


def test_torchvision_is_mended_only_where_it_is_broken(monkeypatch):
    from smalti.system import torchvision_shim as shim

    monkeypatch.setattr(shim, "_kept", [])
    monkeypatch.setitem(sys.modules, "torchvision", None)
    assert not shim.mend_torchvision()  # imported already
    monkeypatch.delitem(sys.modules, "torchvision")
    monkeypatch.setattr(shim, "build", lambda: "0.28.0")
    assert not shim.mend_torchvision()  # a build that fits
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(shim, "build", lambda: "0.28.0+cu130")
    assert not shim.mend_torchvision()  # PyTorch has CUDA too


@pytest.mark.slow  # timm and torchvision are imported anew
def test_importing_smalti_first_makes_scvi_and_timm_importable():
    code = (
        "from smalti.system.extras import need; "
        "need('timm', 'vision'); need('torchvision', 'vision')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# ---------------------------------------------------------------- self-supervised


def test_vicreg_is_its_equation():
    torch.manual_seed(0)
    a, b = torch.randn(2, 20, 4, dtype=torch.float64) * 0.5
    wanted = 25 * ((a - b) ** 2).mean()
    for z in (a, b):
        sd = (z.var(0) + 1e-4).sqrt()
        wanted = wanted + 25 * 0.5 * torch.clamp(1 - sd, min=0).mean()
        c = torch.cov(z.T)
        wanted = wanted + (c**2).sum() / 4 - (c.diag() ** 2).sum() / 4
    assert vicreg(a, b).item() == pytest.approx(wanted.item(), rel=1e-10)


def test_self_supervised_features_come_back_and_differ_from_random(bags, tmp_path):
    model = SelfSupervised.example().set_params(progress=False).fit(bags)
    model.save(tmp_path / "m")
    back = sm.load(tmp_path / "m")
    np.testing.assert_array_equal(back.transform(bags), model.transform(bags))
    out = sm.features.extract(bags, back)
    np.testing.assert_allclose(out.table("X_self_supervised"), model.transform(bags), atol=1e-2)
    first, last = model.history_["train_loss"].dropna().iloc[[0, -1]]
    assert last < first
    with pytest.raises(InputError, match="nope"):
        SelfSupervised(view="nope").fit(bags)


@pytest.mark.filterwarnings("ignore:.*still falling")
def test_self_supervised_goes_on_from_its_checkpoint(bags):
    method = SelfSupervised.example().set_params(progress=False, accelerator="cpu", epochs=2)
    resumes(method, bags, clone(method).fit(bags))


def test_tiles_that_fit_are_cut_once(bags):
    class Counted:
        """Tiles on disk that count how often they are read."""

        def __init__(self, tiles):
            self.tiles, self.shape, self.dtype, self.reads = tiles, tiles.shape, tiles.dtype, 0

        def read(self, start, stop):
            self.reads += 1
            return self.tiles[start:stop]

        def digest(self):
            return "tiles"

    view = Counted(bags.x["tile"])
    backed = dataclasses.replace(bags, x={**bags.x, "tile": view})
    small = {"epochs": 2, "progress": False, "batch_size": 4}
    one = sm.expression.FineTune.example().set_params(**small).fit(backed)
    # means of the colours, the check for odd values, and the training itself
    assert view.reads <= 4
    two = sm.expression.FineTune.example().set_params(**small).fit(bags)
    np.testing.assert_array_equal(one.predict(bags), two.predict(bags))
