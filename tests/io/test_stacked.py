"""Several files as one data set: runs, modalities, and both; and what is written of them."""

import anndata
import h5py
import mudata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import ten_x as x10

import smalti as sm
from smalti.errors import InputError
from smalti.io.cell_files import run_names

G, P, A, N = len(x10.GENES), len(x10.PROTEINS), len(x10.PEAKS), x10.N

pytestmark = [pytest.mark.filterwarnings("ignore::FutureWarning"),
              pytest.mark.filterwarnings("ignore:.*not unique")]  # fmt: skip


def run(d, name, *kinds, **how):
    return x10.h5(d / name / "outs" / "filtered_feature_bc_matrix.h5", x10.features(*kinds), **how)


def rows(bags, view):
    return pd.DataFrame(sp.csr_matrix(bags.x[view]).toarray(), index=bags.instance.index)


# ---------------------------------------------------------------- runs


def test_runs_of_equal_barcodes_are_told_apart(tmp_path):
    one, two = run(tmp_path, "s1", "rna", "protein"), run(tmp_path, "s2", "rna", "protein", seed=1)
    bags = sm.read([one, two])
    assert bags.instance["run"].value_counts().to_dict() == {"s1": N, "s2": N}
    assert bags.instance.index[0] == f"s1_{x10.barcodes()[0]}"
    np.testing.assert_array_equal(rows(bags, "rna")[:N], x10.counts(N, G + P)[:, :G])
    np.testing.assert_array_equal(rows(bags, "protein")[N:], x10.counts(N, G + P, 1)[:, G:])
    again = sm.read([tmp_path / "s1", tmp_path / "s2"], runs=["a", "b"], sample="run", donor="bag")
    assert again.bag.index.tolist() == ["a", "b"]
    assert list(again.x) == ["rna", "protein"]
    assert sm.read(tmp_path).notes == (f"{tmp_path} holds 2 runs: s1, s2.",)


@pytest.mark.parametrize(
    ("paths", "own", "names"),
    [
        (["d/s1/outs/x.h5", "d/s2/outs/x.h5"], ["x", "x"], ["s1", "s2"]),
        (["a/r/s1/x.h5", "b/r/s1/x.h5"], ["x", "x"], ["a", "b"]),
        (["d/s1_rna.h5", "d/s2_rna.h5"], ["s1_rna", "s2_rna"], ["s1", "s2"]),
        (["d/s1.h5", "d/s2.h5"], ["s1", "s2"], ["s1", "s2"]),
        ([None, None], ["data", "data"], ["data", "data"]),
    ],
)
def test_runs_are_named_by_what_tells_them_apart(paths, own, names):
    from pathlib import Path

    assert run_names([p and Path(p) for p in paths], own) == names


def test_features_that_not_all_runs_have_are_counted(tmp_path):
    """They are known by their ids: a symbol that another version writes otherwise is the same."""
    table = x10.features("rna")
    one = x10.h5(tmp_path / "a.h5", table)
    other = table.assign(name=["A1new", *x10.GENES[1:]])[::-1].iloc[1:]
    two = x10.h5(tmp_path / "b.h5", other, seed=1)
    with pytest.warns(UserWarning, match=r"4 features .* are in all runs, 5 in any: 1 are left"):
        bags = sm.read([one, two], x={"rna": "X"})
    assert bags.features["rna"] == ("A1", "B2", "C3", "D4")
    np.testing.assert_array_equal(rows(bags, "rna")[N:], x10.counts(N, G - 1, 1)[:, ::-1])
    assert bags.ids["rna"]["ENSG00000000000"] == "A1"


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ({"table": x10.features("protein")}, "no features of the type .* are in all runs .a, b;"),
        ({"table": x10.features("rna").assign(id=list("vwxyz"))}, "of one genome and one panel"),
        ({"table": x10.features("atac").assign(type="Gene Expression")}, "in all runs"),
    ],
)
def test_runs_that_do_not_fit_together(others, said, tmp_path):
    one = x10.h5(tmp_path / "a.h5", x10.features("rna"))
    with pytest.raises(InputError, match=said):
        sm.read([one, x10.h5(tmp_path / "b.h5", others["table"])])


