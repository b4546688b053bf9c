"""Dense features: of one forward over a region, pooled over tiles of any place."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

import smalti as sm
from smalti.errors import InputError
from smalti.features.dense import Pool, seen
from smalti.features.encoders import Backbone, turned
from smalti.features.feature_maps import FeatureMaps
from smalti.tiles.formats import ArrayImage


@pytest.fixture(scope="module")
def picture():
    """(380, 520, 3): not a multiple of a cell."""
    coarse = np.random.default_rng(0).integers(0, 255, (24, 33, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((520, 380)))


def network(name):
    encoder = Backbone(name, "random", "32", "cpu", 0)
    torch.manual_seed(0)
    for m in encoder.model.modules():  # random weights alone fade to nothing
        if isinstance(m, torch.nn.BatchNorm2d):
            m.weight.data.uniform_(0.5, 2.0)
            m.bias.data.normal_()
    return encoder


@pytest.fixture(scope="module", params=["tf_efficientnet_lite0", "test_resnet", "test_convnext"])
def encoder(request):
    return network(request.param)


def naive(encoder, picture, turn=0):
    """The map of a picture that is filled up with white to whole cells."""
    cell = FeatureMaps(encoder).cell
    high, wide = (-(-n // cell) * cell for n in picture.shape[:2])
    full = np.full((high, wide, 3), 255, np.uint8)
    full[: picture.shape[0], : picture.shape[1]] = picture
    x = torch.from_numpy(turned(full.transpose(2, 0, 1)[None], turn)).float()
    with torch.inference_mode():
        return encoder.model.forward_features(encoder.scaled(x))[0], cell


def looped(encoder, found, cell, box, extent):
    """Means by a loop over cells: the reference."""
    left, top, right, bottom = box
    left, right = np.clip([left, right], 0, extent[1])
    top, bottom = np.clip([top, bottom], 0, extent[0])
    total, area = 0, 0
    for r in range(found.shape[1]):
        for c in range(found.shape[2]):
            wide = min(right, (c + 1) * cell) - max(left, c * cell)
            high = min(bottom, (r + 1) * cell) - max(top, r * cell)
            if wide > 0 and high > 0:
                total, area = total + wide * high * found[:, r, c].double(), area + wide * high
    mean = (total / area).float()[None, :, None, None]
    with torch.inference_mode():
        return encoder.model.forward_head(mean, pre_logits=True)[0].numpy()


BOXES = [[0, 0, 64, 64], [10.5, 33, 74.5, 97], [-20, 300, 44, 420], [500, 370, 600, 500],
         [3, 3, 4, 4]]  # fmt: skip


def test_tiles_are_means_of_the_map_by_area(encoder, picture):
    found, cell = naive(encoder, picture)
    table = sm.features.dense_features(picture, BOXES, encoder)
    for box, row in zip(BOXES, table, strict=True):
        want = looped(encoder, found, cell, box, picture.shape)
        np.testing.assert_allclose(row, want, rtol=1e-3, atol=1e-4 * np.abs(want).max())


def test_a_picture_as_a_whole(picture):
    encoder = network("test_resnet")
    found, cell = naive(encoder, picture)
    want = looped(encoder, found, cell, (0, 0, 520, 380), picture.shape)
    np.testing.assert_allclose(sm.features.dense_features(picture, encoder=encoder)[0], want,
                               rtol=1e-3, atol=1e-4)  # fmt: skip
    one = encoder.encode(picture[None, :160, :160].transpose(0, 3, 1, 2), np.ones(1))
    # a picture of the size that the network wants is a tile
    np.testing.assert_allclose(
        sm.features.dense_features(picture[:160, :160], encoder=encoder), one, rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize("turn", [1, 6])
def test_a_turned_map_is_turned_back(picture, turn):
    encoder = network("test_resnet")
    square = picture[:256, :256]
    found, cell = naive(encoder, square, turn)
    grid = torch.from_numpy(turned(np.arange(64).reshape(1, 1, 8, 8), turn))[0, 0]
    pool = Pool(FeatureMaps(encoder))
    rows = pool(ArrayImage(square.transpose(2, 0, 1), "p"), np.array(
        [[c * cell, r * cell, (c + 1) * cell, (r + 1) * cell] for r, c in [(0, 0), (2, 5)]], float
    ), 1.0, 8)[:, turn]  # fmt: skip
    for (r, c), row in zip([(0, 0), (2, 5)], rows, strict=True):
        at = (grid == 8 * r + c).nonzero()[0].tolist()
        np.testing.assert_allclose(row, found[:, at[0], at[1]], rtol=1e-3, atol=1e-4)


def test_blocks_of_the_first_layers_leave_no_trace(picture, monkeypatch):
    encoder = network("tf_efficientnet_lite0")
    found, _ = naive(encoder, picture[:256, :384])
    monkeypatch.setattr("smalti.features.feature_maps._BLOCK", 128)
    blocks = FeatureMaps(encoder).map(picture[:256, :384].transpose(2, 0, 1))
    torch.testing.assert_close(blocks, found.permute(1, 2, 0), rtol=1e-3, atol=1e-3)


@pytest.mark.slow  # two forwards over a large picture
def test_regions_leave_no_trace_where_the_margin_is_what_a_cell_sees():
    """And a little where it is less."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (40, 50, 3), dtype=np.uint8)
    big = ArrayImage(np.asarray(Image.fromarray(coarse).resize((1500, 1100))).transpose(2, 0, 1),
                     "p")  # fmt: skip
    maps = FeatureMaps(network("tf_efficientnet_lite0"))
    boxes = np.array([[x, y, x + 90, y + 90] for x in (470, 500, 950) for y in (460, 480)], float)
    whole = Pool(maps)(big, boxes, 1.0)
    parts = {m: Pool(maps, 512, m)(big, boxes, 1.0) for m in (0, 448)}
    spread = whole.std()
    assert np.abs(parts[448] - whole).max() < 1e-4 * spread
    assert np.abs(parts[0] - whole).max() > 0.1 * spread


