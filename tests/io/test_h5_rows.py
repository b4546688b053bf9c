"""Rows of feature files that are read without the library, and files that are read once."""

import h5py
import numpy as np
import pandas as pd
import pytest

import smalti as sm
from smalti.comparison.phenotype import prepared
from smalti.errors import InputError
from smalti.io import h5, h5_rows
from smalti.io.h5 import H5View, inspect
from smalti.io.heaps import check_heaps
from smalti.solve.moments import center_and_spread

LAYOUTS = {
    "whole": {},
    "row by row": dict(chunks=(1, 6)),  # CLAM, TRIDENT
    "nine rows, the last cut": dict(chunks=(9, 6)),
    "cut in columns": dict(chunks=(10, 4)),
    "gzip": dict(chunks=(16, 6), compression="gzip"),
    "shuffled bytes": dict(chunks=(16, 6), shuffle=True),
}
STRAIGHT = {"whole", "row by row", "nine rows, the last cut"}


def write(path, x, batched=False, **how):
    with h5py.File(path, "w") as file:
        file.create_dataset("features", data=x[None] if batched else x, **how)
        coords = file.create_dataset("coords", data=np.arange(2 * len(x)).reshape(-1, 2),
                                     chunks=(1, 2))  # fmt: skip
        coords.attrs["name"] = path.stem  # a text of any length, as TRIDENT has it


def cohort(folder, dtypes=("f4",) * 4, **how):
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=(20 + 7 * i, 6)).astype(d) for i, d in enumerate(dtypes)]
    for i, x in enumerate(arrays):
        write(folder / f"s{i}.h5", x, **how)
    table = pd.DataFrame({"slide_id": [f"s{i}" for i in range(len(arrays))],
                          "label": [i % 2 for i in range(len(arrays))]})  # fmt: skip
    return sm.read_features(folder, table, label="label", donor="bag"), arrays


@pytest.fixture
def library(monkeypatch):
    """How often the library was asked for rows."""
    asked = []
    real = h5_rows._by_library
    monkeypatch.setattr(h5_rows, "_by_library", lambda *a: asked.append(a[0].name) or real(*a))
    return asked


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_rows_of_any_layout(layout, batched, tmp_path, library):
    how = dict(LAYOUTS[layout])
    if batched and "chunks" in how:
        how["chunks"] = (1, *how["chunks"])
    bags, arrays = cohort(tmp_path, batched=batched, **how)
    view, whole = bags.x["features"], np.concatenate(arrays)
    for start, stop in ((0, len(whole)), (3, 5), (18, 50), (19, 20), (40, 40)):
        np.testing.assert_array_equal(view.read(start, stop), whole[start:stop])
    rows = np.random.default_rng(1).integers(len(whole), size=60)
    some = sm.views.take(view, rows)
    np.testing.assert_array_equal(some.read(0, 60), whole[rows])
    assert bool(library) != (layout in STRAIGHT)
    assert bags.instance["x"].tolist()[:3] == [0, 2, 4]  # coordinates, row by row too


@pytest.mark.parametrize("dtype", ["<f2", ">f4", "<f8", "<i2"])
def test_types_stay_as_they_are_stored(dtype, tmp_path, library):
    bags, arrays = cohort(tmp_path, (dtype,) * 2)
    assert bags.x["features"].dtype == np.dtype(dtype).newbyteorder("=")
    np.testing.assert_array_equal(bags.table(), np.concatenate(arrays))
    assert bool(library) == (dtype == ">f4")


def test_files_of_two_types_are_read_as_the_wider(tmp_path, library):
    bags, arrays = cohort(tmp_path, ("f2", "f4", "f2"))
    np.testing.assert_array_equal(bags.table(), np.concatenate(arrays))
    assert set(library) == {"s0.h5", "s2.h5"}


def test_what_changes_is_looked_up_anew(tmp_path):
    bags, arrays = cohort(tmp_path)
    bags.table()
    write(tmp_path / "s1.h5", -arrays[1], chunks=(1, 6))
    np.testing.assert_array_equal(bags[[1]].table(), -arrays[1])
    write(tmp_path / "s1.h5", arrays[1][:-1])
    with pytest.raises(InputError, match=r"s1\.h5 changed since"):
        bags.table()
    (tmp_path / "s1.h5").write_bytes((tmp_path / "s1.h5").read_bytes()[:2100])
    with pytest.raises(InputError, match=r"s1\.h5 is cut short or damaged"):
        bags.table()
    (tmp_path / "s1.h5").unlink()
    with pytest.raises(InputError, match=r"no file .*s1\.h5"):
        bags.table()