def test_peaks_of_two_callings_have_their_own_mend(tmp_path):
    table = x10.features("rna", "atac")
    one = x10.h5(tmp_path / "a.h5", table)
    moved = table.assign(id=[*table["id"][:G], "p", "q", "r"])
    with pytest.raises(InputError, match=r"type Peaks .*one list of peaks .*cellranger-arc aggr"):
        sm.read([one, x10.h5(tmp_path / "b.h5", moved)])


def test_words_for_runs_that_are_wrong(tmp_path):
    one = run(tmp_path, "s1", "rna")
    with pytest.raises(InputError, match="must be 2 names, one for each run"):
        sm.read([one, one], runs=["a"])
    with pytest.raises(InputError, match="several runs are called"):
        sm.read([one, one])
    with pytest.raises(InputError, match="runs= names several runs, and the data are one"):
        sm.read(anndata.AnnData(np.ones((2, 2))), runs=["a"])
    with pytest.raises(InputError, match="no data: name a file"):
        sm.read([])


def test_anndata_in_memory_stay_as_they_are():
    x = x10.counts(4, 3).astype("float32")
    one = anndata.AnnData(x, obs=pd.DataFrame({"a": list("xyxy")}, index=list("1234")))
    two = anndata.AnnData(sp.csr_matrix(x + 1), obs=pd.DataFrame(index=list("1234")))
    one.layers["half"] = x / 2
    with pytest.warns(UserWarning, match=r"layers\['half'\] are not in all runs"):
        bags = sm.read([one, two], runs=["p", "q"])
    assert bags.instance["a"].tolist()[:4] == list("xyxy")
    assert bags.instance["a"].isna().tolist() == [False] * 4 + [True] * 4
    assert one.obs_names.tolist() == list("1234")
    assert list(one.obs) == ["a"]


# ---------------------------------------------------------------- modalities


def test_modalities_are_joined_by_barcode(tmp_path):
    """In another order of cells, and with barcodes that lack their end; both are said."""
    table = x10.features("protein")
    order = np.random.default_rng(0).permutation(N)
    x = x10.counts(N, P)
    rna = run(tmp_path, "s1", "rna")
    cells = [x10.barcodes(end="")[i] for i in order]
    prot = x10.folder(tmp_path / "umi", table[["name"]], cells, columns=1, x=x[order])
    with pytest.warns(UserWarning, match="barcodes of 'protein' are read with '-1' at their end"):
        bags = sm.read({"rna": rna, "protein": prot})
    assert bags.instance.index.tolist() == x10.barcodes()
    np.testing.assert_array_equal(rows(bags, "protein"), x)
    assert [m.kind for m in sm.preprocess.modalities(bags)] == ["rna", "protein"]


@pytest.mark.parametrize(("cells", "n"), [("intersection", N - 4), ("union", N)])
def test_cells_that_a_modality_lacks(cells, n, tmp_path):
    rna = run(tmp_path, "a", "rna", cells=x10.barcodes()[:-2])
    atac = run(tmp_path, "b", "atac", cells=x10.barcodes()[2:])
    with pytest.raises(InputError, match="4 of 9 cells are not in every modality"):
        sm.read({"rna": rna, "atac": atac})
    with pytest.warns(UserWarning, match="has 7 cells and 'atac' 7: 5 barcodes are in both"):
        bags = sm.read({"rna": rna, "atac": atac}, cells=cells)
    assert bags.n_instances == n


