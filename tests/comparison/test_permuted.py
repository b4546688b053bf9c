"""Labels in other places."""

import numpy as np
import pandas as pd
import pytest

import smalti as sm
from smalti.comparison.arranged import arrangements, exchange_of
from smalti.datasets import planted_bags
from smalti.errors import InputError
from smalti.scores import above_chance
from smalti.scores.exchange import Exchange


def test_p_counts_the_arrangement_that_was_seen():
    null = np.r_[np.full(18, 0.5), 0.8, 0.9]
    found = above_chance({"a": 0.8, "b": 0.95}, {"a": null, "b": null}).set_index("method")
    assert found["reached"].tolist() == [2, 0]
    assert found["p"].tolist() == pytest.approx([3 / 21, 1 / 21])
    assert found["p_holm"].tolist() == pytest.approx([3 / 21, 2 / 21])
    assert (found["verdict"] == "not above chance").all()  # two methods need more than 20
    alone = above_chance({"b": 0.95}, {"b": null})
    assert alone["verdict"].item() == "above chance"
    down = above_chance({"b": 0.05}, {"b": 1 - null}, lower_is_better=True)
    assert down["verdict"].item() == "above chance"
    lost = above_chance({"b": 0.95}, {"b": np.r_[null[:-1], np.nan]})  # a failed fit proves nothing
    assert lost["reached"].item() == 1


def test_labels_of_a_donor_move_together():
    bags = planted_bags(24, bags_per_donor=3)  # eight donors
    exchange = exchange_of(bags)
    donors = bags.bag["donor"].to_numpy()
    seen = set()
    for other in arrangements(bags, exchange, 20, 0):
        assert pd.Series(other.labels).groupby(donors).nunique().max() == 1
        assert sorted(other.labels) == sorted(bags.labels)
        assert other.bag["target"].dtype == bags.bag["target"].dtype
        assert other.asked_digest != bags.asked_digest  # a cache must not mix them up
        seen.add(tuple(other.labels))
    assert len(seen) > 10


def test_pairs_stay_pairs_and_sites_stay_sites():
    donors = np.repeat([f"d{i}" for i in range(6)], 2)
    labels = np.tile([0, 1], 6)
    paired = Exchange.of(labels, donors)
    places, exact = paired.arrangements(paired.label.astype(float), 99)
    assert exact
    assert len(places) == 2**6
    assert (np.diff(np.sort(places.reshape(-1, 6, 2)))[..., 0] == 1).all()
    alone = [f"d{i}" for i in range(12)]
    site = np.repeat(["x", "y"], 6)
    label = np.array([0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 0, 0])
    within = Exchange.of(label, alone, site)
    places, exact = within.arrangements(within.label.astype(float), 999)
    assert (len(places), exact) == (15 * 15, True)
    by_site = places[:, within.arm]
    assert (by_site[:, site == "x"].sum(1) == 2).all()
    assert (by_site[:, site == "y"].sum(1) == 4).all()
    assert "12 donors of one label within 2 sites" in within.describe()


@pytest.mark.slow  # 21 comparisons
@pytest.mark.parametrize(("effect", "says"), [(4, "above chance"), (0, "not above chance")])
def test_a_comparison_says_whether_it_is_above_chance(effect, says, tmp_path):
    bags = planted_bags(24, effect=effect, seed=3)
    more = dict(folds=3, n_jobs=1, progress=False, cache=tmp_path / "kept", permutations=20)
    table = sm.compare(["mifv"], bags, **more)
    found = table.above_chance().iloc[0]
    assert (found["method"], found["verdict"], found["arrangements"]) == ("mifv", says, 20)
    [sentence] = [s for s in table.said() if "arrangements of the labels" in s]
    assert sentence.startswith(f"mifv is {says}: AUROC ")
    assert sentence in str(table)
    assert abs(found["chance"] - 0.5) < 0.15
    again = sm.compare(["mifv"], bags, **more)  # from what was kept
    pd.testing.assert_frame_equal(again.permuted, table.permuted)
    table.write(tmp_path / "run")
    assert len(pd.read_csv(tmp_path / "run" / "permuted.csv")) == len(table.permuted)


def test_what_is_refused(majority_alone):
    bags = planted_bags(12)
    with pytest.raises(InputError, match="with fewer than 20 no p is below"):
        sm.compare(["mifv"], bags, folds=2, n_jobs=1, progress=False, permutations=19)
    table = sm.compare(["mifv"], bags, folds=2, n_jobs=1, progress=False)
    with pytest.raises(InputError, match=r"compare\(permutations=20\)"):
        table.above_chance()
    with pytest.raises(InputError, match="permutations of 'x': no such method; there are mifv"):
        sm.compare(["mifv"], bags, folds=2, n_jobs=1, progress=False, permutations={"x": 20})


def test_fits_of_permuted_labels_go_where_the_others_go(majority_alone, one_penalty, monkeypatch):
    from smalti.comparison.race import race

    asked = []

    def here(*args, scheduler, **kwargs):
        asked.append(scheduler)
        return race(*args, **kwargs)

    for module in ("phenotype", "permuted"):
        monkeypatch.setattr(f"smalti.comparison.{module}.race", here)
    how = {"folds": 2, "progress": False, "learning_curve": [0.5], "scheduler": "tcp://there"}
    sm.compare(["bag_mean"], planted_bags(12, seed=0), permutations={"bag_mean": 20}, **how)
    assert asked == ["tcp://there"] * 22
