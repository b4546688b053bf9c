"""Reading AnnData and feature folders, writing back, and every way a file can be wrong."""

import os
import shutil
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
from smalti.io.write import write

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
        ({"x": "layers/raw"}, "no features 'layers/raw'.*X_pca.*layers/norm"),
        ({"sample": "donor", "label": "sample"}, "two values of 'sample'"),
        ({"bag_columns": ["age"]}, "no column 'age'"),
        ({"x": ["obsm/norm", "layers/norm"]}, "both be the view 'norm'"),
    ],
)
def test_wrong_names(cells, change, match):
    with pytest.raises(InputError, match=match):
        sm.read(cells, **(ASK | change))


@pytest.mark.parametrize("ending", [".h5ad", ".zarr"])
def test_only_the_named_parts_of_a_file_are_read(cells, tmp_path, ending):
    path = tmp_path / f"cells{ending}"
    cells.write_h5ad(path) if ending == ".h5ad" else cells.write_zarr(path)
    whole = sm.read(path, x="X_pca", **ASK)
    if ending == ".h5ad":
        with h5py.File(path, "r+") as file:
            for other in ("X", "layers", "var", "obsm/protein"):
                del file[other]
    else:
        for other in ("X", "layers", "var", "obsm/protein"):
            shutil.rmtree(path / other)
    np.testing.assert_array_equal(sm.read(path, x="X_pca", **ASK).table(), whole.table())


def test_views_and_columns_of_choice(cells):
    cells.obs["age"] = pd.factorize(cells.obs["sample"])[0] + 20.0
    bags = sm.read(cells, x={"rna": "layers/norm", "adt": "obsm/protein"}, columns=["grade"],
                   bag_columns=["age", "donor"], **ASK)  # fmt: skip
    assert list(bags.x) == ["rna", "adt"]
    assert bags.features["adt"] == ("CD3", "CD4")
    assert list(bags.bag) == ["donor", "disease", "age"]
    assert list(bags.instance) == ["sample", "disease", "donor", "age", "grade"]
    assert bags.instance["grade"].cat.ordered
    assert bags.target == "disease"
    both = sm.read(cells, sample="sample", label=["disease", "age"])
    assert both.target == ("disease", "age")


def test_every_bag_its_own_donor(cells):
    ask = dict(sample="sample", label="disease")
    assert len(set(sm.read(cells, donor="bag", **ask).donors)) == 24
    with pytest.raises(InputError, match="no donor"):
        sm.read(cells, **ask).donors  # noqa: B018


def test_a_backed_anndata_is_read(cells, tmp_path):
    cells.write_h5ad(tmp_path / "cells.h5ad")
    backed = anndata.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    np.testing.assert_array_equal(sm.read(backed, **ASK).table(), sm.read(cells, **ASK).table())


def test_a_wild_index_of_a_sparse_matrix_is_refused(cells, tmp_path):
    """Read as it stands it would write past the end of an array."""
    cells.write_h5ad(tmp_path / "cells.h5ad")
    with h5py.File(tmp_path / "cells.h5ad", "r+") as file:
        file["X/indices"][3] = 10**6
    with pytest.raises(InputError, match=r"cells\.h5ad is damaged.*'X'"):
        sm.read(tmp_path / "cells.h5ad", **ASK)


def test_cells_without_sample_are_counted(cells):
    cells.obs.loc[["cell3", "cell5"], "sample"] = None
    with pytest.raises(InputError, match="2 cells of the AnnData have no 'sample'.*'cell3'"):
        sm.read(cells, **ASK)


def test_missing_labels_are_counted(cells):
    cells.obs["disease"] = cells.obs["disease"].astype(object)
    cells.obs.loc[cells.obs["sample"] == "bag3", "disease"] = None
    with pytest.raises(InputError, match="missing for 1 of 24 bags.*'bag3'"):
        sm.read(cells, **ASK)
    assert len(sm.read(cells, sample="sample", donor="donor")) == 24


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