def test_a_picture_is_seen_alike_in_any_window(picture):
    image = ArrayImage(picture.transpose(2, 0, 1), "p")
    for scale in (0.37, 1.7):
        whole = seen(image, (0, 0, 160, 128), scale)
        part = seen(image, (64, 32, 160, 96), scale)
        assert np.abs(part.astype(int) - whole[32:96, 64:160]).max() <= 1
    small = np.asarray(Image.fromarray(picture).resize((260, 190), Image.Resampling.BILINEAR))
    half = seen(image, (0, 0, 260, 190), 0.5).astype(int)
    assert np.abs(half - small)[2:-2, 2:-2].max() <= 1  # at the rim there is white


# ---------------------------------------------------------------- as features of tiles


@pytest.fixture(scope="module")
def slides(tmp_path_factory, picture):
    folder = tmp_path_factory.mktemp("slides")
    for name, pixels in (("a", picture), ("b", picture[::-1, ::-1])):
        Image.fromarray(np.ascontiguousarray(pixels)).save(folder / f"{name}.png")
    return sm.read_slides(folder, um_per_px=0.5, tile_px=96, tissue_min=0.0, progress=False)


def base(slides):
    """The tiles as they were cut, whatever was taken of them."""
    return getattr(slides.x["tile"], "base", slides.x["tile"])


def test_tiles_of_slides(slides, picture, tmp_path):
    encoder = network("test_resnet")
    out = sm.features.extract(slides, encoder, dense=True, cache=tmp_path, progress=False)
    name, table = out.view()
    assert name == "X_test_resnet_random_dense"
    assert out.features[name][3] == "test_resnet_random_dense_3"
    view = base(slides)
    corners = view.corners[view.of == 0]
    want = sm.features.dense_features(picture, np.hstack([corners, corners + 96]), encoder)
    np.testing.assert_allclose(table[slides.index == 0], want, rtol=2e-3, atol=2e-3)
    one = sm.features.extract(slides[[1]], encoder, dense=True, progress=False).table()
    np.testing.assert_allclose(one, table[slides.index == 1], rtol=2e-3, atol=2e-3)

    def never(*a, **k):
        pytest.fail("made again")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FeatureMaps, "map", never)
        again = sm.features.extract(slides, encoder, dense=True, cache=tmp_path, progress=False)
        np.testing.assert_array_equal(again.table(), table)
        for more in ({"um_per_px": 1.0}, {"flips": "mean"}):
            with pytest.raises(pytest.fail.Exception):
                sm.features.extract(slides, encoder, dense=True, cache=tmp_path, progress=False,
                                    **more)  # fmt: skip


def test_the_scale_is_that_of_the_tiles_or_the_one_that_is_asked_for(slides, picture):
    encoder = network("test_resnet")
    view = base(slides)
    coarse = dataclasses.replace(
        slides, x={"tile": sm.tiles.TileView(view.images, view.of, view.centers, view.side, 48)}
    )
    half = sm.features.extract(coarse, encoder, dense=True, progress=False).table()
    asked = sm.features.extract(slides, encoder, dense=True, um_per_px=1.0, progress=False).table()
    np.testing.assert_allclose(half, asked, rtol=1e-5)
    plain = sm.features.extract(slides, encoder, dense=True, progress=False).table()
    assert np.abs(plain - half).max() > 0.1 * plain.std()


