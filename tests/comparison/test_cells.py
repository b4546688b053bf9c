"""Cells by score: ranks, samples and shares against loops."""

import numpy as np
import pandas as pd
import pytest

from smalti.bags import Bags
from smalti.comparison.cells import Cells, by_donor, over_donors, placed, score_column
from smalti.datasets import planted_bags
from smalti.plot import plot_cells, plot_score_types
from smalti.task import Task

TASK = Task.infer(np.array(["ill", "well"]), column="y", positive="ill")


@pytest.fixture
def scored():
    """Bags, and scores that two models gave their halves; the second half comes first."""
    bags, rng = planted_bags(12, bags_per_donor=2, seed=0), np.random.default_rng(0)
    kept = pd.DataFrame({"bag": bags.bag.index.to_numpy()[bags.index], "fold": bags.index // 6,
                         "attention": rng.random(bags.n_instances)})  # fmt: skip
    return bags, kept


def of(bags, kept, **more):
    groups = bags.labels.astype(str)
    return Cells.of(bags, {"m": kept}, TASK, groups, "cell_type", **more)


def test_shares_are_those_of_a_loop(scored):
    bags, kept = scored
    turned = kept.iloc[np.argsort(-kept["fold"], kind="stable")]  # folds come as they are done
    for found in (of(bags, kept), of(bags, turned)):
        types = found.types.set_index(["bag", "type"])
        for i, name in enumerate(bags.bag.index):
            rows = slice(bags.offsets[i], bags.offsets[i + 1])
            kind, score = bags.instance["cell_type"].iloc[rows].to_numpy(), kept["attention"][rows]
            rank = (score.rank(method="first") - 0.5) / len(score)
            if not (rank > 0.9).any():
                assert (name, "a") not in types.index
                continue
            for t in "abc":
                row = types.loc[(name, t)]
                assert row["share"] == pytest.approx((kind == t).mean())
                assert row["share_high"] == pytest.approx((kind[rank > 0.9] == t).mean())
    each = by_donor(found.types)
    one = each[each["type"] == "a"].iloc[0]
    own = found.types.query("donor == @one.donor and type == 'a'")
    assert one["difference"] == pytest.approx((own["share_high"] - own["share"]).mean())
    means = over_donors(found.types)
    assert (
        means["difference"].abs().groupby(means["type"], sort=False).max().is_monotonic_decreasing
    )


def test_every_donor_has_as_many_cells_in_the_sample(monkeypatch, scored):
    monkeypatch.setattr("smalti.comparison.cells._MOST", 60)
    found = of(*scored)
    assert found.sample["donor"].value_counts().tolist() == [10] * 6
    pd.testing.assert_frame_equal(found.sample, of(*scored).sample)  # by its seed
    assert not found.sample.equals(of(*scored, seed=1).sample)
    at, axes = placed(found)
    assert at.shape == (60, 2)
    assert axes == "principal components 1 and 2 of x"
    plot_cells(at, found.sample["m"], types=found.sample["type"], about=axes)
    plot_score_types(by_donor(found.types))


def test_scores_that_are_all_alike_rank_nothing(scored):
    bags, kept = scored
    flat = kept.assign(attention=np.where(kept["bag"] == kept["bag"][0], 0.1, kept["attention"]))
    found = of(bags, flat)
    assert kept["bag"][0] not in set(found.types["bag"])
    assert found.sample.loc[found.sample["bag"] == kept["bag"][0], "m"].isna().all()
    assert Cells.of(bags, {}, TASK, bags.labels, None) is None


def test_counts_are_scaled_before_their_components(scored):
    rng = np.random.default_rng(0)
    counts = rng.poisson(2, (80, 30)).astype(np.float32)
    counts[:40] *= 50  # depth, which is no kind of cell
    bags = Bags.from_rows({"rna": counts}, np.repeat(list("abcd"), 20), donor="bag",
                          y=dict(zip("abcd", ["ill", "well"] * 2, strict=True)))  # fmt: skip
    kept = pd.DataFrame({"bag": np.repeat(list("abcd"), 20), "fold": 0, "score": rng.random(80)})
    found = Cells.of(bags, {"m": kept}, TASK, bags.labels, None)
    assert "logarithm" in found.how
    first = found.components[:, 0]
    deep = found.sample["bag"].isin(["a", "b"]).to_numpy()
    assert abs(first[deep].mean() - first[~deep].mean()) < 2 * first.std()


@pytest.mark.parametrize(
    ("columns", "chosen"),
    [
        (["attention", "contribution_ill", "contribution_well"], "contribution_ill"),
        (["attention", "gate"], "attention"),
        (["gate"], "gate"),
        ([], None),
    ],
)
def test_what_speaks_for_the_positive_class_ranks(columns, chosen):
    assert score_column(columns, TASK) == chosen
