"""MuData: read alike wherever it is, cells that differ between modalities, and writing back."""

import errno
import sys
import warnings

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from typer.testing import CliRunner

import smalti as sm
from smalti.cli import app
from smalti.datasets import planted_bags
from smalti.errors import InputError
from smalti.io.write import write

mudata = pytest.importorskip("mudata")

pytestmark = pytest.mark.filterwarnings("ignore:.*embedding", "ignore:.*fewer than 10")
N, GENES, PROTEINS = 60, 12, 5
TINY = ["--epochs", "3", "--set", "widths=[8]", "--set", "progress=false"]


@pytest.fixture(scope="module", autouse=True)
def _own_columns_only():
    """As mudata will do from 0.4 on: global obs without copies of columns."""
    with mudata.set_options(pull_on_update=False):
        yield


def parts(seed=0):
    """RNA counts (CSR) and protein counts (dense) of 60 cells in 6 samples."""
    rng = np.random.default_rng(seed)
    names = [f"cell{i}" for i in range(N)]
    shared = {"batch": rng.choice(["a", "b"], N)}
    rna = anndata.AnnData(
        sp.csr_matrix(rng.poisson(1.5, (N, GENES)).astype(np.float32)),
        obs=pd.DataFrame({**shared, "cell_type": rng.choice(["B", "T"], N), "depth": rng.random(N)},
                         index=names),
        var=pd.DataFrame(index=[f"g{j}" for j in range(GENES)]),
    )  # fmt: skip
    rna.layers["half"] = rna.X * np.float32(0.5)
    rna.obsm["X_mine"] = rng.random((N, 3))
    rna.uns["colours"] = np.array(["red", "blue"])
    prot = anndata.AnnData(
        rng.poisson(9, (N, PROTEINS)).astype(np.float32), obs=pd.DataFrame(shared, index=names),
        var=pd.DataFrame(index=[f"CD{j}" for j in range(PROTEINS)]),
    )  # fmt: skip
    return rna, prot


def joined(rna, prot):
    mdata = mudata.MuData({"rna": rna, "prot": prot})
    place = pd.Series(np.arange(N), index=[f"cell{i}" for i in range(N)]).loc[mdata.obs_names]
    mdata.obs["sample"] = pd.Categorical([f"s{i % 6}" for i in place])
    mdata.obs["disease"] = np.where(place.to_numpy() % 2, "ill", "well")
    mdata.obsm["X_joint"] = np.c_[place, place].astype(float)
    mdata.uns["mine"] = {"note": "keep me"}
    return mdata


@pytest.fixture
def whole():
    """Both modalities of every cell, in the same order."""
    return joined(*parts())


@pytest.fixture
def ragged():
    """RNA of cells 0-49, proteins of cells 59-10 in another order: 40 have both."""
    rna, prot = parts()
    return joined(rna[:50].copy(), prot[np.arange(59, 9, -1)].copy())


def saved(mdata, folder, ending):
    """The same data: in memory (no ending) or as a path."""
    if ending is None:
        return mdata
    path = folder / f"cells{ending}"
    mdata.write_zarr(path) if ending == ".zarr" else mdata.write_h5mu(path)
    return path


def load(data):
    if not isinstance(data, (str, type(None))) and hasattr(data, "mod"):
        return data
    return mudata.read_zarr(data) if data.suffix == ".zarr" else mudata.read_h5mu(data)


def dense(x):
    return x.toarray() if sp.issparse(x) else np.asarray(x)


def same(a, b):
    """Two bags hold the same, column by column; a category and a text are the same."""
    assert list(a.x) == list(b.x)
    for name in a.x:
        assert sp.issparse(a.x[name]) == sp.issparse(b.x[name])
        np.testing.assert_array_equal(dense(a.x[name]), dense(b.x[name]))
    assert dict(a.features) == dict(b.features)
    assert a.present.keys() == b.present.keys()
    for name in a.present:
        np.testing.assert_array_equal(a.present[name], b.present[name])
    assert sorted(a.instance) == sorted(b.instance)
    for column in a.instance:
        left, right = (t.instance[column].astype(object).to_numpy() for t in (a, b))
        assert pd.Series(left).equals(pd.Series(right)), column
    np.testing.assert_array_equal(a.rows, b.rows)
    np.testing.assert_array_equal(a.instance.index, b.instance.index)


def umint(**settings):
    return sm.make("umint", epochs=2, width=8, progress=False, accelerator="cpu", **settings)


PLACES = [None, ".h5mu", ".zarr"]
# a zarr store is many small files: written to and read again once, the rest unless all is run
SOME = [None, ".h5mu", pytest.param(".zarr", marks=pytest.mark.slow)]


