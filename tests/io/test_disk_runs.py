"""Several files as one cohort on disk: what memory gives, to the last bit."""

import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import smalti as sm
from smalti.cli import app
from smalti.errors import InputError
from smalti.io import anndata as reading
from smalti.io.disk_rows import DiskRows
from smalti.io.disk_runs import Stacked
from smalti.preprocess import sequence
from smalti.views import dense, pick, take

READ = {"sample": "sample", "donor": "donor", "label": "state", "cell_type": "cell_type"}
STEPS = "normalize,log1p,genes=10,scale,pca=4"


def cells(seed, n, genes, *, sparse=True, dtype=np.float32):
    rng = np.random.default_rng(seed)
    sample = np.sort(rng.integers(0, 4, n))
    ill = (sample + seed) % 2
    x = rng.poisson(0.5 + ill[:, None] * (np.asarray(genes) < 6), (n, len(genes))).astype(dtype)
    obs = pd.DataFrame({
        "sample": [f"f{seed}s{i}" for i in sample], "donor": [f"f{seed}d{i}" for i in sample],
        "state": pd.Categorical(np.where(ill, "ill", "well"), ["well", "ill"]),
        "cell_type": pd.Categorical(rng.choice(["T", "B"] if seed else ["T", "NK"], n)),
        "weight": rng.random(n),
    }, index=[f"c{i}" for i in range(n)])  # fmt: skip
    table = ad.AnnData(sp.csr_matrix(x) if sparse else x, obs=obs)
    table.var_names = [f"name{g}" for g in genes]
    table.var["gene_ids"] = [f"ENSG{g:05}" for g in genes]
    table.obsm["X_pca"] = rng.normal(size=(n, 6))
    table.layers["raw"] = table.X.copy()
    return table


@pytest.fixture
def files(tmp_path):
    """Genes in other orders, of which some are in one only; sparse and dense; columns of one."""
    one, two = cells(0, 300, range(30)), cells(1, 200, np.random.default_rng(5).permutation(
        np.arange(3, 34)), sparse=False, dtype=np.float64)  # fmt: skip
    one.obs["own"] = "a"
    one.layers["only"] = one.X.copy()
    two.var_names = ["other" + name for name in two.var_names]
    two.obsm["X_wide"] = np.ones((200, 3))
    one.obsm["X_wide"] = np.ones((300, 2))
    one.write_h5ad(tmp_path / "a.h5ad")
    two.write_zarr(tmp_path / "b.zarr")
    return [tmp_path / "a.h5ad", tmp_path / "b.zarr"]


@pytest.fixture
def on_disk(monkeypatch):
    monkeypatch.setattr(sequence, "room", lambda: 0)


def both(files, **ask):
    out = []
    for backed in (True, False):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            bags = sm.read(files, backed=backed, **(READ | ask))
        out.append((bags, [str(w.message) for w in said if w.category is UserWarning]))
    (there, told), (here, wanted) = out
    assert [t for t in told if "scattered" not in t] == wanted
    return there, here


@pytest.mark.parametrize("x", ["X", "layers/raw", "X_pca"])
def test_cells_of_several_files_are_those_of_memory(files, x):
    there, here = both(files, x=x, columns=["weight", "run", "own"])
    view = next(iter(there.x.values()))
    assert isinstance(getattr(view, "base", view), Stacked)
    np.testing.assert_array_equal(there.table(), here.table())
    assert there.features == here.features
    assert there.ids == here.ids
    # texts of a file are categories, of which none are made where they differ
    pd.testing.assert_frame_equal(there.bag.astype(object), here.bag.astype(object))
    for column in ("run", "cell_type", "weight", "own", "sample"):
        own, wanted = (b.instance[column].astype(object) for b in (there, here))
        pd.testing.assert_series_equal(own, wanted, check_index=False)


def test_fits_and_what_they_give_are_those_of_memory(files, on_disk):
    there, here = both(files)
    models = [sm.mil.ABMIL(epochs=2, widths=(8,), preprocess=STEPS, progress=False).fit(b[:6])
              for b in (there, here)]  # fmt: skip
    p = [m.predict_proba(b[6:]) for m, b in zip(models, (there, here), strict=True)]
    np.testing.assert_array_equal(*p)
    embedded = [sm.integrate.UMINT(width=3, epochs=1, progress=False,
                                   preprocess={"X": "log1p,genes=10,scale", "pca": "scale"})
                .fit_transform(sm.read(files, x={"X": "X", "pca": "obsm/X_pca"}, backed=b))
                for b in (True, False)]  # fmt: skip
    np.testing.assert_array_equal(*embedded)


