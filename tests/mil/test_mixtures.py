import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture

from smalti.datasets import planted_bags
from smalti.errors import InputError
from smalti.mil import MixtureClass, MixturePatient
from smalti.nn.mixture import Mixtures


def scaled(model, bags):
    return model.network_.cells(torch.as_tensor(bags.table())).double().numpy()


def test_densities_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 4)) @ rng.normal(size=(4, 4)) + rng.integers(2, size=(500, 1)) * 4
    net = Mixtures(3, 4, 4).double()
    fits = [GaussianMixture(k, random_state=0).fit(x[: 200 + 100 * k]) for k in (1, 4, 2)]
    for m, fit in enumerate(fits):
        net.place(m, fit)
    each = np.stack([fit.score_samples(x) for fit in fits], axis=1)
    np.testing.assert_allclose(net(torch.as_tensor(x)), each, atol=1e-8)


def test_mixture_class_is_the_likeliest_class_with_its_frequency():
    bags = planted_bags(31, effect=2)
    model = MixtureClass(centers=2, ridge=1e-3).fit(bags)
    x = scaled(model, bags)
    log_p = model.network_.mixtures(torch.as_tensor(x).float()).double().numpy()
    likelihood = np.stack([np.bincount(bags.index, log_p[:, c]) for c in range(2)], axis=1)
    n = np.bincount(bags.labels)
    guess = (likelihood + np.log(n)).argmax(1)
    np.testing.assert_array_equal(model.predict(bags), guess)
    score = model.attribute(bags)["score_1"].to_numpy()
    difference = likelihood[:, 1] - likelihood[:, 0]
    np.testing.assert_allclose(np.bincount(bags.index, score), difference, rtol=1e-3, atol=1e-2)
    raw = model.forward(bags)[0][:, 0]
    np.testing.assert_allclose(raw, np.arcsinh(difference + np.log(n[1] / n[0])), rtol=1e-3,
                               atol=1e-3)  # fmt: skip


def test_mixture_patient_sums_over_the_training_samples_of_a_class():
    bags = planted_bags(24, mean_length=60, effect=2)
    train, test = bags[:16], bags[16:]
    model = MixturePatient(centers=1, ridge=0.05).fit(train)
    x, y = scaled(model, train), scaled(model, test)
    whole = np.stack([
        np.bincount(test.index, GaussianMixture(1, reg_covar=0.05).fit(
            x[train.index == m]).score_samples(y)) for m in range(16)
    ], axis=1)  # fmt: skip
    lse = [np.logaddexp.reduce(whole[:, train.labels == c], axis=1) for c in range(2)]
    np.testing.assert_allclose(
        model.forward(test)[0][:, 0], np.arcsinh(lse[1] - lse[0]), rtol=1e-3, atol=1e-3
    )


@pytest.mark.parametrize("method", [MixtureClass, MixturePatient])
def test_scores_of_many_cells_do_not_tie(method):
    bags = planted_bags(24, mean_length=400, effect=4)
    model = method(centers=1, ridge=0.05).fit(bags)
    p = model.predict_proba(bags)[:, 1]
    assert len(np.unique(p)) == len(bags)
    tempered = method(centers=1, ridge=0.05, temper="mean").fit(bags)
    q = tempered.predict_proba(bags)[:, 1]
    assert len(np.unique(q)) == len(bags)
    assert np.abs(q - 0.5).mean() < np.abs(p - 0.5).mean()


def test_bad_settings():
    with pytest.raises(InputError, match="temper='x' should be 'squash' or 'mean'"):
        MixtureClass(temper="x").fit(planted_bags(20))
    with pytest.raises(InputError, match="cannot learn a regression target"):
        MixturePatient(centers=1).fit(planted_bags(20, kind="regression"))