@pytest.fixture(scope="module")
def model():
    """UMINT of both modalities, on 8 of the genes."""
    return umint(preprocess={"rna": "normalize,log1p,genes=8", "prot": "clr"}).fit(joined(*parts()))


# ---------------------------------------------------------------- reading


@pytest.mark.parametrize("ending", SOME)
def test_every_place_gives_the_same_bags(whole, tmp_path, ending):
    bags = sm.read(saved(whole, tmp_path, ending))
    same(bags, sm.read(whole))
    rna, prot = parts()
    assert isinstance(bags.x["rna"], sp.csr_matrix)
    assert isinstance(bags.x["prot"], np.ndarray)
    np.testing.assert_array_equal(dense(bags.x["rna"]), dense(rna.X))
    np.testing.assert_array_equal(bags.x["prot"], prot.X)
    assert bags.features["rna"] == tuple(rna.var_names)
    assert bags.features["prot"] == tuple(prot.var_names)
    assert (len(bags), bags.n_instances, bags.present) == (N, N, {})
    # of one modality by its own name, of several with a prefix
    assert set(bags.instance) == {
        "sample", "disease", "cell_type", "depth", "rna:batch", "prot:batch",
    }  # fmt: skip
    np.testing.assert_array_equal(bags.instance["depth"], rna.obs["depth"])


@pytest.mark.parametrize("array", [False, True])
@pytest.mark.parametrize("ending", [None, ".h5ad", pytest.param(".zarr", marks=pytest.mark.slow)])
def test_proteins_in_obsm_are_read_as_mudata_is(whole, tmp_path, array, ending):
    rna, prot = parts()
    rna.obsm["protein"] = prot.X if array else prot.to_df()
    if ending is not None:
        path = tmp_path / f"cells{ending}"
        rna.write_zarr(path) if ending == ".zarr" else rna.write_h5ad(path)
    bags = sm.read(rna if ending is None else path)
    mu = sm.read(whole)
    assert list(bags.x) == ["rna", "protein"]
    assert sp.issparse(bags.x["rna"])
    np.testing.assert_array_equal(dense(bags.x["rna"]), dense(mu.x["rna"]))
    np.testing.assert_array_equal(bags.x["protein"], mu.x["prot"])
    assert bags.features["rna"] == mu.features["rna"]
    assert bags.features.get("protein") == (None if array else mu.features["prot"])
    np.testing.assert_array_equal(bags.instance.index, mu.instance.index)


def test_columns_by_prefix(whole, tmp_path):
    path = saved(whole, tmp_path, ".h5mu")
    for data in (whole, path):
        bags = sm.read(data, columns=["rna:depth", "prot:batch", "cell_type"])
        assert list(bags.instance) == ["rna:depth", "prot:batch", "cell_type"]
        np.testing.assert_array_equal(bags.instance["rna:depth"], whole["rna"].obs["depth"])
        with pytest.raises(InputError, match=r"'batch' is in several modalities .* 'rna:batch' or "
                                             r"'prot:batch'"):  # fmt: skip
            sm.read(data, columns=["batch"])
        with pytest.raises(InputError, match=r"no column 'celltype' .*Did you mean 'cell_type'"):
            sm.read(data, columns=["celltype"])
        with pytest.raises(InputError, match="no column 'rna:nope'"):
            sm.read(data, columns=["rna:nope"])


def test_a_stale_copy_of_a_column_is_passed_over(whole, tmp_path):
    """Mudata copies columns into the global obs in memory, and drops the copies in the file."""
    whole.pull_obs()
    whole["rna"].obs["depth"] += 1
    memory, file = sm.read(whole), sm.read(saved(whole, tmp_path, ".h5mu"))
    same(memory, file)
    ask = dict(columns=["rna:depth"])
    same(sm.read(whole, **ask), sm.read(tmp_path / "cells.h5mu", **ask))


def test_a_file_is_read_without_mudata(whole, tmp_path, monkeypatch):
    path = saved(whole, tmp_path, ".h5mu")
    monkeypatch.setitem(sys.modules, "mudata", None)
    same(sm.read(path), sm.read(whole))
    write(path, obs={"score": np.ones(N)}, obsm={}, uns={})  # its matrices are not touched
    with pytest.raises(InputError, match="needs mudata: pip install mudata"):
        write(path, obs={}, obsm={}, uns={}, out=tmp_path / "copy.zarr")


