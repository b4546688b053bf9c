"""Enrichment over donors: planted types, and cohorts in which there is nothing to find."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from smalti.bags import Bags
from smalti.datasets import driver_cohort
from smalti.errors import InputError
from smalti.explain import enrichment
from smalti.explain.high_scores import high_share


def cohort(rng, donors=12, cells=80, genes=6):
    """Types and genes of cells, and scores that in each donor have a taste of its own."""
    types = rng.integers(3, size=(donors, cells))
    x = rng.normal(size=(donors, cells, genes)) + rng.normal(size=(donors, 1, genes))
    taste = rng.normal(size=(donors, 3)), rng.normal(size=(donors, genes))
    scores = np.take_along_axis(taste[0], types, 1) + np.einsum("dcg,dg->dc", x, taste[1])
    ids = np.repeat(np.arange(donors), cells)
    bags = Bags.from_rows(
        x.reshape(-1, genes), ids, y={i: i % 2 for i in range(donors)}, donor="bag",
        instance=pd.DataFrame({"cell_type": types.ravel().astype(str)}),
    )  # fmt: skip
    return bags, scores.ravel()


def by_cell(bags, scores, top=0.1):
    """p of a test that takes cells for independent."""
    high = high_share(scores, bags.offsets, top) > 0.5
    x = bags.table()
    return stats.ttest_ind(x[high], x[~high]).pvalue


@pytest.mark.slow
def test_p_is_uniform_where_donors_have_tastes_but_no_common_one_and_by_cell_it_is_not():
    rng = np.random.default_rng(0)
    p, naive = [], []
    for _ in range(60):
        bags, scores = cohort(rng)
        table = enrichment(bags, {"s": scores}, neighbours=5)
        p.append(table.loc[table["what"] == "x", "p"].to_numpy())
        naive.append(by_cell(bags, scores))
    p, naive = np.concatenate(p), np.concatenate(naive)
    assert stats.kstest(p, "uniform").pvalue > 0.01
    assert (p < 0.05).mean() < 0.08
    assert (naive < 0.05).mean() > 0.15  # cells of a donor share its taste


def test_planted_type_and_direction_are_found():
    bags = driver_cohort(16, cells=(60, 90), driver_rate=0.2, driver_type="T1", effect=4, seed=0)
    table = enrichment(bags, {"s": bags.instance["key"].to_numpy(float)})
    first = table.groupby("what").first()
    assert first.loc["type", "name"] == first.loc["neighbourhood", "name"] == "T1"
    types = table[table["what"] == "type"].set_index("name")
    assert types.loc["T1", "q"] < 0.01
    by_hand = stats.false_discovery_control(types["p"])
    assert types["q"].to_numpy() == pytest.approx(by_hand)


def test_a_difference_is_that_of_means_and_samples_of_a_donor_count_once():
    x = np.array([5.0, 1, 0, 4, 2, 3, 1, 7])[:, None] - 0.5  # no counts
    bags = Bags.from_rows(x, [0, 0, 1, 1, 2, 2, 3, 3], donor=[0, 0, 0, 0, 1, 1, 2, 2])
    scores = np.array([1, 0, 0, 1, 0, 1, 0, 1.0])  # the highest of each bag: 5, 4, 3, 7
    row = enrichment(bags, {"s": scores}, top=0.5).iloc[0]
    each = [np.mean([2, 2]), 0.5, 3.0]
    assert row["difference"] == pytest.approx(np.mean(each))
    assert row["p"] == pytest.approx(stats.ttest_1samp(each, 0).pvalue)
    assert row["donors"] == 3


def test_equal_scores_share_their_places():
    offsets = np.array([0, 4, 8])
    found = high_share(np.array([1, 1, 1, 1, 3, 2, 2, 1.0]), offsets, 0.5)
    assert found == pytest.approx([0.5] * 4 + [1, 0.5, 0.5, 0])


def test_counts_are_compared_by_their_share_of_a_cell():
    rng = np.random.default_rng(0)
    depth = np.tile([1, 10], 60)
    counts = rng.poisson(5 * depth[:, None], size=(120, 4))
    bags = Bags.from_rows(counts, np.repeat(np.arange(6), 20), donor="bag")
    table = enrichment(bags, {"s": depth + rng.random(120)})  # high: those with many counts
    assert table["difference"].abs().max() < 0.5  # a plain mean differs by 22


def test_neighbours_are_by_place_where_there_are_places():
    rng = np.random.default_rng(0)
    xy = rng.random((200, 2))
    types = np.where(xy[:, 0] > 0.5, "right", "left")
    bags = Bags.from_rows(
        rng.normal(size=(200, 3)), np.repeat(np.arange(4), 50), donor="bag",
        instance=pd.DataFrame({"cell_type": types, "x_um": xy[:, 0], "y_um": xy[:, 1]}),
    )  # fmt: skip
    scores = {"s": xy[:, 0]}

    def right(bags):
        table = enrichment(bags, scores, neighbours=5)
        return table[(table["what"] == "neighbourhood") & (table["name"] == "right")].iloc[0]

    assert right(bags)["difference"] > 0.3
    without = dataclasses.replace(bags, instance=bags.instance[["cell_type"]])
    assert abs(right(without)["difference"]) < 0.2


@pytest.mark.parametrize(
    ("how", "message"),
    [({"top": 1.0}, "top=1.0"), ({"group": "kind"}, "no instance column 'kind'; there are cell_t"),
     ({"views": ["rna"]}, "no view 'rna'")],
)  # fmt: skip
def test_wrong_arguments_are_said(how, message):
    bags, scores = cohort(np.random.default_rng(0), donors=4, cells=5)
    with pytest.raises(InputError, match=message):
        enrichment(bags, {"s": scores}, **how)
    with pytest.raises(InputError, match="one number for each"):
        enrichment(bags, {"s": scores[1:]})
