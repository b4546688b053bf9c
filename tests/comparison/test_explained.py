"""Explanations in a comparison: methods that find planted cells, and some that attend at random."""

import numpy as np
import pytest
import torch

import smalti as sm
from smalti import segment
from smalti.errors import InputError
from smalti.explain.explanations import CHANCE, FINDS, POINTS
from smalti.mil import BagMean, Majority
from smalti.mil.base import Method
from smalti.nn.linear import BagLinear, linear_sweep

COHORT = dict(cells=(30, 50), driver_rate=0.12, effect=4.0, n_features=8, n_types=3)


class Attending(Method):
    """A linear model of an attended mean, whose attention is what a test says."""

    name = "attending"
    reference = "a test"

    how: str = "finds"
    by_seed: bool = False  # what is random is so anew with each seed

    def network(self, shape):
        return _Net(self, shape)

    def plan(self, shape):
        yield linear_sweep(penalties=(0.1,))


class _Net(BagLinear):
    def __init__(self, method, shape):
        super().__init__(shape.x[0], shape)
        self.how = method.how
        stream = None if method.by_seed else torch.Generator().manual_seed(0)
        self.register_buffer("axis", torch.randn(shape.x[0], generator=stream))

    def attention(self, batch):
        noise = torch.sin(1000 * batch.x @ self.axis)  # as good as drawn for each cell
        marked = batch.x @ torch.as_tensor(DRIVERS, dtype=batch.x.dtype)
        score = {"finds": 2 * marked, "random": 2 * noise, "even": 0 * noise, "one": 1e5 * noise}
        return segment.softmax(score[self.how][:, None], batch.segments)[:, 0]

    def features(self, batch):
        return segment.total(batch.x, batch.segments, self.attention(batch))

    def forward(self, batch):
        out = super().forward(batch)
        out.instance = {"attention": self.attention(batch)}
        return out


def law_of_drivers():
    """(n_features,) the direction in which planted cells differ."""
    bags = sm.datasets.driver_cohort(40, seed=9, **COHORT)
    x, key = bags.table(), bags.instance["key"].to_numpy()
    axis = x[key].mean(0) - x[~key].mean(0)
    return axis / np.linalg.norm(axis)


DRIVERS = law_of_drivers()


@pytest.fixture(scope="module")
def table():
    methods = {
        "finds": Attending(), "random": Attending(how="random"), "even": Attending(how="even"),
        "one": Attending(how="one"), "by seed": Attending(how="random", by_seed=True),
    }  # fmt: skip
    bags = sm.datasets.driver_cohort(28, seed=0, **COHORT)
    return sm.compare(methods, bags, folds=3, repeats=2, n_jobs=1, progress=False, explain=True)


@pytest.fixture(scope="module")
def rows(table):
    found = table.explanations.table()
    return found.set_index(["method", "scores"])


def test_curves_of_one_model_part_from_random_order_where_it_finds_planted_cells_alone():
    train, test = (sm.datasets.driver_cohort(30, seed=s, **COHORT) for s in (0, 1))

    def gain(how):
        model = Attending(how=how, progress=False).fit(train)
        return sm.explain.faithfulness(model, test).table().iloc[0]

    assert gain("finds")["verdict"] == FINDS
    random = gain("random")
    assert random["gain_low"] < 0 < random["gain_high"]
    assert random["verdict"] != FINDS


@pytest.mark.slow  # a comparison with refits
def test_curves_part_from_random_order_for_what_finds_planted_cells_and_for_nothing_else(rows):
    finds = rows.loc[("finds", "attention")]
    assert finds["verdict"] == FINDS
    assert finds["gain_low"] > 0.05
    assert rows.loc[("bag_mean", "contribution"), "verdict"] == POINTS
    for name in ("random", "even", "one", "by seed"):
        row = rows.loc[(name, "attention")]
        assert not row["gain_low"] > 0, name
        assert row["verdict"] not in (FINDS, POINTS), name


@pytest.mark.slow  # a comparison with refits
def test_what_attends_at_random_is_called_so(rows):
    assert rows.loc[("by seed", "attention"), "verdict"] == CHANCE
    assert "the same with permuted labels" in rows.loc[("random", "attention"), "warnings"]


@pytest.mark.slow  # a comparison with refits
def test_collapsed_and_uniform_attention_are_said_with_their_number(rows):
    assert "has collapsed: 1.0 of 38" in rows.loc[("one", "attention"), "warnings"]
    even = rows.loc[("even", "attention")]
    assert "uniform" in even["warnings"]
    assert even["effective"] == pytest.approx(even["instances"])
    for name in ("finds", "random"):
        assert "collapsed" not in rows.loc[(name, "attention"), "warnings"]
        assert "uniform" not in rows.loc[(name, "attention"), "warnings"]