def test_values_are_written_by_position_to_another_file(cells, tmp_path):
    path, out = tmp_path / "cells.h5ad", tmp_path / "out.zarr"
    cells.write_h5ad(path)
    before = path.read_bytes()
    n = cells.n_obs
    score = pd.Series(np.r_[np.nan, np.arange(1.0, n)])  # its index is not that of the cells
    write(path, obs={"score": score}, obsm={"X_new": np.eye(n, 2)}, uns={"a": {"b": 1}}, out=out)
    back = anndata.read_zarr(out)
    np.testing.assert_array_equal(back.obs["score"], score)
    assert back.obsm["X_new"].shape == (n, 2)
    assert back.uns["a"]["b"] == 1
    assert path.read_bytes() == before


def test_writing_that_cannot_be_changes_nothing(cells, tmp_path):
    path = tmp_path / "cells.h5ad"
    cells.write_h5ad(path)
    before = path.read_bytes()
    nothing = dict(obsm={}, uns={})
    with pytest.raises(InputError, match="'score' has 3 rows, the table"):
        write(path, obs={"score": np.ones(3)}, **nothing)
    with pytest.raises(InputError, match=r"out\.txt is neither"):
        write(cells, obs={"score": np.ones(cells.n_obs)}, **nothing, out=tmp_path / "out.txt")
    assert "score" not in cells.obs
    with pytest.raises(Exception, match="No method registered"):  # in the middle of writing
        write(path, obs={}, obsm={}, uns={"bad": object()})
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["cells.h5ad"]
    with pytest.raises(InputError, match="no file"):
        write(tmp_path / "none.h5ad", obs={}, **nothing)
    path.write_bytes(before[:1000])
    with pytest.raises(InputError, match=r"cells\.h5ad is damaged"):
        write(path, obs={}, **nothing)


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


def test_a_file_where_a_folder_should_be_is_named(tmp_path):
    (tmp_path / "taken").write_text("")
    for opened in (atomic_write, atomic_folder):
        with pytest.raises(InputError, match="cannot write to folder .*taken"), \
                opened(tmp_path / "taken" / "x"):  # fmt: skip
            pass
    with pytest.raises(InputError, match="is a folder"), atomic_write(tmp_path):
        pass
    with pytest.raises(InputError, match="is a file"), atomic_folder(tmp_path / "taken"):
        pass


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    for name in ("old", "new"):
        with atomic_folder(tmp_path / "run") as folder:
            (folder / name).write_text(name)
    assert [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")] == ["run", "run/new"]


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
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"bad\.parquet cannot be read"):
        read_table(tmp_path / "bad.parquet")
    (tmp_path / "ids.csv").write_text("slide,y\n007,1\n")
    assert read_table(tmp_path / "ids.csv", text=["slide", "other"])["slide"].tolist() == ["007"]


def test_parquet_without_pyarrow_says_what_to_install(tmp_path, monkeypatch):
    def absent(self, *_, **__):
        raise ImportError("pyarrow")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", absent)
    with pytest.raises(InputError, match=r"pip install .smalti\[parquet\]"):
        write_table(pd.DataFrame({"a": [1]}), tmp_path / "t.parquet")
    assert not list(tmp_path.iterdir())


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
    with pytest.raises(InputError, match=r"s3\.h5 is damaged"):
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
    with pytest.raises(InputError, match=r"s3\.h5 is damaged"):
        sm.read_features(folder, table, **ask)
    for content, match in (
        ({"embeddings": np.ones((3, 6))}, "has none of.*embeddings"),
        ({"features": np.ones((3, 5))}, "5 features, the files before 6"),
        ({"features": np.ones((0, 6))}, "expected .tiles, features"),
        ({"features/deep": np.ones((3, 6))}, "has none of.*it has .'features'"),
        ({"features": np.ones((3, 6)), "coords": np.ones((2, 2))}, "coords of shape"),
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
    with pytest.raises(InputError, match="bag 1 has two values of 'label'"):
        sm.read_features(folder, table, label="label", sample="patient")
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
