"""Deletion and insertion curves against loops over single bags, and the numbers beside them."""

import dataclasses

import numpy as np
import pytest
from scipy.integrate import trapezoid

from smalti.datasets import planted_bags
from smalti.explain.curves import GONE, curves_of, effective_number, kept
from smalti.explain.instance_scores import AtHand, side_of
from smalti.mil import ABMIL, BagMean, HierMIL, Majority
from smalti.task import Task

TINY = ABMIL(widths=(8,), attention_width=4, epochs=3, progress=False)


@pytest.fixture(scope="module")
def halves():
    return tuple(planted_bags(12, mean_length=12, seed=s) for s in (0, 1))


def naive(model, bag, order, of_class):
    """(2, n_shares): a prediction for each number of instances that are left, one bag at a time."""
    found = np.empty((2, len(GONE)))
    for s, share in enumerate(GONE):
        m = len(order) - min(len(order) - 1, round(share * len(order)))
        for j, left in enumerate((order[len(order) - m :], order[:m])):
            found[j, s] = model.predict_proba(bag.keep(left))[0, of_class]
    return found


@pytest.mark.parametrize("kind", ["contribution", "attention"])
def test_curves_are_those_of_a_loop_over_single_bags(halves, kind):
    train, test = halves
    model = TINY.fit(train)
    curves, _ = curves_of(model, test, seed=3)
    assert curves.orders == ("contribution", "attention", "norm", "distance")
    j, p = curves.orders.index(kind), model.predict_proba(test)
    frame = model.attribute(test)
    for i in (0, 3, 7):
        rows = slice(test.offsets[i], test.offsets[i + 1])
        followed = p[i].argmax() if kind == "contribution" else int(test.labels[i])
        column = {"contribution": "contribution_1", "attention": "attention"}[kind]
        sign = -1 if kind == "contribution" and not followed else 1
        order = np.argsort(-sign * frame[column].to_numpy()[rows], kind="stable")
        assert np.allclose(
            curves.values[side_of(kind), i, j], naive(model, test[[i]], order, followed), atol=1e-6
        )


def test_yardsticks_and_random_orders_are_of_the_rows_that_the_network_reads(halves):
    train, test = halves
    model = BagMean(preprocess="scale", progress=False).fit(train)
    curves, _ = curves_of(model, test, draws=2)
    scaled = model.running(test).bags.table()
    rows = slice(test.offsets[2], test.offsets[3])
    part = scaled[rows].astype(float)
    for name, size in (("norm", part), ("distance", part - part.mean(0))):
        order = np.argsort(-np.linalg.norm(size, axis=1), kind="stable")
        of = int(model.predict_proba(test[[2]])[0].argmax())
        found = curves.values[0, 2, curves.orders.index(name)]
        assert np.allclose(found, naive(model, test[[2]], order, of), atol=1e-6)
    # each draw is another one
    assert not np.allclose(curves.random[0, 2, 0], curves.random[0, 2, 1])


OF_BAG = BagMean(covariates=("trait",)), "contribution_1"
OF_INSTANCE = HierMIL(epochs=2, widths=(8,), group="cell_type"), "attention"


@pytest.mark.parametrize(("method", "column"), [OF_BAG, OF_INSTANCE], ids=["bag", "instance"])
def test_columns_go_with_the_instances_that_are_left(halves, method, column):
    train, test = halves
    model = method.set_params(progress=False).fit(train)
    kind = column.removesuffix("_1")
    curves, _ = curves_of(model, test)
    signed, guess = kind == "contribution", int(model.predict(test[[5]])[0])
    values = model.attribute(test)[column].to_numpy()[test.offsets[5] : test.offsets[6]]
    order = np.argsort(values if signed and not guess else -values, kind="stable")
    found = curves.values[side_of(kind), 5, curves.orders.index(kind)]
    of = guess if signed else int(test.labels[5])
    assert np.allclose(found, naive(model, test[[5]], order, of), atol=1e-5)


