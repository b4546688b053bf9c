"""Probabilities that are read by what was said of training donors that models had not seen."""

import numpy as np
import pytest
from scipy.special import expit, logit, softmax

import smalti as sm
from smalti.comparison.phenotype_fit import Folds
from smalti.comparison.protocols import protocol_of
from smalti.comparison.recalibration import left_out, recalibrated, recalibrated_curves
from smalti.datasets import planted_bags
from smalti.errors import InputError
from smalti.mil.bag_mean import BagMean
from smalti.scores import calibration


def bold(n, seed=0, by=4.0):
    """Truth, and probabilities whose logits are four times what they should be."""
    rng = np.random.default_rng(seed)
    right = rng.normal(0, 1.5, n)
    truth = (rng.random(n) < expit(right)).astype(int)
    p = expit(by * right)
    return truth, np.stack([1 - p, p], 1)


@pytest.mark.parametrize("how", ["sigmoid", "isotonic"])
def test_bold_probabilities_come_to_mean_what_they_say(how):
    truth, said = bold(2000)
    new, p = bold(2000, seed=1)
    found = recalibrated(said, truth, p, how)
    before, after = (calibration(new, q[:, 1])["slope"] for q in (p, found))
    assert before < 0.3
    assert 0.8 < after < 1.2
    if how == "sigmoid":  # a line in logits keeps every rank
        inside = (p[:, 1] > 1e-6) & (p[:, 1] < 1 - 1e-6)
        line = np.polyfit(logit(p[inside, 1]), logit(found[inside, 1]), 1, full=True)
        assert line[0][0] == pytest.approx(0.25, abs=0.06)
        assert line[1][0] < 1e-9


@pytest.mark.parametrize("how", ["sigmoid", "isotonic"])
def test_several_classes_sum_to_one(how):
    rng = np.random.default_rng(0)
    p = softmax(rng.normal(size=(300, 4)), axis=1)
    truth = rng.integers(3, size=300)  # the last is nowhere
    found = recalibrated(p, truth, p, how)
    assert found.sum(1) == pytest.approx(np.ones(300))
    assert not found[:, 3].any()
    assert (recalibrated(p, np.ones(300, int), p, how)[:, 1] == 1).all()


class Told:
    """Stands for a method: remembers whom it was fitted on."""

    seed = 0

    def __sklearn_clone__(self):
        return Told()

    def fit(self, bags):
        self.donors = set(bags.bag["donor"])
        return self


def test_no_model_is_asked_of_a_donor_that_it_knows():
    bags = planted_bags(20, bags_per_donor=2, seed=0)

    def say(model, asked):
        assert not model.donors & set(asked.bag["donor"])
        return np.tile([[0.2, 0.8]], (len(asked), 1))

    rows, said = left_out(Told(), bags, say)
    assert np.array_equal(np.sort(rows), np.arange(20))
    assert said.shape == (20, 2)


def test_a_class_of_one_donor_cannot_be_left_out():
    bags = planted_bags(6, seed=0).with_target([0, 0, 0, 0, 0, 1])
    with pytest.raises(InputError, match="a class has one donor in training"):
        left_out(Told(), bags, lambda model, asked: None)


class Bold(BagMean):
    """Says all that it says six times as surely."""

    name = "bold"

    def forward(self, X):
        raw, *rest = super().forward(X)
        return (6 * raw, *rest)


def fold(how, kind="binary", n=60):
    """The arena of a comparison, and its answer in the first fold."""
    bags = planted_bags(n, kind=kind, n_features=4, effect=1.0, seed=1)
    arena = Folds(bags, protocol_of(bags, folds=3), False, bags, recalibrate=how)
    split = arena.parts[0]
    return arena, arena.fit(Bold(progress=False), split)


@pytest.mark.parametrize("kind", ["binary", "multiclass"])
def test_a_fold_is_recalibrated(kind):
    found = {}
    for how in (None, "sigmoid"):
        arena, answer = fold(how, kind)
        p, predicted = answer.arrays["p"], answer.arrays["predicted"]
        assert p.sum(1) == pytest.approx(np.ones(len(p)), abs=1e-6)
        assert np.array_equal(predicted, p.argmax(1))
        found[how] = arena.score(Bold(), arena.parts[0], answer)["log_loss"]
    assert found["sigmoid"] != found[None]
    if kind == "binary":
        assert found["sigmoid"] < 0.8 * found[None]


@pytest.mark.slow
def test_what_is_kept_without_is_not_taken_for_what_is_asked_with():
    bags = planted_bags(20, seed=0)
    arenas = [Folds(bags, protocol_of(bags, folds=2), False, bags, recalibrate=how)
              for how in (None, "sigmoid", "isotonic")]  # fmt: skip
    assert len({a.key(Bold(), a.parts[0]) for a in arenas}) == 3
    assert len({a.split_digest for a in arenas}) == 1


def compared(kind="binary", **more):
    bags = planted_bags(20, kind=kind, n_features=2, seed=1)
    return sm.compare([Bold()], bags, folds=2, n_jobs=1, progress=False, **more)


@pytest.mark.slow  # six fits for one, of all baselines
def test_a_comparison_says_so():
    table = compared(recalibrate="sigmoid", permutations=0)
    assert any("recalibrated (sigmoid)" in note for note in table.notes)


@pytest.mark.parametrize(("kind", "how", "words"), [
    ("binary", "temperature", "recalibrate='temperature' is not one of sigmoid, isotonic"),
    ("regression", "sigmoid", "the target is regression: leave it out"),
])  # fmt: skip
def test_what_cannot_be_recalibrated(kind, how, words):
    with pytest.raises(InputError, match=words):
        compared(kind, recalibrate=how)


def test_curves_of_risks_that_are_ten_times_too_bold_are_read_as_they_should_be():
    rng = np.random.default_rng(0)
    n = 2000
    x = rng.normal(size=n)
    hazard = np.exp(x) / 20
    life, watched = rng.exponential(1 / hazard), rng.uniform(5, 60, n)
    truth = np.column_stack([np.minimum(life, watched), life <= watched, np.zeros(n)])
    at, new = np.array([5.0, 20.0]), np.array([-1.0, 0.0, 1.0])
    found = recalibrated_curves(10 * x + 3, truth, 10 * new + 3, at)
    np.testing.assert_allclose(found, np.exp(-np.exp(new)[:, None] / 20 * at), atol=0.03)
    # risks that say the contrary are not turned about: one curve for all
    flat = recalibrated_curves(-x, truth, np.array([-1.0, 1.0]), at)
    np.testing.assert_allclose(flat[0], flat[1], atol=1e-3)


def test_a_fold_of_times_is_recalibrated_by_cox():
    bags = sm.datasets.planted_bags(40, kind="survival", effect=4.0, seed=0)
    parts = protocol_of(bags, folds=2)
    one, two = (
        Folds(bags, parts, False, bags, recalibrate=r).fit(sm.mil.BagMean(), parts.splits[0]).arrays
        for r in (None, "cox")
    )
    np.testing.assert_array_equal(one["predicted"], two["predicted"])  # risks stay
    assert not np.allclose(one["curves"], two["curves"])
    how = {"folds": 2, "n_jobs": 1, "progress": False}
    with pytest.raises(InputError, match="'sigmoid' is not for a survival target: cox is"):
        sm.compare(["bag_mean"], bags, **how, recalibrate="sigmoid")
    with pytest.raises(InputError, match="sigmoid or isotonic is"):
        sm.compare(["bag_mean"], sm.datasets.planted_bags(20, seed=0), **how, recalibrate="cox")
