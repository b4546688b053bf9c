"""Embeddings in scikit-learn's pipelines: names of columns, tables on request, clones, searches."""

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks

import smalti as sm

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def bags():
    return sm.datasets.planted_bags(40, effect=4.0, seed=0)


def small(**settings):
    return sm.mil.MeanPooling(widths=(4,), epochs=10, lr=0.05, dropout=0.0, progress=False,
                              **settings)  # fmt: skip


def test_names_are_of_the_method_and_numbers_of_the_array(bags):
    model = small().fit(bags)
    rows = model.transform(bags)
    assert isinstance(rows, np.ndarray)
    assert list(model.get_feature_names_out()) == [f"mean_pooling_{i}" for i in range(4)]
    assert model.set_output(transform="pandas") is model
    table = model.transform(bags)
    pd.testing.assert_frame_equal(table, pd.DataFrame(
        rows, index=bags.bag.index, columns=[f"mean_pooling_{i}" for i in range(4)]
    ))  # fmt: skip
    assert isinstance(model.set_output(transform="default").transform(bags), np.ndarray)


def test_before_a_fit_there_are_no_names(bags):
    with pytest.raises(NotFittedError):
        small().get_feature_names_out()
    assert not hasattr(sm.mil.MiNet(), "get_feature_names_out")
    assert not hasattr(sm.mil.MiNet(), "transform")


def test_a_loaded_model_has_the_names_too(bags, tmp_path):
    model = small().fit(bags)
    model.save(tmp_path / "model")
    back = sm.load(tmp_path / "model")
    assert list(back.get_feature_names_out()) == list(model.get_feature_names_out())


def test_the_setting_of_scikit_learn_is_heard_and_nothing_inside_stumbles_over_it():
    cells = sm.datasets.planted_modalities(80, seed=0)
    plain = sm.make("block_pca", width=3, progress=False).fit(cells)
    codes, whole = plain.transform(cells), plain.embed(cells)
    with sklearn.config_context(transform_output="pandas"):
        table = plain.transform(cells)
        embedded = plain.embed(cells)
        step = sm.preprocess.Scale().fit(cells).transform(cells)
    assert list(table.columns) == ["block_pca_0", "block_pca_1", "block_pca_2"]
    np.testing.assert_array_equal(table.to_numpy(), codes)
    np.testing.assert_array_equal(embedded.table(), whole.table())
    assert embedded.features == {"X_block_pca": tuple(table.columns)}
    assert isinstance(step, sm.Bags)  # a step gives bags, whose features have names


def test_a_pipeline_hands_on_the_names(bags):
    pipe = make_pipeline(small(), StandardScaler(), LogisticRegression())
    pipe.set_output(transform="pandas").fit(bags, bags.labels)
    names = [f"mean_pooling_{i}" for i in range(4)]
    assert list(pipe[:-1].get_feature_names_out()) == names
    assert list(pipe[-1].feature_names_in_) == names
    assert (pipe.predict(bags) == bags.labels).mean() > 0.9
    again = clone(pipe)
    assert isinstance(again[0], sm.mil.MeanPooling)
    assert isinstance(again[0].fit(bags).transform(bags), pd.DataFrame)


def test_two_embeddings_stand_side_by_side(bags):
    both = FeatureUnion([("a", small()), ("b", small(seed=1))]).set_output(transform="pandas")
    table = both.fit_transform(bags, bags.labels)
    assert list(table.columns) == [f"{k}__mean_pooling_{i}" for k in "ab" for i in range(4)]
    assert list(table.index) == list(bags.bag.index)


def test_cross_validation_and_search_reach_into_a_pipeline(bags):
    pipe = Pipeline([("embed", small()), ("tell", LogisticRegression())])
    scores = cross_val_score(pipe, bags, bags.labels, cv=2)
    assert scores.mean() > 0.8
    search = GridSearchCV(pipe, {"embed__epochs": [1, 10], "tell__C": [1.0]}, cv=2)
    search.fit(bags, bags.labels)
    assert search.best_params_["embed__epochs"] == 10
    assert search.best_estimator_["embed"].epochs == 10


def test_tags_say_what_a_method_is():
    tags = {k: sklearn.utils.get_tags(sm.make(k)) for k in ("abmil", "mi_net", "umint")}
    assert tags["abmil"].estimator_type == "classifier"
    assert tags["abmil"].transformer_tags is not None
    assert tags["mi_net"].transformer_tags is None
    assert tags["umint"].estimator_type == "transformer"
    assert not tags["umint"].target_tags.required


@pytest.mark.parametrize("check", [
    "check_set_output_transform", "check_set_output_transform_pandas",
    "check_global_output_transform_pandas", "check_transformer_get_feature_names_out",
    "check_transformer_get_feature_names_out_pandas",
])  # fmt: skip
def test_the_checks_of_scikit_learn_hold(check):
    getattr(estimator_checks, check)("BagMean", sm.mil.BagMean(progress=False))


@pytest.mark.parametrize("when", ["before the fit", "after it"])
def test_a_search_hands_the_setting_to_its_method(bags, when):
    search = sm.Search(sm.mil.BagMean(progress=False), {"class_weight": [None, "balanced"]},
                       sampler="grid", folds=2)  # fmt: skip
    if when == "before the fit":
        assert search.set_output(transform="pandas") is search
    search.fit(bags)
    if when == "after it":
        assert search.set_output(transform="pandas") is search
    table = search.transform(bags)
    assert list(table.columns) == list(search.get_feature_names_out())
    assert list(table.index) == list(bags.bag.index)
