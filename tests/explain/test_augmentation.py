"""Augmentations one by one, and the screening of them."""

import dataclasses
import time

import numpy as np
import pandas as pd
import pytest
import torch

from smalti.bags import Bags
from smalti.datasets import planted_slides
from smalti.errors import InputError
from smalti.explain import screen_augmentations
from smalti.explain.augmentation import _sample
from smalti.explain.tile_distances import ssim_distance, stain_distance
from smalti.expression import FineTune
from smalti.tiles.augment import KINDS, Augment, apply, mixup, parse

SYMMETRIES = [k for k, v in KINDS.items() if v.order > 1]
OTHERS = [k for k, v in KINDS.items() if v.order == 1]
DRAWLESS = ("hflip", "vflip", "equalize", "mixup")  # of one tile alone
GRADED = [k for k in OTHERS if k not in ("cutout", "mixup")]  # a stronger draw is a larger change


def stream(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(autouse=True, scope="module")
def no_deep_features():
    """A network would take most of the time here; its distance is tested beside the others."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("smalti.explain.tile_distances.is_installed", lambda name: False)
        yield


@pytest.fixture(scope="module")
def bags():
    return planted_slides(2, 25, images=True, size=48, n_genes=8, donors=2)


@pytest.fixture(scope="module")
def tiles(bags):
    return torch.from_numpy(np.asarray(bags.x["tile"][:8]))


# -------------------------------------------------------------------- the kinds


@pytest.mark.parametrize("name", KINDS)
def test_shape_dtype_range_and_the_original_unharmed(name, tiles):
    before = tiles.clone()
    out = apply(name, tiles, stream())
    assert out.shape == tiles.shape
    assert out.dtype == torch.uint8
    assert torch.equal(tiles, before)
    assert not torch.equal(out, tiles)
    if KINDS[name].keeps_label:
        given = tiles.float() / 255
        soft = Augment((name,), p=1.0)(given, stream())
        assert soft.dtype == torch.float32
        assert -1e-5 <= soft.min() <= soft.max() <= 1 + 1e-5
        assert torch.equal(given, tiles.float() / 255)


@pytest.mark.parametrize("name", KINDS)
def test_the_generator_decides(name, tiles):
    torch.manual_seed(1)
    first = apply(name, tiles, stream(3))
    torch.manual_seed(2)
    np.random.seed(2)  # noqa: NPY002 - no global stream must matter
    assert torch.equal(first, apply(name, tiles, stream(3)))
    if name not in DRAWLESS or name == "mixup":
        assert not torch.equal(first, apply(name, tiles, stream(4)))


@pytest.mark.parametrize("name", [k for k in KINDS if k not in DRAWLESS])
def test_every_image_has_its_own_draw(name, tiles):
    """The same tile many times comes out in more than one way."""
    same = tiles[:1].repeat(12, 1, 1, 1)
    out = apply(name, same, stream())
    ways = {bytes(t.numpy().tobytes()) for t in out}
    assert len(ways) > (2 if name == "rot90" else 5)


@pytest.mark.parametrize("name", GRADED)
def test_more_strength_changes_more(name, tiles):
    steps = (0.3, 1, 3) if name == "gaussian_blur" else (0.002, 0.05, 0.3)
    change = [
        float((apply(f"{name}={s}", tiles, stream()).float() - tiles.float()).abs().mean())
        for s in steps
    ]
    assert change[0] < change[1] < change[2]
    assert change[0] < 2


def test_flips_are_exact(tiles):
    assert torch.equal(apply("hflip", tiles, stream()), tiles.flip(3))
    assert torch.equal(apply("vflip", tiles, stream()), tiles.flip(2))


@pytest.mark.parametrize("name", ["d4", "rot90"])
def test_groups_have_their_elements_and_no_other(name):
    tile = torch.arange(27, dtype=torch.uint8).reshape(1, 3, 3, 3)
    turns = [np.rot90(tile[0], k, (1, 2)) for k in range(4)]
    wanted = turns + [t[:, :, ::-1] for t in turns] if name == "d4" else turns
    wanted = [w.tobytes() for w in wanted]
    assert len(set(wanted)) == KINDS[name].order
    out = Augment((name,))(tile.repeat(4000, 1, 1, 1), stream())
    found = pd.Series([t.numpy().tobytes() for t in out]).value_counts()
    assert set(found.index) == set(wanted)
    share = 1 / len(wanted)  # each as likely as the others, the identity included
    assert (abs(found / 4000 - share) < 5 * np.sqrt(share * (1 - share) / 4000)).all()
    never = {t.numpy().tobytes() for t in apply(name, tile.repeat(200, 1, 1, 1), stream())}
    assert never == set(wanted) - {tile[0].numpy().tobytes()}


def test_chance(tiles):
    many = tiles[:1].repeat(2000, 1, 1, 1)[:, :, :8, :8]
    out = Augment(("cutout=0.5",), p=0.3)(many, stream())
    changed = (out != many).flatten(1).any(1).float().mean()
    assert abs(changed - 0.3) < 0.05
    assert torch.equal(Augment(("cutout",), p=0.0)(many, stream()), many)


def test_cutout_paints_one_square(tiles):
    out = apply("cutout=0.25", tiles, stream())
    for before, after in zip(tiles.float(), out.float(), strict=True):
        where = (before - after).abs().amax(0) > 0
        rows, columns = where.any(1).nonzero()[:, 0], where.any(0).nonzero()[:, 0]
        (y0, y1), (x0, x1) = (r.aminmax() for r in (rows, columns))
        assert y1 - y0 + 1 <= 12 >= x1 - x0 + 1
        assert where.sum() > 100
        square = after[:, y0 : y1 + 1, x0 : x1 + 1]
        mean = before.mean((1, 2))
        assert (square - mean[:, None, None]).abs().max() <= 0.51


def test_mixup_mixes_targets_as_it_mixes_images():
    n = 64
    images = torch.zeros(n, 3, 4, 4)
    images += torch.arange(n).view(-1, 1, 1, 1) / n
    targets = torch.stack([torch.arange(n) / n, 1 - torch.arange(n) / n], 1)
    mixed, wanted = mixup(images, targets, stream())
    torch.testing.assert_close(mixed[:, 0, 0, 0], wanted[:, 0])
    torch.testing.assert_close(wanted.sum(1), torch.ones(n))
    share = (wanted[:, 0] - targets[:, 0]).abs()
    assert (share > 0.01).float().mean() > 0.5
    with pytest.raises(InputError, match="'mixup' changes targets too"):
        Augment(("d4", "mixup"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("sharpen", "no augmentation 'sharpen'; there are hflip"),
        ("cutout=much", "'cutout=much': cutout takes a positive strength"),
        ("cutout=0", "positive strength"),
        ("cutout=-1", "positive strength"),
        ("cutout=inf", "positive strength"),
        ("cutout=nan", "positive strength"),
        ("d4=2", "'d4=2': d4 takes no strength"),
    ],
)
def test_names_that_do_not_parse(name, message):
    with pytest.raises(InputError, match=message):
        parse(name)
    with pytest.raises(InputError, match=message):
        Augment((name,))


def test_what_is_no_image(tiles):
    for bad, message in [
        (tiles[0], "take tensors"), (tiles.numpy(), "not ndarray"),
        (tiles.float(), "augment before standardising"), (tiles.long(), "torch.int64: give uint8"),
    ]:  # fmt: skip
        with pytest.raises(InputError, match=message):
            Augment()(bad, stream())
    with pytest.raises(InputError, match="not square"):
        Augment(("rot90",))(tiles[:, :, :20], stream())
    assert Augment(("hflip", "vflip"))(tiles[:, :, :20], stream()).shape == (8, 3, 20, 48)
    with pytest.raises(InputError, match="p=2 is no probability"):
        Augment(p=2)


# -------------------------------------------------------------------- screening

CANDIDATES = ("d4", "hflip", "brightness_contrast=0.02", "color_jitter=0.5", "mixup")


class Head:
    """Predicts from the tile's colours alone."""

    def predict(self, tiles):
        colours = np.asarray(tiles, dtype=float).mean((2, 3))
        return np.concatenate([colours, colours[:, :1] * 0 + 7], axis=1)


@pytest.fixture(scope="module")
def screening(bags):
    start = time.perf_counter()
    found = screen_augmentations(bags, CANDIDATES, model=Head(), n=20)
    assert time.perf_counter() - start < 15  # nothing is fetched from anywhere
    return found


@pytest.mark.slow
def test_verdicts(screening):
    assert screening.accepted == ("d4", "hflip", "brightness_contrast=0.02")
    table = screening.table
    assert table["candidate"].unique().tolist() == list(CANDIDATES)
    assert table.groupby("candidate")["accepted"].nunique().eq(1).all()
    why = table.groupby("candidate")["why"].first()
    assert why["d4"] == "exact symmetry: not screened"
    assert why["color_jitter=0.5"].startswith("over the threshold: ")
    assert "stain" in why["color_jitter=0.5"]
    assert why["mixup"] == "changes the target"
    assert not table.loc[table["candidate"] == "mixup", "decides"].any()


def row(table, candidate, distance):
    part = table[(table["candidate"] == candidate) & (table["distance"] == distance)]
    assert len(part) == 1
    return part.iloc[0]


@pytest.mark.slow
def test_ratios_by_hand(bags):
    """Over one slide and all of its tiles: the mean to itself over the mean to another tile."""
    pixels = bags.x["tile"][:25]
    one = pixels[[3, 8]]  # of two tiles the partner is the other
    found = screen_augmentations(one, ["brightness_contrast"], model=Head(), seed=5)
    changed = apply("brightness_contrast", torch.from_numpy(one), stream(5)).numpy()
    for name, measure in {"stain": stain_distance, "ssim": ssim_distance}.items():
        self_, other = measure(one, changed), measure(one, one[::-1].copy())
        line = row(found.table, "brightness_contrast", name)
        assert line["mean"] == pytest.approx(self_.mean())
        assert line["sd"] == pytest.approx(self_.std())
        assert line["ratio"] == pytest.approx(self_.mean() / other.mean())
    head = Head()

    def far(a, b):
        pairs = zip(head.predict(a), head.predict(b), strict=True)
        return np.mean([1 - np.corrcoef(x, y)[0, 1] for x, y in pairs])

    line = row(found.table, "brightness_contrast", "head")
    assert line["mean"] == pytest.approx(far(one, changed))
    assert line["ratio"] == pytest.approx(far(one, changed) / far(one, one[::-1]))


def test_pairs_are_of_different_tiles_of_one_slide(bags):
    seen = []

    def record(a, b):
        seen.append((a, b))
        return np.ones(len(a))

    screen_augmentations(bags, ["hflip"], perceptual=record, n=20)
    a, b = seen[0]
    where = {t.tobytes(): i for i, t in enumerate(bags.x["tile"])}
    rows = np.array([[where[t.tobytes()] for t in part] for part in (a, b)])
    assert (rows[0] != rows[1]).all()
    np.testing.assert_array_equal(bags.index[rows[0]], bags.index[rows[1]])
    assert np.bincount(bags.index[rows[0]]).tolist() == [10, 10]
    assert sorted(rows[1]) == sorted(rows[0])


def test_of_many_slides_some_with_two_tiles_each():
    many = planted_slides(9, 3, images=True, size=24, n_genes=4)
    seen = []
    screen_augmentations(many, ["hflip"], n=7, perceptual=lambda a, b: seen.append(a) or np.ones(7))
    where = {t.tobytes(): i for i, t in enumerate(many.x["tile"])}
    slides = many.index[[where[t.tobytes()] for t in seen[0]]]
    assert sorted(np.bincount(slides)[np.unique(slides)]) == [2, 2, 3]


def test_a_head_that_sees_no_colour_does_not_mind(bags):
    class Texture:
        def predict(self, tiles):
            return np.asarray(tiles).mean((1, 2, 3)) * 0 + 1.0

    found = screen_augmentations(bags, ["brightness_contrast=0.02"], model=Texture(), n=10)
    line = row(found.table, "brightness_contrast=0.02", "head")
    assert line["mean"] == 0
    assert np.isnan(line["ratio"])  # no spread between tiles: counts for nothing
    assert found.accepted == ("brightness_contrast=0.02",)


def test_where_pixels_move_those_of_one_place_do_not_decide(bags):
    table = screen_augmentations(bags, ["shift_scale_rotate=0.05"], n=10).table
    assert not row(table, "shift_scale_rotate=0.05", "ssim")["decides"]
    assert row(table, "shift_scale_rotate=0.05", "stain")["decides"]


@pytest.mark.slow
def test_thresholds_and_own_distances(bags):
    def harsh(a, b):
        return np.ones(len(a))

    tiny = "brightness_contrast=0.02"
    assert screen_augmentations(bags, tiny, n=10).accepted == (tiny,)
    found = screen_augmentations(bags, tiny, n=10, perceptual={"harsh": harsh})
    assert found.accepted == ()
    assert found.table["why"][0] == "over the threshold: harsh"
    found = screen_augmentations(
        bags, tiny, n=10, perceptual={"harsh": harsh}, thresholds={"harsh": 1.1}
    )
    assert found.accepted == (tiny,)
    with pytest.raises(InputError, match="thresholds names 'hue', not one of stain"):
        screen_augmentations(bags, tiny, n=10, thresholds={"hue": 1})


def test_weights_that_are_not_here_are_said(bags, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    from smalti.system.extras import absent, need

    if not absent("huggingface_hub"):
        hub = need("huggingface_hub")
        monkeypatch.setattr(hub, "try_to_load_from_cache", lambda *a, **k: None)
    start = time.perf_counter()
    found = screen_augmentations(bags, ["cutout"], n=4)
    assert time.perf_counter() - start < 8
    assert set(found.table["distance"]) == {"stain", "nuclei", "ssim"}
    assert [n.split(" ")[0] for n in found.notes] == ["deep", "lpips", "dino"]
    assert all("python -c" in n or "pip install" in n for n in found.notes)


@pytest.mark.slow
def test_the_same_seed_says_the_same(bags):
    names = ["hed_jitter", "cutout"]
    one, two = (screen_augmentations(bags, names, n=12, seed=3).table for _ in range(2))
    pd.testing.assert_frame_equal(one, two)
    assert not one.equals(screen_augmentations(bags, names, n=12, seed=4).table)


@pytest.mark.slow
def test_what_is_saved(screening, tmp_path):
    folder = screening.save(tmp_path / "screening")
    pd.testing.assert_frame_equal(pd.read_csv(folder / "screening.csv"), screening.table)
    assert (folder / "contact_sheet.png").read_bytes()[:4] == b"\x89PNG"
    assert (folder / "notes.txt").exists() == bool(screening.notes)
    broken = type(screening)(screening.table, (), {"nothing": np.zeros(2)})
    with pytest.raises(InputError, match="examples need 'original'"):
        broken.save(tmp_path / "broken")
    assert [p.name for p in tmp_path.iterdir()] == ["screening"]  # all or none


def test_what_passed_trains_a_network(screening, bags):
    transform = screening.transform(p=0.4)
    assert transform == Augment(("d4", "brightness_contrast=0.02"), 0.4)  # d4 holds the flip
    model = FineTune.example().set_params(epochs=1, progress=False, augment=transform.names)
    model.fit(bags)
    assert model.network_.augment.names == transform.names
    assert np.isfinite(model.predict(bags)).all()


def test_what_cannot_be_screened(bags):
    with pytest.raises(InputError, match="no view 'tile' in the bags; there are X_planted"):
        screen_augmentations(planted_slides(2, 4))
    with pytest.raises(InputError, match=r"shape \(5, 3\) and float64"):
        screen_augmentations(np.zeros((5, 3)))
    with pytest.raises(InputError, match="give two of one"):
        screen_augmentations(bags.x["tile"][:1])
    with pytest.raises(InputError, match="no augmentation 'sharpen'"):
        screen_augmentations(bags, ["sharpen"])
    with pytest.raises(InputError, match="names no augmentation"):
        screen_augmentations(bags, [])


def test_the_pixels_of_ready_tiles_are_those_of_the_tile_as_it_is_read(tiles):
    """Tiles of files that were resized at reading: their pixel is not that of the slide."""
    bags = Bags.from_rows(
        {"tile": tiles.numpy()}, np.arange(len(tiles)) // 4,
        bag=pd.DataFrame({"um_per_px": 0.25, "tile_um_per_px": 1.0}, range(len(tiles) // 4)),
    )  # fmt: skip
    assert _sample(bags, 8, 0, None)[2] == 1.0
    assert _sample(bags, 8, 0, 0.5)[2] == 0.5
    plain = dataclasses.replace(bags, bag=bags.bag[["um_per_px"]])
    assert _sample(plain, 8, 0, None)[2] == 0.25
    assert _sample(dataclasses.replace(bags, bag=bags.bag[[]]), 8, 0, None)[2] is None
