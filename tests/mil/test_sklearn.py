"""scikit-learn takes our methods: check_estimator, clone, searches and cross-validation."""

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold, cross_val_score
from sklearn.utils.estimator_checks import check_estimator

from smalti import mil
from smalti.datasets import planted_bags

# Name of a check -> why it does not hold. None is needed today.
EXEMPT: dict[str, str] = {}
SMALL = dict(widths=(16,), epochs=25, lr=0.05, dropout=0.0, batch_size=32, weight_decay=0.0)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "estimator",
    [
        mil.BagMean(),
        mil.BagMean(task="regression"),
        mil.ABMIL(**SMALL),
        mil.ABMIL(gated=True, task="regression", **SMALL),
    ],
    ids=lambda e: f"{e.name}-{e.task}",
)
def test_check_estimator(estimator):
    estimator.set_params(accelerator="cpu", progress=False)
    check_estimator(estimator, expected_failed_checks=EXEMPT, on_skip=None)


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
