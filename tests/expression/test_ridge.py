"""Ridge against scikit-learn at every penalty, and leaving donors out against refits."""

import numpy as np
import pytest
from scipy.stats import pearsonr
from sklearn.linear_model import Ridge as Peer
from sklearn.preprocessing import StandardScaler

from smalti.datasets import planted_slides
from smalti.errors import InputError
from smalti.expression.ridge import Ridge
from smalti.solve.leave_out import tuning_folds
from smalti.solve.ridge import ALPHAS, left_out, ridge_path, tune, tune_each


def table(n, d, g=7, seed=0):
    rng = np.random.default_rng(seed)
    x = 100 + 5 * rng.normal(size=(n, d)) * rng.uniform(0.1, 10, d)  # far from 0, unequal scales
    y = x[:, :3] @ rng.normal(size=(3, g)) + rng.normal(size=(n, g))
    return x, y, np.arange(n) % 4


def peer(x, y, alpha, new):
    scaler = StandardScaler().fit(x)
    return Peer(alpha=alpha).fit(scaler.transform(x), y).predict(scaler.transform(new))


@pytest.mark.parametrize(("n", "d"), [(120, 10), (60, 200)])
def test_every_penalty_equals_scikit_learn(n, d):
    x, y, _ = table(n, d)
    path = ridge_path(x, y)
    for alpha in ALPHAS:
        weight, bias = path.solution(alpha)
        np.testing.assert_allclose(x @ weight + bias, peer(x, y, alpha, x), atol=1e-6)


@pytest.mark.parametrize(("n", "d"), [(120, 10), (60, 200)])
def test_leaving_a_group_out_equals_a_refit(n, d):
    x, y, groups = table(n, d)
    for rows, path in left_out(x, y, groups):
        rest = np.setdiff1d(np.arange(n), rows)
        for alpha, guess in zip(ALPHAS, path.predictions(x[rows], ALPHAS), strict=True):
            np.testing.assert_allclose(guess, peer(x[rest], y[rest], alpha, x[rows]), atol=1e-6)


@pytest.mark.parametrize(("n", "d"), [(120, 10), (60, 200)])
def test_tuning_error_is_that_of_a_loop(n, d):
    x, y, groups = table(n, d)
    error, mean = (f(x, y, groups, (1.0, 100.0)) for f in (tune_each, tune))
    np.testing.assert_allclose(mean, error.mean(1), rtol=1e-5)
    for i, alpha in enumerate((1.0, 100.0)):
        left = np.zeros(y.shape[1])
        for g in range(4):
            out = groups == g
            left += ((peer(x[~out], y[~out], alpha, x[out]) - y[out]) ** 2).sum(0)
        wanted = left / ((y - y.mean(0)) ** 2).sum(0)
        np.testing.assert_allclose(error[i], wanted, rtol=1e-5)
        assert mean[i] == pytest.approx(wanted.mean(), rel=1e-9)


def test_the_error_of_a_tiny_penalty_on_features_that_repeat():
    x, y, groups = table(120, 10)
    x = np.concatenate(
        [x, x[:, :4] + 1e-4 * np.random.default_rng(1).normal(size=(120, 4))], axis=1
    )
    alphas = (1e-6, 1e-3, 1.0)
    error = tune(x, y, groups, alphas)
    left = [sum(((next(p.predictions(x[rows], (a,))) - y[rows]) ** 2).sum(0)
                for rows, p in left_out(x, y, groups)) for a in alphas]  # fmt: skip
    wanted = np.mean(left / ((y - y.mean(0)) ** 2).sum(0), axis=1)
    np.testing.assert_allclose(error, wanted, rtol=1e-6)


def test_without_standardising():
    x, y, groups = table(120, 10)
    weight, bias = ridge_path(x, y, standardize=False).solution(50.0)
    peer = Peer(alpha=50.0).fit(x, y)
    np.testing.assert_allclose(x @ weight + bias, peer.predict(x), atol=1e-6)
    for rows, path in left_out(x, y, groups, standardize=False):
        rest = np.setdiff1d(np.arange(120), rows)
        wanted = Peer(alpha=50.0).fit(x[rest], y[rest]).predict(x[rows])
        np.testing.assert_allclose(next(path.predictions(x[rows], (50.0,))), wanted, atol=1e-6)


def test_constant_features_and_genes():
    x, y, groups = table(80, 6)
    x[:, 2], y[:, 1] = 3.0, 2.0
    weight, bias = ridge_path(x, y).solution(1.0)
    assert np.abs(weight[2]).max() < 1e-12
    np.testing.assert_allclose(x @ weight[:, 1] + bias[1], 2.0, atol=1e-8)
    assert np.isnan(tune_each(x, y, groups)[:, 1]).all()
    others = tune(x, np.delete(y, 1, axis=1), groups)
    np.testing.assert_allclose(tune(x, y, groups), others, rtol=1e-9)
    assert (tune(x, y[:, [1]], groups) == 0).all()


def test_the_penalty_is_chosen_by_donors():
    bags = planted_slides(8, 30, donors=4)
    groups, what = tuning_folds(bags)
    assert what == "donor"
    model = Ridge(progress=False).fit(bags)
    error = tune_each(bags.table("X_planted"), model.measured(bags), groups)
    assert float(model.network_.alpha[0]) == pytest.approx(ALPHAS[int(error.mean(1).argmin())])
    own = Ridge(per_gene=True, progress=False).fit(bags)
    chosen = np.asarray(ALPHAS)[error.argmin(0)]
    np.testing.assert_allclose(own.network_.alpha.numpy(), chosen, rtol=1e-5)


def test_folds_to_leave_out():
    bags = planted_slides(4, 25, donors=2)
    assert tuning_folds(bags)[1] == "donor"
    assert tuning_folds(bags[[0, 2]])[1] == "slide"  # two slides of one donor
    codes, what = tuning_folds(bags[[0]])
    assert what == "strip of the slide"
    xy = bags[[0]].instance["y_um" if np.ptp(bags[[0]].instance["x_um"]) == 0 else "x_um"]
    assert len(np.unique(codes)) == 5
    for a, b in zip(range(4), range(1, 5), strict=True):  # strips do not interleave
        assert xy[codes == a].max() <= xy[codes == b].min()


def test_a_fixed_penalty_and_a_wrong_one():
    bags = planted_slides(4, 25)
    model = Ridge(alpha=10.0, progress=False).fit(bags)
    x, y = bags.table("X_planted").astype(float), model.measured(bags).astype(float)
    np.testing.assert_allclose(model.predict(bags), peer(x, y, 10.0, x), atol=1e-4)
    with pytest.raises(InputError, match="alpha=-1"):
        Ridge(alpha=-1.0, progress=False).fit(bags)


def test_score_is_the_mean_pearson_within_slides():
    bags = planted_slides(4, 25)
    model = Ridge(progress=False).fit(bags[:2])
    guess, true = model.predict(bags[2:]), model.measured(bags[2:])
    slide = bags[2:].index
    each = [[pearsonr(guess[slide == s, g], true[slide == s, g])[0] for s in range(2)]
            for g in range(guess.shape[1])]  # fmt: skip
    assert model.score(bags[2:]) == pytest.approx(np.mean(each), abs=1e-6)