@pytest.mark.parametrize("ending", [None, ".h5mu"])
def test_different_cells_are_an_error_that_names_the_way_out(ragged, tmp_path, ending):
    with pytest.raises(InputError, match=r"20 of 60 cells are not in every modality \(first: "
                       r"'cell0' is not in 'prot'\).*cells='intersection' to keep the 40 .*"
                       r"cells='union'"):  # fmt: skip
        sm.read(saved(ragged, tmp_path, ending))


@pytest.mark.parametrize("ending", [None, ".h5mu"])
def test_intersection_goes_by_name(ragged, tmp_path, ending):
    bags = sm.read(saved(ragged, tmp_path, ending), cells="intersection")
    rna, prot = parts()
    names = list(bags.instance.index)
    assert sorted(names) == sorted(f"cell{i}" for i in range(10, 50))
    np.testing.assert_array_equal(dense(bags.x["rna"]), dense(rna[names].X))
    np.testing.assert_array_equal(bags.x["prot"], prot[names].X)
    np.testing.assert_array_equal(bags.instance["depth"], rna.obs.loc[names, "depth"])
    np.testing.assert_array_equal(ragged.obs_names[bags.rows], names)
    assert sp.issparse(bags.x["rna"])
    assert bags.present == {}


@pytest.mark.parametrize("ending", SOME)
def test_union_has_zeros_and_says_what_was_measured(ragged, tmp_path, ending):
    bags = sm.read(saved(ragged, tmp_path, ending), cells="union")
    rna, prot = parts()
    names = bags.instance.index
    assert bags.n_instances == N
    for view, part, there in (("rna", rna, rna.obs_names[:50]), ("prot", prot, names[:0])):
        mask = bags.present[view]
        if view == "rna":
            np.testing.assert_array_equal(mask, names.isin(there))
        assert mask.sum() == 50
        np.testing.assert_array_equal(dense(bags.x[view])[mask], dense(part[names[mask]].X))
        assert not dense(bags.x[view])[~mask].any()
    assert isinstance(bags.x["rna"], sp.csr_matrix)
    assert bags.x["rna"].has_canonical_format
    depth = bags.instance["depth"]
    np.testing.assert_array_equal(depth.isna(), ~bags.present["rna"])
    for name, code in zip(names, ragged.obsm["X_joint"][bags.rows, 0], strict=True):
        assert name == f"cell{int(code)}"


def test_same_cells_in_another_order_need_no_word(tmp_path):
    rna, prot = parts()
    mdata = joined(rna, prot[::-1].copy())
    for data in (mdata, saved(mdata, tmp_path, ".h5mu")):
        bags = sm.read(data)
        np.testing.assert_array_equal(bags.x["prot"], prot[list(bags.instance.index)].X)
        assert bags.present == {}


def test_rows_of_nan_are_not_measured(whole):
    whole["prot"].X[3] = np.nan
    whole["prot"].X[4, 1] = np.nan  # one value is no gap: an error when it is used
    with pytest.warns(UserWarning, match="1 of 60 rows of 'prot' are NaN throughout"):
        bags = sm.read(whole)
    np.testing.assert_array_equal(np.flatnonzero(~bags.present["prot"]), [3])
    assert not bags.x["prot"][3].any()
    with pytest.raises(InputError, match="'prot' contains NaN.*'CD1'.*row 4"):
        bags.check()
    both = sm.read(whole, cells="intersection")
    assert both.n_instances == N - 1
    assert both.present == {}
    np.testing.assert_array_equal(both.rows, np.delete(np.arange(N), 3))


def test_cells_measured_in_nothing_are_left_out():
    rna, prot = parts()
    rna.X = rna.X.toarray()
    rna.X[[3, 5]] = np.nan
    prot.X[[3, 6]] = np.nan
    mdata = joined(rna, prot)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        bags = sm.read(mdata)
    for line in ("2 of 60 rows of 'rna' are NaN throughout", "2 of 60 rows of 'prot' are NaN",
                 "1 of 60 cells are measured in none of 'rna', 'prot': they are"):  # fmt: skip
        assert any(line in str(w.message) for w in said)
    np.testing.assert_array_equal(bags.rows, np.delete(np.arange(N), 3))
    np.testing.assert_array_equal(bags.rows[~bags.present["rna"]], [5])
    np.testing.assert_array_equal(bags.rows[~bags.present["prot"]], [6])
    rna.X[:] = prot.X[:] = np.nan
    with pytest.raises(
        InputError, match="no cell of the MuData is measured in 'rna', 'prot': is it"
    ):
        sm.read(joined(rna, prot))
    rna, prot = parts()
    with pytest.raises(InputError, match="measured in all of 'rna', 'prot': do their obs names"):
        sm.read(joined(rna[:30].copy(), prot[30:].copy()), cells="intersection")


