"""Splits that a user brings as a table; those of positions are in test_phenotype."""

import numpy as np
import pandas as pd
import pytest

import smalti as sm
from smalti.comparison import donor_folds, given_folds, split_digest
from smalti.datasets import planted_bags
from smalti.errors import InputError


@pytest.fixture(scope="module")
def bags():
    return planted_bags(12, bags_per_donor=2, seed=0)


def table(bags, **columns):
    return pd.DataFrame({"bag": bags.bag.index, "fold": np.repeat(np.arange(3), 4)} | columns)


def test_a_table_a_file_and_donors_make_the_same_folds(bags, tmp_path):
    of_bags = table(bags)
    of_donors = of_bags.assign(donor=bags.bag["donor"].to_numpy()).drop(columns="bag")
    shuffled = of_bags.sample(frac=1, random_state=0)
    shuffled.to_csv(tmp_path / "folds.csv", index=False)
    splits = [given_folds(bags, t) for t in (of_bags, of_donors, str(tmp_path / "folds.csv"))]
    assert [s.test.tolist() for s in splits[0]] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    assert len({split_digest(s, bags) for s in splits}) == 1


def test_a_bag_without_a_fold_always_trains(bags):
    splits = given_folds(bags, table(bags, fold=[np.nan] * 8 + [7] * 4))
    assert [(s.fold, s.test.tolist()) for s in splits] == [(0, [8, 9, 10, 11])]
    assert splits[0].train.tolist() == list(range(8))


@pytest.mark.slow
def test_predictions_of_a_comparison_are_its_splits(tmp_path):
    bags = planted_bags(12, bags_per_donor=2, seed=0)
    asked = {"n_jobs": 1, "progress": False}
    first = sm.compare(["majority"], bags, folds=2, repeats=2, **asked)
    first.write(tmp_path)
    again = sm.compare(["majority"], bags, splits=tmp_path / "predictions.csv", **asked)
    assert again.digest == first.digest
    assert split_digest(donor_folds(bags, folds=2, repeats=2), bags) == first.digest
    pd.testing.assert_frame_equal(again.predictions, first.predictions)


@pytest.mark.parametrize(
    ("change", "says"),
    [(lambda t: t.drop(columns="fold"), "needs the columns bag .or donor. and fold; there are bag"),
     (lambda t: t[1:], "has no row of bags: "),
     (lambda t: pd.concat([t, t[:1].assign(fold=2)]), "gives several folds to bags: "),
     (lambda t: pd.concat([t, t[:1].assign(bag="who")]), "names bags that there are not: who"),
     (lambda t: t.assign(fold=range(12)), "on both sides of split 0"),
     (lambda t: t.assign(fold=0), "split 0 has an empty side"),
     (lambda t: t.assign(fold=np.nan), "has no fold")],
)  # fmt: skip
def test_tables_that_are_no_splits(bags, change, says):
    with pytest.raises(InputError, match=says):
        given_folds(bags, change(table(bags)))