def test_results_are_written_into_what_files_come_to(files, on_disk, tmp_path):
    there, here = both(files)
    model = sm.mil.ABMIL(epochs=1, widths=(8,), progress=False).fit(there)
    model.write(files, out=tmp_path / "out.h5ad")
    found = ad.read_h5ad(tmp_path / "out.h5ad").obs["abmil_attention"].to_numpy()
    np.testing.assert_array_equal(found[here.rows], model.attribute(here)["attention"])


def test_types_of_features_of_several_files(tmp_path):
    paths = []
    for seed in (0, 1):
        table = cells(seed, 100, range(20))
        table.var["feature_types"] = ["Gene Expression"] * 15 + ["Antibody Capture"] * 5
        table = table[:, ::-1].copy() if seed else table
        table.write_h5ad(tmp_path / f"{seed}.h5ad")
        paths.append(tmp_path / f"{seed}.h5ad")
    there, here = both(paths)
    assert set(there.x) == {"rna", "protein"}
    for name in here.x:
        np.testing.assert_array_equal(there.table(name), here.table(name))


def test_rows_of_several_views(files):
    views = [DiskRows(files[0], "obsm/X_pca"), DiskRows(files[1], "obsm/X_pca")]
    view, rng = Stacked(views), np.random.default_rng(0)
    table = np.concatenate([v.read(0, v.shape[0]) for v in views])
    for rows in (rng.permutation(500), rng.integers(0, 500, 50), np.arange(290, 320),
                 np.array([499]), np.array([], dtype=np.int64)):  # fmt: skip
        np.testing.assert_array_equal(pick(view, rows), table[rows])
        np.testing.assert_array_equal(dense(take(view, rows).read(0, len(rows))), table[rows])
    np.testing.assert_array_equal(view.read(250, 350), table[250:350])
    assert view.digest() != Stacked(views[::-1]).digest()


def test_large_files_are_left_on_disk_and_this_is_said(files, monkeypatch):
    monkeypatch.setattr(reading, "room", lambda: 20_000)
    with pytest.warns(UserWarning, match=r"the 2 runs \(a, b\): its cells would take"):
        bags = sm.read(files, **READ)
    assert not hasattr(bags.x["X"], "__getitem__")


def test_what_cannot_be_left_on_disk_is_told_with_a_mend(files, tmp_path):
    (tmp_path / "outs").mkdir()
    for odd, told in ((tmp_path / "outs", "write it as one first"),
                      ({"rna": files[0]}, "write it as one first")):  # fmt: skip
        with pytest.raises(InputError, match=told):
            sm.read([files[0], odd], backed=True, **READ)
    with pytest.raises(InputError, match="joined in memory"):
        sm.read({"rna": files[0], "other": files[1]}, backed=True)
    with pytest.raises(InputError, match="joined to one file"):
        sm.read(files, obs=pd.DataFrame({"a": [1]}), backed=True, **READ)
    with pytest.raises(InputError, match="several runs are called 'a.h5ad'"):
        sm.read([files[0], files[0]], backed=True, **READ)
    with pytest.raises(InputError, match="must be 2 names"):
        sm.read(files, runs=["a"], backed=True, **READ)
    with pytest.raises(InputError, match="no features are in all runs"):
        other = cells(2, 50, range(90, 99))
        other.write_h5ad(tmp_path / "c.h5ad")
        sm.read([files[0], tmp_path / "c.h5ad"], backed=True, **READ)


def test_several_files_on_disk_by_the_command_line(files, tmp_path, capsys):
    from typer.testing import CliRunner

    probabilities = []
    for name, flag in (("disk", "--backed"), ("memory", "--in-memory")):
        given = [*map(str, files), "--sample", "sample", "--donor", "donor", "--label", "state"]
        done = CliRunner().invoke(app, ["fit", "bag_mean", *given, flag, "--out",
                                        str(tmp_path / name)])  # fmt: skip
        assert done.exit_code == 0, done.output
        bags = sm.read(files, backed=False, **READ)
        probabilities.append(sm.load(tmp_path / name).predict_proba(bags))
    np.testing.assert_array_equal(*probabilities)
    tables = []
    for name, flag in (("disk.csv", "--backed"), ("memory.csv", "--in-memory")):
        given = ["umint", *files, "--x", "rna=X,other=obsm/X_pca", flag, "--epochs", "1", "--out",
                 tmp_path / name, "--preprocess",
                 '{"rna": "log1p,genes=10,scale", "other": "scale"}']  # fmt: skip
        done = CliRunner().invoke(app, ["integrate", *map(str, given)])
        assert done.exit_code == 0, done.output
        tables.append(pd.read_csv(tmp_path / name).drop(columns="cell").to_numpy())
    np.testing.assert_array_equal(*tables)