def test_names_of_your_own(whole, tmp_path):
    x = {"genes": "rna/layers/half", "surface": "prot", "mine": "rna/obsm/X_mine",
         "both": "X_joint"}  # fmt: skip
    bags = sm.read(whole, x=x)
    assert list(bags.x) == list(x)
    np.testing.assert_array_equal(dense(bags.x["genes"]), dense(whole["rna"].layers["half"]))
    np.testing.assert_array_equal(bags.x["mine"], whole["rna"].obsm["X_mine"])
    np.testing.assert_array_equal(bags.x["both"], whole.obsm["X_joint"])
    assert bags.features["surface"] == tuple(whole["prot"].var_names)
    same(bags, sm.read(saved(whole, tmp_path, ".h5mu"), x=x))
    assert list(sm.read(whole, x=["prot", "rna/X_mine"]).x) == ["prot", "rna/X_mine"]


def test_bags_of_patients(whole, ragged, tmp_path):
    for data in (whole, saved(whole, tmp_path, ".h5mu")):
        bags = sm.read(data, sample="sample", label="disease", donor="bag")
        assert len(bags) == 6
        assert bags.task.classes == ("well", "ill")
        np.testing.assert_array_equal(dense(bags.x["rna"]), dense(whole["rna"].X)[bags.rows])
        np.testing.assert_array_equal(bags.x["prot"], whole["prot"].X[bags.rows])
    bags = sm.read(ragged, sample="sample", cells="union", cell_type="rna:cell_type")
    assert len(bags) == 6
    np.testing.assert_array_equal(bags.instance["cell_type"].isna(), ~bags.present["rna"])
    np.testing.assert_array_equal(dense(bags.x["rna"])[~bags.present["rna"]], 0)
    for name in ("rna:batch", "prot:batch"):
        named = sm.read(whole, sample=name, donor=name, bag_columns=[name])
        np.testing.assert_array_equal(np.sort(named.bag.index), ["a", "b"])
        assert {"rna:batch", "prot:batch"} <= set(named.instance)
    with pytest.raises(InputError, match="10 cells of the MuData have no 'cell_type'"):
        sm.read(ragged, sample="cell_type", cells="union")


@pytest.mark.parametrize("ending", [None, ".h5mu"])
@pytest.mark.parametrize(
    ("x", "match"),
    [
        ("atac", "no features 'atac' in .*; there are rna/X, rna/obsm/X_mine, rna/layers/half, "
                 "prot/X, obsm/X_joint"),
        ("rna/layers/raw", r"no features 'layers/raw' in modality 'rna' of .*; there are X, X_mine,"
                           " layers/half"),
        ("obsm/nope", "no features 'obsm/nope'"),
        ([], "must name features"),
        ({"rna": 3}, "must name features"),
    ],
)  # fmt: skip
def test_unknown_keys_are_told_what_there_is(whole, tmp_path, ending, x, match):
    with pytest.raises(InputError, match=match):
        sm.read(saved(whole, tmp_path, ending), x=x)


@pytest.mark.filterwarnings("ignore:.*not unique", "ignore:.*duplicated")
def test_names_that_are_not_names(tmp_path):
    import h5py

    rna, prot = parts()
    path = saved(joined(rna, prot), tmp_path, ".h5mu")
    names = rna.obs_names.to_numpy().copy()
    names[7] = "stranger"
    rna.obs_names = names
    lone = anndata.AnnData(prot.X, obs=pd.DataFrame(index=np.r_[["cell0"], prot.obs_names[:-1]]))
    with pytest.raises(InputError, match=r"1 cells of .* \(first: 'cell0'\).*obs_names_make_uniqu"):
        sm.read(lone)
    with h5py.File(path, "r+") as file:
        at = file["mod/rna/obs"].attrs["_index"]
        held = file[f"mod/rna/obs/{at}"]
        held[7] = "stranger"
    with pytest.raises(InputError, match=r"1 cells of modality 'rna' are not in the global obs "
                                         r"\(first: 'stranger'\)"):  # fmt: skip
        sm.read(path)
    with h5py.File(path, "r+") as file:
        file[f"mod/rna/obs/{at}"][7] = "cell8"
    with pytest.raises(InputError, match="modality 'rna' has several cells named 'cell8'"):
        sm.read(path)
    with h5py.File(path, "r+") as file:
        file[f"mod/rna/obs/{at}"][7] = "cell7"
        at = file["obs"].attrs["_index"]
        file[f"obs/{at}"][7] = "cell8"
    with pytest.raises(InputError, match="the MuData has several cells named 'cell8'"):
        sm.read(path)


