"""Labels, donors and covariates in a table of samples, beside cells that only name their sample."""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import smalti as sm
from smalti.errors import InputError

TABLE = {"who": ["s2", "s1", "s3", "s9"], "state": ["ill", "ctrl", "ill", "ctrl"],
         "patient": ["p2", "p1", "p1", "p9"], "age": [50, 60, np.nan, 30]}  # fmt: skip


@pytest.fixture
def cells():
    obs = pd.DataFrame({"sample": np.repeat(["s1", "s2", "s3"], 12)}, index=map(str, range(36)))
    return AnnData(np.arange(72, dtype=np.float32).reshape(36, 2), obs=obs)


def table(**changes):
    return pd.DataFrame({**TABLE, **changes})


def read(cells, labels, **more):
    return sm.read(cells, labels=labels, **({"sample": "sample", "id": "who", "label": "state",
                                             "donor": "patient"} | more))  # fmt: skip


@pytest.mark.parametrize("form", ["memory", ".csv", ".tsv", ".parquet"])
@pytest.mark.parametrize("on_disk", [False, True])
def test_the_same_as_if_obs_had_the_columns(cells, tmp_path, form, on_disk):
    labels, data = table(), cells
    if form != "memory":
        labels = tmp_path / f"labels{form}"
        if form == ".parquet":
            table().to_parquet(labels)
        else:
            table().to_csv(labels, index=False, sep="\t" if form == ".tsv" else ",")
    if on_disk:
        data = tmp_path / "cells.h5ad"
        cells.write_h5ad(data)
    got = read(data, labels)
    whole = cells.copy()
    for column in ("state", "patient", "age"):
        whole.obs[column] = whole.obs["sample"].map(table().set_index("who")[column]).to_numpy()
    wanted = sm.read(whole, sample="sample", label="state", donor="patient", bag_columns=["age"])
    pd.testing.assert_frame_equal(got.bag[["state", "patient", "age"]],
                                  wanted.bag[["state", "patient", "age"]],
                                  check_dtype=False, check_index_type=False)  # fmt: skip
    np.testing.assert_array_equal(got.table(), wanted.table())
    assert list(got.labels) == ["ctrl", "ill", "ill"]
    assert list(got.bag["patient"]) == ["p1", "p2", "p1"]


def test_numbers_are_names_as_they_are_written(cells, tmp_path):
    cells.obs["sample"] = np.repeat([7, 12, 3], 12)
    file = tmp_path / "labels.csv"
    table(sample=[12, 7, 3, 1]).to_csv(file, index=False)
    got = read(cells, file, id=None)
    assert list(got.labels) == ["ctrl", "ill", "ill"]
    assert got.bag.index.tolist() == [7, 12, 3]


def test_cells_of_samples_without_a_row_are_left_out_and_it_is_said(cells):
    with pytest.warns(UserWarning, match=r"1 of 3 samples .* not in the labels .*'s2'"):
        got = read(cells, table().iloc[1:])
    assert got.bag.index.tolist() == ["s1", "s3"]
    np.testing.assert_array_equal(got.table(), cells.X[np.r_[0:12, 24:36]])
    np.testing.assert_array_equal(got.rows, np.r_[0:12, 24:36])


def test_a_column_of_both(cells):
    cells.obs["state"] = np.repeat(["ctrl", "ill", "ill"], 12)
    assert list(read(cells, table()).labels) == ["ctrl", "ill", "ill"]
    cells.obs["state"] = np.repeat(["ctrl", "ill", "ctrl"], 12)
    with pytest.raises(InputError, match=r"'state' of sample 's3' is 'ctrl' in .* and 'ill'"):
        read(cells, table())


@pytest.mark.parametrize(
    ("labels", "more", "says"),
    [(table(), {"sample": None}, "sample=..."), (table(), {"id": "nobody"}, "id=..."),
     (table(who=["a", "b", "c", "d"]), {}, "none of the 3 samples"),
     (table(who=["s1", "s1", "s2", "s3"]), {}, r"twice in column 'who'.*\['s1'\]"),
     (table(state=["ill", None, "ill", "ill"]), {}, "'state' is missing for 1 of 3"),
     (table(), {"label": "stage"}, "no column 'stage' in the labels, which have"),
     (None, {}, "labels=..."), ("nope.csv", {}, "nope.csv")],
)  # fmt: skip
def test_what_cannot_be_joined(cells, labels, more, says):
    with pytest.raises(InputError, match=says):
        read(cells, labels, **more)


def test_a_cell_without_a_sample_is_an_error_as_ever(cells):
    cells.obs["sample"] = [None, *cells.obs["sample"][1:]]
    with pytest.raises(InputError, match="have no 'sample'"):
        read(cells, table())


def test_mudata(cells):
    mudata = pytest.importorskip("mudata")
    other = cells.copy()
    other.var_names = ["p0", "p1"]
    whole = mudata.MuData({"rna": cells, "prot": other})
    whole.obs["sample"] = cells.obs["sample"]
    got = read(whole, table())
    assert list(got.x) == ["rna", "prot"]
    assert list(got.bag["patient"]) == ["p1", "p2", "p1"]
    assert got.bag["age"].tolist()[:2] == [60, 50]
