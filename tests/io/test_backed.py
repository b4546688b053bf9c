"""Cells that stay on disk: whatever is made of them is what memory gives, to the last bit."""

import shutil
import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from typer.testing import CliRunner

import smalti as sm
from smalti.cli import app
from smalti.errors import InputError
from smalti.io import anndata as reading
from smalti.io.disk_rows import DiskRows
from smalti.preprocess import sequence
from smalti.preprocess.step import STEPS
from smalti.views import Through, dense, pick, placed, take, whole

N, GENES = 600, 40
READ = {"sample": "sample", "donor": "donor", "label": "state", "cell_type": "cell_type"}
STEPS_OF_COUNTS = "normalize,log1p,genes=20,scale,pca=5"
pytestmark = pytest.mark.filterwarnings("ignore:The cells of a sample lie scattered")


def cells(sparse=True):
    rng = np.random.default_rng(0)
    ill = np.arange(12) % 2
    sample = rng.integers(0, 12, N)
    x = rng.poisson(0.4 + 0.8 * ill[sample][:, None] * (np.arange(GENES) < 5)).astype(np.float32)
    obs = pd.DataFrame({
        "sample": [f"s{i}" for i in sample], "donor": [f"d{i}" for i in sample],
        "state": np.where(ill[sample], "ill", "well"), "cell_type": rng.choice(["T", "B"], N),
        "weight": rng.random(N),
    }, index=[f"cell{i}" for i in range(N)])  # fmt: skip
    table = ad.AnnData(sp.csr_matrix(x) if sparse else x, obs=obs)
    table.var_names = [f"g{i}" for i in range(GENES)]
    table.obsm["X_pca"] = rng.normal(size=(N, 6)).astype(np.float32)
    table.layers["norm"] = table.X.copy()
    return table


def written(folder, kind, *, arranged=True, sparse=True):
    table = cells(sparse)
    if arranged:
        table = table[np.argsort(table.obs["sample"].to_numpy(), kind="stable")].copy()
    path = folder / f"cells.{kind}"
    (table.write_h5ad if kind == "h5ad" else table.write_zarr)(path)
    return path


@pytest.fixture
def on_disk(monkeypatch):
    """Nothing is small enough to be held."""
    monkeypatch.setattr(sequence, "room", lambda: 0)


@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
@pytest.mark.parametrize("arranged", [True, False])
@pytest.mark.parametrize("sparse", [True, False])
def test_fits_and_what_they_give_are_those_of_memory(tmp_path, on_disk, kind, arranged, sparse):
    path = written(tmp_path, kind, arranged=arranged, sparse=sparse)
    there, here = (sm.read(path, backed=b, **READ) for b in (True, False))
    assert isinstance(getattr(there.x["X"], "base", there.x["X"]), DiskRows)
    assert there.bag.equals(here.bag)
    assert (there.rows == here.rows).all()
    methods = [sm.mil.ABMIL(epochs=2, widths=(8,), preprocess=STEPS_OF_COUNTS, progress=False),
               sm.mil.BagMean(progress=False)]  # fmt: skip
    for method in methods:
        models = [method.__class__(**method.get_params(deep=False)).fit(b[:8])
                  for b in (there, here)]  # fmt: skip
        p = [m.predict_proba(b[8:]) for m, b in zip(models, (there, here), strict=True)]
        np.testing.assert_array_equal(*p)
        shown = [m.attribute(b[8:]).drop(columns="bag").to_numpy()
                 for m, b in zip(models, (there, here), strict=True)]  # fmt: skip
        np.testing.assert_array_equal(*shown)


@pytest.mark.slow  # every method
@pytest.mark.parametrize("name", [
    "abmil", "cloudpred", "hier_mil", "mifv", "mixmil", "mixture_class", "protocell4p",
    "pseudobulk", "scrat", "type_composition", "type_pseudobulk",
])  # fmt: skip
def test_every_method_reads_from_disk(tmp_path, on_disk, name):
    path = written(tmp_path, "zarr", arranged=False)
    there, here = (sm.read(path, backed=b, x="X_pca" if name != "pseudobulk" else "X", **READ)
                   for b in (True, False))  # fmt: skip
    settings = sm.make(name).example().get_params(deep=False) | {"progress": False}
    p = [sm.make(name, **settings).fit(b[:8]).predict_proba(b[8:]) for b in (there, here)]
    np.testing.assert_array_equal(*p)


