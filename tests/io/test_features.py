"""Folders of tile features, and every way a slide can be wrong."""

import json
import warnings

import h5py
import numpy as np
import pandas as pd
import pytest

import smalti as sm
from smalti import mil
from smalti.errors import InputError


@pytest.fixture
def slides(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {f"s{i}": rng.normal(size=(5 + i, 6)).astype("f4") for i in range(8)}
    for i, (name, x) in enumerate(arrays.items()):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            if i % 3 == 0:  # CLAM
                file["features"], file["coords"] = x, np.arange(2 * len(x)).reshape(-1, 2)
            elif i % 3 == 1:  # TRIDENT with a batch dimension
                file["features"], file["coords"] = x[None], np.zeros((1, len(x), 2))
            else:  # STAMP
                file["feats"] = x
    table = pd.DataFrame({"slide_id": [f"{n}.svs" for n in arrays],
                          "label": [0, 1] * 4, "patient": [0, 0, 1, 1, 2, 2, 3, 3]})  # fmt: skip
    return tmp_path, arrays, table


def test_feature_folder_is_read_bag_by_bag(slides):
    folder, arrays, table = slides
    bags = sm.read_features(folder, table, label="label", donor="patient")
    whole = sm.read_features(folder, table, label="label", donor="patient", in_memory=True)
    assert not isinstance(bags.x["features"], np.ndarray)
    assert isinstance(whole.x["features"], np.ndarray)
    for b, x in zip(bags[[6, 1, 2]], [arrays["s6"], arrays["s1"], arrays["s2"]], strict=True):
        np.testing.assert_array_equal(b.table(), x)
    assert bags.instance["x"].iloc[1] == 2.0
    method = mil.ABMIL.example().set_params(epochs=2, batch_size=3, progress=False)
    one, two = method.fit(bags).forward(bags)[0], method.fit(whole).forward(whole)[0]
    np.testing.assert_allclose(one, two, atol=1e-6)


def test_several_slides_of_a_patient_are_one_bag(slides):
    folder, arrays, table = slides
    table["label"] = table["patient"] % 2
    bags = sm.read_features(folder, table, label="label", sample="patient", donor="patient")
    assert len(bags) == 4
    np.testing.assert_array_equal(bags[[1]].table(), np.concatenate([arrays["s2"], arrays["s3"]]))
    assert set(bags[[1]].instance["slide"]) == {"s2", "s3"}


def test_labels_keep_their_kind_and_coordinates_their_column(slides):
    """A label may be called x or y, as the coordinates are, and may be an ordered category."""
    folder, _, table = slides
    grade = pd.Categorical(list("abcabcab"), ["c", "b", "a"], ordered=True)
    bags = sm.read_features(folder, table.assign(y=grade), label="y", donor="patient")
    assert (bags.task.kind, bags.task.classes) == ("ordinal", ("c", "b", "a"))
    assert bags.instance["y"].iloc[1] == 3.0
    assert bags.bag["patient"].tolist() == table["patient"].tolist()
    with h5py.File(folder / "s0.h5", "r+") as file:
        file["coords"].attrs["patch_size"] = 256
    sizes = sm.read_features(folder, table, label="label").instance["tile_px"]
    assert sizes[:5].eq(256).all()
    assert sizes[5:].isna().all()
    with h5py.File(folder / "s0.h5", "r+") as file:  # TRIDENT: at the pixels of the coordinates
        file["coords"].attrs["patch_size_level0"] = 512
    assert sm.read_features(folder, table).instance["tile_px"].iloc[0] == 512


def test_slide_names_of_digits_and_types_that_differ(tmp_path):
    x = np.array([[1e6, 1.0], [2.0, 3.0]])  # 1e6 is infinite as float16
    for name, dtype in (("007", "f4"), ("008", "f2")):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["mine"] = (x if dtype == "f4" else x[1:]).astype(dtype)
    (tmp_path / "labels.csv").write_text("slide_id,label\n007,0\n008,1\n")
    bags = sm.read_features(tmp_path, tmp_path / "labels.csv", label="label", key="mine")
    assert bags.bag.index.tolist() == ["007", "008"]
    np.testing.assert_array_equal(bags.table(), [*x, x[1]])
    assert bags.digest == sm.read_features(tmp_path, tmp_path / "labels.csv", label="label",
                                           key="mine").digest  # fmt: skip
    with h5py.File(tmp_path / "008.h5", "w") as file:
        file["mine"] = x
    with pytest.raises(InputError, match=r"008\.h5 changed"):
        bags.table()


def test_a_damaged_block_of_features_is_named(slides):
    folder, _, table = slides
    x = np.random.default_rng(0).normal(size=(400, 6))
    with h5py.File(folder / "s3.h5", "w") as file:
        file.create_dataset("features", data=x, chunks=(100, 6), compression="gzip")
        at = file["features"].id.get_chunk_info(2).byte_offset + 50
    with (folder / "s3.h5").open("r+b") as raw:
        raw.seek(at)
        raw.write(b"\0" * 50)
    bags = sm.read_features(folder, table)
    with pytest.raises(InputError, match=r"s3\.h5 is cut short or damaged"):
        bags.table()


def test_feature_folder_errors(slides, tmp_path):
    folder, _, table = slides
    ask = dict(label="label", donor="patient")
    with pytest.warns(UserWarning, match="have no label and are left out.*s7"):
        sm.read_features(folder, table[:-1], **ask)
    with pytest.raises(InputError, match="no column 'stage'"):
        sm.read_features(folder, table, label="stage")
    (folder / "s3.h5").unlink()
    with pytest.raises(InputError, match="have no file.*s3"):
        sm.read_features(folder, table, **ask)
    (folder / "s3.h5").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"s3\.h5 is cut short or damaged"):
        sm.read_features(folder, table, **ask)
    for content, match in (
        ({"embeddings": np.ones((3, 6))}, "has none of.*embeddings"),
        ({"features": np.ones((3, 5))}, "5 features, the files before 6"),
        ({"features": np.ones((0, 6))}, "expected .tiles, features"),
        ({"features/deep": np.ones((3, 6))}, "has none of.*it has .'features'"),
        ({"features": np.ones((3, 6)), "coords": np.ones((2, 2))}, "coords of .* shape"),
    ):
        with h5py.File(folder / "s3.h5", "w") as file:
            for key, value in content.items():
                file[key] = value
        with pytest.raises(InputError, match=match):
            sm.read_features(folder, table, **ask)
    for change, match in (
        (table.assign(label=[None, *table["label"][1:]]), "'label' is missing for 1 of 8.*s0"),
        (pd.concat([table, table[:1]]), "named twice.*s0"),
        (table.drop(columns="slide_id"), "no slide column"),
    ):
        with pytest.raises(InputError, match=match):
            sm.read_features(folder, change, **ask)
    with pytest.raises(InputError, match="bag 0 has two values of 'label'"):
        sm.read_features(folder, table, label="label", sample="patient")
    with pytest.raises(InputError, match=r"no \.h5 files"):
        sm.read_features(folder / "empty", table, **ask)


