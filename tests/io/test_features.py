"""Folders of tile features, and every way a slide can be wrong."""

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
    sizes = sm.read_features(folder, table, label="label").instance["patch_size"]
    assert sizes[:5].eq(256).all()
    assert sizes[5:].isna().all()
    with h5py.File(folder / "s0.h5", "r+") as file:  # TRIDENT: at the pixels of the coordinates
        file["coords"].attrs["patch_size_level0"] = 512
    assert sm.read_features(folder, table).instance["patch_size"].iloc[0] == 512


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
