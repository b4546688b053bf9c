"""scikit-learn takes our methods: check_estimator, clone, searches and cross-validation."""

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold, cross_val_score
from sklearn.utils.estimator_checks import check_estimator, estimator_checks_generator

from smalti import mil
from smalti.datasets import planted_bags

# Name of a check -> why it does not hold. None is needed today.
EXEMPT: dict[str, str] = {}
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