def test_labels_of_slides_are_read_with_what_is_said_of_them(tmp_path):
    import h5py

    for name in "abc":
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["features"] = np.zeros((3, 2), dtype=np.float32)
    table = pd.DataFrame({"slide": list("abc"), "state": ["normal", "adenoma", "normal"]})
    how = dict(label="state", donor="bag")
    assert sm.read_features(tmp_path, table, **how).task.positive == "adenoma"
    assert sm.read_features(tmp_path, table, positive="normal", **how).task.positive == "normal"
    with pytest.raises(InputError, match="missing for 1 of 3 slides .written 'NA'"):
        sm.read_features(tmp_path, table.assign(state=["NA", "x", "y"]), **how)


# ---------------------------------------------------------------- joined to their slides

UM, EDGE, N = 0.5, 64, 12  # of the slides below: µm per pixel, edge of a tile in pixels, tiles
CORNERS = np.array([[EDGE * i, EDGE * j] for j in range(3) for i in range(4)])


def write_slide(file, layout, x=None):
    """A feature file of 12 tiles of 64 px at 0.5 µm per pixel, as a tool writes it."""
    x = np.random.default_rng(0).normal(size=(N, 6)).astype("f4") if x is None else x
    with h5py.File(file, "w") as out:
        if layout == "trident":
            out["features"], out["coords"] = x[None], CORNERS[None]
            out["coords"].attrs.update(
                patch_size=32, patch_size_level0=EDGE, level0_magnification=20,
                target_magnification=10, overlap=0, level0_width=300, level0_height=200,
            )  # fmt: skip
        elif layout == "stamp 1":
            out["feats"], out["coords"] = x.astype("f2"), (CORNERS * UM).astype("f4")
            out.attrs.update(unit="um", tile_size=EDGE * UM)
        elif layout == "stamp 2":
            out["feats"], out["coords"] = x.astype("f2"), (CORNERS * UM).astype("f4")
            out.attrs.update(unit="um", tile_size_um=EDGE * UM, tile_size_px=32,
                             stamp_version="2.1.0", extractor="x")  # fmt: skip
        else:
            out["features"], out["coords"] = x, CORNERS