@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
def test_results_are_written_into_the_file_without_its_names(tmp_path, on_disk, kind, monkeypatch):
    path = written(tmp_path, kind, arranged=False)
    there, here = (sm.read(path, backed=b, x="X_pca", **READ) for b in (True, False))
    model = sm.mil.ABMIL(epochs=1, widths=(8,), progress=False).fit(there)
    wanted = sm.mil.ABMIL(epochs=1, widths=(8,), progress=False).fit(here).attribute(here)
    model.write(path)
    after = ad.read_h5ad(path) if kind == "h5ad" else ad.read_zarr(path)
    np.testing.assert_array_equal(after.obs["abmil_attention"].to_numpy()[here.rows],
                                  wanted["attention"])  # fmt: skip
    assert list(after.obs_names) == list(cells().obs_names)


def test_a_fold_in_memory_is_the_same_as_one_on_disk(tmp_path, monkeypatch):
    path = written(tmp_path, "h5ad")
    bags = sm.read(path, backed=True, **READ)
    model = sm.mil.BagMean(preprocess=STEPS_OF_COUNTS, progress=False)
    held = model.fit(bags[:8]).predict_proba(bags[8:])
    monkeypatch.setattr(sequence, "room", lambda: 0)
    np.testing.assert_array_equal(held, model.fit(bags[:8]).predict_proba(bags[8:]))


def test_integration_reads_from_disk(tmp_path, on_disk):
    path = written(tmp_path, "zarr")
    views = {"rna": "X", "other": "obsm/X_pca"}
    steps = {"rna": "normalize,log1p,genes=20", "other": "scale"}
    codes = [sm.integrate.BlockPCA(width=4, preprocess=steps, progress=False)
             .fit_transform(sm.read(path, x=views, backed=b)) for b in (True, False)]  # fmt: skip
    np.testing.assert_allclose(*codes, atol=1e-6)
    steps = {"rna": "normalize,log1p,genes=20", "other": "scale"}
    codes = [sm.integrate.UMINT(width=4, preprocess=steps, epochs=1, progress=False)
             .fit_transform(sm.read(path, x=views, backed=b)) for b in (True, False)]  # fmt: skip
    assert np.isfinite(codes[0]).all()


# ---------------------------------------------------------------- rows


@pytest.mark.parametrize("sparse", [True, False])
@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
def test_rows_in_any_order_with_repeats_and_gaps(tmp_path, kind, sparse):
    view = DiskRows(written(tmp_path, kind, sparse=sparse), "X")
    table = dense(view.read(0, N))
    rng = np.random.default_rng(1)
    for rows in (rng.integers(0, N, 200), np.arange(10, 40), np.array([], dtype=np.int64),
                 np.array([5]), np.array([3, -1, 3, 599])):  # fmt: skip
        wanted = np.where((rows >= 0)[:, None], table[rows], 0)
        if (rows >= 0).all():
            np.testing.assert_array_equal(dense(pick(view, rows)), wanted)
        some = take(view, rows)
        np.testing.assert_array_equal(dense(some.read(0, len(rows))), wanted)
        again = np.arange(len(rows))[::-1]
        np.testing.assert_array_equal(dense(take(some, again).read(0, len(rows))), wanted[::-1])


def test_pieces_are_read_in_longer_runs(tmp_path, monkeypatch):
    view = DiskRows(written(tmp_path, "h5ad"), "X")
    view.run, asked = 250, []
    read = view.read
    monkeypatch.setattr(view, "read", lambda a, b: asked.append((a, b)) or read(a, b))
    parts = list(placed(view, 50))
    assert [start for start, _ in parts] == list(range(0, N, 50))
    assert asked == [(0, 250), (250, 500), (500, 600)]
    np.testing.assert_array_equal(np.vstack([dense(p) for _, p in parts]), dense(read(0, N)))


