"""Where arrays go in the user's table, told by small ones."""

import anndata
import numpy as np
import pandas as pd
import pytest

from smalti.errors import InputError
from smalti.io.write import refuse_taken, write

GENES = list("abcd")


def table(n=5):
    data = anndata.AnnData(np.ones((n, 4), np.float32), obs=pd.DataFrame(index=list("vwxyz")[:n]),
                           var=pd.DataFrame(index=GENES))  # fmt: skip
    data.layers["half"] = data.X / 2
    return data


def put(data, x="X", view="rna", **layers):
    write(data, obs={}, obsm={}, uns={"m": {"model": "1"}}, layers={view: layers["of"]},
          origin={"keys": {view: x}})  # fmt: skip


FOUND = np.arange(20, dtype=np.float64).reshape(5, 4)


@pytest.mark.parametrize("x", ["X", "layers/half"])
@pytest.mark.parametrize("names", [None, tuple(GENES)])
def test_all_features_of_x_make_a_layer(x, names):
    data = table()
    put(data, x, of=(FOUND, names))
    np.testing.assert_array_equal(data.layers["m"], FOUND)
    assert data.layers["m"].dtype == np.float32
    assert not data.obsm


def test_some_features_of_x_stand_beside_it():
    """A layer would be NaN in all others."""
    data = table()
    put(data, of=(FOUND[:, :2], ("d", "b")))
    assert "m" not in data.layers
    np.testing.assert_array_equal(data.obsm["m_rna"][["d", "b"]], FOUND[:, :2])


def test_parts_of_x_make_one_layer_where_it_is_full():
    data = table()
    data.var["feature_types"] = ["one", "two", "one", "two"]
    views = {"p": (FOUND[:, [0, 2]], ("a", "c")), "q": (FOUND[:, [3, 1]], ("d", "b"))}
    keys = {"keys": {"p": "X/one", "q": "X/two"}}
    write(data, obs={}, obsm={}, uns={"m": {"model": "1"}}, layers=views, origin=keys)
    np.testing.assert_array_equal(data.layers["m"], FOUND)
    views["q"] = (FOUND[:, [3]], ("d",))
    other = table()
    other.var["feature_types"] = data.var["feature_types"]
    write(other, obs={}, obsm={}, uns={"m": {"model": "1"}}, layers=views, origin=keys)
    assert set(other.obsm) == {"m_p", "m_q"}
    with pytest.raises(InputError, match=r"^obsm\['m_p'\] and 2 more is there already"):
        write(other, obs={}, obsm={}, uns={"m": {"model": "2"}}, layers=views, origin=keys)


@pytest.mark.parametrize(("x", "names"), [
    ("X", None),  # three numbers a cell of which nobody knows which genes they are
    ("X", ("a", "b", "other")), ("obsm/X_pca", ("a", "b", "c")), ("layers/half", ("A", "b", "c")),
])  # fmt: skip
def test_other_features_stand_beside_it(x, names):
    data = table()
    put(data, x, "a/b", of=(FOUND[:, :3], names))
    assert "m" not in data.layers
    found = data.obsm["m_a_b"]
    np.testing.assert_array_equal(found, FOUND[:, :3])
    if names is not None:
        assert tuple(found.columns) == names
        assert found.index.tolist() == data.obs_names.tolist()


def test_two_views_of_one_table_have_a_layer_each():
    data = table()
    views = {"rna": (FOUND, None), "halves": (FOUND / 2, None)}
    write(data, obs={}, obsm={}, uns={"m": {"model": "1"}}, layers=views,
          origin={"keys": {"rna": "X", "halves": "layers/half"}})  # fmt: skip
    np.testing.assert_array_equal(data.layers["m"], FOUND)
    np.testing.assert_array_equal(data.layers["m_halves"], FOUND / 2)


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int8])
def test_cells_after_the_last_bag_are_nan(kind):
    data = table()
    values = FOUND[:3].astype(kind)
    write(data, obs={}, obsm={"X_m": values}, uns={"m": {"model": "1"}},
          layers={"rna": (values, None)}, origin={"keys": {"rna": "X"}})  # fmt: skip
    for found in (data.obsm["X_m"], data.layers["m"]):
        np.testing.assert_array_equal(found[:3], values)
        assert np.isnan(found[3:]).all()
    assert data.obsm["X_m"].dtype == (np.float64 if kind == np.float64 else np.float32)
    with pytest.raises(InputError, match="'X_m' has 3 rows, the table 5 cells"):
        write(data, obs={}, obsm={"X_m": values}, uns={"m": {"model": "1"}})


def test_a_name_is_taken_by_another_model_only():
    data = table()
    own = dict(obsm={}, layers={"rna": (FOUND, None)}, origin={"keys": {"rna": "X"}})
    write(data, obs={"m_score": np.ones(5)}, uns={"m": {"model": "1"}}, **own)
    write(data, obs={"m_score": np.zeros(5)}, uns={"m": {"model": "1"}}, **own)  # of its own
    before = data.copy()
    with pytest.raises(InputError, match=r"^obs\['m_score'\] and 2 more is there already"):
        write(data, obs={"m_score": np.ones(5)}, uns={"m": {"model": "2"}}, **own)
    with pytest.raises(InputError, match=r"^layers\['m'\] and 1 more is there already"):
        write(data, obs={}, uns={"m": {"model": "2"}}, **own)
    pd.testing.assert_frame_equal(data.obs, before.obs)
    assert data.uns["m"] == before.uns["m"]
    write(data, obs={"m_score": np.ones(5)}, uns={"m": {"model": "2"}}, overwrite=True, **own)
    assert data.uns["m"] == {"model": "2"}
    assert (data.obs["m_score"] == 1).all()


def test_what_is_taken_is_named():
    note = {"model": "1"}
    refuse_taken({}, "m", note, [])
    refuse_taken({"m": {"model": "1"}}, "m", note, ["obs['m']"])
    for uns, there, words in [
        ({}, ["obs['m']"], r"^obs\['m'\] is there already, and not of this model: write under a "
                           "name of its own, key_added='NAME', or replace it, overwrite=True"),
        ({"m": {"model": "2"}}, [], r"^uns\['m'\] is there already"),
        ({"m": "text"}, ["obs['m']"], r"^obs\['m'\] and 1 more is"),
    ]:  # fmt: skip
        with pytest.raises(InputError, match=words):
            refuse_taken(uns, "m", note, there)


@pytest.mark.parametrize("out", ["cells.h5mu", "cells.csv"])
def test_a_file_that_cannot_hold_it_is_refused_before(out, tmp_path):
    data = table()
    words = "cannot hold AnnData: name it .h5ad or .zarr" if out.endswith("mu") else "is neither"
    with pytest.raises(InputError, match=words):
        write(data, obs={"m": np.ones(5)}, obsm={}, uns={}, out=tmp_path / out)
    assert "m" not in data.obs
    assert not list(tmp_path.iterdir())
