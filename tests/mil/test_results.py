"""What a fitted method says of cells and samples names the class that it speaks for."""

import anndata
import numpy as np
import pandas as pd
import pytest

import smalti as sm
from smalti.bags import Bags

QUICK = dict(epochs=2, widths=(4,), progress=False, accelerator="cpu")


def cells(negative, positive):
    """AnnData of 12 samples in two states; the second feature goes with the positive one."""
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(12) % 2, 10)
    x = rng.normal(size=(120, 3)).astype(np.float32)
    x[:, 1] += 3 * y
    obs = pd.DataFrame({"sample": np.repeat([f"s{i}" for i in range(12)], 10),
                        "state": np.array([negative, positive])[y]},
                       index=[f"c{i}" for i in range(120)])  # fmt: skip
    return anndata.AnnData(x, obs=obs)


def read(data, **how):
    return sm.read(data, sample="sample", donor="bag", label="state", **how)


@pytest.mark.parametrize("method", ["mean_pooling", "abmil", "mi_net"])
def test_a_signed_column_names_the_class_that_it_is_for(method):
    bags = read(cells("ctrl", "case"))
    model = sm.make(method, **QUICK).fit(bags)
    columns = [c for c in model.attribute(bags) if c.startswith(("contribution", "score"))]
    assert columns == ["score_case" if method == "mi_net" else "contribution_case"]
    assert [c for c in model.attribute(bags) if c.startswith("attention")] in ([], ["attention"])


def test_the_named_class_is_the_one_that_contributions_speak_for():
    data = cells("ctrl", "case")
    for positive, sign in (("case", 1), ("ctrl", -1)):
        bags = read(data, positive=positive)
        model = sm.mil.BagMean().fit(bags)
        frame = model.attribute(bags)
        column = frame[f"contribution_{positive}"]
        assert sign * np.corrcoef(column, bags.table()[:, 1])[0, 1] > 0.5
        table = model.samples(bags).obs
        assert (table[f"p_{positive}"] > 0.5).eq(table["prediction"] == positive).all()


def test_what_is_written_says_which_class_is_positive(tmp_path):
    data = cells("ER-", "ER+/PR+")  # a slash would nest a column in the file
    model = sm.mil.BagMean().fit(read(data))
    model.write(data, key_added="mean")
    data.write_h5ad(tmp_path / "back.h5ad")
    back = anndata.read_h5ad(tmp_path / "back.h5ad")
    assert back.uns["mean"]["positive"] == "ER+/PR+"
    assert back.uns["mean"]["classes"].tolist() == ["ER-", "ER+/PR+"]
    assert "mean_contribution_ER+_PR+" in back.obs


def test_an_order_is_written_and_a_quantity_has_no_classes():
    x = [np.ones((3, 2)) * i for i in range(9)]
    bags = Bags.from_list(x, ["low", "mid", "high"] * 3, order=["low", "mid", "high"])
    model = sm.mil.BagMean().fit(bags)
    assert list(model.attribute(bags))[1:] == ["contribution"]  # towards the higher ones
    told = model.samples(bags).uns["bag_mean"]
    assert told["classes"] == ["low", "mid", "high"]
    assert "positive" not in told
    told = sm.mil.BagMean().fit(bags.with_target(np.arange(9) / 2)).samples(bags).uns["bag_mean"]
    assert not {"classes", "positive"} & set(told)