@pytest.mark.slow
def test_tiles_that_show_less_than_their_picture_are_seen_so(slides, picture):
    """Of slides that are finer than those of a training, and were cut anew to match."""
    encoder, view = network("test_resnet"), base(slides)
    soft = (64 + picture // 2).repeat(2, 0).repeat(2, 1)
    board = np.kron(np.ones((380, 520), int), [[60, -60], [-60, 60]])[..., None]
    twice = (soft + board).astype(np.uint8)  # detail that half as many pixels do not show
    fine = sm.tiles.TileView([ArrayImage(twice.transpose(2, 0, 1), "p")], np.zeros(4, int),
                             2 * view.centers[:4], 192, 192, through=96)  # fmt: skip
    half = ArrayImage((64 + picture // 2).transpose(2, 0, 1), "p")
    coarse = sm.tiles.TileView([half], np.zeros(4, int), view.centers[:4], 96, 192)
    found = []
    for each in (fine, coarse):
        bags = sm.Bags.from_rows({"tile": each}, np.zeros(4, int))
        found.append(sm.features.extract(bags, encoder, dense=True, progress=False).table())
    plain = sm.tiles.TileView(fine.images, fine.of, fine.centers, 192, 192)
    sharp = sm.features.extract(sm.Bags.from_rows({"tile": plain}, np.zeros(4, int)), encoder,
                                dense=True, progress=False).table()  # fmt: skip
    spread = found[1].std()
    assert np.abs(found[0] - found[1]).max() < 0.05 * spread
    assert np.abs(sharp - found[1]).max() > 0.1 * spread


def test_colours_of_the_tiles_are_those_that_are_seen(slides):
    class Grey:
        digest = "grey"

        def __call__(self, rgb):
            return np.full_like(rgb, 128)

    encoder, view = network("test_resnet"), base(slides)
    grey = sm.tiles.TileView(view.images, view.of, view.centers, view.side, view.size,
                             recolour=[Grey()] * 2)  # fmt: skip
    bags = dataclasses.replace(slides, x={"tile": grey})
    table = sm.features.extract(bags, encoder, dense=True, progress=False).table()
    flat = ArrayImage(np.full((3, 380, 520), 128, np.uint8), "p")
    wanted = sm.features.extract(
        dataclasses.replace(slides, x={"tile": sm.tiles.TileView(
            [flat] * 2, view.of, view.centers, view.side, view.size, recolour=[Grey()] * 2)}),
        encoder, dense=True, progress=False,
    ).table()  # fmt: skip
    np.testing.assert_array_equal(table, wanted)


@pytest.mark.slow
def test_flips_of_dense_features(slides):
    encoder = network("test_resnet")
    one = slides[[0]]
    every = sm.features.extract(one, encoder, dense=True, flips="all", progress=False)
    mean = sm.features.extract(one, encoder, dense=True, flips="mean", progress=False).table()
    name = "X_test_resnet_random_dense"
    views = [name, *(f"{name}_{k}" for k in range(1, 8))]
    np.testing.assert_allclose(np.mean([every.table(v) for v in views], 0), mean, rtol=1e-3,
                               atol=1e-4)  # fmt: skip


@pytest.mark.parametrize(
    ("encoder", "more", "word"),
    [("morphology", {}, "one by one.*lite0"), ("test_vit", {}, "has no map of features"),
     ("test_resnet", {"um_per_px": 0.0}, "over 0")],
)  # fmt: skip
def test_what_has_no_dense_features(slides, encoder, more, word):
    with pytest.raises(InputError, match=word):
        sm.features.extract(slides, encoder, dense=True, weights="random", **more)


def test_tiles_without_a_slide_and_boxes_without_a_picture(slides, picture):
    cut = dataclasses.replace(slides, x={"tile": slides.x["tile"].read(0, slides.n_instances)})
    with pytest.raises(InputError, match="cut already"):
        sm.features.extract(cut, "test_resnet", dense=True, weights="random")
    with pytest.raises(InputError, match="dense=True"):
        sm.features.extract(cut, "test_resnet", um_per_px=1.0, weights="random")
    bare = dataclasses.replace(slides, bag=slides.bag.drop(columns="um_per_px"))
    with pytest.raises(InputError, match=r"read_slides\(um_per_px"):
        sm.features.extract(bare, "test_resnet", dense=True, um_per_px=1.0, weights="random")
    with pytest.raises(InputError, match="lies outside"):
        sm.features.dense_features(picture, [[600, 0, 700, 90]], "test_resnet", weights="random")
    with pytest.raises(InputError, match="how long its pixels are"):
        sm.features.dense_features(picture, encoder="test_resnet", um_per_px=1.0, weights="random")
    with pytest.raises(InputError, match="region of 4 px"):
        sm.features.dense_features(picture, encoder="test_resnet", region=4, weights="random")