@pytest.mark.parametrize("name", sorted(STEPS))
def test_steps_change_each_row_by_itself_or_say_that_they_do_not(name):
    """What a step makes of a table is what it makes of its pieces: else it may not read them."""
    step_class = STEPS[name]
    if name in ("on", "join", "embed"):  # of several views
        return
    rng = np.random.default_rng(0)
    x = rng.poisson(3, (60, 12)).astype(np.float32)
    names = (*(f"p{i}" for i in range(10)), "IgG1_isotype", "mouse_IgG2")
    argument = step_class.argument
    given = {} if argument is None or argument[1] is not str else None
    if given is None:
        try:
            step_class()
            given = {}
        except TypeError:
            given = {argument[0]: "batch"}
    bags = sm.Bags.from_rows(x, np.arange(60) // 6, features={"x": names},
                             instance=pd.DataFrame({"batch": np.tile(["a", "b"], 30)}))  # fmt: skip
    try:
        step = step_class(**given)
        if argument is not None and argument[0] == "n":
            step = step_class(n=3)
        step.fit(bags)
    except InputError:
        pytest.skip("not of this table")
    rowwise = not (step.transductive or step.by_company or step.columns())
    if not rowwise:
        return
    wanted = dense(step.transform(bags).x["x"])
    parts = [dense(step._apply(x[a : a + 7], bags)) for a in range(0, 60, 7)]
    np.testing.assert_allclose(np.vstack(parts), wanted, rtol=1e-5, atol=1e-6)


def test_what_is_read_through_steps_is_what_they_make(tmp_path):
    view = DiskRows(written(tmp_path, "h5ad"), "X")
    through = Through(view, lambda part: part[:, :3], "three")
    assert through.shape == (N, 3)
    np.testing.assert_array_equal(dense(whole(through)), dense(view.read(0, N))[:, :3])


# ---------------------------------------------------------------- kinds of data


def test_anndata_that_is_backed_or_of_dask(tmp_path, on_disk):
    path = written(tmp_path, "h5ad", sparse=False)
    wanted = sm.read(path, **READ).table()
    backed = ad.read_h5ad(path, backed="r")
    bags = sm.read(backed, backed=True, **READ)
    np.testing.assert_array_equal(bags.table(), wanted)
    dask = pytest.importorskip("dask.array")
    table = ad.read_h5ad(path)
    table.X = dask.from_array(table.X, chunks=(100, -1))
    bags = sm.read(table, backed=True, **READ)
    assert not hasattr(bags.x["X"], "__getitem__")
    np.testing.assert_array_equal(bags.table(), wanted)


def test_one_type_of_features_and_a_layer(tmp_path):
    table = cells()
    table.var["feature_types"] = ["Gene Expression"] * 30 + ["Antibody Capture"] * 10
    table.write_h5ad(tmp_path / "a.h5ad")
    for x in (["X/Gene Expression", "X/Antibody Capture"], "layers/norm"):
        there, here = (sm.read(tmp_path / "a.h5ad", x=x, backed=b, **READ) for b in (True, False))
        assert there.features == here.features
        for name in here.x:
            np.testing.assert_array_equal(there.table(name), here.table(name))


def test_modalities_of_different_cells(tmp_path):
    mudata = pytest.importorskip("mudata")
    rna, protein = cells(), cells(sparse=False)[100:, :8].copy()
    whole_ = mudata.MuData({"rna": rna, "protein": protein})
    whole_.obs = whole_.obs.join(rna.obs[["sample", "donor", "state", "cell_type"]])
    path = tmp_path / "a.h5mu"
    whole_.write(path)
    for which in ("union", "intersection"):
        ask = {"x": ["rna", "protein"], "cells": which, "sample": "rna:sample", "backed": True}
        there, here = (sm.read(path, **(ask | {"backed": b})) for b in (True, False))
        for name in here.x:
            np.testing.assert_array_equal(there.table(name), here.table(name))
        assert there.present.keys() == here.present.keys()


# ---------------------------------------------------------------- what is said


def test_cells_are_known_by_position_and_columns_are_those_named(tmp_path):
    bags = sm.read(written(tmp_path, "zarr"), backed=True, columns=["weight"], **READ)
    assert pd.api.types.is_integer_dtype(bags.instance.index)
    assert set(bags.instance) == {"sample", "donor", "state", "cell_type", "weight"}
    assert all(isinstance(bags.instance[c].dtype, pd.CategoricalDtype) for c in ("sample", "state"))
    with pytest.raises(InputError, match="no column 'nobody'"):
        sm.read(written(tmp_path / "..", "h5ad"), backed=True, **(READ | {"label": "nobody"}))