def test_one_file_gives_a_modality_its_type(tmp_path):
    both = run(tmp_path, "s1", "rna", "atac")
    with pytest.warns(UserWarning, match=r"of the file of 'atac' only Peaks is read, not Gene"):
        bags = sm.read({"rna": both, "atac": both})
    assert {k: v.shape[1] for k, v in bags.x.items()} == {"rna": G, "atac": A}
    with pytest.raises(InputError, match="the name 'blob' tells none of them"):
        sm.read({"blob": both, "rna": both})


def test_modalities_that_are_no_such(tmp_path):
    rna = run(tmp_path, "a", "rna")
    others = run(tmp_path, "b", "atac", cells=[f"T{i}-1" for i in range(N)])
    with pytest.raises(InputError, match="have no barcode in common: there are 'AAATTGC-1' and"):
        sm.read({"rna": rna, "atac": others})
    with pytest.raises(InputError, match="holds 2 runs .*: name one"):
        sm.read({"rna": tmp_path, "atac": others})
    with pytest.raises(InputError, match="'s2' has none|has none: name those of each run"):
        sm.read([{"rna": rna}, rna], runs=["s1", "s2"])


def test_both_at_once(tmp_path):
    """Two runs of two files each; the second has no protein, and its cells lack it."""
    a, b = run(tmp_path, "a", "rna"), run(tmp_path, "b", "rna", seed=1)
    p = run(tmp_path, "ap", "protein")
    with pytest.warns(UserWarning, match="'protein' is not in b: their cells lack it"):
        bags = sm.read([{"rna": a, "protein": p}, {"rna": b}], cells="union", runs=["a", "b"])
    assert bags.present["protein"].tolist() == [True] * N + [False] * N
    assert bags.instance["run"].tolist() == ["a"] * N + ["b"] * N


# ---------------------------------------------------------------- writing back


@pytest.mark.parametrize("ending", [".h5ad", ".h5mu", ".zarr"])
def test_files_of_cell_ranger_get_their_embedding(ending, tmp_path):
    data = [run(tmp_path, "s1", "rna", "protein"), run(tmp_path, "s2", "rna", "protein", seed=1)]
    model = sm.make("block_pca", width=2, progress=False).fit(data)
    out = tmp_path / f"out{ending}"
    with pytest.raises(InputError, match="name one to write, out=FILE"):
        model.write(data)
    model.write(data, out=out, key_added="mine", layers=True)
    names = {".h5ad": anndata.read_h5ad, ".zarr": anndata.read_zarr, ".h5mu": mudata.read_h5mu}
    back = names[ending](out)
    np.testing.assert_array_equal(back.obsm["X_mine"], model.transform(data))
    assert back.obs["run"].tolist() == ["s1"] * N + ["s2"] * N
    assert "mine" in back.uns
    whole = back.layers["mine"] if ending != ".h5mu" else back.mod["protein"].layers["mine"]
    assert np.isfinite(whole).all()
    assert sm.read(out).x["protein"].shape == (2 * N, P)  # and is read again


def of_cells(tmp_path, names=("a", "b")):
    """A table of the cells of two runs but one, with their donors."""
    table = pd.DataFrame({"barcode": x10.barcodes() * 2, "donor": list("ppppqqqqq") * 2,
                          "run": np.repeat(names, N)})[1:]  # fmt: skip
    table.to_csv(tmp_path / "cells.csv", index=False)
    return {"obs": tmp_path / "cells.csv", "runs": list(names)}


