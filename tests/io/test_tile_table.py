"""The table of tiles is a data frame like any other, made when it is asked for."""

import pickle

import h5py
import numpy as np
import pandas as pd
import pytest

import smalti as sm
from smalti.io.tile_table import OfCorner, TileTable, narrow, tile_table


def made(table):
    return table._made is not None


@pytest.fixture
def pair():
    """A table, and the frame that it stands for."""
    rng = np.random.default_rng(0)
    corners = [rng.integers(0, 10**5, size=(n, 2)).astype("i4") for n in (3, 1, 4, 2)]
    shift, factor = np.array([128.0, 64.0, np.nan, 128.0]), np.array([0.25, 0.5, np.nan, 0.3])
    own = {"slide": np.array(list("abcd"), object), "kind": pd.Categorical(list("uvuv")),
           "tile_px": 2 * shift}  # fmt: skip
    table = tile_table(corners, {**own, "x": OfCorner(0, np.zeros(4), np.ones(4)),
                                 "y_um": OfCorner(1, shift, factor)})  # fmt: skip
    which = np.repeat(np.arange(4), [3, 1, 4, 2])
    x = np.concatenate(corners).astype(float)
    frame = pd.DataFrame({name: values[which] for name, values in own.items()})
    frame["x"], frame["y_um"] = x[:, 0], (x[:, 1] + shift[which]) * factor[which]
    return table, frame


@pytest.mark.parametrize("rows", [[0, 1, 2], [9, 0, 1, 5, 5], list(range(10)), [3], []])
def test_some_rows_and_columns_are_made_alone(pair, rows):
    table, frame = pair
    rows = np.array(rows, dtype=np.int64)
    part, same = table.iloc[rows], frame.iloc[rows]
    assert (len(part), list(part), "x" in part, "z" in part) == (len(rows), list(same), True, False)
    for name in frame:
        pd.testing.assert_series_equal(part[name], same[name])
    pd.testing.assert_frame_equal(part[["y_um", "x"]], same[["y_um", "x"]])
    again = np.arange(len(rows))[::-1]
    pd.testing.assert_frame_equal(part.iloc[again].copy(), same.iloc[again])
    pd.testing.assert_frame_equal(part.iloc[1:3].copy(), same.iloc[1:3])
    assert not made(table)
    assert not made(part)


USES = {
    "groupby": lambda t: t.groupby("slide")["x"].mean(),
    "assign": lambda t: t.assign(z=t["x"] * 2),
    "loc": lambda t: t.loc[[3, 1], ["x"]],
    "mask": lambda t: t[t["x"] > 30_000],
    "query": lambda t: t.query("x > 30000"),
    "concat": lambda t: pd.concat([t, t]),
    "scalar": lambda t: pd.Series([t.iloc[2, 3], t["x"].iloc[1], t.shape[0]]),
    "mask of rows": lambda t: t.iloc[np.arange(10) % 2 == 0],
    "list of rows": lambda t: t.iloc[[1, -1]],
    "drop": lambda t: t.drop(columns=["slide", "kind"]).to_numpy().sum(0),
    "text": lambda t: t.to_csv(),
    "index": lambda t: t.reset_index().set_index("x").sort_index(),
    "hash": lambda t: pd.util.hash_pandas_object(t),
    "missing": lambda t: t.isna().sum(),
    "pickle": lambda t: pickle.loads(pickle.dumps(t)).copy(),
}


@pytest.mark.parametrize("use", USES)
def test_it_is_a_data_frame(use, pair):
    table, frame = pair
    one, two = (USES[use](t) for t in (table, frame))
    if isinstance(two, pd.DataFrame):
        pd.testing.assert_frame_equal(one, two)
        assert type(one) is pd.DataFrame
    else:
        np.testing.assert_equal(np.asarray(one), np.asarray(two))


def test_what_is_written_into_it_stays(pair):
    table, frame = pair
    for t in (table, frame):
        t["new"] = np.arange(10)
        t.loc[2, "x"] = -1.0
    pd.testing.assert_frame_equal(pickle.loads(pickle.dumps(table)), frame)
    pd.testing.assert_frame_equal(table.iloc[np.array([2, 3])], frame.iloc[[2, 3]])
    table.columns = [f"c_{c}" for c in frame]
    assert list(table) == [f"c_{c}" for c in frame]


