"""scikit-learn's searches: as it has them, but for donors, who never part."""

import numpy as np
import pytest
from sklearn.experimental import enable_halving_search_cv  # noqa: F401 - asked for by scikit-learn
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    HalvingGridSearchCV,
    KFold,
    RandomizedSearchCV,
    ShuffleSplit,
    StratifiedKFold,
)
from sklearn.pipeline import Pipeline

import smalti as sm
from smalti.comparison.phenotype_fit import Folds
from smalti.comparison.search.scikit import ScikitSearch
from smalti.datasets import planted_bags, planted_slides
from smalti.errors import InputError
from smalti.mil.bag_mean import BagMean
from smalti.preprocess import Scale

pytestmark = pytest.mark.usefixtures("one_penalty", "majority_alone")
QUIET = dict(accelerator="cpu", progress=False)
HOW = dict(n_jobs=1, progress=False, folds=2)
GRID = {"preprocess": ["pca=1", "pca=8"]}


@pytest.fixture(autouse=True)
def _unaudited(monkeypatch):
    for kind in ("phenotype", "expression"):
        monkeypatch.setattr(f"smalti.comparison.{kind}.audit", lambda *_, **__: None)


@pytest.fixture(scope="module")
def bags():
    return planted_bags(24, bags_per_donor=2, effect=2.0, seed=0)


@pytest.mark.parametrize("cv", [2, StratifiedKFold(2), KFold(2), GroupKFold(3)], ids=str)
def test_no_donor_is_on_both_sides_of_an_inner_fold(bags, cv, monkeypatch):
    pairs, trained, fit, answer = [], [], BagMean.fit, Folds.answer

    def fitted(self, X, y=None, **kwargs):
        trained.append(set(X.bag["donor"]))
        return fit(self, X, y, **kwargs)

    def answered(self, model, test):
        pairs.append((trained[-1], set(test.bag["donor"])))
        return answer(self, model, test)

    monkeypatch.setattr(BagMean, "fit", fitted)
    monkeypatch.setattr(Folds, "answer", answered)
    search = ScikitSearch(GridSearchCV(BagMean(**QUIET), GRID, cv=cv))
    search.fit(bags)
    assert len(pairs) == (6 if isinstance(cv, GroupKFold) else 4)
    assert not any(train & test for train, test in pairs)
    assert set.union(*(test for _, test in pairs)) == set(bags.bag["donor"])
    said = search.check()
    assert len(said) == isinstance(cv, (StratifiedKFold, KFold))
    assert all("knows no donors, so 2 folds by donor take its place" in note for note in said)


@pytest.mark.parametrize("cv", [ShuffleSplit(2), [([0, 1], [2, 3])]], ids=["shuffled", "pairs"])
def test_folds_that_part_donors_are_refused(bags, cv):
    with pytest.raises(InputError, match="would put bags of one donor on both sides"):
        sm.compare([GridSearchCV(BagMean(**QUIET), GRID, cv=cv)], bags, **HOW)


def test_it_chooses_as_our_grid_does(bags):
    ours = sm.Search(BagMean(**QUIET), GRID, sampler="grid", folds=2)
    both = {"theirs": GridSearchCV(BagMean(**QUIET), GRID, cv=2), "ours": ours}
    table = sm.compare(both, bags, **HOW)
    found = table.searches().drop(columns="method").set_index(table.searches()["method"])
    np.testing.assert_array_equal(found.loc["theirs"], found.loc["ours"])
    assert table.settings["theirs"]["search"] == "GridSearchCV of 2 settings"
    means = table.summary("roc_auc").set_index("method")["mean"]
    assert means["theirs"] == means["ours"]


@pytest.mark.slow
def test_a_pipeline_and_a_scoring_of_its_own(bags):
    pipeline = Pipeline([("scale", Scale()), ("m", BagMean(**QUIET))])
    grid = {"m__class_weight": [None, "balanced"]}
    search = RandomizedSearchCV(pipeline, grid, n_iter=1, cv=2, scoring="accuracy")
    table = sm.compare({"s": search}, bags, preprocess="pca=2", **HOW)
    assert set(table.searches()["metric"]) == {"accuracy"}  # a metric of ours: outer beside it
    assert table.searches()["outer"].notna().all()
    assert table.settings["s"]["preprocess"] == "scale"  # not that of the others
    odd = GridSearchCV(BagMean(**QUIET), GRID, cv=2, scoring="f1")
    table = sm.compare({"s": odd}, bags, **HOW)
    assert set(table.searches()["metric"]) == {"f1"}
    assert table.searches()["outer"].isna().all()


def test_one_that_halves_and_saves(bags, tmp_path):
    search = HalvingGridSearchCV(BagMean(**QUIET), GRID, cv=2, factor=2, min_resources=12)
    fitted = ScikitSearch(search).fit(bags)
    assert len(fitted.trials_) == 3  # two, then the better one again
    fitted.save(tmp_path / "model")
    model = sm.load(tmp_path / "model")
    assert model.searched_["chosen"] == fitted.chosen_
    np.testing.assert_array_equal(model.forward(bags)[0], fitted.forward(bags)[0])
    assert roc_auc_score(bags.labels, model.forward(bags)[0][:, 0]) > 0.5


@pytest.mark.slow
def test_expression_by_the_donors_of_its_slides():
    slides = planted_slides(6, 16, n_genes=6, seed=0)
    search = GridSearchCV(sm.make("knn"), {"k": [1, 8]}, cv=2)
    table = sm.compare_expression({"s": search}, slides, folds=2, seeds=1, n_jobs=1, progress=False)
    assert set(table.searches()["metric"]) == {"pcc_slide"}
    outer = table.folds.query("method == 's' and metric == 'pcc_slide'")["value"]
    np.testing.assert_allclose(table.searches()["outer"], outer)


def test_what_is_no_method_or_no_setting_is_refused(bags):
    with pytest.raises(InputError, match="is no method of smalti.mil"):
        sm.compare([GridSearchCV(LogisticRegression(), {"C": [1]})], bags, **HOW)
    with pytest.raises(InputError, match="bag_mean has no setting 'C'"):
        sm.compare([GridSearchCV(BagMean(), {"C": [1]})], bags, **HOW)
    several = GridSearchCV(BagMean(), GRID, scoring=["accuracy", "f1"], refit="f1")
    with pytest.raises(InputError, match="name one score to choose by"):
        sm.compare([several], bags, **HOW)
    failing = GridSearchCV(BagMean(**QUIET), {"views": ["lost"]}, cv=2, error_score="raise")
    words = r"GridSearchCV of 1 settings: all trials failed. no view .lost."
    with pytest.raises(InputError, match=words):
        ScikitSearch(failing).fit(bags)
