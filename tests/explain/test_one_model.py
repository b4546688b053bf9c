"""One fitted model on bags of its own choosing."""

import warnings

import pytest

import smalti as sm
from smalti.errors import InputError
from smalti.explain.explanations import FLAT, NO_BETTER, POINTS, UNSURE, Explanations
from smalti.mil import BagMean, Majority


@pytest.fixture(scope="module")
def halves():
    return tuple(sm.datasets.planted_bags(24, mean_length=10, seed=s) for s in (0, 1))


def test_bags_of_the_training_are_said(halves):
    train, test = halves
    model = BagMean(progress=False).fit(train)
    with pytest.warns(UserWarning, match="24 of these 24 bags are among those that bag_mean was"):
        sm.explain.faithfulness(model, train)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = sm.explain.faithfulness(model, test)
    assert found.table()["verdict"].tolist() == [POINTS]
    assert found.table()["seeds"].isna().all()
    assert found.enriched.iloc[0]["name"] == "c"


def test_bags_of_the_training_are_known_among_other_views(halves):
    train = halves[0]
    both = sm.Bags.from_rows(
        {"x": train.table(), "noise": train.table() % 1}, train.index, donor="bag",
        y=dict(enumerate(train.labels)),
    )  # fmt: skip
    model = BagMean(views="x", progress=False).fit(both)
    with pytest.warns(UserWarning, match="24 of these 24 bags"):
        sm.explain.faithfulness(model, both)


def test_a_method_that_says_nothing_of_instances_is_refused(halves):
    model = Majority(progress=False).fit(halves[0])
    with pytest.raises(InputError, match="majority says nothing of single instances"):
        sm.explain.faithfulness(model, halves[1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("gain", "verdict"),
    [([0.1, 0.2, 0.15, 0.1], POINTS), ([0.1, -0.2, 0.15, 0.1], UNSURE),
     ([0.001, -0.002, 0.0015, -0.001], NO_BETTER), ([-0.1, -0.2, -0.1, -0.1], NO_BETTER),
     ([0.2, 0.2], UNSURE), ([0.003, 0.004, 0.003, 0.005], FLAT)],
)  # fmt: skip
def test_the_answer_goes_by_the_interval_over_donors(halves, gain, verdict):
    found = sm.explain.faithfulness(BagMean(progress=False).fit(halves[0]), halves[1])
    rows = found.bags.iloc[: len(gain)].assign(deletion=gain, insertion=gain)
    table = Explanations(rows, found.curves, found.enriched).table()
    assert table["verdict"].tolist() == [verdict]
    assert table["donors"].tolist() == [len(gain)]