@pytest.mark.parametrize(("values", "dtype"), [
    ([[0, 10**6]], "i4"), ([[0, 2**40]], "f4"), ([[0.5, 3]], "f4"), ([[0.1, 3]], "f8"),
    ([[2**40 + 1, 0]], "f8"),
])  # fmt: skip
def test_corners_are_kept_exactly(values, dtype):
    assert narrow(np.array(values)).dtype == dtype
    assert narrow(np.array(values)).tolist() == values


# ---------------------------------------------------------------- of bags


def cohort(folder, n_slides=6, tiles=40):
    rng = np.random.default_rng(0)
    for i in range(n_slides):
        with h5py.File(folder / f"s{i}.h5", "w") as file:
            file["features"] = rng.normal(size=(tiles + i, 5)).astype("f4")
            file["coords"] = rng.integers(0, 10**5, size=(tiles + i, 2))
            file["coords"].attrs["patch_size_level0"] = 256
    return pd.DataFrame({
        "slide_id": [f"s{i}" for i in range(n_slides)], "who": list("abcabc")[:n_slides],
        "stain": np.arange(n_slides), "y": [0, 1, 0, 0, 1, 0][:n_slides],
    })  # fmt: skip


@pytest.mark.parametrize("sample", [None, "who"])
def test_bags_are_those_of_a_table_of_tiles(sample, tmp_path):
    """As they were made before, row by row; with the same digests."""
    table = cohort(tmp_path)
    bags = sm.read_features(tmp_path, table, label="y", sample=sample, donor="bag", um_per_px=0.5)
    assert not made(bags.instance)
    parts = []
    for i in range(6):
        with h5py.File(tmp_path / f"s{i}.h5") as file:
            x = file["coords"][:].astype(float)
        px, n = x + 128, len(x)
        frame = {"slide": [f"s{i}"] * n, "x": x[:, 0], "y": x[:, 1], "x_px": px[:, 0],
                 "y_px": px[:, 1], "x_um": px[:, 0] * 0.5, "y_um": px[:, 1] * 0.5,
                 "tile_px": 256.0}  # fmt: skip
        of_sample = {"slide_id": [f"s{i}"] * n, "stain": [i] * n} if sample else {}
        parts.append(pd.DataFrame(frame | of_sample))
    instance = pd.concat(parts, ignore_index=True)
    which = np.repeat(np.arange(6), [len(p) for p in parts])
    naive = sm.Bags.from_rows(
        {"features": getattr(bags.x["features"], "base", bags.x["features"])},
        table["who" if sample else "slide_id"].to_numpy()[which],
        target="y", donor="bag", instance=instance, bag=bags.bag,
    )  # fmt: skip
    pd.testing.assert_frame_equal(bags.instance.copy(), naive.instance.copy())
    np.testing.assert_array_equal(bags.rows, naive.rows)
    np.testing.assert_array_equal(bags.offsets, naive.offsets)
    np.testing.assert_array_equal(bags.table(), naive.table())
    assert bags.bag.equals(naive.bag)
    assert bags.asked_digest == naive.asked_digest
    for key in ([2, 0], [1], np.arange(len(bags)) > 0):
        pd.testing.assert_frame_equal(bags[key].instance.copy(), naive[key].instance.copy())
        assert bags[key].asked_digest == naive[key].asked_digest
    kept = np.arange(0, bags.n_instances, 3)
    assert bags.keep(kept).asked_digest == naive.keep(kept).asked_digest


def test_a_fit_and_its_folds_make_no_table(tmp_path, monkeypatch):
    table = cohort(tmp_path)
    bags = sm.read_features(tmp_path, table, label="y", donor="bag")

    def refused(self):
        raise AssertionError("the table was made")

    monkeypatch.setattr(TileTable, "_mgr", property(refused))
    method = sm.mil.ABMIL.example().set_params(epochs=1, progress=False)
    models = sm.fit_many([(method, np.arange(4)), (method, np.arange(2, 6))], bags, n_jobs=1)
    assert len(models[0].predict(bags[[4, 5]])) == 2
