"""What settings may be, and how they are drawn."""

import numpy as np
import pytest
from scipy.stats import randint

from smalti.comparison.search.samplers import planned, sampler_of
from smalti.comparison.search.space import Range, Space
from smalti.errors import InputError
from smalti.mil.abmil import ABMIL
from smalti.mil.bag_mean import BagMean


def asked(sampler):
    found = []
    while (settings := sampler.ask()) is not None:
        sampler.tell(0.0)
        found.append(settings)
    return found


def test_ranges_are_drawn_within_their_ends_and_as_said():
    rng = np.random.RandomState(0)  # as scikit-learn draws
    whole = [Range(1, 3).rvs(rng) for _ in range(300)]
    assert {type(v) for v in whole} == {int}
    assert sorted(set(whole)) == [1, 2, 3]
    assert min(np.unique(whole, return_counts=True)[1]) > 70  # the ends as often as the middle
    log = np.array([Range(1e-4, 1e-2, log=True).rvs(rng) for _ in range(300)])
    assert ((log >= 1e-4) & (log <= 1e-2)).all()
    assert abs((log < 1e-3).mean() - 0.5) < 0.1
    assert str(Range(1e-4, 1e-2, log=True)) == "0.0001 to 0.01 (log)"


@pytest.mark.parametrize("sampler", ["random", "optuna"])
def test_each_setting_that_is_drawn_can_be_set(sampler):
    if sampler == "optuna":
        pytest.importorskip("optuna")
    given = {"lr": (1e-4, 1e-2, "log"), "widths": [(8,), (16, 8)], "epochs": (2, 9)}
    for settings in asked(sampler_of(sampler, Space(given, ABMIL()), 12, 0)):
        method = ABMIL(**settings)
        assert 1e-4 <= method.lr <= 1e-2
        assert method.widths in given["widths"]
        assert 2 <= method.epochs <= 9


def test_optuna_goes_on_from_failed_trials_to_the_better_end():
    pytest.importorskip("optuna")
    sampler = sampler_of("optuna", Space({"lr": (0.1, 1.0)}, ABMIL()), 30, 0)
    tried = []
    while (settings := sampler.ask()) is not None:
        tried.append(settings["lr"])
        sampler.tell(None if len(tried) < 3 else -tried[-1])
    assert len(tried) == 30
    assert np.mean(tried[-10:]) < 0.35 < np.mean(tried[:10])


def test_a_grid_is_all_of_the_lists_and_random_draws_none_twice():
    space = Space({"epochs": [1, 2, 3], "gated": [True, False]}, ABMIL())
    assert len(asked(sampler_of("grid", space, None, 0))) == 6
    drawn = asked(sampler_of("random", space, 50, 0))
    assert len({tuple(d.items()) for d in drawn}) == len(drawn) == 6
    assert planned("random", space, None) == 6
    assert planned("random", Space({"epochs": randint(1, 9)}, ABMIL()), None) == 20


@pytest.mark.parametrize(
    ("given", "how", "words"),
    [
        ({"wid": [1]}, {}, "abmil has no setting 'wid'; it has attention_width"),
        ({"seed": [1, 2]}, {}, "a seed that is chosen by its score is luck"),
        ({"task": ["binary"]}, {}, "'task' says what is predicted"),
        ({"covariates": [("age",)]}, {}, "give a candidate for each choice"),
        ({"progress": [True]}, {}, "'progress' is no setting to choose by a score"),
        ({"lr": [0.1, -1.0]}, {}, "lr=-1.0 should be over 0"),
        ({"lr": (-1.0, 1.0)}, {}, "lr=-1.0 should be over 0"),
        ({"lr": 3}, {}, "lr=3 is no choice: write a list"),
        ({"lr": []}, {}, "there is no value of 'lr'"),
        ({"lr": (1.0,)}, {}, "is not of the form"),
        ({"lr": (0.1, 1.0, "lin")}, {}, "is not of the form"),
        ({"lr": (1.0, 0.1)}, {}, "the first must be the smaller"),
        ({"weight_decay": (0.0, 1.0, "log")}, {}, "only a range over 0 has a logarithm"),
        ({"preprocess": ["pcaa=3"]}, {}, "Did you mean 'pca'"),
        ({}, {}, "no setting is named"),
        ({"lr": (0.1, 1.0)}, {"name": "grid"}, "a grid needs a list of values"),
        ({"lr": [0.1, 0.2]}, {"name": "grid", "trials": 1}, "the grid has 2 settings"),
        ({"lr": [0.1]}, {"name": "bayes"}, "not one of random, grid, optuna"),
        ({"lr": [0.1]}, {"trials": 0}, "a whole number from 1 on"),
    ],
)
def test_what_cannot_be_searched_is_refused_in_words(given, how, words):
    with pytest.raises(InputError, match=words):
        method = BagMean() if "covariates" in given else ABMIL()
        planned(how.get("name", "random"), Space(given, method), how.get("trials"))
    with pytest.raises(InputError, match="or say sampler='random'"):
        pytest.importorskip("optuna")
        planned("optuna", Space({"epochs": randint(1, 9)}, ABMIL()), 3)
