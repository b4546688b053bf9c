"""What a fitted method says of cells and samples names the class that it speaks for."""

from types import SimpleNamespace

import anndata
import numpy as np
import pandas as pd
import pytest

import smalti as sm
from smalti.bags import Bags
from smalti.core.identity import model_digest
from smalti.datasets import planted_bags
from smalti.errors import InputError
from smalti.mil.results import cell_tables, note, row_of
from smalti.task import Task

pytestmark = pytest.mark.usefixtures("one_penalty")

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


def test_a_note_holds_all_that_a_model_hangs_on(monkeypatch):
    monkeypatch.setattr("smalti.comparison.phenotype.methods", dict)  # no baselines
    bags = read(cells("ctrl", "case"))
    given = sm.mil.BagMean(seed=3, preprocess="scale", class_weight={"case": 2.0}, covariates=())
    model = sm.make("bag_mean", **given.get_params(deep=False)).fit(bags)
    told = model.samples(bags).uns["bag_mean"]
    assert told == {
        "settings": {
            "seed": 3, "preprocess": "scale", "class_weight": "{'case': 2.0}", "covariates": [],
            "accelerator": "auto", "devices": 1, "precision": "32-true",
        },
        "training_digest": bags.digest, "model": model_digest(model), "target": "state",
        "reference": model.reference, "classes": ["ctrl", "case"], "positive": "case",
    }  # fmt: skip
    scores = sm.compare({"row": given}, bags, folds=2, n_jobs=1, progress=False)
    more = note(model, scores)
    assert more == told | {"scores": more["scores"], "scores_of": "row"}
    np.testing.assert_equal(more["scores"], scores.of("row"))


def test_a_table_of_samples_number_by_number():
    bags = planted_bags(12)
    model = sm.make("abmil", **QUICK).fit(bags)
    _, instance, bag = model.forward(bags)
    assert not model.samples(bags).obsm  # it reads no types, and none were named
    table = model.samples(bags, group="cell_type")
    np.testing.assert_array_equal(table.X, bag["embedding"])
    assert list(table.obs)[-4:] == ["prediction", "p_0", "p_1", "n_instances"]
    np.testing.assert_array_equal(table.obs["prediction"], model.predict(bags))
    np.testing.assert_array_equal(table.obs[["p_0", "p_1"]], model.predict_proba(bags))
    np.testing.assert_array_equal(table.obs["n_instances"], bags.lengths)
    assert list(table.obs)[:-4] == list(bags.bag)
    assert sorted(table.obsm) == ["attention_by_group", "contribution_1_by_group"]
    for column, name in (("attention", "attention"), ("contribution_1", "contribution")):
        sums = table.obsm[f"{column}_by_group"]
        for kind in bags.instance["cell_type"].unique():
            own = np.where(bags.instance["cell_type"] == kind, instance[name].ravel(), 0)
            wanted = np.bincount(bags.index, own)
            np.testing.assert_allclose(sums[kind], wanted, rtol=1e-4, atol=1e-6)
        assert sums.index.tolist() == table.obs_names.tolist()
    plain = sm.make("mi_net", **QUICK).fit(bags)  # which has no embedding
    np.testing.assert_array_equal(plain.samples(bags).X, plain.forward(bags)[0])


def test_several_targets_have_a_prediction_each():
    bags = planted_bags(12, kind="multilabel")
    model = sm.make("mean_pooling", **QUICK).fit(bags)
    obs = model.samples(bags).obs
    names = bags.task.classes
    np.testing.assert_array_equal(obs[[f"prediction_{c}" for c in names]], model.predict(bags))
    np.testing.assert_array_equal(obs[[f"p_{c}" for c in names]], model.predict_proba(bags))


def test_the_row_of_a_model_is_the_one_of_its_settings():
    bags = planted_bags(12)
    model = sm.mil.BagMean().fit(bags)
    rows = dict(identities={}, settings={}, task=bags.task)

    def scores(**found):
        answer = found.pop("find", [])
        return SimpleNamespace(**rows | found, find=lambda identity, seed: answer)

    assert row_of(model, scores(find=["mine"])) == "mine"
    assert row_of(model, scores(find=[]), label="mine") == "mine"
    for there, words in [
        (scores(identities={"a": "1", "b": "2"}), r"no row .* of this BagMean \(rows: a, b\)"),
        (scores(find=["a", "b"]), "^a, b all have the settings of this BagMean: name the one"),
        (scores(task=Task.infer([0, 1], column="age")),
         "comparison is of 'age', the model predicts"),
        (scores(task=Task.infer([0, 1], column=bags.task.column, positive=0)),
         "in this comparison 0 is positive, in the model 1: give"),
    ]:  # fmt: skip
        with pytest.raises(InputError, match=words):
            row_of(model, there)


def test_cells_after_the_last_sample_get_no_value():
    bags = read(cells("ctrl", "case"))
    model = sm.make("abmil", **QUICK).fit(bags)
    part = bags[:-1]
    found = model.attribute(part)["attention"].to_numpy()
    obs, obsm = cell_tables(model, part, 120, "m")
    assert list(obs) == ["m_attention", "m_contribution_case"]
    assert not obsm
    np.testing.assert_allclose(obs["m_attention"][:110], found, rtol=1e-6)
    assert np.isnan(obs["m_attention"][110:]).all()
    assert len(obs["m_attention"]) == 120