def test_gains_are_areas_between_a_curve_and_that_of_random_order(halves):
    train, test = halves
    curves, _ = curves_of(BagMean(progress=False).fit(train), test)
    gains, chance = curves.gains(), curves.random.mean(2)
    below = trapezoid(chance[0, 4] - curves.values[0, 4, 0, 0], GONE) / GONE[-1]
    above = trapezoid(curves.values[0, 4, 0, 1] - chance[0, 4], GONE) / GONE[-1]
    assert gains[0, 4, 0] == pytest.approx([below, above])
    assert (gains[0, :, 0] > 0).all()  # of an additive model, whatever the bag


def test_equal_scores_are_in_random_order():
    bags = planted_bags(40, mean_length=20, seed=0)
    # rows sorted so that their order would tell
    order = np.lexsort((~bags.instance["key"].to_numpy(), bags.index))
    told = dataclasses.replace(bags, x={"x": bags.table()[order]})
    even = BagMean(progress=False).fit(planted_bags(40, seed=1))
    whole = even.network_.shares
    even.network_.shares = lambda batch, z: whole(batch, z) * 0
    gains = curves_of(even, told, draws=20)[0].gains()[0, :, 0].mean(1)
    assert abs(np.nanmean(gains)) < 3 * np.nanstd(gains) / np.sqrt(len(gains))


def test_a_bag_of_one_instance_has_no_curve_and_a_method_without_scores_none_at_all(halves):
    train, test = halves
    first = np.r_[test.offsets[0], np.arange(test.offsets[1], test.n_instances)]
    short = test.keep(first)
    curves, _ = curves_of(BagMean(progress=False).fit(train), short)
    assert np.isnan(curves.values[:, 0]).all()
    assert np.isfinite(curves.values[:, 1:]).all()
    curves, scores = curves_of(Majority(progress=False).fit(train), test)
    assert not scores
    assert not curves.orders


@pytest.mark.parametrize("kind", ["multiclass", "ordinal", "regression", "binomial"])
def test_every_kind_of_target_has_curves_that_an_additive_model_is_faithful_to(kind):
    train, test = (planted_bags(30, kind=kind, seed=s) for s in (0, 1))
    model = BagMean(task=kind, progress=False).fit(train)
    curves, _ = curves_of(model, test)
    assert np.nanmean(curves.gains()[0, :, 0]) > 0.02


def test_what_is_followed_is_the_predicted_side_or_the_true_one():
    task = Task(kind="multiclass", classes=("a", "b", "c"))
    raw = np.log([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]])
    assert AtHand.of(task, raw).values(raw) == pytest.approx([0.5, 0.8])
    true = AtHand.true(task, np.array(["b", "unknown"]), raw)
    assert true.values(raw) == pytest.approx([0.3, 0.8])  # of an unknown label the predicted one
    task, raw = Task(kind="binary", classes=("no", "yes")), np.array([[1.0], [-1.0]])
    own, true = AtHand.of(task, raw), AtHand.true(task, np.array(["no", "no"]), raw)
    p = 1 / (1 + np.exp(-1))
    assert own.values(raw) == pytest.approx([p, p])
    assert true.values(raw) == pytest.approx([1 - p, p])
    both = np.array([[2.0], [3.0]])
    assert own.scores("contribution", both, np.arange(2)).tolist() == [2, -3]
    assert own.scores("attention", both, np.arange(2)).tolist() == [2, 3]
    task, raw = Task(kind="regression", center=5.0, scale=2.0), np.array([[0.5], [-0.5]])
    assert AtHand.of(task, raw).values(raw).tolist() == [0.5, 0.5]
    assert AtHand.true(task, np.array([4, 4]), raw).values(raw).tolist() == [-0.5, 0.5]


def test_as_many_are_left_as_the_shares_say_and_one_at_least():
    assert kept(100).tolist() == [100, 98, 95, 90, 80, 65, 50, 35, 20, 10, 5, 2]
    assert kept(2).tolist() == [2] * 5 + [1] * 7


def test_the_effective_number_is_that_of_equal_shares():
    offsets = np.array([0, 4, 8, 10])
    attention = np.array([0.25] * 4 + [1, 0, 0, 0] + [0, 0])[:, None]
    assert effective_number(attention, offsets) == pytest.approx([4, 1, 2])
    signed = np.array([1, -1, 0, 0, 3, 3, 3, 0, 1, 1.0])[:, None]
    assert effective_number(signed, offsets) == pytest.approx([2, 3, 2])