@pytest.fixture
def cohort(tmp_path):
    """Pictures, and a folder to write features of them into; the second name holds dots."""
    from PIL import Image

    names = ["s0", "TCGA-AA-0001.aaa-bbb"]
    for folder in ("wsi", "h5", "patches"):
        (tmp_path / folder).mkdir()
    for name in names:
        picture = np.random.default_rng(1).integers(0, 255, (200, 300, 3), dtype=np.uint8)
        Image.fromarray(picture).save(tmp_path / "wsi" / f"{name}.png")
    return tmp_path, names, pd.DataFrame({"slide_id": [f"{n}.svs" for n in names], "y": [0, 1]})


@pytest.mark.parametrize("layout", ["trident", "stamp 1", "stamp 2", "clam patches", "clam px"])
def test_tiles_of_every_layout_lie_where_they_are_in_the_picture(cohort, layout):
    folder, names, table = cohort
    for name in names:
        write_slide(folder / "h5" / f"{name}.h5", layout)
        with h5py.File(folder / "patches" / f"{name}.h5", "w") as out:
            out["coords"] = CORNERS
            out["coords"].attrs.update(patch_size=32, patch_level=1, downsample=(2.0, 2.0),
                                       level_dim=(150, 100))  # fmt: skip
    how = {"clam patches": {"patches": folder / "patches"}, "clam px": {"tile_px": EDGE}}
    bags = sm.read_features(folder / "h5", table, label="y", slides=folder / "wsi", um_per_px=UM,
                            **how.get(layout, {}))  # fmt: skip
    assert bags.bag.index.tolist() == names
    np.testing.assert_allclose(bags.instance[["x_px", "y_px"]], np.tile(CORNERS + 32, (2, 1)))
    np.testing.assert_allclose(bags.instance[["x_um", "y_um"]],
                               np.tile(CORNERS + 32, (2, 1)) * UM)  # fmt: skip
    assert (bags.instance["tile_px"] == EDGE).all()
    assert (bags.bag["um_per_px"] == UM).all()
    assert (bags.bag["tile_um"] == EDGE * UM).all()
    pixel = UM * 2 if layout in ("trident", "stamp 2", "clam patches") else None
    assert bags.bag.get("tile_um_per_px", pd.Series([None] * 2)).tolist() == [pixel] * 2
    view = bags.x["tile"]
    whole = view.images[0].whole()
    assert view.images[0].region(64, 128, 64, 64).tolist() == whole[128:192, 64:128].tolist()
    assert view.corners[9].tolist() == CORNERS[9].tolist()
    assert bags.view()[0] == "features"


