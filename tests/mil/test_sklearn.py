"""scikit-learn takes our methods: check_estimator, clone, searches and cross-validation."""

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold, cross_val_score
from sklearn.utils.estimator_checks import check_estimator, estimator_checks_generator

from smalti import mil
from smalti.datasets import planted_bags
from smalti.errors import InputError

pytestmark = pytest.mark.usefixtures("one_penalty")

# Name of a check -> why it does not hold. None is needed today.
EXEMPT = {  # on purpose: a mistake is told where it is made, not deep in a comparison
    "check_do_not_raise_errors_in_init_or_set_params": "settings are checked when they are set",
}
SMALL = dict(widths=(16,), epochs=25, lr=0.05, dropout=0.0, batch_size=32, weight_decay=0.0)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "estimator",
    [
        pytest.param(mil.BagMean(), id="bag_mean", marks=pytest.mark.slow),
        pytest.param(mil.BagMean(task="regression"), id="bag_mean-regression",
                     marks=pytest.mark.slow),
        pytest.param(mil.ABMIL(**SMALL), id="abmil", marks=pytest.mark.slow),
        pytest.param(mil.ABMIL(gated=True, task="regression", **SMALL), id="abmil-regression",
                     marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_check_estimator(estimator):
    estimator.set_params(accelerator="cpu", progress=False)
    check_estimator(estimator, expected_failed_checks=EXEMPT, on_skip=None)


# of a classifier and of a network, what a change of ours is likeliest to break
FEW = {
    "check_estimators_nan_inf", "check_classifiers_classes", "check_fit2d_1sample",
    "check_estimators_pickle", "check_dict_unchanged", "check_n_features_in",
    "check_requires_y_none", "check_classifiers_one_label", "check_fit_check_is_fitted",
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
def test_a_few_checks_of_a_network():
    model = mil.ABMIL(**{**SMALL, "epochs": 2}, accelerator="cpu", progress=False)
    done = set()
    for estimator, check in estimator_checks_generator(model):
        name = getattr(check, "func", check).__name__
        if name in FEW - {"check_classifiers_classes"}:  # which asks that it has learned
            check(estimator)
            done.add(name)
    assert len(done) == len(FEW) - 1


def test_cross_val_score_over_bags():
    bags = planted_bags(40, bags_per_donor=2, effect=4)
    model = mil.BagMean()
    cv = StratifiedGroupKFold(4)
    scores = cross_val_score(model, bags, bags.labels, groups=bags.donors, cv=cv, scoring="roc_auc")
    assert scores.shape == (4,)
    assert scores.mean() > 0.8


@pytest.mark.filterwarnings("ignore", category=ConvergenceWarning)
def test_grid_search_over_bags():
    bags = planted_bags(30, effect=4)
    search = GridSearchCV(mil.MiFV(), {"components": [1, 2]}, cv=3).fit(bags, bags.labels)
    assert search.best_params_["components"] in (1, 2)
    assert search.predict(bags).shape == (30,)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


@pytest.mark.slow
def test_scorers_are_right_whichever_class_is_positive():
    """They take classes to be sorted, so the columns of predict_proba are; the table's are not."""
    whole = planted_bags(24, effect=6)
    y = np.array(["ctrl", "case"])[whole.labels]
    model = mil.MeanPooling(epochs=20, lr=0.05, widths=(4,), dropout=0.0, progress=False)
    for positive in (None, "ctrl"):
        bags = whole.with_target(y, positive=positive)
        for scoring, least in (("roc_auc", 0.9), ("neg_log_loss", -0.5)):
            assert cross_val_score(model, bags, y, cv=2, scoring=scoring).mean() > least
        model.fit(bags)
        assert model.classes_.tolist() == ["case", "ctrl"]
        assert model.task_.positive == (positive or "case")
        right = model.predict_proba(bags)[:, 1] > 0.5
        assert (right == (model.predict(bags) == "ctrl")).all()


def test_fit_takes_the_positive_class_and_the_order():
    x, y = planted_bags(12).shape, np.array(["a", "b"] * 6)
    x = np.random.default_rng(0).normal(size=x)
    assert mil.Majority().fit(x, y).task_.positive == "b"
    assert mil.Majority().fit(x, y, positive="a").task_.positive == "a"
    grades = np.array(["low", "mid", "high"] * 4)
    assert mil.Majority().fit(x, grades, order=["low", "mid", "high"]).task_.kind == "ordinal"
    with pytest.raises(InputError, match="has no order"):
        mil.Majority(task="ordinal").fit(x, grades)
    with pytest.raises(InputError, match="positive='c' is no label"):
        mil.Majority().fit(x, y, positive="c")


def test_labels_of_the_bags_themselves_keep_what_was_said_of_them():
    bags = planted_bags(12)
    bags = bags.with_target(np.array(["a", "b"])[bags.labels], positive="a")
    model = mil.Majority().fit(bags, bags.labels)  # as cross_val_score calls it
    assert (model.task_.positive, model.task_.column) == ("a", "target")
    assert mil.Majority().fit(bags, bags.labels[::-1]).task_.positive == "b"  # other labels


def test_one_bag_of_a_class_is_told():
    x = np.random.default_rng(0).normal(size=(7, 3))
    with pytest.warns(UserWarning, match=r"one bag only is of class 23, 31 \(2 of 4 classes\)"):
        mil.Majority().fit(x, np.array([40, 40, 23, 50, 50, 31, 50]))
    with pytest.warns(UserWarning, match="class 'c'.*kind='regression'"):
        mil.Majority().fit(x, np.array(list("aabbcbb")))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mil.Majority().fit(x, np.array(list("aabbabb")))


def test_a_target_of_one_column_is_flattened_with_a_warning():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 3)), np.tile(["a", "b"], 10)
    quiet = dict(accelerator="cpu", progress=False)
    with pytest.warns(DataConversionWarning, match="column-vector y was passed"):
        found = mil.BagMean(**quiet).fit(x, y[:, None])
    wanted = mil.BagMean(**quiet).fit(x, y)
    np.testing.assert_array_equal(found.predict_proba(x), wanted.predict_proba(x))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        mil.BagMean(**quiet).fit(x, y[:9])
    with pytest.raises(InputError, match="BagMean requires y to be passed"):
        mil.BagMean(**quiet).fit(x)


@pytest.mark.parametrize("word", ["predict", "predict_proba", "score", "attribute", "transform"])
def test_before_a_fit_there_is_one_error(word):
    bags = planted_bags(12)
    with pytest.raises(NotFittedError):
        getattr(mil.BagMean(progress=False), word)(bags)
