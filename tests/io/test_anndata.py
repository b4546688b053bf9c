"""Reading AnnData, writing back, and every way a file can be wrong."""

import shutil

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


# a zarr store is many small files: one is read and one is written below, whatever is run
SOME = [None, ".h5ad", pytest.param(".zarr", marks=pytest.mark.slow)]
ASK = dict(sample="sample", label="disease", donor="donor")


@pytest.mark.parametrize("ending", SOME)
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


def test_an_embedding_is_known_by_its_key(cells):
    bags = sm.read(cells, x={"cells": "obsm/X_pca"}, **ASK)  # whatever the view is called
    assert "fitted on the cohort" in sm.audit(bags).kinds


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"sample": "smaple"}, "no column 'smaple'.*Did you mean 'sample'"),
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
    with pytest.raises(InputError, match=r"cells\.h5ad: X: indices has 1000000 at 3.*damaged"):
        sm.read(tmp_path / "cells.h5ad", **ASK)


def test_cells_without_sample_are_counted(cells):
    cells.obs.loc[["cell3", "cell5"], "sample"] = None
    with pytest.raises(InputError, match="2 cells of the AnnData have no 'sample'.*'cell3'"):
        sm.read(cells, **ASK)


def test_missing_labels_are_counted(cells):
    cells.obs["disease"] = cells.obs["disease"].astype(object)
    cells.obs.loc[cells.obs["sample"] == "bag3", "disease"] = None
    with pytest.raises(InputError, match="missing for 1 of 24 bags.*NaN.*'bag3'"):
        sm.read(cells, **ASK)
    assert len(sm.read(cells, sample="sample", donor="donor")) == 24


@pytest.mark.parametrize("cut", [0.0, 0.3, 0.9])
def test_a_truncated_h5ad_is_named(cells, tmp_path, cut):
    path = tmp_path / "cells.h5ad"
    cells.write_h5ad(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(cut * len(whole))])
    with pytest.raises(InputError, match=r"cells\.h5ad is cut short or damaged"):
        sm.read(path, **ASK)


@pytest.mark.slow  # of all formats in tests/fuzz
def test_flipped_bytes_in_an_h5ad_are_never_a_traceback(cells, tmp_path):
    """Whatever is flipped: read as it was, or one clear error; compressed parts have checksums."""
    path = tmp_path / "cells.h5ad"
    cells.write_h5ad(path, compression="gzip")
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for at in [*range(8), *rng.integers(0, len(whole), 30)]:
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
    with pytest.raises(InputError, match="is a table of text: cells are read from .h5ad"):
        sm.read(tmp_path / "x.csv", sample="s")
    with pytest.raises(InputError, match="expected AnnData"):
        sm.read(42, sample="s")


# ---------------------------------------------------------------- writing back


@pytest.mark.parametrize("ending", SOME)
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


@pytest.mark.parametrize("ending", [None, ".h5ad"])
def test_scores_per_class_go_to_obsm(cells, tmp_path, monkeypatch, ending):
    alone = {"majority": mil.Majority}  # of the baselines
    monkeypatch.setattr("smalti.comparison.phenotype.methods", lambda: alone)
    cells.obs["stage"] = (
        cells.obs["sample"]
        .astype(str)
        .map({s: "abc"[i % 3] for i, s in enumerate(cells.obs["sample"].astype(str).unique())})
    )
    bags = sm.read(cells, x="X_pca", sample="sample", label="stage", donor="bag")
    model = mil.ABMIL.example().set_params(epochs=2, progress=False).fit(bags)
    scores = sm.compare([model], bags, folds=2, progress=False)
    back = cells
    if ending is None:
        model.write(cells, scores=scores)
    else:
        cells.write_h5ad(tmp_path / "cells.h5ad")
        model.write(tmp_path / "cells.h5ad", scores=scores)
        back = anndata.read_h5ad(tmp_path / "cells.h5ad")
    each = back.obsm["abmil_contribution"]
    assert list(each.columns) == ["a", "b", "c"]
    raw, instance, _ = model.forward(bags)
    np.testing.assert_allclose(each, bags.scatter(instance["contribution"]), rtol=1e-5)
    own = instance["contribution"][np.arange(len(bags.index)), raw.argmax(1)[bags.index]]
    np.testing.assert_allclose(back.obs["abmil_contribution"], bags.scatter(own), rtol=1e-5)
    kept = back.uns["abmil"]["scores"]["accuracy"]
    assert kept["mean"] == pytest.approx(scores.summary("accuracy").set_index("method").loc[
        "abmil", "mean"])  # fmt: skip
    assert len(kept["folds"]) == 2
    with pytest.raises(InputError, match="no method 'mifv' in this comparison"):
        scores.of("mifv")


