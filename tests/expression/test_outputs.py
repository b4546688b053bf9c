"""What goes back into the user's data, and on into bags."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import smalti as sm
from smalti.datasets import planted_slides
from smalti.errors import InputError


@pytest.fixture
def fitted():
    bags = planted_slides(4, 16, n_genes=12)
    return bags, sm.make("ridge", progress=False, genes=5).fit(bags[:2])


def test_anndata_has_one_row_per_tile(fitted):
    bags, model = fitted
    table = model.to_anndata(bags)
    assert table.shape == (64, 5)
    assert list(table.var_names) == list(model.genes_)
    np.testing.assert_array_equal(table.layers["predicted"], model.predict(bags))
    np.testing.assert_array_equal(table.layers["measured"], model.measured(bags))
    np.testing.assert_array_equal(table.obsm["spatial"], bags.instance[["x_px", "y_px"]])
    assert list(table.obs["slide"].unique()) == ["S0", "S1", "S2", "S3"]
    assert set(table.obs["donor"]) == {"D0", "D1"}
    assert table.uns["ridge"]["training_digest"] == model.digest_


def test_predictions_go_on_into_bags(fitted, tmp_path):
    bags, model = fitted
    model.to_anndata(bags).write_h5ad(tmp_path / "p.h5ad")
    again = sm.read(tmp_path / "p.h5ad", sample="slide", donor="donor", x="layers/predicted")
    assert len(again) == 4
    np.testing.assert_array_equal(again.table(), model.predict(bags))
    labelled = model.embed(bags).with_target(np.array([0, 1, 0, 1]))
    phenotype = sm.mil.BagMean().fit(labelled)
    assert phenotype.predict(labelled).shape == (4,)


def test_features_and_predicted_genes_are_two_views_of_one_file(fitted, tmp_path):
    bags, model = fitted
    assert not {"X_planted", "counts"} & set(model.to_anndata(bags).obsm)
    model.to_anndata(bags, features=True).write_h5ad(tmp_path / "p.h5ad")
    views = {"seen": "obsm/X_planted", "genes": "layers/predicted"}
    labels = pd.DataFrame({"slide": ["S3", "S1", "S0", "S2"], "state": list("abab")})
    again = sm.read(tmp_path / "p.h5ad", sample="slide", donor="donor", x=views, labels=labels,
                    label="state")  # fmt: skip
    np.testing.assert_array_equal(again.table("seen"), bags.table("X_planted"))
    np.testing.assert_array_equal(again.table("genes"), model.predict(bags))
    assert again.features["genes"] == model.genes_
    assert list(again.labels) == ["a", "b", "b", "a"]


def spots(bags):
    """The user's table, in an order of its own, with rows that are no tile."""
    n = bags.n_instances
    counts = np.vstack([bags.table("counts"), np.zeros((3, 12))]).astype(np.float32)
    names = [*bags.instance.index, "x1", "x2", "x3"]
    table = ad.AnnData(counts, obs=pd.DataFrame(index=names),
                       var=pd.DataFrame(index=list(bags.features["counts"])))  # fmt: skip
    assert table.n_obs == n + 3
    return table


def test_writing_into_anndata(fitted, tmp_path):
    """The genes that are predicted, and no others: a layer would be of all genes of the table."""
    bags, model = fitted
    table = spots(bags)
    model.write(table, bags)
    assert not table.layers
    frame = table.obsm["predicted"]
    assert list(frame.columns) == list(model.genes_)
    assert frame.index.equals(table.obs_names)
    np.testing.assert_array_equal(frame[:64], model.predict(bags))
    assert frame[64:].isna().all(None)
    spots(bags).write_h5ad(tmp_path / "s.h5ad")
    model.write(tmp_path / "s.h5ad", bags, out=tmp_path / "o.h5ad")
    back = ad.read_h5ad(tmp_path / "o.h5ad")
    np.testing.assert_array_equal(back.obsm["measured"][:64], model.measured(bags))
    assert "predicted" not in ad.read_h5ad(tmp_path / "s.h5ad").obsm
    again = sm.read(tmp_path / "o.h5ad", x="obsm/predicted", cells="intersection")
    assert again.features["predicted"] == model.genes_


def test_genes_that_the_table_lacks_are_written_all_the_same(fitted):
    bags, model = fitted
    table = spots(bags)[:, :3].copy()
    model.write(table, bags)
    assert list(table.obsm["predicted"].columns) == list(model.genes_)


def test_writing_into_something_else(fitted, tmp_path):
    bags, model = fitted
    with pytest.raises(InputError, match="expected AnnData"):
        model.write(3, bags)
    with pytest.raises(InputError, match="neither"):
        model.write(tmp_path / "a.csv", bags)
    with pytest.raises(InputError, match="no file"):
        model.write(tmp_path / "a.h5ad", bags)
    with pytest.raises(InputError, match="read from"):
        model.write(spots(bags)[:10].copy(), bags)
