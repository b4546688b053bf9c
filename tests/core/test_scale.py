"""A model knows how long its tiles and pixels were, and meets no others without a word."""

import dataclasses
import json
import warnings

import numpy as np
import pandas as pd
import pytest

import smalti as sm
from smalti.core.scale import TileScale
from smalti.errors import InputError
from smalti.tiles.image import resize

Image = pytest.importorskip("PIL.Image")
pytest.importorskip("skimage")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """The same two slides at 0.5 (mid), 0.25 (fine) and 2 µm per pixel (coarse)."""
    folder = tmp_path_factory.mktemp("scales")
    rng = np.random.default_rng(0)
    for name in "AB":
        mid = resize(rng.integers(60, 200, (24, 32, 3)).astype(np.uint8), (128, 96)).copy()
        mid[..., 1] //= 2  # colourful, so that it is tissue
        for kind, size in (("mid", (128, 96)), ("fine", (256, 192)), ("coarse", (32, 24))):
            (folder / kind).mkdir(exist_ok=True)
            Image.fromarray(resize(mid, size)).save(folder / kind / f"{name}.png")
    return folder


UM = {"mid": 0.5, "fine": 0.25, "coarse": 2.0}


def slides(root, kind, **how):
    """Tiles of 16 µm, 32 px; with counts that follow their colour, and a label of the slide."""
    how = {"tile_um": 16, "size": 32, "um_per_px": UM[kind]} | how
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        bags = sm.read_slides(root / kind, progress=False, **how)
    red = bags.x["tile"].read(0, bags.n_instances)[:, 0].mean((1, 2))
    counts = np.column_stack([np.rint(red), np.full(len(red), 100)]).astype(np.float32)
    bags = dataclasses.replace(bags, x={**bags.x, "counts": counts})
    return dataclasses.replace(
        bags, bag=bags.bag.assign(y=["low", "high"]), target="y", donor="bag"
    )


def colours(bags):
    """Features of the tiles: the mean of each colour, and how rough they are."""
    tiles = bags.x["tile"].read(0, bags.n_instances).astype(np.float32)
    rough = np.abs(np.diff(tiles, axis=3)).mean((1, 2, 3))
    view = np.column_stack([tiles.mean((2, 3)), rough])
    return dataclasses.replace(bags, x={"X_c": view, **bags.x})


@pytest.fixture(scope="module")
def ridge(root):
    return sm.expression.Ridge(progress=False).fit(colours(slides(root, "mid")))


