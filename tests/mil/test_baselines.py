import dataclasses

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression

import smalti as sm
from smalti.comparison.lineup import line_up
from smalti.comparison.phenotype import _add_baselines
from smalti.datasets import planted_bags
from smalti.errors import InputError
from smalti.mil import BagMean, Pseudobulk, TypeComposition, TypePseudobulk
from smalti.mil.base import Method


def counts(n=24, seed=0):
    bags = planted_bags(n, seed=seed)
    rng = np.random.default_rng(seed)
    rate = np.exp(0.5 * bags.table())
    return dataclasses.replace(bags, x={"x": rng.poisson(rate).astype(np.float32)})


def by_type(bags, kinds):
    for one in bags:
        types = one.instance["cell_type"].to_numpy()
        yield [one.table()[types == k] for k in kinds]


def test_composition_is_the_centred_log_ratio():
    bags = planted_bags(20)
    z = TypeComposition().fit(bags).transform(bags)
    plain = TypeComposition(log_ratio=False).fit(bags).transform(bags)
    for i, groups in enumerate(by_type(bags, "abc")):
        n = np.array([len(g) for g in groups])
        logs = np.log(n + 0.5)
        np.testing.assert_allclose(z[i], logs - logs.mean(), atol=1e-5)
        np.testing.assert_allclose(plain[i], n / n.sum(), atol=1e-6)


def test_type_means_and_what_stands_in_for_an_absent_type():
    bags = planted_bags(20, mean_length=5)
    z = TypePseudobulk().fit(bags).transform(bags).reshape(20, 3, -1)
    means = [[g.mean(0) if len(g) else None for g in groups] for groups in by_type(bags, "abc")]
    absent = 0
    for t in range(3):
        typical = np.mean([m[t] for m in means if m[t] is not None], axis=0)
        for i in range(20):
            absent += means[i][t] is None
            want = typical if means[i][t] is None else means[i][t]
            np.testing.assert_allclose(z[i, t], want, atol=1e-5)
    assert absent


def test_pseudobulk_sums_normalises_and_logs():
    bags = counts()
    z = Pseudobulk().fit(bags).transform(bags)
    for i, one in enumerate(bags):
        whole = one.table().sum(0)
        np.testing.assert_allclose(z[i], np.log1p(1e4 * whole / whole.sum()), rtol=1e-5)