@pytest.mark.slow  # a comparison with refits
def test_agreement_is_between_repeats_seeds_and_with_permuted_labels(rows):
    fixed, by_seed = (rows.loc[(name, "attention")] for name in ("random", "by seed"))
    assert fixed[["repeats", "seeds", "permuted"]].tolist() == pytest.approx([1, 1, 1])
    assert by_seed[["repeats", "seeds", "permuted"]].abs().max() < 0.1
    mean = rows.loc[("bag_mean", "contribution")]
    assert mean["seeds"] > 0.9
    assert mean["permuted"] < 0.5
    assert np.isnan(rows.loc[("even", "attention"), "seeds"])


@pytest.mark.slow  # a comparison with refits
def test_methods_without_scores_are_named_and_every_bag_is_out_of_fold(table):
    found = table.explanations
    assert set(found.silent) == {"majority", "bag_statistics", "type_composition",
                                 "type_pseudobulk"}  # fmt: skip
    each = found.bags.groupby(["method", "scores"])["bag"]
    assert (each.nunique() == 28).all()
    assert (each.size() == 28).all()
    own = found.bags.query("method == 'finds'").set_index("bag")["fold"]
    tested = table.predictions.query("method == 'finds' and repeat == 0").set_index("bag")["fold"]
    assert (own.sort_index() == tested.sort_index()).all()


@pytest.mark.slow  # a comparison with refits
def test_enrichment_stands_beside_that_of_permuted_labels(table):
    found = table.explanations.enriched
    features = found.query("method == 'finds' and what == 'x'").set_index("name")
    direction = np.array([features.loc[f"x {i + 1}", "difference"] for i in range(len(DRIVERS))])
    assert np.corrcoef(direction, DRIVERS)[0, 1] > 0.8
    assert features["permuted"].to_numpy() == pytest.approx(features["difference"].to_numpy())
    mean = found.query("method == 'bag_mean' and what == 'x'")
    assert (mean["permuted"] - mean["difference"]).abs().max() > 0.1


@pytest.mark.slow  # a comparison with refits
def test_curves_begin_at_the_whole_bag_and_are_of_donors(table):
    curves = table.explanations.curves
    assert set(curves["order"]) == {"scores", "norm", "distance", "random"}
    start = curves[curves["gone"] == 0].groupby(["method", "scores"])["value"]
    assert start.std().max() == pytest.approx(0, abs=1e-6)
    random = curves[curves["order"] == "random"]
    assert (random["low"] <= random["value"]).all()
    assert (random["value"] <= random["high"]).all()


@pytest.mark.slow  # a comparison with refits
def test_they_are_said_and_written(table, tmp_path):
    assert any(text.startswith("finds, attention: its scores point at") for text in table.said())
    table.write(tmp_path / "run")
    names = {file.name for file in (tmp_path / "run").iterdir()}
    assert {"explanations.csv", "explanation_curves.csv", "enrichment.csv"} <= names


@pytest.mark.slow  # two comparisons
def test_without_refits_there_is_no_null_and_without_being_asked_nothing():
    bags = sm.datasets.planted_bags(16, mean_length=8, seed=0)
    how = dict(folds=2, n_jobs=1, progress=False)
    found = sm.compare([BagMean()], bags, attributions=True, **how).explanations
    assert found.bags[["seeds", "permuted", "repeats"]].isna().all(axis=None)
    assert found.table().set_index("method").loc["bag_mean", "verdict"] == POINTS
    assert sm.compare([BagMean()], bags, **how).explanations is None


@pytest.mark.slow
def test_several_targets_at_once_are_not_looked_into():
    bags = sm.datasets.planted_bags(16, mean_length=8, kind="multilabel", seed=0)
    table = sm.compare([BagMean()], bags, attributions=True, folds=2, n_jobs=1, progress=False)
    assert table.explanations is None
    with pytest.raises(InputError, match="several targets at once"):
        sm.explain.faithfulness(BagMean(progress=False).fit(bags), bags)


@pytest.mark.slow  # a comparison with refits
def test_a_killed_comparison_goes_on_with_the_same_explanations(tmp_path):
    bags = sm.datasets.planted_bags(16, mean_length=8, seed=0)
    how = dict(folds=2, repeats=2, n_jobs=1, progress=False, explain=True, cache=tmp_path)
    one, two = (sm.compare([BagMean(), Majority()], bags, **how).explanations for _ in range(2))
    for name in ("bags", "curves", "enriched"):
        a, b = getattr(one, name), getattr(two, name)
        assert a.to_csv() == b.to_csv()