def test_what_is_no_mudata(tmp_path):
    rna, _ = parts()
    rna.write_h5ad(tmp_path / "cells.h5ad")
    (tmp_path / "cells.h5ad").rename(tmp_path / "cells.h5mu")
    with pytest.raises(InputError, match=r"cells\.h5mu has no modalities: it is not MuData"):
        sm.read(tmp_path / "cells.h5mu")
    with pytest.raises(InputError, match="neither 'intersection' nor 'union'"):
        sm.read(rna, cells="both")
    inner = mudata.MuData({"in": mudata.MuData({"rna": rna})})
    with pytest.raises(InputError, match="modality 'in' of the MuData has no X"):
        sm.read(inner)


def test_truncated_anywhere_is_one_error(whole, tmp_path):
    path = saved(whole, tmp_path, ".h5mu")
    data = path.read_bytes()
    for cut in [0.0, 0.01, *np.linspace(0.1, 0.9, 9), 0.99]:
        path.write_bytes(data[: int(cut * len(data))])
        with pytest.raises(InputError, match=r"cells\.h5mu is .*damaged"):
            sm.read(path)
        with pytest.raises(InputError, match=r"cells\.h5mu is (cut short or )?damaged"):
            write(path, obs={}, obsm={}, uns={})


@pytest.mark.slow  # of all formats in tests/fuzz
def test_flipped_bytes_are_never_a_traceback(whole, tmp_path):
    path = saved(whole, tmp_path, ".h5mu")
    data = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for at in rng.integers(0, len(data), 25):
        broken = bytearray(data)
        broken[at] ^= 0xFF
        path.write_bytes(bytes(broken))
        try:
            sm.read(path).check()
        except InputError:
            refused += 1
    assert refused


@pytest.mark.slow  # a zarr store; damage to an .h5mu is quick
def test_a_damaged_zarr_is_named(whole, tmp_path):
    path = saved(whole, tmp_path, ".zarr")
    chunks = [p for p in (path / "mod" / "prot" / "X").rglob("*") if p.is_file()]
    for chunk in chunks:
        if chunk.suffix != ".json" and not chunk.name.startswith(".z"):
            chunk.write_bytes(b"\0" * 3)
    with pytest.raises(InputError, match=r"cells\.zarr is damaged or not a MuData"):
        sm.read(path)


# ---------------------------------------------------------------- writing


@pytest.mark.slow
@pytest.mark.parametrize(
    ("other", "ending"),
    [(o, e) for o in (False, True) for e in PLACES],
)
def test_embedding_and_reconstructions_go_back(whole, model, tmp_path, ending, other):
    z, back = model.transform(whole), model.reconstruct(whole)
    data = saved(whole, tmp_path, ending)
    before = data.read_bytes() if ending == ".h5mu" else None
    out = tmp_path / f"out{ending or '.h5mu'}" if other else None
    model.write(data, layers=True, out=out)
    if other and before is not None:
        assert data.read_bytes() == before
    if other and ending == ".zarr":
        assert "X_umint" not in load(data).obsm
    if other and ending is None:  # in memory
        assert "X_umint" not in data.obsm
    for got in [load(out or data)]:
        np.testing.assert_array_equal(got.obsm["X_umint"], z)
        kept = got["rna"].var_names.isin(model.decoded_["rna"])
        assert kept.sum() == 8
        assert "umint" not in got["rna"].layers  # most of it would be NaN
        found = got.obsm["umint_rna"]
        assert list(found.columns) == list(model.decoded_["rna"])
        assert (found.dtypes == np.float32).all()
        np.testing.assert_array_equal(found, back["rna"])
        np.testing.assert_array_equal(got["prot"].layers["umint"], back["prot"])
        assert got.uns["umint"]["training_digest"] == model.digest_
        assert got.uns["umint"]["settings"]["width"] == 8
        # and nothing else changed
        rna, prot = parts()
        np.testing.assert_array_equal(dense(got["rna"].X), dense(rna.X))
        np.testing.assert_array_equal(dense(got["rna"].layers["half"]), dense(rna.layers["half"]))
        np.testing.assert_array_equal(got["rna"].obsm["X_mine"], rna.obsm["X_mine"])
        assert list(got["rna"].uns["colours"]) == ["red", "blue"]
        np.testing.assert_array_equal(got["prot"].X, prot.X)
        np.testing.assert_array_equal(got.obsm["X_joint"], whole.obsm["X_joint"])
        assert got.uns["mine"]["note"] == "keep me"
        assert set(got.obs) == {"sample", "disease"}
        assert set(got["rna"].obs) == {"batch", "cell_type", "depth"}
    same(sm.read(whole), sm.read(data))
    np.testing.assert_array_equal(model.transform(data), z)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ending", "cells"),
    [
        (None, "union"),
        (".h5mu", "union"),
        pytest.param(".zarr", "union", marks=pytest.mark.slow),
        (".h5mu", "intersection"),
    ],
)
def test_cells_that_differ_get_their_own_rows(ragged, tmp_path, ending, cells):
    bags = sm.read(ragged, cells=cells)
    model = umint().fit(bags)
    z, back = model.transform(bags), model.reconstruct(bags)
    data = saved(ragged, tmp_path, ending)
    model.write(data, layers=True)
    got = load(data)
    where = pd.Series(np.arange(len(z)), index=bags.instance.index)
    held = got.obs_names.isin(where.index)
    np.testing.assert_array_equal(
        got.obsm["X_umint"][held], z[where.loc[got.obs_names[held]].to_numpy()]
    )
    assert np.isnan(got.obsm["X_umint"][~held]).all()
    assert held.all() == (cells == "union")
    for name, part in got.mod.items():
        layer = part.layers["umint"]
        held = part.obs_names.isin(where.index)
        columns = [model.decoded_[name].index(f) for f in part.var_names]
        rows = where.loc[part.obs_names[held]].to_numpy()
        np.testing.assert_array_equal(layer[held], back[name][np.ix_(rows, columns)])
        assert np.isnan(layer[~held]).all()


