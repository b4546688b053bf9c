"""Reading AnnData and feature folders, writing back, and every way a file can be wrong."""

import os
import stat

import anndata
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import smalti as sm
from smalti import mil
from smalti.datasets import planted_bags
from smalti.errors import InputError
from smalti.io.files import atomic_folder, atomic_write
from smalti.io.table import read_table, write_table

pytestmark = pytest.mark.filterwarnings("ignore:.*embedding.*")


@pytest.fixture
def cells():
    """Cells of 24 samples of 12 donors, rows shuffled."""
    bags = planted_bags(24, bags_per_donor=2, effect=4)
    rng = np.random.default_rng(0)
    order = rng.permutation(bags.n_instances)
    x = bags.table()[order]
    obs = pd.DataFrame({
        "sample": bags.bag.index.to_numpy()[bags.index][order],
        "donor": [f"d{d}" for d in bags.donors[bags.index][order]],
        "disease": np.array(["no", "yes"])[bags.labels[bags.index]][order],
        "grade": pd.Categorical(np.array(["lo", "hi"])[bags.labels[bags.index]][order],
                                ["lo", "hi"], ordered=True),
    }, index=[f"cell{i}" for i in range(len(x))])  # fmt: skip
    adata = anndata.AnnData(sp.csr_matrix(np.abs(x)), obs=obs)
    adata.var_names = [f"g{j}" for j in range(x.shape[1])]
    adata.layers["norm"] = np.log1p(np.abs(x))
    adata.obsm["X_pca"] = x
    adata.obsm["protein"] = pd.DataFrame(x[:, :2], index=obs.index, columns=["CD3", "CD4"])
    return adata


ASK = dict(sample="sample", label="disease", donor="donor")


@pytest.mark.parametrize("ending", [None, ".h5ad", ".zarr"])
@pytest.mark.parametrize("x", ["X", "X_pca", "layers/norm", "obsm/protein", ["X", "X_pca"]])
def test_anndata_in_memory_and_on_disk(cells, tmp_path, ending, x):
    data = cells
    if ending:
        data = tmp_path / f"cells{ending}"
        cells.write_h5ad(data) if ending == ".h5ad" else cells.write_zarr(data)
    bags = sm.read(data, x=x, **ASK)
    assert len(bags) == 24
    assert len(np.unique(bags.donors)) == 12
    assert bags.task.classes == ("no", "yes")
    name = (x if isinstance(x, str) else x[0]).split("/")[-1]
    stored = {"X": cells.X, "X_pca": cells.obsm["X_pca"], "norm": cells.layers["norm"],
              "protein": cells.obsm["protein"].to_numpy()}[name]  # fmt: skip
    assert sp.issparse(bags.x[name]) == sp.issparse(stored)
    stored = stored.toarray() if sp.issparse(stored) else stored
    np.testing.assert_array_equal(bags.scatter(bags.table(name)), stored)
    np.testing.assert_array_equal(bags.instance.index, cells.obs_names[bags.rows])
    expected = {"X": tuple(cells.var_names), "norm": tuple(cells.var_names), "X_pca": None,
                "protein": ("CD3", "CD4")}[name]  # fmt: skip
    assert bags.features.get(name) == expected


def test_ordered_categories_make_an_ordinal_task(cells):
    cells.obs["grade3"] = pd.Categorical(
        np.array(["a", "b", "c"])[pd.factorize(cells.obs["donor"])[0] % 3], ["c", "b", "a"],
        ordered=True,
    )  # fmt: skip
    bags = sm.read(cells, sample="sample", label="grade3")
    assert (bags.task.kind, bags.task.classes) == ("ordinal", ("c", "b", "a"))


def test_an_embedding_of_the_whole_cohort_is_warned_of(cells):
    with pytest.warns(UserWarning, match="X_pca is an embedding"):
        bags = sm.read(cells, x="X_pca", **ASK)
    assert "test samples" in bags.notes[0]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"sample": "smaple"}, "no column 'smaple'.*Did you mean sample"),
        ({"label": "sick"}, "no column 'sick' in obs"),
        ({"donor": "patient"}, "no column 'patient' in obs"),
        ({"x": "X_umap"}, "no features 'X_umap'.*X_pca.*layers/norm"),
        ({"sample": "donor", "label": "sample"}, "two values of 'sample'"),
    ],
)
def test_wrong_names(cells, change, match):
    with pytest.raises(InputError, match=match):
        sm.read(cells, **(ASK | change))


def test_missing_labels_are_counted(cells):
    cells.obs["disease"] = cells.obs["disease"].astype(object)
    cells.obs.loc[cells.obs["sample"] == "bag3", "disease"] = None
    with pytest.raises(InputError, match="missing for 1 of 24 bags"):
        sm.read(cells, **ASK).task  # noqa: B018


@pytest.mark.parametrize("cut", [0.0, 0.3, 0.9])
def test_a_truncated_h5ad_is_named(cells, tmp_path, cut):
    path = tmp_path / "cells.h5ad"
    cells.write_h5ad(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(cut * len(whole))])
    with pytest.raises(InputError, match=r"cells\.h5ad is damaged"):
        sm.read(path, **ASK)