def test_pseudobulk_refuses_what_are_no_counts():
    bags = counts()
    for table, match in (
        (bags.table() - 1, "negative"), (np.log1p(bags.table()), "whole numbers"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=f"pseudobulk needs raw counts: .*{match}"):
            Pseudobulk().fit(dataclasses.replace(bags, x={"x": table}))


def test_a_linear_baseline_says_which_cells():
    bags = planted_bags(60, effect=4)
    model = BagMean().fit(bags)
    frame = model.attribute(bags)
    positive = bags.labels[bags.index] == 1
    key = bags.instance["key"].to_numpy()
    from sklearn.metrics import roc_auc_score

    assert roc_auc_score(key[positive], frame["contribution_1"][positive]) > 0.9


def test_baselines_join_where_the_data_allow(one_penalty):
    def names(bags):
        lineup = line_up(["bag_mean"], Method)
        _add_baselines(lineup, bags)
        return set(lineup.methods)

    bags = counts()
    assert {"pseudobulk", "type_composition", "type_pseudobulk"} <= names(bags)
    bare = dataclasses.replace(bags, instance=bags.instance.rename(columns={"cell_type": "type"}))
    told = sm.compare(["bag_mean"], bare, folds=2)
    assert "type_composition" not in set(told.folds["method"])
    assert any("no instance column 'cell_type'" in note for note in told.notes)
    assert "pseudobulk" not in names(planted_bags(24))  # not counts


def test_a_binomial_target_is_a_weighted_logistic_regression():
    bags = planted_bags(60, kind="binomial", effect=4)
    model = BagMean().fit(bags)
    assert model.task_.trials == 2
    z = model.transform(bags)
    net = model.network_
    z = (z - net.center.numpy()) / net.scale.numpy()
    y = bags.labels
    rows, labels = np.concatenate([z, z]), np.repeat([1, 0], 60)
    weight = np.concatenate([y, 2 - y]) / 60
    penalties = [1e-3, 1e-2, 1e-1, 1.0, 10.0]
    fits = [LogisticRegression(C=1 / p, max_iter=1000, tol=1e-8).fit(rows, labels, weight)
            for p in penalties]  # fmt: skip
    nearest = min(np.abs(f.coef_[0] - net.head.weight.detach().numpy()[0]).max() for f in fits)
    assert nearest < 1e-3
    guess = model.predict(bags)
    assert ((guess >= 0) & (guess <= 2)).all()
    assert np.corrcoef(guess, y)[0, 1] > 0.6
    assert not hasattr(model, "predict_proba")


@pytest.mark.parametrize("y", [np.arange(8) % 2, np.arange(8) / 2], ids=["classes", "numbers"])
def test_sums_that_overflow_are_an_error_and_no_model(y):
    x = [np.full((4, 2), 1e38 * (1 + i / 8)) for i in range(8)]
    with pytest.raises(InputError, match="values of instances are too large"):
        BagMean().fit(sm.Bags.from_list(x, y, donor=range(8)))


def test_binomial_in_several_columns_is_compared(majority_alone, one_penalty):
    rng = np.random.default_rng(0)
    bags = planted_bags(30, kind="binomial")
    y = np.column_stack([bags.labels, rng.integers(3, size=30)])
    told = sm.compare(["bag_mean"], bags.with_target(y, "binomial"), folds=2)
    assert {"predicted_target_0", "true_target_1"} <= set(told.predictions.columns)
    assert np.isfinite(told.summary("spearman")["mean"]).any()


@pytest.mark.parametrize(("y", "match"), [
    ([-1, 0, 1], "whole numbers from 0"), ([0, 0.5, 1], "whole numbers"),
    ([1, 1, 1], "constant"), ([0, np.nan, 2], "missing"), (["a", "b", "c"], "not numeric"),
])  # fmt: skip
def test_bad_binomial_targets(y, match):
    with pytest.raises(InputError, match=match):
        sm.Task.infer(y, kind="binomial")


def test_types_reach_the_samples_table():
    bags = planted_bags(20)
    model = sm.mil.HierMIL.example().set_params(epochs=2).fit(bags)
    table = model.samples(bags)
    assert table.shape == (20, 16)
    assert {"donor", "prediction", "p_0", "p_1", "n_instances"} <= set(table.obs)
    parts = table.obsm["attention_by_group"]
    assert list(parts.columns) == ["a", "b", "c"]
    np.testing.assert_allclose(parts.sum(axis=1), 1, atol=1e-5)
    assert isinstance(parts, pd.DataFrame)
    raw = torch.as_tensor(model.forward(bags)[0])
    constant = raw[:, 0] - table.obsm["contribution_1_by_group"].to_numpy().sum(1)
    np.testing.assert_allclose(constant, constant[0], atol=1e-4)


def test_means_and_covariates_side_by_side():
    bags = planted_bags(40)
    model = BagMean(covariates=("trait",)).fit(bags)
    z = model.transform(bags)
    assert z.shape == (40, 9)
    trait = bags.bag["trait"]
    np.testing.assert_allclose(z[:, 8], (trait - trait.mean()) / trait.std(ddof=0), atol=1e-5)
    both = model.attribute(bags).groupby("bag", sort=False)["contribution_1"].sum()
    side = z[:, 8] * model.network_.slopes()[8].item()
    constant = model.forward(bags)[0][:, 0] - both.to_numpy() - side
    np.testing.assert_allclose(constant, constant[0], atol=1e-4)


def test_who_reads_covariates_meets_a_baseline_that_does(one_penalty, monkeypatch):
    monkeypatch.setattr("smalti.comparison.phenotype.methods", lambda: {"bag_mean": BagMean})
    bags = planted_bags(24)
    model = sm.mil.HierMIL.example().set_params(covariates=("trait",), epochs=2)
    table = sm.compare([model], bags, folds=2, progress=False)
    assert "bag_mean + covariates" in table.baselines
    assert table.settings["bag_mean + covariates"]["covariates"] == ("trait",)
    assert table.settings["bag_mean"]["covariates"] == ()