@pytest.mark.slow
@pytest.mark.parametrize("ending", [None, ".h5ad", pytest.param(".zarr", marks=pytest.mark.slow)])
def test_proteins_in_obsm_go_back_to_obsm(tmp_path, ending):
    data, prot = parts()
    data.obsm["protein"] = prot.to_df()
    model = umint().fit(data)
    z, back = model.transform(data), model.reconstruct(data)
    if ending is not None:
        path = tmp_path / f"cells{ending}"
        data.write_zarr(path) if ending == ".zarr" else data.write_h5ad(path)
        data = path
    for _ in range(1 if ending == ".zarr" else 2):  # the second time finds its own results there
        model.write(data, layers=True)
    got = data
    if ending is not None:
        got = anndata.read_zarr(data) if ending == ".zarr" else anndata.read_h5ad(data)
    np.testing.assert_array_equal(got.obsm["X_umint"], z)
    columns = [model.decoded_["rna"].index(g) for g in got.var_names]
    np.testing.assert_array_equal(got.layers["umint"], back["rna"][:, columns])
    assert list(got.obsm["umint_protein"].columns) == list(prot.var_names)
    np.testing.assert_array_equal(got.obsm["umint_protein"], back["protein"])
    pd.testing.assert_frame_equal(got.obsm["protein"], prot.to_df())


def test_views_of_other_names_go_where_they_came_from(whole):
    x = {"genes": "rna", "halves": "rna/layers/half", "both": "X_joint"}
    model = umint().fit(sm.read(whole, x=x))
    model.write(whole, layers=True)
    back = model.reconstruct(sm.read(whole, x=x))
    np.testing.assert_array_equal(whole["rna"].layers["umint"], back["genes"])
    np.testing.assert_array_equal(whole["rna"].layers["umint_halves"], back["halves"])
    np.testing.assert_array_equal(whole.obsm["umint_both"], back["both"])


@pytest.mark.filterwarnings("ignore:.*view")
def test_part_of_a_mudata_is_written_to(whole, model):
    part = whole[20:40]
    expected = model.transform(part)
    model.write(part, layers=True)
    np.testing.assert_array_equal(part.obsm["X_umint"], expected)
    assert part["prot"].layers["umint"].shape == (20, PROTEINS)
    assert "X_umint" not in whole.obsm
    assert "umint" not in whole["rna"].layers


def test_a_model_of_samples_writes_to_cells_with_proteins(tmp_path):
    """Read with samples X is the only view; without them proteins would be a second."""
    rna, prot = parts()
    rna.obsm["protein"] = prot.to_df()
    bags = sm.read(rna, sample="batch")
    with pytest.raises(InputError, match="two modalities or more, and there is one, 'X' .12 feat"):
        umint().fit(bags)
    model = sm.integrate.BlockPCA(modality="X", width=4, progress=False).fit(bags)
    assert list(model.inputs_) == ["X"]
    model.write(rna, layers=True)
    np.testing.assert_array_equal(rna.obsm["X_block_pca"], model.transform(sm.read(rna, x="X")))
    assert rna.layers["block_pca"].shape == rna.shape
    model.save(tmp_path / "model")
    sm.load(tmp_path / "model").write(rna)