def test_a_large_file_is_left_on_disk_and_this_is_said(tmp_path, monkeypatch):
    path = written(tmp_path, "h5ad")
    monkeypatch.setattr(reading, "room", lambda: 20_000)
    with pytest.warns(UserWarning, match=r"read from the file a part at a time"):
        bags = sm.read(path, **READ)
    assert not hasattr(bags.x["X"], "__getitem__")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert hasattr(sm.read(path, backed=False, **READ).x["X"], "__getitem__")


@pytest.mark.filterwarnings("default:The cells of a sample")
def test_scattered_cells_are_told_with_what_they_cost(tmp_path, monkeypatch):
    monkeypatch.setattr("smalti.views._NEAR", 10_000)
    path = written(tmp_path, "h5ad", arranged=False)
    with pytest.warns(UserWarning, match=r"reads it about \d+ times: .*smalti arrange"):
        sm.read(path, backed=True, **READ)
    path = written(tmp_path, "h5ad")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sm.read(path, backed=True, **READ)


def test_tables_by_columns_are_refused(tmp_path):
    table = cells()
    table.X = sp.csc_matrix(table.X)
    table.write_h5ad(tmp_path / "a.h5ad")
    with pytest.raises(InputError, match=r"by columns \(csc\).*smalti arrange .*a.h5ad OUT.zarr"):
        sm.read(tmp_path / "a.h5ad", backed=True, **READ)
    given = ["bag_mean", tmp_path / "a.h5ad", "--sample", "sample", "--donor", "bag", "--label",
             "state", "--backed", "--out", tmp_path / "model"]  # fmt: skip
    told = CliRunner().invoke(app, ["fit", *map(str, given)])
    assert told.exit_code == 2
    assert "--in-memory" in told.output


def test_a_damaged_row_is_an_error_and_not_the_memory_of_others(tmp_path):
    import h5py

    path, other = written(tmp_path, "h5ad"), tmp_path / "other.h5ad"
    shutil.copy(path, other)
    with h5py.File(path, "r+") as file:
        file["X/indices"][5] = 10**6
    bags = sm.read(path, backed=True, **READ)
    with pytest.raises(InputError, match="indices has 1000000"):
        sm.mil.BagMean(progress=False).fit(bags)
    with h5py.File(other, "r+") as file:
        file["X/indptr"][3] = 10**6
    with pytest.raises(InputError, match="indptr does not rise"):
        sm.read(other, backed=True, **READ)


def test_new_cells_on_disk_with_other_features_are_laid_out_as_in_training(tmp_path, on_disk):
    model = sm.mil.BagMean(preprocess="normalize,log1p,genes=20,scale,pca=5", progress=False)
    model.fit(sm.read(written(tmp_path, "h5ad"), backed=False, **READ))
    table = ad.read_h5ad(tmp_path / "cells.h5ad")
    other = table[:, np.random.default_rng(0).permutation(GENES)[: GENES - 3]].copy()
    other.write_h5ad(tmp_path / "other.h5ad")
    for missing in ("zero", "mean"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            p = [model.predict_proba(sm.read(tmp_path / "other.h5ad", backed=b, **READ),
                                     missing=missing) for b in (True, False)]  # fmt: skip
        np.testing.assert_allclose(*p, rtol=1e-5)


def test_types_and_genes_behind_high_scores_are_those_of_memory(tmp_path, on_disk):
    path = written(tmp_path, "h5ad")
    scores = np.random.default_rng(0).random(N)
    found = [sm.explain.enrichment(sm.read(path, backed=b, **READ), {"s": scores})
             for b in (True, False)]  # fmt: skip
    pd.testing.assert_frame_equal(*found)


def test_rows_that_were_changed_otherwise_are_other_data(tmp_path, on_disk):
    """By their digest what is fitted on them is shared: the same cells after other steps."""
    bags = sm.read(written(tmp_path, "h5ad"), backed=True, **READ)

    def after(steps, fitted_on=bags):
        (step,) = sm.preprocess.steps_of(steps)
        return step.fit(fitted_on).transform(bags).rows_digest

    alone = [after(steps) for steps in ("log1p", "normalize", "normalize=100", "top=5", "top=6")]
    different = [bags.rows_digest, *alone, after("scale"), after("scale", bags[:6])]
    assert len(set(different)) == len(different)
    assert after("scale") == different[-2]
