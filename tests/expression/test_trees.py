"""Boosted trees: LightGBM's own predictions, and what a linear map cannot say."""

import numpy as np
import pytest

import smalti as sm
from smalti.errors import InputError

lightgbm = pytest.importorskip("lightgbm")


@pytest.fixture(scope="module")
def slides():
    return sm.datasets.planted_slides(4, 64, n_genes=6, seed=0)


def test_predictions_are_those_of_lightgbm(slides, tmp_path):
    model = sm.expression.Trees(trees=25, least=5).fit(slides)
    x = slides.table("X_planted").astype(np.float64)
    y = model.measured(slides)
    for gene in (0, 5):
        booster = lightgbm.train(
            {"objective": "regression", "learning_rate": 0.05, "max_depth": 3, "num_leaves": 8,
             "min_data_in_leaf": 5, "verbosity": -1, "feature_fraction": 0.3,
             "bagging_fraction": 0.5, "bagging_freq": 1, "boost_from_average": False, "seed": 0,
             "deterministic": True, "force_row_wise": True, "num_threads": 1},
            lightgbm.Dataset(x, y[:, gene].astype(np.float64) - y[:, gene].mean(dtype=np.float64)),
            num_boost_round=25,
        )  # fmt: skip
        want = booster.predict(x) + y[:, gene].mean()
        np.testing.assert_allclose(model.predict(slides)[:, gene], want, atol=1e-5)
    model.save(tmp_path / "m")
    np.testing.assert_array_equal(sm.load(tmp_path / "m").predict(slides), model.predict(slides))


def test_features_that_act_together(slides):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(slides.n_instances, 4)).astype(np.float32)
    both = (x[:, 0] > 0) ^ (x[:, 1] > 0)
    bags = sm.Bags.from_rows(
        {"X": x, "counts": np.c_[rng.poisson(np.where(both, 20, 2)), np.full(len(x), 50)]},
        slides.index, instance=slides.instance, features={"counts": ("A", "B")},
    )  # fmt: skip
    train, test = bags[:3], bags[3:]
    more = {"genes": ("A",), "units": "log1p"}
    trees = sm.expression.Trees(feature_share=1.0, **more).fit(train).predict(test)[:, 0]
    ridge = sm.expression.Ridge(**more).fit(train).predict(test)[:, 0]
    truth = both[bags.index == 3]
    assert np.corrcoef(trees, truth)[0, 1] > 0.8 > 0.4 > abs(np.corrcoef(ridge, truth)[0, 1])


def test_it_is_asked_for_by_its_extra(slides, monkeypatch):
    monkeypatch.setattr("smalti.system.extras.importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r'pip install "smalti\[trees\]"'):
        sm.expression.Trees().fit(slides)