@pytest.mark.slow
def test_a_write_that_fails_leaves_the_old_file(whole, model, tmp_path, monkeypatch):
    path = saved(whole, tmp_path, ".h5mu")
    before = path.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("anndata.io.write_elem", full)
        with pytest.raises(InputError, match=r"cells\.h5mu \(No space left .* is as it was"):
            model.write(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["cells.h5mu"]
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(InputError, match="cannot write"):
        model.write(path, out=tmp_path / "file" / "out.h5mu")
    for name in ("out.h5ad", "out.txt"):
        with pytest.raises(InputError, match=rf"out\{name[3:]} (cannot hold MuData|is neither)"):
            model.write(path, out=tmp_path / name)
    with pytest.raises(InputError, match="'score' has 3 rows, the table 60"):
        write(path, obs={"score": np.ones(3)}, obsm={}, uns={})
    assert path.read_bytes() == before


@pytest.mark.slow  # a zarr store; the same for .h5mu is quick
def test_a_zarr_write_that_fails_leaves_the_old_folder(whole, tmp_path, monkeypatch):
    path = saved(whole, tmp_path, ".zarr")
    files = {p: p.read_bytes() for p in path.rglob("*") if p.is_file()}

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("anndata.io.write_elem", full)
    with pytest.raises(InputError, match="No space"):
        write(path, obs={}, obsm={}, uns={"a": 1})
    assert {p: p.read_bytes() for p in path.rglob("*") if p.is_file()} == files
    assert [p.name for p in tmp_path.iterdir()] == ["cells.zarr"]


@pytest.mark.slow  # a zarr store; in test_anndata too
def test_columns_of_cells_go_to_the_global_obs(whole, tmp_path):
    path = saved(whole, tmp_path, ".h5mu")
    score = pd.Series(np.r_[np.nan, np.arange(1.0, N)])
    write(path, obs={"score": score}, obsm={}, uns={"a": {"b": 1}}, out=tmp_path / "out.zarr")
    got = mudata.read_zarr(tmp_path / "out.zarr")
    np.testing.assert_array_equal(got.obs["score"], score)
    assert got.uns["a"]["b"] == 1
    assert list(got.mod) == ["rna", "prot"]


def test_columns_of_modalities_are_not_copied_to_the_global_ones(tmp_path):
    parts = {}
    for part, names in (("rna", "abc"), ("prot", "de")):
        obs = pd.DataFrame({"batch": list("uvuv")}, index=list("wxyz"))
        var = pd.DataFrame({"chromosome": 1}, index=list(names))
        parts[part] = anndata.AnnData(np.ones((4, len(names)), np.float32), obs=obs, var=var)
    with mudata.set_options(pull_on_update=False):
        path = saved(mudata.MuData(parts), tmp_path, ".h5mu")
    with mudata.set_options(pull_on_update=True):  # as versions before 0.4 do
        write(path, obs={"score": np.arange(4.0)}, obsm={}, uns={"a": {"b": 1}})
    with h5py.File(path) as file:
        assert set(file["obs"]) == {"_index", "score"}
        assert set(file["var"]) == {"_index"}
        assert set(file["mod/rna/obs"]) == {"_index", "batch"}


def test_a_damaged_file_is_not_written_to(whole, tmp_path):
    path = saved(whole, tmp_path, ".h5mu")
    with h5py.File(path, "a") as file:
        del file["obs/_index"]
    before = path.read_bytes()
    with pytest.raises(InputError, match=r"cells\.h5mu is cut short or damaged \("):
        write(path, obs={"score": np.ones(N)}, obsm={}, uns={"a": {"b": 1}})
    assert path.read_bytes() == before


def test_reconstructions_that_are_too_large_are_refused(whole, model, monkeypatch):
    monkeypatch.setattr("smalti.io.write._MOST", 1000)
    with pytest.raises(InputError, match=r"would take .* GiB \(the most: 'rna'\)"):
        model.write(whole, layers=True)
    assert "X_umint" not in whole.obsm


# ---------------------------------------------------------------- the command line


@pytest.mark.slow
@pytest.mark.parametrize("ending", [".h5mu", ".zarr"])
def test_verbs_take_mudata(tmp_path, monkeypatch, ending):
    alone = {"majority": sm.mil.Majority}  # of the baselines
    monkeypatch.setattr("smalti.comparison.phenotype.methods", lambda: alone)
    bags = planted_bags(16, n_features=4, seed=0)
    names = [f"cell{i}" for i in range(bags.n_instances)]
    obs = pd.DataFrame({
        "sample": bags.bag.index.to_numpy()[bags.index],
        "donor": bags.bag["donor"].to_numpy()[bags.index].astype(str),
        "disease": np.array(["healthy", "ill"])[bags.labels[bags.index]],
    }, index=names)  # fmt: skip
    table = bags.table()
    rna = anndata.AnnData(table, obs=obs)
    prot = anndata.AnnData(table[::-1, :2], obs=obs[[]][::-1], var=pd.DataFrame(index=["a", "b"]))
    mdata = mudata.MuData({"rna": rna, "prot": prot})
    data = saved(mdata, tmp_path, ending)
    asked = ["--sample", "sample", "--label", "disease", "--donor", "donor", "--x", "rna"]

    def run(*args):
        return CliRunner().invoke(app, [str(a) for a in args])

    model, out = tmp_path / "model", tmp_path / "p.csv"
    for fitted in (run("fit", "mean_pooling", data, *asked, *TINY, "--out", model),
                   run("predict", model, data, "--out", out)):  # fmt: skip
        assert fitted.exit_code == 0, fitted.output
    assert len(pd.read_csv(out)) == 16
    done = run("compare", data, *asked, *TINY, "--methods", "mean_pooling", "--folds", 2,
               "--out", tmp_path / "run")  # fmt: skip
    assert done.exit_code == 0, done.output
    lacking = run("fit", "mean_pooling", data, "--label", "disease", "--out", tmp_path / "m")
    assert lacking.exit_code == 2
    assert "name the column that holds the samples, --sample NAME" in lacking.stderr


# ---------------------------------------------------------------- names that are there twice


@pytest.mark.parametrize("ending", SOME)
def test_namesakes_are_told_apart_by_their_order_and_that_is_said(tmp_path, ending):
    rna, prot = parts()
    rna.var_names = ["g0", "g0", *rna.var_names[2:]]
    place = saved(joined(rna, prot), tmp_path, ending)
    with pytest.warns(UserWarning, match=r"1 names in 'rna' are of several features \(g0\).*order"):
        bags = sm.read(place)
    assert bags.features["rna"][:3] == ("g0", "g0-1", "g2")
    assert any("'rna'" in note for note in bags.notes)


@pytest.mark.filterwarnings("ignore:.*several features")
def test_namesakes_in_another_place_are_not_taken_for_one_another():
    rna, prot = parts()
    rna.var_names = ["g0", "g0", *rna.var_names[2:]]
    moved = rna[:, [*range(2, GENES), 0, 1]].copy()  # the two keep their order
    model = umint(preprocess={"rna": "normalize,log1p,genes=8"}).fit(joined(rna, prot))
    np.testing.assert_array_equal(
        model.transform(joined(moved, prot)), model.transform(joined(rna, prot))
    )
    whole = joined(rna, prot)
    model.write(whole, layers=True)
    assert list(whole.obsm["umint_rna"].columns) == list(model.decoded_["rna"])
    found = model.reconstruct(sm.read(whole))["rna"]
    np.testing.assert_array_equal(whole.obsm["umint_rna"], found)


@pytest.mark.parametrize("ending", SOME)
def test_tags_of_samples_are_no_modality(tmp_path, ending):
    rna, prot = parts()
    whole = mudata.MuData({"rna": rna, "prot": prot, "hto": prot[:, :3].copy()})
    place = saved(whole, tmp_path, ending)
    with pytest.warns(UserWarning, match="'hto' of .* is left out: by its name it holds tags"):
        assert list(sm.read(place).x) == ["rna", "prot"]
    assert list(sm.read(place, x=["rna", "hto"]).x) == ["rna", "hto"]


def test_several_types_in_one_modality_are_said():
    rna, prot = parts()
    rna.var["feature_types"] = ["Gene Expression"] * 10 + ["Antibody Capture"] * 2
    with pytest.warns(UserWarning, match="'rna' holds .* say x='rna/X/Gene Expression'"):
        sm.read(joined(rna, prot))
    assert sm.read(joined(rna, prot), x="rna/X/Gene Expression").shape[1] == 10


@pytest.mark.parametrize("cells", [None, "union", "intersection"])
def test_an_empty_modality_is_named(cells):
    rna, prot = parts()
    with pytest.raises(InputError, match="'prot' of the MuData has no cells: name others in x="):
        sm.read(joined(rna, prot[:0].copy()), cells=cells)
