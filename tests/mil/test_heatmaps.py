"""Heat maps of fitted methods: which slide, which words, and slides as they lie on the disk."""

import h5py
import numpy as np
import pandas as pd
import pytest

import smalti as sm
from smalti import mil
from smalti.errors import InputError

EDGE = 40


@pytest.fixture
def cohort(tmp_path):
    """Six slides of 240 x 160 px, three with a dark square; features of CLAM beside them."""
    from PIL import Image

    rng = np.random.default_rng(0)
    corner = np.array([[EDGE * i, EDGE * j] for j in range(4) for i in range(6)])
    for k in range(6):
        picture = np.full((160, 240, 3), (230, 200, 220), np.uint8)
        x = rng.normal(0, 0.1, (24, 4)).astype("f4")
        if k % 2:
            picture[40:80, 120:160] = 80, 40, 120  # tile 9
            x[9] += 3
        Image.fromarray(picture).save(tmp_path / f"S{k}.png")
        with h5py.File(tmp_path / f"S{k}.h5", "w") as file:
            file["features"], file["coords"] = x, corner
    table = pd.DataFrame({"slide": [f"S{k}" for k in range(6)], "state": ["N0", "N1"] * 3,
                          "patient": list("aabbcc"), "arm": list("xyxyxy")})  # fmt: skip
    return tmp_path, table


@pytest.fixture
def read(cohort):
    folder, table = cohort
    return lambda **more: sm.read_features(folder, table, label="state", slides=folder,
                                           tile_px=EDGE, um_per_px=0.5, **more)  # fmt: skip


def abmil():
    return mil.ABMIL.example().set_params(epochs=40, progress=False)


def test_the_tile_that_made_it_so_stands_out(read):
    bags = read()
    model = abmil().fit(bags)
    heat = model.heatmap(bags, "S3")
    assert heat.columns == ["attention", "contribution_N1"]
    assert heat.column("contribution_N1").argmax() == 9
    assert heat.xy[9].tolist() == [140, 60]
    assert (heat.side, heat.um_per_px, heat.extent) == (EDGE, 0.5, (240, 160))
    assert heat.tile(9, 4)[2, 2].tolist() == [80, 40, 120]
    assert heat.said("contribution_N1") == ("speaks against N1", "speaks for N1")
    assert heat.notes[0].startswith("abmil: state is predicted N1 (N0 0.")
    frame = model.attribute(bags)
    np.testing.assert_allclose(heat.values, frame[frame["bag"] == "S3"].drop(columns="bag"),
                               rtol=1e-5)  # fmt: skip
    with pytest.raises(InputError, match="6 slides: name one, slide='S0'"):
        model.heatmap(bags)
    with pytest.raises(InputError, match="no slide 'S9'; there are S0"):
        model.heatmap(bags, "S9")


def test_a_slide_of_several_in_a_bag(read):
    bags = read(sample="arm")
    heat = abmil().fit(bags).heatmap(bags, "S3")
    assert len(heat) == 24
    assert heat.column("attention").sum() < 1
    assert heat.column("contribution_N1").argmax() == 9
    assert "'y' holds other slides too" in heat.notes[1]


def test_several_classes_have_a_column_each(cohort):
    folder, table = cohort
    bags = sm.read_features(folder, table.assign(state=list("abcabc")), label="state",
                            tile_px=EDGE)  # fmt: skip
    heat = mil.BagMean(progress=False).fit(bags).heatmap(bags, "S1")
    contributions = [c for c in heat.columns if c.startswith("contribution")]
    assert contributions == ["contribution_a", "contribution_b", "contribution_c"]
    assert heat.said("contribution_b") == ("speaks against b", "speaks for b")
    assert heat.picture is None
    quantity = bags.with_target(np.arange(6.0) + 0.5)
    heat = mil.BagMean(progress=False).fit(quantity).heatmap(quantity, "S1")
    assert heat.said("contribution") == ("lowers target", "raises target")


def test_what_has_no_heat_map_is_said(cohort, read):
    folder, table = cohort
    bags = read()
    with pytest.raises(InputError, match="majority says nothing of single instances"):
        mil.Majority(progress=False).fit(bags).heatmap(bags, "S1")
    unplaced = sm.read_features(folder, table, label="state")
    model = mil.BagMean(progress=False).fit(unplaced)
    with pytest.raises(InputError, match="instance columns x_px and y_px"):
        model.heatmap(unplaced, "S1")
    with pytest.raises(InputError, match="'features', which was made elsewhere"):
        model.heatmap(folder / "S1.png")
    with pytest.raises(InputError, match="cache= is of a picture"):
        model.heatmap(bags, "S1", cache="x")


@pytest.mark.slow
def test_a_slide_is_cut_as_those_of_the_training(cohort):
    """A model of extracted features takes the picture itself, and gives what its bags give."""
    folder, table = cohort
    cut = sm.read_slides(folder, table=table, slide="slide", label="state", um_per_px=0.5,
                         tile_px=EDGE, size=32, tissue_min=0.0, progress=False)  # fmt: skip
    bags = sm.features.extract(cut, "morphology", cache=folder / "cache", progress=False)
    model = abmil().fit(bags)
    ours = model.heatmap(bags, "S1")
    own = model.heatmap(folder / "S1.png", um_per_px=0.5, cache=folder / "cache", progress=False,
                        tissue_min=0.0)  # fmt: skip
    assert own.name == "S1"
    there = {tuple(xy): i for i, xy in enumerate(ours.xy)}
    rows = [there[tuple(xy)] for xy in own.xy]
    assert own.side == ours.side == EDGE
    assert sorted(rows) == list(range(24))
    np.testing.assert_allclose(own.values, ours.values.iloc[rows], rtol=1e-4)
    assert rows[own.column("contribution_N1").argmax()] == ours.column("contribution_N1").argmax()


