"""Cells sorted by sample on disk: the same cells, in other places."""

import warnings

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from typer.testing import CliRunner

import smalti as sm
from smalti.errors import InputError
from smalti.io import arrange as module
from smalti.io import turned

N = 300


def cells(seed=0, sparse=True, genes=30):
    rng = np.random.default_rng(seed)
    x = rng.poisson(0.5, (N, genes)).astype(np.float32)
    obs = pd.DataFrame({
        "sample": rng.choice(["b", "a", "c10", "c2"], N), "age": rng.integers(20, 80, N),
        "type": pd.Categorical(rng.choice(["T", "B"], N), ["T", "B", "NK"]),
    }, index=[f"zelle_ä{i}" for i in range(N)])  # fmt: skip
    table = ad.AnnData(sp.csr_matrix(x) if sparse else x, obs=obs)
    table.var_names = [f"g{i}" for i in range(genes)]
    table.var["length"] = np.arange(genes)
    table.obsm["X_pca"] = rng.normal(size=(N, 4)).astype(np.float32)
    table.layers["half"] = table.X * 0.5
    table.varm["loadings"] = rng.normal(size=(genes, 3))
    table.uns["how"] = {"made": "by hand", "k": 3}
    table.raw = table.copy()
    return table


def write(table, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (table.write_h5ad if path.suffix == ".h5ad" else table.write_zarr)(path)
    return path


@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
@pytest.mark.parametrize("sparse", [True, False])
def test_all_that_is_of_the_cells_moves_with_them(tmp_path, kind, sparse, monkeypatch):
    for name, value in {"_CHUNK": 64, "_SHARD": 256, "_AT_ONCE": 512}.items():
        monkeypatch.setattr(module, name, value)  # so that there are several of each
    monkeypatch.setattr("smalti.io.disk_rows._RUN", 500)
    table = cells(sparse=sparse)
    sm.arrange(write(table, tmp_path / f"in.{kind}"), tmp_path / "out.zarr", sample="sample")
    after = ad.read_zarr(tmp_path / "out.zarr")
    order = np.argsort(table.obs["sample"].to_numpy(), kind="stable")
    wanted = table[order]
    assert list(after.obs_names) == list(wanted.obs_names)
    for column in table.obs:
        assert list(after.obs[column]) == list(wanted.obs[column])
    assert list(after.obs["type"].cat.categories) == ["T", "B", "NK"]
    for mine, theirs in ((after.X, wanted.X), (after.layers["half"], wanted.layers["half"]),
                         (after.obsm["X_pca"], wanted.obsm["X_pca"]),
                         (after.raw.X, wanted.raw.X)):  # fmt: skip
        dense = [m.toarray() if sp.issparse(m) else np.asarray(m) for m in (mine, theirs)]
        np.testing.assert_array_equal(*dense)
        assert mine.dtype == theirs.dtype
    pd.testing.assert_frame_equal(after.var, table.var)
    np.testing.assert_array_equal(after.varm["loadings"], table.varm["loadings"])
    assert after.uns["how"]["made"] == "by hand"
    assert not list(tmp_path.glob(".out*"))  # nothing is left of the scratch


def test_files_become_one_on_the_features_of_all(tmp_path):
    one, two = cells(0), cells(1, genes=20)[:, ::-1].copy()
    del two.obs["age"]
    files = [write(one, tmp_path / "one.h5ad"), write(two, tmp_path / "two.h5ad")]
    sm.arrange(files, tmp_path / "out.zarr", sample="sample")
    after = ad.read_zarr(tmp_path / "out.zarr")
    assert after.shape == (2 * N, 20)
    assert list(after.obs) == ["sample", "type", "run"]
    assert list(after.obs["sample"]) == sorted(after.obs["sample"])
    for name, table in (("one", one), ("two", two)):
        part = after[after.obs["run"] == name]
        own = [n.removeprefix(f"{name}_") for n in part.obs_names]
        genes = list(after.var_names)
        np.testing.assert_array_equal(part.X.toarray(), table[own, genes].X.toarray())


def test_what_is_read_of_it_is_what_was_there(tmp_path):
    path = write(cells(), tmp_path / "in.h5ad")
    sm.arrange(path, tmp_path / "out.zarr", sample="sample")
    before = sm.read(path, sample="sample")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # no word of scattered cells
        after = sm.read(tmp_path / "out.zarr", sample="sample", backed=True)
    for name in before.bag.index:
        i, j = list(before.bag.index).index(name), list(after.bag.index).index(name)
        np.testing.assert_array_equal(before[[i]].table(), after[[j]].table())
    assert (after.rows == np.arange(N)).all()


def test_command(tmp_path):
    from smalti.cli import app

    path = write(cells(), tmp_path / "in.h5ad")
    out = CliRunner().invoke(app, ["arrange", str(path), str(tmp_path / "o.zarr"), "--sample",
                                   "sample"])  # fmt: skip
    assert out.exit_code == 0, out.output
    assert "300 cells by sample" in out.output
    again = CliRunner().invoke(app, ["arrange", str(path), str(tmp_path / "o.zarr"), "--sample",
                                     "sample"])  # fmt: skip
    assert again.exit_code == 2
    assert "--overwrite" in again.output


def test_bad_input_is_one_error(tmp_path):
    path = write(cells(), tmp_path / "in.h5ad")
    for ask, message in (
        ({"out": tmp_path / "o.h5ad"}, r"end the name in \.zarr"),
        ({"sample": "patient"}, "no column 'patient'"),
        ({"data": [path, path]}, "must be 2 names"),
        ({"data": tmp_path / "none.h5ad"}, "no file"),
    ):
        asked = {"data": path, "out": tmp_path / "o.zarr", "sample": "sample"} | ask
        with pytest.raises(InputError, match=message):
            sm.arrange(asked["data"], asked["out"], sample=asked["sample"])
    table = cells()
    table.obs["sample"] = table.obs["sample"].where(table.obs["sample"] != "a")
    with pytest.raises(InputError, match=r"cells have no 'sample'"):
        sm.arrange(write(table, tmp_path / "gap.h5ad"), tmp_path / "o.zarr", sample="sample")
    assert not (tmp_path / "o.zarr").exists()


@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
def test_tables_by_columns_are_turned(tmp_path, kind, monkeypatch):
    for name, value in {"_RUN": 300, "_AT_ONCE": 700}.items():
        monkeypatch.setattr(turned, name, value)  # so that there are several of each
    table = cells()
    table.X = sp.csc_matrix(table.X)
    table.layers["half"] = sp.csc_matrix(table.layers["half"])
    table.layers["none"] = sp.csc_matrix(table.shape, dtype=np.float32)
    path = write(table, tmp_path / f"in.{kind}")
    sm.arrange(path, tmp_path / "out.zarr", sample="sample")
    after = ad.read_zarr(tmp_path / "out.zarr")
    wanted = table[np.argsort(table.obs["sample"].to_numpy(), kind="stable")]
    for mine, theirs in ((after.X, wanted.X), (after.layers["half"], wanted.layers["half"]),
                         (after.layers["none"], wanted.layers["none"])):  # fmt: skip
        assert mine.format == "csr"
        assert mine.has_canonical_format
        assert mine.dtype == theirs.dtype
        assert (mine != theirs.tocsr()).nnz == 0
    there = sm.read(tmp_path / "out.zarr", sample="sample", backed=True)
    np.testing.assert_array_equal(there.table(), sm.read(path, sample="sample").table()[
        np.concatenate([np.arange(a, b) for a, b in _bags_in_order(path)])])  # fmt: skip


def _bags_in_order(path):
    """Rows of each sample, in the order of their names."""
    bags = sm.read(path, sample="sample", backed=False)
    order = np.argsort(bags.bag.index.astype(str))
    return [(bags.offsets[i], bags.offsets[i + 1]) for i in order]


def test_tables_by_columns_of_several_files(tmp_path):
    one, two = cells(0), cells(1, genes=25)
    two.X = sp.csc_matrix(two.X)
    two = two[:, ::-1].copy()
    paths = [write(one, tmp_path / "a.h5ad"), write(two, tmp_path / "b.h5ad")]
    sm.arrange(paths, tmp_path / "out.zarr", sample="sample")
    after = ad.read_zarr(tmp_path / "out.zarr")
    own = after.obs["run"] == "b"
    wanted = two[np.argsort(two.obs["sample"].to_numpy(), kind="stable"), after.var_names].X
    np.testing.assert_array_equal(after.X[own.to_numpy()].toarray(), wanted.toarray())


def test_a_damaged_table_by_columns_is_an_error(tmp_path):
    table = cells()
    table.X = sp.csc_matrix(table.X)
    path = write(table, tmp_path / "in.h5ad")
    with h5py.File(path, "r+") as file:
        file["X/indices"][3] = 10**6
    with pytest.raises(InputError, match="indices has 1000000"):
        sm.arrange(path, tmp_path / "out.zarr", sample="sample")
    assert not (tmp_path / "out.zarr").exists()


def old(table, path):
    """A file as AnnData 0.7 wrote it: categories beside the columns, whose kind is not said."""
    write(table, path)
    with h5py.File(path, "r+") as file:
        obs = file["obs"]
        obs.attrs["encoding-version"] = "0.1.0"
        kept = obs.create_group("__categories")
        for name in list(obs.attrs["column-order"]):
            if obs[name].attrs["encoding-type"] == "categorical":
                codes, labels = obs[name]["codes"][()], obs[name]["categories"][()]
                del obs[name]
                kept.create_dataset(name, data=labels, dtype=h5py.string_dtype())
                obs.create_dataset(name, data=codes)
                obs[name].attrs["categories"] = kept[name].ref
            else:
                for key in ("encoding-type", "encoding-version"):
                    del obs[name].attrs[key]
    return path


def test_files_of_anndata_before_0_8(tmp_path):
    paths = [old(cells(seed), tmp_path / f"{seed}.h5ad") for seed in (0, 1)]
    sm.arrange(paths[0], tmp_path / "out.zarr", sample="sample")
    after, wanted = ad.read_zarr(tmp_path / "out.zarr"), cells()
    wanted = wanted[np.argsort(wanted.obs["sample"].to_numpy(), kind="stable")]
    assert list(after.obs_names) == list(wanted.obs_names)
    assert list(after.obs["type"]) == list(wanted.obs["type"])
    np.testing.assert_array_equal(after.X.toarray(), wanted.X.toarray())
    for data in (paths[0], paths):
        there, here = (sm.read(data, sample="sample", backed=b) for b in (True, False))
        assert not hasattr(there.x["X"], "__getitem__")
        np.testing.assert_array_equal(there.table(), here.table())