def test_tables_of_numbers_are_not_looked_through_for_texts(tmp_path, monkeypatch):
    """A heap among the features is none; one beside them is looked at."""
    heap = b"GCOL\x01\0\0\0" + (4096).to_bytes(8, "little") + b"\0" * 32  # free space of no size
    x = np.frombuffer(heap * 30, "<f4").reshape(-1, 6)
    looked = []
    monkeypatch.setattr("smalti.io.heaps.subprocess.run", lambda *a, **k: looked.append(a))
    for how in ({}, dict(chunks=(1, 6))):
        write(tmp_path / "s.h5", np.nan_to_num(x), **how)
        looked.clear()
        slide = inspect(tmp_path / "s.h5", None)
        assert slide.lying is not None
        assert not looked
        with pytest.raises(AttributeError):  # which would have been read by another process
            check_heaps(tmp_path / "s.h5")
        assert looked


# ---------------------------------------------------------------- once


@pytest.fixture
def rows_read(monkeypatch):
    """How many rows were read of each file."""
    read = {}
    real = h5.read_rows_into

    def counted(path, key, shape, start, out, known):
        read[path.name] = read.get(path.name, 0) + len(out)
        return real(path, key, shape, start, out, known)

    monkeypatch.setattr(h5, "read_rows_into", counted)
    return read


def test_before_training_each_file_is_read_once(tmp_path, rows_read):
    """To check values and to standardise; folds read nothing anew but for their epochs."""
    bags, arrays = cohort(tmp_path)
    method = sm.mil.ABMIL.example().set_params(epochs=2, progress=False)
    assert not rows_read
    bags.check()
    once = {f"s{i}.h5": len(x) for i, x in enumerate(arrays)}
    assert rows_read == once
    rows_read.clear()
    method.fit(bags[[0, 1, 2]])
    ends = 2  # the first row of a bag and the last, by which the model knows it again
    assert rows_read == {name: 2 * n + ends for name, n in once.items() if name != "s3.h5"}


def test_a_comparison_reads_each_file_once_before_its_folds(tmp_path, rows_read):
    bags, arrays = cohort(tmp_path, ("f4",) * 8)
    arena, _ = prepared(["bag_mean"], bags, folds=2)
    rows_read.clear()  # a few rows, to see whether they are counts
    arena.begin()
    once = {f"s{i}.h5": len(x) for i, x in enumerate(arrays)}
    assert rows_read == once
    bags[[0, 1, 2]].check()
    center_and_spread(bags[[3, 1]].view()[1])
    assert rows_read == once


def test_moments_of_files_are_those_of_their_rows(tmp_path):
    bags, arrays = cohort(tmp_path, ("f2", "f4", "f2", "f4"), chunks=(1, 6))
    for which in ([0, 1, 2, 3], [2, 0], [1, 1]):
        x = np.concatenate([arrays[i] for i in which]).astype(np.float64)
        mean, sd = center_and_spread(bags[which].view()[1])
        np.testing.assert_allclose(mean, x.mean(0), rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(sd, x.std(0), rtol=1e-12)
    part = bags.keep(np.arange(5, bags.n_instances - 3))
    x = np.concatenate(arrays)[5:-3].astype(np.float64)
    np.testing.assert_allclose(center_and_spread(part.view()[1])[1], x.std(0), rtol=1e-12)
    write(tmp_path / "s0.h5", np.full((20, 6), 3, "f2"))
    np.testing.assert_allclose(center_and_spread(bags[[0]].view()[1])[0], 3)


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e39])
def test_a_wrong_value_is_still_found(value, dtype, tmp_path):
    bags, arrays = cohort(tmp_path, ("f4", dtype))
    arrays[1][13, 2] = value if dtype == "f8" or not np.isfinite(value) else np.nan
    write(tmp_path / "s1.h5", arrays[1])
    says = "holds 1e\\+39" if dtype == "f8" and value == 1e39 else "NaN or infinity"
    with pytest.raises(InputError, match=f"{says}.*at .2,., row 33, bag 's1'"):
        bags.check()
    bags.x["features"].kept.flags.writeable = False  # as a worker has it, of all of them
    write(tmp_path / "s1.h5", np.ones((27, 6), dtype))
    bags.check()


def test_a_view_travels_to_workers(tmp_path):
    import pickle

    bags, arrays = cohort(tmp_path)
    bags.check()
    view = pickle.loads(pickle.dumps(bags.x["features"]))
    np.testing.assert_array_equal(view.read(0, 10), arrays[0][:10])
    assert isinstance(view, H5View)
    assert len(view.surveyed) == len(arrays)