@pytest.mark.slow
@pytest.mark.parametrize("own", ["macenko", "reinhard"])
def test_a_slide_is_normalised_as_those_of_the_training(cohort, tmp_path, own):
    """The colours of the training go with the model, whatever file they were measured on."""
    from PIL import Image

    folder, table = cohort
    rng = np.random.default_rng(0)
    for k in range(6):  # two stains, of other strength on each slide
        amount = rng.gamma(2, 0.3 + 0.05 * k, (160, 240, 2))
        amount[:40] = 0
        light = np.exp(-amount @ [[0.65, 0.70, 0.29], [0.27, 0.90, 0.34]])
        Image.fromarray((250 * light).astype(np.uint8)).save(folder / f"S{k}.png")
    cut = sm.read_slides(folder, table=table, slide="slide", label="state", um_per_px=0.5,
                         tile_px=EDGE, size=32, tissue_min=0.0, progress=False)  # fmt: skip
    alike = sm.tiles.normalized(cut, own, stain_target=folder / "S1.png")
    bags = sm.features.extract(alike, "morphology", progress=False)
    mil.BagMean(progress=False).fit(bags).save(tmp_path / "model")
    model = sm.load(tmp_path / "model")
    (folder / "S1.png").unlink()
    heat = model.heatmap(folder / "S3.png", um_per_px=0.5, tissue_min=0.0, progress=False)
    want = model.attribute(bags[[3]]).select_dtypes("number").to_numpy()
    np.testing.assert_allclose(heat.values.to_numpy(), want, rtol=1e-4)
    plain = sm.features.extract(cut[[3]], "morphology", progress=False)
    assert not np.allclose(model.attribute(plain).select_dtypes("number"), want, rtol=1e-2)


@pytest.mark.slow
def test_features_are_made_again_as_they_were_made(cohort, tmp_path):
    """The name of a view does not say whether flips were averaged, or whose weights they are."""
    from PIL import Image

    pytest.importorskip("timm")
    folder, table = cohort
    rng = np.random.default_rng(0)
    for k in range(6):
        Image.fromarray(rng.integers(0, 255, (80, 80, 3), np.uint8)).save(folder / f"S{k}.png")
    cut = sm.read_slides(folder, table=table, slide="slide", donor="patient", label="state",
                         um_per_px=0.5, tile_px=EDGE, tissue_min=0.0, progress=False)  # fmt: skip
    how = dict(encoder="test_efficientnet", weights="random", seed=3, progress=False)
    bags = sm.features.extract(cut, flips="mean", **how)
    mil.BagMean(progress=False).fit(bags).save(tmp_path / "model")
    model = sm.load(tmp_path / "model")
    heat = model.heatmap(folder / "S1.png", um_per_px=0.5, tissue_min=0.0, progress=False)
    own = model.attribute(bags[[1]]).select_dtypes("number").to_numpy()
    np.testing.assert_allclose(heat.values.to_numpy(), own, rtol=1e-4)
    plain = model.attribute(sm.features.extract(cut, **how)[[1]]).select_dtypes("number")
    assert not np.allclose(plain, own, rtol=1e-2)
    model.origin_["made"]["X_test_efficientnet_random"]["identity"] = ["another"]
    with pytest.raises(InputError, match="others than those that bag_mean was fitted with"):
        model.heatmap(folder / "S1.png", um_per_px=0.5, tissue_min=0.0, progress=False)


@pytest.mark.slow
def test_cells_are_drawn_smaller_than_what_was_cut_around_them(tmp_path):
    cells = sm.datasets.pictured_cells(6, 12, seed=0)
    cells = sm.features.extract(cells, "morphology", progress=False)
    views = ("counts", "X_morphology")
    model = mil.BagMean(views=views, preprocess={"X_morphology": "scale,pca=5"}, progress=False)
    whole = model.fit(cells).heatmap(cells, "S1")
    heat = whole.spots(8)
    assert (whole.side, heat.side, heat.cut, heat.spots(5).cut) == (32, 16, 32, 32)
    np.testing.assert_array_equal(heat.tile(3, 8), whole.tile(3, 8))
    layer = heat.raster(heat.column(), 1.0)
    assert np.isfinite(layer).sum() == 12 * 16**2  # no two squares meet
    x, y = np.floor(heat.xy[3]).astype(int)
    assert layer[y, x] == heat.column()[3]
    with pytest.raises(InputError, match="squares of 0 µm: expected over 0"):
        whole.spots(0)
    picture = tmp_path / "S1.png"
    picture.write_bytes(b"")
    with pytest.raises(InputError, match="reads 'X_morphology' beside 'counts', and a picture"):
        model.heatmap(picture)
