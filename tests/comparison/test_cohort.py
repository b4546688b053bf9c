"""Who was in: the table of the cohort against loops."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

import smalti as sm
from smalti.comparison.cohort import Cohort
from smalti.datasets import planted_bags


def described(n=24, bags_per_donor=2, **more):
    """Bags with an age, a sex, a batch that is called by numbers and a name of each bag."""
    bags, rng = planted_bags(n, bags_per_donor=bags_per_donor, seed=0), np.random.default_rng(0)
    of = bags.donors
    age = rng.integers(20, 80, of.max() + 1).astype(float)
    age[0] = np.nan
    sex = np.array(["f", "m", "NA"])[rng.integers(0, 3, of.max() + 1)]
    table = bags.bag.assign(age=age[of], sex=sex[of], batch=np.arange(n) % 3,
                            file=[f"{i}.h5" for i in range(n)])  # fmt: skip
    return dataclasses.replace(bags, bag=table, **more)


def test_the_table_is_what_a_loop_counts():
    bags = described()
    long = Cohort.of({"compared": bags}).describe().set_index(["variable", "group"]).sort_index()
    for c in ("0", "1", "all"):
        own = bags.bag if c == "all" else bags.bag[bags.bag["target"].astype(str) == c]
        people = own.drop_duplicates("donor")
        assert long.loc[("donors", c), "count"].item() == len(people)
        assert long.loc[("bags", c), "count"].item() == len(own)
        lengths = bags.lengths[bags.bag.index.isin(own.index)]
        size = long.loc[("instances of a bag", c)].iloc[0]
        assert size[["median", "low", "high"]].tolist() == [
            np.median(lengths), lengths.min(), lengths.max()]  # fmt: skip
        age = long.loc[("age", c)].iloc[0]
        assert (age["unit"], age["missing"]) == ("donors", people["age"].isna().sum())
        assert age["median"] == np.median(people["age"].dropna())
        sex = long.loc[("sex", c)].set_index("level")
        known = people["sex"][people["sex"] != "NA"]
        for level in ("f", "m"):
            assert sex.loc[level, "count"] == (known == level).sum()
            assert sex.loc[level, "share"] == pytest.approx((known == level).mean())
        assert sex.loc["missing", "count"] == (people["sex"] == "NA").sum()
        batch = long.loc[("batch", c)]  # 0, 1, 2 are names, and bags of a donor differ
        assert batch["count"].tolist() == [(own["batch"] == i).sum() for i in range(3)]
        assert set(batch["unit"]) == {"bags"}
    assert "file" not in long.index.get_level_values(0)  # a list, no description


def test_words_name_what_is_missing():
    wide = Cohort.of({"compared": described()}).table().set_index("what")
    assert list(wide) == ["0", "1", "all"]
    assert wide.loc["donors", "all"] == "12"
    assert wide.loc["age, median (range)", "all"].endswith("; 1 missing")
    assert "sex: missing" in wide.index


def test_a_number_is_cut_in_thirds_and_two_sources_stand_apart():
    bags = planted_bags(30, seed=0)
    values = bags.with_target(np.arange(30.0), kind="regression")
    cohort = Cohort.of({"compared": values})
    assert cohort.groups == ["up to 9.67", "9.67 to 19.3", "above 19.3", "all"]
    assert cohort.bags.groupby("group", observed=True).size().tolist() == [10, 10, 10]
    two = Cohort.of({"training": bags, "test": planted_bags(10, seed=1)})
    assert two.groups == ["0 (training)", "1 (training)", "0 (test)", "1 (test)", "all"]
    assert len(two.tested.bags) == 10


@pytest.mark.parametrize(
    ("name", "values", "median"),
    [("sex", [1, 2], False), ("age", [1.5, 2.5], True), ("batch", range(24), False),
     ("weight", range(24), True)],
)  # fmt: skip
def test_a_number_that_is_a_name_has_no_median(name, values, median):
    bags = planted_bags(24, seed=0)
    column = np.resize(np.array(list(values)), 24)
    cohort = Cohort.of(
        {"compared": dataclasses.replace(bags, bag=bags.bag.assign(**{name: column}))}
    )
    lines = cohort.table()["what"]
    assert (f"{name}, median (range)" in set(lines)) == median


def test_types_are_counted_in_each_bag():
    bags = planted_bags(12, seed=0)
    types = Cohort.of({"compared": bags}).types
    for i, part in enumerate(bags):
        counts = part.instance["cell_type"].value_counts()
        assert types.loc[i].to_dict() == {t: counts.get(t, 0) for t in types}


def test_a_comparison_keeps_it(majority_alone, tmp_path):
    table = sm.compare(["majority"], described(), folds=3, n_jobs=1, progress=False)
    table.write(tmp_path / "run")
    written = pd.read_csv(tmp_path / "run" / "cohort.csv")
    assert written["variable"].unique().tolist()[:3] == ["donors", "bags", "instances of a bag"]
    assert len(table.cohort.bags) == 24