def test_what_the_file_does_not_say_is_not_known(cohort):
    folder, names, table = cohort
    for name, layout in zip(names, ("clam", "stamp 1"), strict=True):
        write_slide(folder / "h5" / f"{name}.h5", layout)
    bags = sm.read_features(folder / "h5", table, label="y")
    np.testing.assert_array_equal(bags.instance[["x", "y"]][:N], CORNERS)
    assert bags.instance["x_um"][:N].isna().all()
    np.testing.assert_allclose(bags.instance["x_um"][N:], (CORNERS[:, 0] + 32) * UM)
    assert not {"x_px", "tile_px"} & set(bags.instance)
    with pytest.raises(InputError, match=r"s0\.h5: how long a tile is.*patches=.*tile_px="):
        sm.read_features(folder / "h5", table, slides=folder / "wsi")
    with pytest.raises(InputError, match=r"bbb\.h5: its coords are in µm.*um_per_px="):
        sm.read_features(folder / "h5", table, slides=folder / "wsi", tile_px=EDGE)


def test_old_files_of_stamp_count_224_for_256_um(cohort):
    folder, names, table = cohort
    for name in names:
        with h5py.File(folder / "h5" / f"{name}.h5", "w") as out:
            out["feats"], out["coords"] = np.zeros((N, 6)), CORNERS * 224 // EDGE
    bags = sm.read_features(folder / "h5", table, um_per_px=4.0)
    np.testing.assert_allclose(bags.instance["x_px"][:N], CORNERS[:, 0] + 32)
    with h5py.File(folder / "h5" / "s0.h5", "r+") as out:
        out.attrs["unit"] = "furlong"
    with pytest.raises(InputError, match=r"s0\.h5: unit 'furlong'"):
        sm.read_features(folder / "h5", table)


def test_a_smaller_copy_stands_for_the_slide(cohort):
    from PIL import Image

    folder, names, table = cohort
    for name in names:
        write_slide(folder / "h5" / f"{name}.h5", "trident")
        file = folder / "wsi" / f"{name}.png"
        whole = np.zeros((200, 300, 3), np.uint8)
        whole[64:128, 128:192] = 255  # the seventh tile
        Image.fromarray(whole[::4, ::4]).save(file)
    bags = sm.read_features(folder / "h5", table, slides=folder / "wsi", um_per_px=UM)
    image = bags.x["tile"].images[0]
    assert (image.width, image.height) == (300, 200)
    tiles = bags.x["tile"].read(0, N).mean((1, 2, 3))
    assert tiles.argmax() == 6
    assert tiles[6] > 240
    assert np.delete(tiles, 6).max() < 20
    assert image.thumbnail(75)[0].shape == (50, 75, 3)


def test_pictures_by_column_and_mapping(cohort):
    folder, names, table = cohort
    for name in names:
        write_slide(folder / "h5" / f"{name}.h5", "trident")
    (folder / "labels.csv").write_text(
        "slide_id,y,file,mpp\n" + "".join(f"{n},{i},wsi/{n}.png,0.5\n"
                                         for i, n in enumerate(names))
    )  # fmt: skip
    bags = sm.read_features(folder / "h5", folder / "labels.csv", slides="file", um_per_px="mpp")
    assert [i.path.stem for i in bags.x["tile"].images] == names
    assert (bags.bag["um_per_px"] == UM).all()
    files = {n: folder / "wsi" / f"{n}.png" for n in names}
    assert sm.read_features(folder / "h5", table, slides=files).x["tile"].images[1].width == 300
    with pytest.raises(InputError, match="slides='file' is no folder or file, and no column"):
        sm.read_features(folder / "h5", table, slides="file")


def test_a_fit_on_features_cuts_no_tiles(cohort, monkeypatch):
    from smalti.tiles import TileView

    folder, names, table = cohort
    for i, name in enumerate(names):
        write_slide(folder / "h5" / f"{name}.h5", "trident", np.full((N, 6), float(i), "f4"))
    bags = sm.read_features(folder / "h5", table, label="y", slides=folder / "wsi")
    monkeypatch.setattr(TileView, "read", lambda *_: pytest.fail("tiles are read"))
    model = mil.ABMIL.example().set_params(epochs=1, progress=False).fit(bags)
    assert list(model.features_) == ["features"]
    assert len(model.attribute(bags)) == 2 * N


