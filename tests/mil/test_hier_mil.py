import numpy as np
import pandas as pd
import pytest
import torch

import smalti as sm
from smalti.bags import Bags
from smalti.datasets import planted_bags
from smalti.errors import InputError
from smalti.mil import HierMIL


def fitted(bags, **settings):
    return HierMIL.example().set_params(epochs=3, accelerator="cpu", **settings).fit(bags)


@pytest.mark.parametrize("cell_attention", [True, False])
def test_both_levels_equal_loops(cell_attention):
    bags = planted_bags(12)
    model = fitted(bags, cell_attention=cell_attention)
    net = model.network_
    raw, instance, bag = model.forward(bags)
    with torch.no_grad():
        for i, one in enumerate(bags):
            h = net.encoder(net.scale(torch.as_tensor(one.table())))
            kinds = one.instance["cell_type"].to_numpy()
            vectors, weights, rows = [], [], []
            for kind in pd.unique(kinds):  # only the types that are there
                at = np.flatnonzero(kinds == kind)
                if cell_attention:
                    a = net.cell_score(h[at]).softmax(0)[:, 0]
                else:
                    a = torch.full((len(at),), 1 / len(at))
                vectors.append((a[:, None] * h[at]).sum(0))
                weights.append(a)
                rows.append(at)
            vectors = torch.stack(vectors)
            b = net.type_score(vectors).softmax(0)[:, 0]
            z = (b[:, None] * vectors).sum(0)
            np.testing.assert_allclose(bag["embedding"][i], z, atol=1e-5)
            np.testing.assert_allclose(raw[i], net.head(z[None])[0], atol=1e-5)
            share = np.zeros(len(kinds))
            for at, a, mass in zip(rows, weights, b, strict=True):
                share[at] = (a * mass).numpy()
            found = instance["attention"][bags.index == i]
            np.testing.assert_allclose(found, share, atol=1e-5)


def test_gradients_equal_loops():
    bags = planted_bags(6)
    model = fitted(bags, dropout=0.0)
    net, store = model.network_, model._store(bags, torch.device("cpu"))
    batch = store.batch(np.arange(6))
    net.train()
    net.zero_grad()
    net(batch).raw.sum().backward()
    found = {n: p.grad.clone() for n, p in net.named_parameters()}
    net.zero_grad()
    total = 0.0
    for i in range(6):
        total = total + net(store.batch(np.array([i]))).raw.sum()
    total.backward()
    for name, parameter in net.named_parameters():
        np.testing.assert_allclose(found[name], parameter.grad, atol=1e-5, err_msg=name)


def test_a_type_that_a_sample_lacks_takes_no_mass():
    bags = planted_bags(20)
    model = fitted(bags)
    one = bags[[0]]
    alone = pd.DataFrame({"cell_type": ["a"] * one.n_instances})
    same = Bags.from_rows(one.table(), np.zeros(one.n_instances), instance=alone)
    attention = model.attribute(same)["attention"]
    assert attention.sum() == pytest.approx(1, abs=1e-5)
    h = model.network_.encoder(model.network_.scale(torch.as_tensor(one.table())))
    a = model.network_.cell_score(h).softmax(0)[:, 0].detach().numpy()
    np.testing.assert_allclose(attention, a, atol=1e-5)


def test_without_type_attention_it_pools_all_cells():
    bags = planted_bags(12)
    model = fitted(bags, type_attention=False, cell_attention=False)
    attention = model.attribute(bags)["attention"].to_numpy()
    np.testing.assert_allclose(attention, 1 / bags.lengths[bags.index], atol=1e-6)


def test_a_type_that_training_lacked_is_told_and_used():
    bags = planted_bags(20)
    model = fitted(bags)
    new = bags.instance.assign(cell_type=np.where(np.arange(bags.n_instances) == 3, "zeta",
                                                  bags.instance["cell_type"]))  # fmt: skip
    import dataclasses

    with pytest.warns(UserWarning, match="1 instances of 1 bags are of cell_type 'zeta'"):
        p = model.predict_proba(dataclasses.replace(bags, instance=new))
    assert np.isfinite(p).all()


def test_columns_that_are_not_there():
    bags = planted_bags(20)
    bare = Bags.from_list([b.table() for b in bags], bags.labels)
    with pytest.raises(InputError, match="no instance column 'cell_type'.*group="):
        HierMIL.example().fit(bare)
    with pytest.raises(InputError, match="no instance column 'region'.*key, cell_type"):
        HierMIL.example().set_params(group="region").fit(bags)
    with pytest.raises(InputError, match="no covariate 'age' in the bag table; there are donor"):
        HierMIL.example().set_params(covariates=("age",)).fit(bags)
    holes = bags.instance.assign(cell_type=bags.instance["cell_type"].where(lambda c: c != "b"))
    import dataclasses

    with pytest.raises(InputError, match="'cell_type' is missing for .* 'unknown'"):
        HierMIL.example().fit(dataclasses.replace(bags, instance=holes))
    # the pooling over all cells needs no types
    assert HierMIL.example().set_params(group=None, epochs=2).fit(bare).predict(bare).shape == (20,)


def _with(bags, **columns):
    import dataclasses

    return dataclasses.replace(bags, bag=bags.bag.assign(**columns))


@pytest.mark.slow
def test_covariates_enter_the_prediction_and_are_scaled_by_training():
    bags = planted_bags(24, effect=0.1, witness_rate=0.05)
    rng = np.random.default_rng(0)
    age = 50 + 10 * bags.labels + rng.normal(size=24)
    told = _with(bags, age=age, sex=np.where(rng.random(24) < 0.5, "f", "m"))
    model = HierMIL.example().set_params(covariates=("age", "sex"), lr=0.02).fit(told)
    assert model.shape_.n_covariates == 2
    assert model.score(told) > 0.9
    older = _with(told, age=age + 30)
    assert (model.forward(older)[0] > model.forward(told)[0]).mean() > 0.9
    np.testing.assert_allclose(
        model.forward(told[[3]])[0], model.forward(told)[0][[3]], atol=1e-5
    )  # not scaled by the bags at hand


def test_covariates_with_holes_or_new_levels():
    bags = planted_bags(20)
    holes = _with(bags, age=[np.nan, *range(19)])
    with pytest.raises(InputError, match="covariate 'age' is missing for 1 of 20 bags.*'bag0'"):
        HierMIL.example().set_params(covariates=("age",)).fit(holes)
    with pytest.raises(InputError, match="covariate 'target' is the target itself"):
        HierMIL.example().set_params(covariates=("target",)).fit(bags)
    told = _with(bags, sex=["f", "m"] * 10)
    model = HierMIL.example().set_params(covariates=("sex",), epochs=2).fit(told)
    with pytest.warns(UserWarning, match="covariate 'sex' is 'x' in 1 bags"):
        model.predict(_with(bags, sex=["x", *["m"] * 19]))


def test_saved_with_levels_and_covariates(tmp_path):
    told = _with(planted_bags(20), age=np.arange(20.0), sex=["f", "m"] * 10)
    model = HierMIL.example().set_params(covariates=("age", "sex"), epochs=2).fit(told)
    model.save(tmp_path / "m")
    back = sm.load(tmp_path / "m")
    np.testing.assert_array_equal(back.forward(told)[0], model.forward(told)[0])
    assert back.columns_ == model.columns_