def test_cell_types_by_another_name_and_tiny_samples(cells):
    cells.obs["leiden"] = np.where(np.arange(cells.n_obs) % 2, "0", "1")
    with pytest.warns(UserWarning, match="fewer than 10 instances: "):
        bags = sm.read(cells, x="X_pca", sample="sample", cell_type="leiden")
    assert (bags.instance["cell_type"] == bags.instance["leiden"]).all()
    assert any("fewer than 10" in n for n in bags.notes)
    with pytest.raises(InputError, match="no column 'louvain' in obs"):
        sm.read(cells, x="X_pca", sample="sample", cell_type="louvain")


@pytest.mark.slow
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
    with pytest.raises(InputError, match=r"cells\.h5ad is (cut short or )?damaged"):
        write(path, obs={}, **nothing)


def test_bags_that_were_not_read_cannot_be_written():
    bags = planted_bags(12)
    with pytest.raises(InputError, match="not read by"):
        mil.BagMean().fit(bags).write(None)


@pytest.mark.data
def test_a_real_cohort(data):
    bags = sm.read(data / "cohorts" / "kidney_igan_glomeruli.h5ad", sample="sampleID",
                   label="status", donor="bag")  # fmt: skip
    assert (len(bags), bags.n_instances, bags.shape[1]) == (634, 24_227, 14)
    assert dict(zip(*np.unique(bags.labels.astype(str), return_counts=True), strict=True)) == {
        "30-60": 177, "<30": 57, ">60": 400,
    }  # fmt: skip


@pytest.mark.parametrize("ending", SOME)
def test_labels_are_read_with_what_is_said_of_them(cells, tmp_path, ending):
    cells.obs["state"] = np.where(cells.obs["disease"].to_numpy() == cells.obs["disease"].iloc[0],
                                  "ctrl", "case")  # fmt: skip
    data = cells
    if ending is not None:
        data = tmp_path / f"cells{ending}"
        cells.write_h5ad(data) if ending == ".h5ad" else cells.write_zarr(data)
    how = dict(sample="sample", donor="donor", label="state")
    assert sm.read(data, **how).task.positive == "case"
    bags = sm.read(data, positive="ctrl", bag_columns=["donor"], **how)
    assert (bags.task.positive, bags.target) == ("ctrl", "state")
    assert bags.origin["positive"] == "ctrl"
    for wrong, match in (
        ({"positive": "cas"}, "positive='cas' is no label of target 'state'"),
        ({"kind": "ordinal"}, "has no order"),
        ({"kind": "binry"}, "not one of"),
        ({"order": ["ctrl"]}, "lacks 'case'"),
    ):
        with pytest.raises(InputError, match=match):
            sm.read(data, **how, **wrong)


@pytest.mark.parametrize("word", ["nan", "NA", "None", ""])
def test_texts_that_mean_missing_are_no_class_and_no_sample(cells, word):
    for column, match in (("disease", "missing for 1 of 24 bags"), ("sample", "have no 'sample'")):
        other = cells.copy()
        values = other.obs[column].astype(object)
        values[(cells.obs["sample"] == "bag3").to_numpy()] = word
        other.obs[column] = values
        with pytest.raises(InputError, match=f"{match}.*written '{word}'"):
            sm.read(other, **ASK)