def test_slides_without_features_are_left_out_on_request(cohort):
    folder, _, table = cohort
    write_slide(folder / "h5" / "s0.h5", "trident")
    with pytest.raises(InputError, match=r"1 slides of the labels have no file.*absent='drop'"):
        sm.read_features(folder / "h5", table)
    with pytest.warns(UserWarning, match="1 of 2 slides of the labels have no file") as told:
        bags = sm.read_features(folder / "h5", table, label="y", absent="drop")
    assert bags.bag.index.tolist() == ["s0"]
    assert bags.notes == (str(told[0].message),)
    with pytest.raises(InputError, match="2 slides of the labels have no file.*called s0"):
        sm.read_features(folder / "h5", table.assign(slide_id=["a", "b"]), absent="drop")


def test_feature_files_that_cannot_be_placed_or_opened(cohort):
    from PIL import Image

    folder, names, table = cohort
    wsi, ask = folder / "wsi", dict(slides=folder / "wsi", um_per_px=UM)
    for name in names:
        write_slide(folder / "h5" / f"{name}.h5", "trident")
    with pytest.raises(InputError, match="64 px wide, as the file says: leave tile_px=32 out"):
        sm.read_features(folder / "h5", table, tile_px=32)
    Image.new("RGB", (300, 100)).save(wsi / "s0.png")
    with pytest.raises(InputError, match=r"s0\.png is 300 x 100 px.*slide of 300 x 200 px"):
        sm.read_features(folder / "h5", table, **ask)
    Image.new("RGB", (190, 300)).save(wsi / "s0.png")
    write_slide(folder / "h5" / "s0.h5", "clam")  # x and y changed places, or another slide
    with pytest.raises(InputError, match=r"3 of 12 tiles of .*s0\.h5 lie outside of .*s0\.png"):
        sm.read_features(folder / "h5", table, tile_px=EDGE, **ask)
    with h5py.File(folder / "patches" / "s0.h5", "w") as out:
        out["coords"] = CORNERS[1:]
        out["coords"].attrs["patch_size"] = EDGE
    with pytest.raises(InputError, match="has other tiles than"):
        sm.read_features(folder / "h5", table, patches=folder / "patches", **ask)
    with h5py.File(folder / "h5" / "s0.h5", "w") as out:
        out["features"] = np.zeros(6)
    with pytest.raises(InputError, match=r"s0\.h5: features is one row of 6 numbers.*whole slide"):
        sm.read_features(folder / "h5", table)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_a_value_that_is_no_number_is_refused_by_the_fit(cohort, dtype):
    folder, names, table = cohort
    x = np.zeros((N, 6), dtype)
    for name in names:
        write_slide(folder / "h5" / f"{name}.h5", "clam", x)
    bags = sm.read_features(folder / "h5", table, label="y")
    assert bags.x["features"].dtype == dtype
    x[3, 2] = np.nan
    write_slide(folder / "h5" / "s0.h5", "clam", x)
    with pytest.raises(InputError, match="'features'.*NaN"):
        mil.BagMean(progress=False).fit(bags)


@pytest.mark.parametrize(
    ("name", "value"),
    [("patch_size", "large"), ("patch_size", -3), ("patch_size_level0", np.nan),
     ("patch_level", [1, 2]), ("downsample", "x"), ("level_dim", [np.nan, 3.0]),
     ("level0_width", [])],
)  # fmt: skip
def test_attributes_that_are_no_lengths(cohort, name, value):
    folder, names, table = cohort
    for each in names:
        write_slide(folder / "h5" / f"{each}.h5", "clam")
    with h5py.File(folder / "h5" / "s0.h5", "r+") as file:
        file["coords"].attrs["patch_size"] = EDGE
        file["coords"].attrs[name] = value
    with pytest.raises(InputError, match=r"s0\.h5"):
        sm.read_features(folder / "h5", table)