def test_flipped_bytes_in_an_h5ad_are_never_a_traceback(cells, tmp_path):
    """Whatever is flipped: read as it was, or one clear error; compressed parts have checksums."""
    path = tmp_path / "cells.h5ad"
    cells.write_h5ad(path, compression="gzip")
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for at in [*range(8), *rng.integers(0, len(whole), 60)]:
        broken = bytearray(whole)
        broken[at] ^= 0xFF
        path.write_bytes(bytes(broken))
        try:
            sm.read(path, **ASK).check()
        except InputError:
            refused += 1
    assert refused >= 10


def test_not_an_anndata(tmp_path):
    with pytest.raises(InputError, match="no file"):
        sm.read(tmp_path / "none.h5ad", sample="s")
    (tmp_path / "x.csv").write_text("a,b")
    with pytest.raises(InputError, match="neither .h5ad nor .zarr"):
        sm.read(tmp_path / "x.csv", sample="s")
    with pytest.raises(InputError, match="expected AnnData"):
        sm.read(42, sample="s")


# ---------------------------------------------------------------- writing back


@pytest.mark.parametrize("ending", [None, ".h5ad", ".zarr"])
def test_scores_go_back_to_their_cells(cells, tmp_path, ending):
    bags = sm.read(cells, x="X_pca", **ASK)
    model = mil.ABMIL.example().set_params(epochs=3, progress=False).fit(bags)
    expected = bags.scatter(model.attribute(bags)["attention"].to_numpy())
    if ending is None:
        model.write(cells)
        back = cells
    else:
        path = tmp_path / f"cells{ending}"
        cells.write_h5ad(path) if ending == ".h5ad" else cells.write_zarr(path)
        model.write(path)
        back = anndata.read_h5ad(path) if ending == ".h5ad" else anndata.read_zarr(path)
    np.testing.assert_allclose(back.obs["abmil_attention"], expected, rtol=1e-6)
    assert back.uns["abmil"]["training_digest"] == bags.digest
    np.testing.assert_allclose(back.obs.groupby("sample", observed=True)["abmil_attention"].sum(),
                               1, rtol=1e-5)  # fmt: skip


def test_bags_that_were_not_read_cannot_be_written():
    bags = planted_bags(12)
    with pytest.raises(InputError, match="not read by"):
        mil.BagMean().fit(bags).write(None)


def test_atomic_files_leave_nothing_half_written(tmp_path):
    (tmp_path / "out.txt").write_text("old")
    with pytest.raises(KeyError), atomic_write(tmp_path / "out.txt") as path:
        path.write_text("half")
        raise KeyError
    with pytest.raises(KeyError), atomic_folder(tmp_path / "folder") as path:
        (path / "a").write_text("half")
        raise KeyError
    assert [p.name for p in tmp_path.iterdir()] == ["out.txt"]
    assert (tmp_path / "out.txt").read_text() == "old"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_named(tmp_path):
    tmp_path.chmod(stat.S_IREAD | stat.S_IEXEC)
    with pytest.raises(InputError, match="cannot write to folder"), atomic_write(tmp_path / "x"):
        pass


def test_tables(tmp_path):
    frame = pd.DataFrame({"a": [1, 2], "b": ["x", "y"]})
    for ending in (".csv", ".tsv", ".parquet"):
        write_table(frame, tmp_path / f"t{ending}")
        pd.testing.assert_frame_equal(read_table(tmp_path / f"t{ending}"), frame)
    with pytest.raises(InputError, match=r"not \.csv"):
        write_table(frame, tmp_path / "t.xlsx")
    with pytest.raises(InputError, match="no file"):
        read_table(tmp_path / "none.csv")


# ---------------------------------------------------------------- feature folders


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
    with pytest.raises(InputError, match=r"s3\.h5 is damaged"):
        sm.read_features(folder, table, **ask)
    for content, match in (
        ({"embeddings": np.ones((3, 6))}, "has none of.*embeddings"),
        ({"features": np.ones((3, 5))}, "5 features, the files before 6"),
        ({"features": np.ones((0, 6))}, "expected .tiles, features"),
    ):
        with h5py.File(folder / "s3.h5", "w") as file:
            for key, value in content.items():
                file[key] = value
        with pytest.raises(InputError, match=match):
            sm.read_features(folder, table, **ask)
    with pytest.raises(InputError, match=r"no \.h5 files"):
        sm.read_features(folder / "empty", table, **ask)


@pytest.mark.data
def test_a_real_cohort(data):
    bags = sm.read(data / "cohorts" / "kidney_igan_glomeruli.h5ad", sample="sampleID",
                   label="status", donor="bag")  # fmt: skip
    assert (len(bags), bags.n_instances, bags.shape[1]) == (634, 24_227, 14)
    assert dict(zip(*np.unique(bags.labels.astype(str), return_counts=True), strict=True)) == {
        "30-60": 177, "<30": 57, ">60": 400,
    }  # fmt: skip
