"""Covariates beside what ScRAT and ProtoCell4P read off cells, for each kind of target."""

import dataclasses

import numpy as np
import pytest
import torch

import smalti as sm
from smalti.batch import Shape
from smalti.nn.beside import Beside
from smalti.task import Task

KINDS = ("binary", "multiclass", "multilabel", "ordinal", "binomial", "regression", "survival")


def moved(bags, by):
    return dataclasses.replace(bags, bag=bags.bag.assign(trait=bags.bag["trait"] + by))


@pytest.mark.parametrize("method", [sm.mil.ScRAT, sm.mil.ProtoCell4P])
@pytest.mark.parametrize("kind", KINDS)
def test_a_trait_moves_predictions_by_one_number_a_bag(method, kind):
    bags = sm.datasets.planted_bags(24, effect=0.01, kind=kind, seed=0)
    # one draw, as values of several draws are averaged, not logits
    more = {"predict_draws": 1, "draw": 100} if method is sm.mil.ScRAT else {}
    model = method.example().set_params(covariates=("trait",), epochs=3, **more).fit(bags)
    one, two = (model.forward(b)[0] for b in (bags, moved(bags, 1.0)))
    gap = two - one
    if kind == "multiclass":  # of which a number for all classes says nothing
        gap -= gap.mean(1, keepdims=True)
    assert np.abs(gap).max() > 1e-4
    np.testing.assert_allclose(gap, np.broadcast_to(gap[:1], gap.shape), atol=2e-5)
    if kind == "ordinal":  # thresholds stay as far apart as they are
        np.testing.assert_allclose(gap, np.broadcast_to(gap[:, :1], gap.shape), atol=2e-5)


def test_without_covariates_nothing_is_added_and_nothing_is_drawn():
    task = Task.infer(["a", "b"] * 4)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        beside = Beside(Shape({"x": (3,)}, task, 8))
        drawn = torch.rand(1)
        torch.manual_seed(0)
        assert drawn == torch.rand(1)
    raw = torch.ones(2, 1)
    assert beside(None, raw) is raw


def test_contributions_of_cells_leave_the_trait_out():
    bags = sm.datasets.planted_bags(16, seed=0)
    model = sm.mil.ProtoCell4P.example().set_params(covariates=("trait",), epochs=3).fit(bags)
    part = model.attribute(bags).groupby("bag", sort=False)["contribution_1"].sum().to_numpy()
    rest = model.forward(bags)[0][:, 0] - part  # the constant, and what the trait adds
    trait = model.columns_.table(bags)[:, 0]
    assert abs(np.corrcoef(rest, trait)[0, 1]) > 0.999