@pytest.mark.parametrize("kind", ["embedding", "labels", "attributions"])
def test_what_was_read_with_a_table_of_cells_is_written_with_it(kind, tmp_path):
    files = [run(tmp_path, "s1", "rna", "protein"), run(tmp_path, "s2", "rna", "protein", seed=1)]
    how, out = of_cells(tmp_path), tmp_path / "out.h5ad"
    if kind == "attributions":
        bags = sm.read(files, **how, x="X/Gene Expression", sample="donor", label="donor",
                       donor="bag")  # fmt: skip
        model = sm.make("bag_mean").fit(bags)
    else:
        bags = sm.read(files, **how)
        model = sm.make("block_pca", width=2, progress=False).fit(bags)
    if kind == "labels":
        model = sm.Annotator(sm.make("block_pca", width=2, progress=False), label="donor",
                             batch="run").fit(bags)  # fmt: skip
    model.write(files, **how, out=out, key_added="mine")
    back = anndata.read_h5ad(out)
    assert back.obs["donor"].tolist() == list("pppqqqqqppppqqqqq")
    assert back.obs_names[0].startswith("a_")
    found = {"embedding": "obsm", "labels": "obs", "attributions": "obs"}[kind]
    assert any("mine" in name for name in getattr(back, found))
    with pytest.raises(InputError, match=r"are read and never changed: name one to write, out="):
        model.write(files, **how)
    with pytest.raises(InputError, match="runs= names several runs, and the data are one"):
        model.write(out, runs=["a", "b"])


def test_columns_of_a_table_of_cells_are_asked_for_again(tmp_path):
    """The data themselves have no donors: those were given when they were read."""
    file, how = run(tmp_path, "s1", "rna"), of_cells(tmp_path, ("s1", "s2"))
    sm.gather(file).write_h5ad(tmp_path / "s1.h5ad")
    read = {"x": "X", "sample": "donor", "label": "donor", "donor": "bag"}
    table = pd.read_csv(how["obs"]).iloc[:8].drop(columns="run")
    bags = sm.read(tmp_path / "s1.h5ad", obs=table, **read)
    model = sm.make("bag_mean").fit(bags)
    with pytest.raises(InputError, match=r"no column 'donor', which came from a .* obs=TABLE"):
        model.write(tmp_path / "s1.h5ad")
    with pytest.raises(InputError, match="a table of cells is not written into its data: name one"):
        model.write(tmp_path / "s1.h5ad", obs=table)
    model.write(tmp_path / "s1.h5ad", obs=table, out=tmp_path / "out.h5ad")
    assert anndata.read_h5ad(tmp_path / "out.h5ad").obs["donor"].tolist() == list("pppqqqqq")


def test_reconstructions_take_no_more_room_than_their_numbers(tmp_path):
    """A few genes that were used are no layer of NaN in all genes."""
    table = pd.DataFrame({"id": (g := [f"g{i}" for i in range(800)]), "name": g,
                          "type": "Gene Expression"})  # fmt: skip
    path = x10.h5(tmp_path / "a.h5", pd.concat([table, x10.features("protein")]))
    steps = {"rna": "normalize,log1p,genes=10", "protein": "clr"}
    model = sm.make("block_pca", width=2, progress=False, preprocess=steps).fit(path)
    model.write(path, out=tmp_path / "o.h5ad", layers=True)
    back = anndata.read_h5ad(tmp_path / "o.h5ad")
    assert not back.layers
    assert back.obsm["block_pca_rna"].shape == (N, 10)
    assert np.isfinite(back.obsm["block_pca_rna"].to_numpy()).all()
    with h5py.File(tmp_path / "o.h5ad") as file:
        sizes = []
        file.visititems(lambda _, v: sizes.append(v.size) if isinstance(v, h5py.Dataset) else None)
    assert max(sizes) <= N * 803


def test_a_model_of_two_modalities_writes_into_one(tmp_path):
    """Of keys that were named, those that the data have are read; the other counts as a gap."""
    path = run(tmp_path, "s1", "rna", "protein")
    x = {"rna": "X/Gene Expression", "protein": "X/Antibody Capture"}
    model = sm.make("umint", width=2, epochs=1, progress=False).fit(sm.read(path, x=x))
    alone = sm.gather(run(tmp_path, "s2", "rna", seed=1))
    model.write(alone, key_added="mine")
    assert alone.obsm["X_mine"].shape == (N, 2)
    assert np.isfinite(alone.obsm["X_mine"]).all()