# ---------------------------------------------------------------- features of several types


TYPES = ["Peaks"] * 3 + ["Gene Expression"] * 4 + ["Antibody Capture"] * 2


def of_types(types, names=None):
    """Counts of ten cells, as Cell Ranger puts several types of features into one matrix."""
    import anndata

    x = np.arange(10 * len(types), dtype=np.float32).reshape(10, -1)
    index = [f"f{i}" for i in range(len(types))] if names is None else names
    var = pd.DataFrame({"feature_types": types}, index=index)
    obs = pd.DataFrame({"sample": list("aabbccddee")}, index=[f"c{i}" for i in range(10)])
    return anndata.AnnData(x, obs=obs, var=var)


@pytest.mark.parametrize("ending", [None, ".h5ad"])
def test_feature_types_are_views(tmp_path, ending):
    data = of_types(TYPES)
    data.layers["raw"] = data.X * 2
    place = data
    if ending:
        place = tmp_path / "x.h5ad"
        data.write_h5ad(place)
    bags = sm.read(place)
    assert {k: v.shape[1] for k, v in bags.x.items()} == {"rna": 4, "protein": 2, "atac": 3}
    np.testing.assert_array_equal(bags.x["rna"], data.X[:, 3:7])
    assert bags.features["protein"] == ("f7", "f8")
    named = sm.read(place, x={"p": "layers/raw/Peaks", "g": "X/Gene Expression"})
    np.testing.assert_array_equal(named.x["p"], data.X[:, :3] * 2)
    np.testing.assert_array_equal(named.x["g"], bags.x["rna"])
    with pytest.raises(InputError, match="no feature is of the type 'Guides' .in var: Gene Expr"):
        sm.read(place, x="X/Guides")


def test_a_table_of_several_types_that_is_read_whole_is_said():
    with pytest.warns(UserWarning, match=r"'X' holds .* types .*Peaks \(3\).*'X/Gene Expression'"):
        assert sm.read(of_types(TYPES), x="X").x["X"].shape == (10, 9)
    assert list(sm.read(of_types(TYPES), sample="sample").x) == ["rna", "protein", "atac"]


def test_tags_are_set_apart_with_a_note():
    types = ["Gene Expression"] * 4 + ["Multiplexing Capture"] * 2
    with pytest.warns(UserWarning, match=r"Multiplexing Capture \(2 features\) .* are left out"):
        bags = sm.read(of_types(types))
    assert {k: v.shape[1] for k, v in bags.x.items()} == {"rna": 4}
    data = of_types(types)
    data.obsm["surface"] = np.ones((10, 3))
    with pytest.warns(UserWarning, match="left out"):
        assert list(sm.read(data).x) == ["rna", "surface"]
    assert sm.read(data, x="X/Multiplexing Capture").shape == (10, 2)


def test_reconstructions_of_types_go_to_their_own_columns():
    """A gene and a protein bear one name; both are in one layer."""
    data = of_types(TYPES, ["p0", "p1", "p2", "CD3", "CD4", "CD8", "CD19", "CD4", "CD8"])
    bags = sm.read(data)
    model = sm.integrate.BlockPCA(width=3, preprocess=None, progress=False).fit(bags)
    model.write(data, layers=True)
    found = model.reconstruct(bags)
    parts = [found["atac"], found["rna"], found["protein"]]
    np.testing.assert_array_equal(data.layers["block_pca"], np.concatenate(parts, axis=1))


def test_kinds_of_views_are_checked_and_kept():
    bags = sm.read(of_types(TYPES), kinds={"rna": "other"})
    assert bags.kinds == {"rna": "other"}
    assert bags[[0, 1]].kinds == {"rna": "other"}
    with pytest.raises(InputError, match="kinds= names 'RNA', which is no view; there are 'rna'"):
        sm.read(of_types(TYPES), kinds={"RNA": "rna"})