def said(call):
    """What a call returns, and its warnings."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        value = call()
    return value, [str(w.message) for w in told]


def test_the_scale_of_bags(root):
    bags = slides(root, "coarse")
    assert TileScale.of(bags) == TileScale((16, 16), (0.5, 0.5), (2, 2))
    assert str(TileScale.of(bags)) == (
        "tiles of 16 µm at 0.5 µm per pixel, from pictures of 2 µm per pixel"
    )
    two = slides(root, "mid", tile_um=None, tile_px=32, um_per_px={"A": 0.5, "B": 1.0})
    assert TileScale.of(two).tile_um == (16, 32)
    assert str(TileScale.of(two)).startswith("tiles of 16 to 32 µm at 0.5 to 1 µm per pixel")
    for um in (None, {"A": 0.5}):
        assert TileScale.of(slides(root, "mid", tile_um=None, tile_px=32, um_per_px=um)) is None
    assert TileScale.of(sm.datasets.planted_bags(4)) is None


def test_what_is_the_same():
    own = TileScale((100, 120), (0.5, 0.6), (0.25, 0.7))
    assert own.detail == (0.5, 0.7)
    assert own.holds(own)
    assert own.holds(TileScale((84, 143), (0.42, 0.7), (0.1, 0.83)))
    for wrong in (
        {"tile_um": (82, 100)},
        {"tile_um": (110, 145)},
        {"tile_um_per_px": (0.4, 0.5)},
        {"um_per_px": (0.5, 0.85)},
    ):
        assert not own.holds(dataclasses.replace(own, **wrong)), wrong


def test_a_model_keeps_its_scale(root, ridge, tmp_path):
    assert ridge.tile_scale_ == TileScale((16, 16), (0.5, 0.5), (0.5, 0.5))
    ridge.save(tmp_path / "m")
    assert sm.load(tmp_path / "m").tile_scale_ == ridge.tile_scale_
    note = json.loads((tmp_path / "m" / "model.json").read_text())
    assert note["tile_scale"]["um_per_px"] == [0.5, 0.5]
    assert "16 µm" in ridge.note()["tiles"]


@pytest.mark.parametrize("how", [{}, {"um_per_px": 0.55}])
def test_the_same_scale_needs_no_word(root, ridge, how):
    got, notes = said(lambda: ridge.predict(colours(slides(root, "mid", **how))))
    assert got.shape == (24, 2)
    assert not notes


def test_features_of_another_scale_are_refused(root, ridge):
    both = (
        r"ridge was fitted on tiles of 16 µm at 0\.5 µm per pixel, from pictures of 0\.5 µm per "
        r"pixel; these are tiles of {}\. .*bags = model\.recut\(bags\)"
    )
    for kind, how, found in (
        ("fine", {"tile_um": None, "tile_px": 32}, r"8 µm at 0\.25 µm .* of 0\.25 µm per pixel"),
        ("coarse", {}, r"16 µm at 0\.5 µm per pixel, from pictures of 2 µm per pixel"),
        ("mid", {"tile_um": 32, "size": 64}, r"32 µm at 0\.5 µm .*"),
        ("mid", {"size": 16}, r"16 µm at 1 µm .*"),
    ):
        bags = slides(root, kind, **how)
        with pytest.raises(InputError, match=both.format(found)):
            ridge.predict(colours(bags))
        with pytest.raises(InputError, match="features are extracted"):
            ridge.recut(colours(bags))  # of the old tiles
        cut, notes = said(lambda bags=bags: ridge.recut(bags))
        assert len(notes) == 1
        assert "are cut anew to match" in notes[0]
        assert ("coarser" in notes[0]) == (kind == "coarse")
        assert cut.notes[-1] == notes[0]
        got, notes = said(lambda cut=cut: ridge.predict(colours(cut)))
        assert got.shape == (cut.n_instances, 2)
        assert not notes  # it has been said
        assert ridge.recut(cut) is cut


def test_a_finer_picture_gives_the_same_tiles(root, ridge):
    want = slides(root, "mid")
    for how in ({}, {"tile_um": None, "tile_px": 64, "size": 48}):
        cut, _ = said(lambda how=how: ridge.recut(slides(root, "fine", **how)))
        np.testing.assert_allclose(cut.instance["x_um"], want.instance["x_um"])
        off = cut.x["tile"].read(0, 24).astype(float) - want.x["tile"].read(0, 24)
        assert np.abs(off).mean() < 2
        np.testing.assert_allclose(cut.bag[["tile_um", "tile_um_per_px"]], [[16, 0.5]] * 2)


def test_some_rows_in_another_order(root, ridge):
    fine = slides(root, "fine", tile_um=None, tile_px=64, size=64)
    whole = said(lambda: ridge.recut(fine))[0].x["tile"].read(0, 24)
    part = said(lambda: ridge.recut(fine[[1]].keep(np.arange(1, 6, 2))))[0]
    np.testing.assert_array_equal(part.x["tile"].read(0, 3), whole[12:][np.arange(1, 6, 2)])


def test_a_model_of_coarse_pictures_sees_no_more_in_fine_ones(root):
    coarse = slides(root, "coarse")
    model = sm.expression.Ridge(progress=False).fit(colours(coarse))
    with pytest.raises(InputError, match="from pictures of 2 µm per pixel; these are tiles of 16"):
        model.predict(colours(slides(root, "fine")))
    fine = slides(root, "fine")
    cut = said(lambda: model.recut(fine))[0]
    assert cut.x["tile"].through == 8
    want, got, sharp = (b.x["tile"].read(0, 24).astype(float) for b in (coarse, cut, fine))
    assert np.abs(got - want).mean() < 0.5 * np.abs(sharp - want).mean()
    assert cut.x["tile"].digest() != fine.x["tile"].digest()


def test_tiles_are_cut_anew_where_a_method_reads_them(root):
    mid = slides(root, "mid")
    model = sm.expression.FineTune.example().set_params(epochs=2, progress=False, x="tile")
    model.fit(mid)
    fine = slides(root, "fine", tile_um=None, tile_px=40)
    got, notes = said(lambda: model.predict(fine))
    assert [n for n in notes if "are cut anew to match" in n]
    cut = said(lambda: model.recut(fine))[0]
    np.testing.assert_allclose(got, model.predict(cut), atol=1e-5)
    wide = slides(root, "mid", tile_um=None, tile_px=16, size=16)
    notes = said(lambda: model.predict(wide))[1]
    assert any("leave their picture now and are white there" in n for n in notes)


def test_ready_tiles_are_refused(root, tmp_path):
    rng = np.random.default_rng(0)
    for i in range(6):
        Image.fromarray(rng.integers(0, 255, (32, 32, 3), np.uint8)).save(tmp_path / f"{i}.png")
    table = pd.DataFrame({"ID": list("abcdef"), "path": [f"{i}.png" for i in range(6)]})
    model = sm.expression.FineTune.example().set_params(epochs=1, progress=False, x="tile")
    model.fit(slides(root, "mid"))
    model.predict(sm.read_tiles(tmp_path, table, um_per_px=0.5))
    for how in ({"um_per_px": 2.0}, {"um_per_px": 0.5, "size": 16}):
        with pytest.raises(InputError, match=r"these are tiles of .*Cut them anew from their pict"):
            model.predict(sm.read_tiles(tmp_path, table, **how))
    notes = said(lambda: model.predict(sm.read_tiles(tmp_path, table)))[1]
    assert sum("how long these tiles are is not known" in n for n in notes) == 1


def test_one_side_that_is_not_known_is_said(root, ridge):
    bare = colours(slides(root, "mid", tile_um=None, tile_px=32, um_per_px=None))
    notes = said(lambda: ridge.predict(bare))[1]
    assert len(notes) == 1
    assert "ridge was fitted on tiles of 16 µm" in notes[0]
    assert "how long these tiles are is not known" in notes[0]
    old = sm.expression.Ridge(progress=False).fit(bare)
    assert old.tile_scale_ is None
    notes = said(lambda: old.predict(colours(slides(root, "mid"))))[1]
    assert len(notes) == 1
    assert "on which ridge was fitted is not known" in notes[0]
    assert not said(lambda: old.predict(bare))[1]


def test_patients_from_tiles_too(root):
    mid = colours(slides(root, "mid"))
    model = sm.mil.BagMean(progress=False).fit(dataclasses.replace(mid, x={"X_c": mid.x["X_c"]}))
    assert model.tile_scale_ == TileScale.of(mid)
    fine = colours(slides(root, "fine", tile_um=None, tile_px=32))
    with pytest.raises(InputError, match="bag_mean was fitted on tiles of 16 µm"):
        model.predict(dataclasses.replace(fine, x={"X_c": fine.x["X_c"]}))


def test_a_net_that_makes_features(root):
    model = sm.features.SelfSupervised.example().set_params(epochs=1, progress=False)
    model.fit(slides(root, "mid"))
    fine = slides(root, "fine", tile_um=None, tile_px=40)
    cut = said(lambda: model.recut(fine))[0]
    got, notes = said(lambda: model.transform(fine))
    assert len(notes) == 1
    np.testing.assert_allclose(got, model.transform(cut), atol=1e-5)
    bags, notes = said(lambda: sm.features.extract(fine, model, progress=False))
    assert len(notes) == 1
    np.testing.assert_allclose(bags.view()[1], got, atol=2e-3)
    np.testing.assert_allclose(bags.bag["tile_um"], 16)


def test_what_was_measured_has_no_scale(root):
    mid, coarse = slides(root, "mid"), slides(root, "coarse")
    model = sm.expression.NeighbourMean(progress=False).fit(mid)
    assert not said(lambda: model.predict(coarse))[1]