def test_pickles_are_never_opened(tmp_path):
    (tmp_path / "pt_files").mkdir()
    (tmp_path / "pt_files" / "s0.pt").write_bytes(b"nothing")
    table = pd.DataFrame({"slide": ["s0"], "y": [1]})
    for folder in (tmp_path, tmp_path / "pt_files"):
        with pytest.raises(InputError, match=r"\.pt is a pickle.*never opened.*h5_files"):
            sm.read_features(folder, table)
    (tmp_path / "h5_files").mkdir()
    with pytest.raises(InputError, match="give .*h5_files, which CLAM wrote"):
        sm.read_features(tmp_path, table)


# ---------------------------------------------------------------- files of our own


@pytest.fixture
def own(tmp_path):
    """Three slides as ``features.write`` makes their files: two alike and one of another way."""
    pytest.importorskip("skimage")
    from PIL import Image

    rng = np.random.default_rng(0)
    for name in "abc":
        rgb = rng.normal((200, 130, 180), 20, (40, 80, 3)).clip(0, 255).astype(np.uint8)
        Image.fromarray(rgb).save(tmp_path / f"{name}.png")
    how = {"um_per_px": 0.5, "tile_px": 40, "size": 20, "tissue_min": 0.0, "progress": False}
    for names, more in (("ab", {}), ("c", {"flips": "mean"})):
        sm.features.write([tmp_path / f"{n}.png" for n in names], tmp_path / "h5",
                          Mean(), **how, **more)  # fmt: skip
    return tmp_path


class Mean:
    """An encoder of one's own."""

    name, identity, half, features = "mean", "mean 1", False, ("r", "g", "b")

    def encode(self, tiles, um_per_px):
        return tiles.mean((2, 3)).astype("f4")


def test_files_of_our_own_are_the_view_that_extract_makes(own):
    files = pd.DataFrame({"slide": ["a", "b"]})
    bags = sm.read_features(own / "h5", files, slides=own)
    cut = sm.read_slides([own / "a.png", own / "b.png"], um_per_px=0.5, tile_px=40, size=20,
                         tissue_min=0.0, progress=False)  # fmt: skip
    made = sm.features.extract(cut, Mean(), progress=False)
    np.testing.assert_array_equal(bags.table("X_mean"), made.table("X_mean"))
    assert bags.features["X_mean"] == made.features["X_mean"] == ("r", "g", "b")
    assert bags.origin["made"]["X_mean"] == made.origin["made"]["X_mean"]
    for column in ("um_per_px", "tile_um", "tile_um_per_px"):
        assert bags.bag[column].tolist() == made.bag[column].tolist(), column
    np.testing.assert_array_equal(bags.instance[["x_px", "y_px"]], made.instance[["x_px", "y_px"]])
    np.testing.assert_array_equal(bags.x["tile"].read(0, 4), cut.x["tile"].read(0, 4))


@pytest.mark.parametrize(
    ("slides", "more", "says"),
    [(["a", "c"], {}, "c.h5 were made in another way than those of .*a.h5"),
     (["a"], {"um_per_px": 0.25}, "cut at 0.5 µm per pixel, as the file says: leave um_per_px"),
     (["d"], {}, "d.h5: the attribute smalti is damaged"),
     (["e"], {}, "e.h5: the attribute smalti is damaged"),
     (["f"], {}, "f.h5: 2 names of 3 features"), (["g"], {}, "g.h5")],
)  # fmt: skip
def test_files_of_our_own_that_cannot_be_read(own, slides, more, says):
    said = {"view": "X_m", "how": {}, "key": "k"}
    for name, note in {"d": "{", "e": json.dumps(said | {"how": {"more": 1}}),
                       "f": json.dumps(said), "g": json.dumps(said)}.items():  # fmt: skip
        with h5py.File(own / "h5" / f"{name}.h5", "w") as file:
            file["features"], file.attrs["smalti"] = np.zeros((2, 3), "f4"), note
            if name == "f":
                file["feature_names"] = np.array([b"x", b"y"])
            if name == "g":
                file.create_group("feature_names")
    with pytest.raises(InputError, match=says), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sm.read_features(own / "h5", pd.DataFrame({"slide": slides}), **more)
