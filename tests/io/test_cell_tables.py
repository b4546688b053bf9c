"""A table of cells by barcode, as demultiplexing leaves it."""

import anndata
import numpy as np
import pandas as pd
import pytest
import ten_x as x10

import smalti as sm
from smalti.errors import InputError

N = x10.N


def rna(d, name="s1", **how):
    return x10.h5(d / name / "filtered_feature_bc_matrix.h5", x10.features("rna"), **how)


def table(end="-1", n=N, **more):
    return pd.DataFrame({"barcode": x10.barcodes(end=end)[:n], "donor": list("ppqqrrsst")[:n],
                         **more})  # fmt: skip


@pytest.mark.parametrize("how", ["csv", "tsv", "frame", "index", "other name", "first"])
def test_columns_by_barcode(how, tmp_path):
    given = table()[::-1]  # in another order
    if how == "other name":
        given = given[["donor", "barcode"]].rename(columns={"barcode": "Cell"})
    if how == "first":
        given = given.rename(columns={"barcode": "whose"})
    if how == "index":
        given = given.set_index("barcode")
    if how in ("csv", "tsv"):
        path = tmp_path / f"t.{how}"
        given.to_csv(path, sep="," if how == "csv" else "\t", index=False)
        given = path
    bags = sm.read(rna(tmp_path), obs=given, sample="donor", donor="bag")
    assert bags.lengths.tolist() == [2, 2, 2, 2, 1]
    assert bags.instance.loc[x10.barcodes()[8], "donor"] == "t"


@pytest.mark.parametrize("memory", [True, False])
def test_cells_that_it_does_not_name_are_left_out(memory, tmp_path):
    whole = sm.gather(rna(tmp_path))
    whole.write_h5ad(tmp_path / "x.h5ad")
    place = whole if memory else tmp_path / "x.h5ad"
    with pytest.warns(UserWarning, match="2 of 9 cells of .* are not in the table of cells"):
        bags = sm.read(place, obs=table(n=7))
    assert bags.n_instances == 7
    assert [(note.instances, note.bags) for note in bags.left] == [(2, 2)]
    assert bags.rows.tolist() == list(range(7))  # places in the data as they are
    assert "donor" not in whole.obs


def test_strange_and_shorter_barcodes_are_said(tmp_path):
    given = pd.concat([table(end=""), pd.DataFrame({"barcode": ["ZZZ"], "donor": ["z"]})])
    with pytest.warns(UserWarning, match="with '-1' at their end.*|1 of 10 barcodes") as said:
        bags = sm.read(rna(tmp_path), obs=given)
    text = " ".join(str(w.message) for w in said)
    assert "1 of 10 barcodes of the table of cells are not in" in text
    assert bags.instance["donor"].tolist() == list("ppqqrrsst")


def test_of_several_runs_beside_their_names(tmp_path):
    data = [rna(tmp_path), rna(tmp_path, "s2", seed=1)]
    given = pd.concat([table(run="s1"), table(run="s2").assign(donor="other")])
    bags = sm.read(data, obs=given)
    assert bags.instance["donor"].tolist() == [*"ppqqrrsst", *["other"] * N]
    with pytest.raises(InputError, match="names 9 cells twice .*add a column 'run'"):
        sm.read(data, obs=given.drop(columns="run"))


def test_it_tells_the_cells_among_all_droplets(tmp_path):
    x = x10.counts(N, len(x10.GENES))
    x[4:] = 0
    path = x10.h5(tmp_path / "raw_feature_bc_matrix.h5", x10.features("rna"), x=x)
    with pytest.raises(InputError, match="say which are cells, obs=TABLE"):
        sm.read(path)
    with pytest.warns(UserWarning, match="5 of 9 cells of .* are not in the table"):
        bags = sm.read(path, obs=table(n=4))
    np.testing.assert_array_equal(bags.x["X"].toarray(), x[:4])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (table().assign(barcode=[f"x{i}" for i in range(N)]), "none of the 9 barcodes .* 'x0', "),
        (pd.concat([table(), table()[:1]]), "names 1 cells twice"),
        (table().assign(barcode=[None, *x10.barcodes()[1:]]), "have no 'barcode': drop them"),
        (table()[:0], "the table of cells is empty"),
        (table().rename(columns={"donor": "kind"}), "'kind' of cell .* is 'old' in .* and 'p'"),
    ],
)
def test_tables_that_do_not_fit(given, said):
    obs = pd.DataFrame({"kind": "old"}, index=x10.barcodes())
    data = anndata.AnnData(np.ones((N, 2), dtype="float32"), obs=obs)
    with pytest.raises(InputError, match=said):
        sm.read(data, obs=given)
