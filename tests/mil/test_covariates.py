"""Covariates of the patient, in every method that reads them and for every kind of target."""

import dataclasses

import numpy as np
import pytest
import torch

import smalti as sm
from smalti.core.registry import methods
from smalti.core.store import Store
from smalti.datasets import planted_bags
from smalti.labels import KINDS
from smalti.mil.scrat.method import Mixup

READERS = {name for name, cls in methods().items() if "covariates" in cls().get_params()}


def told(kind, n=24):
    """Bags with an age and a sex that have nothing to do with the target."""
    bags = planted_bags(n, kind=kind, seed=0)
    rng = np.random.default_rng(0)
    more = {"age": rng.normal(50, 10, n), "sex": rng.choice(["f", "m"], n)}
    return dataclasses.replace(bags, bag=bags.bag.assign(**more))


def tiny(name, **settings):
    return methods()[name].example().set_params(covariates=("age", "sex"), **settings)


def test_these_methods_read_them():
    assert {"bag_mean", "covariates", "hier_mil", "mixmil", "protocell4p", "scrat"} <= READERS


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["hier_mil", "scrat", "protocell4p"])
def test_covariates_go_with_every_kind_of_target(name, kind):
    bags = told(kind)
    short = {"pretrain_epochs": 1} if name == "protocell4p" else {}
    model = tiny(name, epochs=1, **short).fit(bags)
    assert model.shape_.n_covariates == 2
    want = model.forward(bags)[0]
    older = dataclasses.replace(bags, bag=bags.bag.assign(age=bags.bag["age"] + 30))
    assert not np.array_equal(model.forward(older)[0], want)  # they enter the prediction
    assert np.allclose(model.forward(bags[[3]])[0], want[[3]], atol=1e-5)  # of the bag alone


@pytest.mark.parametrize("name", ["scrat", "protocell4p"])
def test_a_target_that_covariates_tell_is_learned(name, tmp_path):
    rng = np.random.default_rng(1)
    bags = planted_bags(40, effect=1e-3, seed=1)  # instances say nothing
    age = rng.normal(0, 1, 40)
    bags = bags.with_target((age > 0).astype(int))
    bags = dataclasses.replace(bags, bag=bags.bag.assign(age=age))
    how = {"lr": 0.05, "epochs": 30} | ({"pretrain_epochs": 2} if name == "protocell4p" else {})
    model = methods()[name].example().set_params(covariates=("age",), **how).fit(bags[:30])
    assert model.score(bags[30:], bags[30:].labels) >= 0.8
    model.save(tmp_path / "model")
    assert np.array_equal(sm.load(tmp_path / "model").predict(bags), model.predict(bags))


def test_a_mixture_has_covariates_of_both_samples_in_proportion():
    bags = told("binary", 10)
    columns = sm.columns.Columns.fit(bags, None, ("age", "sex"))
    store = Store(bags, torch.device("cpu"), torch.float64, columns)
    mixup = Mixup(draw=5, draws=1, augment=2, alpha=0.5, pool=100, mix="any", inter_only=False,
                  n_types=1)  # fmt: skip
    units = np.array([[0, 1, 7], [2, -1, 8], [4, 3, 9]])
    share = mixup.shares(units)
    table = columns.table(bags).astype(float)
    want = [share[0] * table[0] + (1 - share[0]) * table[1], table[2],
            share[2] * table[4] + (1 - share[2]) * table[3]]  # fmt: skip
    found = mixup.batch(store, units).bag["covariates"]
    np.testing.assert_allclose(found.numpy(), want, rtol=1e-6)


def test_a_covariate_that_is_the_same_in_all_training_bags_says_nothing():
    bags = told("binary")
    one = dataclasses.replace(bags, bag=bags.bag.assign(sex="f"))
    plain, same = (sm.mil.BagMean(covariates=c, progress=False).fit(one)
                   for c in (("age",), ("age", "sex")))  # fmt: skip
    assert np.array_equal(plain.predict_proba(one), same.predict_proba(one))
