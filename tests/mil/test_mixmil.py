import dataclasses

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch.distributions import Bernoulli, Binomial, Categorical, MultivariateNormal, Normal
from torch.distributions import kl_divergence as kl

import smalti as sm
from smalti.datasets import mixmil_bags, planted_bags
from smalti.errors import InputError
from smalti.mil import MixMIL
from smalti.mil.mixmil import _loss
from smalti.nn import noise


def fitted(bags, **settings):
    return MixMIL.example().set_params(**({"epochs": 5} | settings)).fit(bags)


@pytest.mark.parametrize("posterior", ["full", "mean_field"])
def test_divergence_is_that_of_torch(posterior):
    net = fitted(planted_bags(20, kind="multiclass"), posterior=posterior).network_
    if net.lower is not None:
        torch.manual_seed(0)
        net.lower.data += 0.1 * torch.randn_like(net.lower)
    want = 0.0
    q = net.mean.shape[1] // 2
    for p in range(len(net.mean)):
        prior = net.log_prior[p].repeat_interleave(q).exp()
        factor = net.factor()[p]
        factor = torch.diag(factor) if posterior == "mean_field" else factor
        want += kl(
            MultivariateNormal(net.mean[p], scale_tril=factor),
            MultivariateNormal(torch.zeros(2 * q), torch.diag(prior)),
        )
    assert net.divergence().item() == pytest.approx(want.item(), rel=1e-4)


@pytest.mark.parametrize("posterior", ["full", "mean_field"])
def test_draws_have_the_posterior_mean_and_covariance(posterior):
    net = fitted(planted_bags(20), posterior=posterior).network_
    net.n_draws = 20_000
    if net.lower is not None:
        net.lower.data += 0.2 * torch.randn(net.lower.shape, generator=torch.Generator())
    with noise.drawn_from(noise.Source([torch.Generator().manual_seed(0)], {})), torch.no_grad():
        draws = net.draw()[:, 0]
        factor = net.factor()[0]
    factor = torch.diag(factor) if factor.ndim == 1 else factor
    np.testing.assert_allclose(draws.mean(0), net.mean[0].detach(), atol=0.03)
    np.testing.assert_allclose(draws.T.cov(), factor @ factor.T, atol=0.05)


def test_attention_values_and_effects_equal_loops():
    bags = planted_bags(12, kind="multiclass")
    model = fitted(bags)
    net = model.network_
    raw, instance, _ = model.forward(bags)
    mean = net.mean.detach().double().numpy()
    q = mean.shape[1] // 2
    x = net.scale(torch.as_tensor(bags.table())).double().numpy() / q**0.5
    for p in range(3):
        b_u, b_z = mean[p, :q], mean[p, q:]
        b = np.sqrt((b_z**2).mean())
        for i in range(len(bags)):
            own = x[bags.index == i]
            w = np.exp(own @ b_u)
            w /= w.sum()
            t = own @ (b_z / b)
            u = (w * t).sum()
            center, spread = net.center[p].item(), net.spread[p].item()
            want = b * (u - center) / spread + net.intercept[p].item()
            assert raw[i, p] == pytest.approx(want, abs=1e-4)
            at = bags.index == i
            np.testing.assert_allclose(instance["attention"][at, p], w, atol=1e-5)
            part = w * b * (t - center) / spread
            np.testing.assert_allclose(instance["contribution"][at, p], part, atol=1e-4)


def test_likelihoods_are_those_of_torch():
    torch.manual_seed(0)
    from smalti.batch import Output

    def loss(kind, raw, target, **extra):
        task = sm.Task(kind=kind, classes=tuple(range(raw.shape[-1])),
                       trials=extra.pop("trials", 1))  # fmt: skip
        told = {"penalty": torch.zeros(()), "log_noise": None, "samples": raw} | extra
        return _loss(task, Output(raw.mean(1), extra=told), target)

    raw = torch.randn(5, 4, 3)  # bags, draws, outputs
    y = torch.randint(2, (5, 3)).float()
    want = -Bernoulli(logits=raw).log_prob(y[:, None].expand(5, 4, 3)).sum(2).mean(1)
    torch.testing.assert_close(loss("multilabel", raw, y), want)
    y = torch.randint(3, (5, 3)).float()
    whole = -Binomial(2, logits=raw).log_prob(y[:, None].expand(5, 4, 3)).sum(2).mean(1)
    constant = torch.where(y == 1, np.log(2), 0.0).sum(1)  # the binomial coefficient
    torch.testing.assert_close(loss("binomial", raw, y, trials=2), whole + constant)
    y = torch.randint(3, (5,))
    want = -Categorical(logits=raw).log_prob(y[:, None].expand(5, 4)).mean(1)
    torch.testing.assert_close(loss("multiclass", raw, y), want)
    y, log_noise = torch.randn(5), torch.tensor(-0.4)
    want = -Normal(raw[:, :, 0], log_noise.exp()).log_prob(y[:, None]).mean(1)
    found = loss("regression", raw[:, :, :1], y, log_noise=log_noise)
    torch.testing.assert_close(found + 0.5 * np.log(2 * np.pi), want)


def test_a_prediction_knows_no_other_bag():
    bags = planted_bags(30)
    model = fitted(bags)
    alone = np.concatenate([model.forward(b)[0] for b in bags])
    np.testing.assert_allclose(alone, model.forward(bags)[0], atol=1e-5)
    u = model.forward(bags)[2]["embedding"]  # over the training bags: mean 0, s.d. b
    size = model.network_.mean[:, bags.shape[1] :].square().mean(1).sqrt().item()
    assert u.mean() == pytest.approx(0, abs=1e-4)
    assert u.std(ddof=1) == pytest.approx(size, rel=1e-3)


def test_fixed_effects_are_in_the_prediction():
    bags = planted_bags(60, effect=0.1)
    rng = np.random.default_rng(0)
    table = bags.bag.assign(age=bags.labels * 3.0 + rng.normal(size=60))
    told = dataclasses.replace(bags, bag=table)
    model = fitted(told, covariates=("age",), epochs=40)
    assert model.score(told) > 0.85
    older = dataclasses.replace(told, bag=table.assign(age=table["age"] + 5))
    assert (model.forward(older)[0] > model.forward(told)[0]).all()
    contribution = model.attribute(told).groupby("bag", sort=False)["contribution"].sum()
    side = model.network_.fixed(torch.as_tensor(model.columns_.table(told))).detach().numpy()
    rest = model.forward(told)[0][:, 0] - contribution.to_numpy() - side[:, 0]
    np.testing.assert_allclose(rest, rest[0], atol=1e-4)


def test_the_start_is_the_mean_model_with_uniform_attention():
    bags = mixmil_bags(300, n_outputs=2, length=20)
    model = MixMIL(epochs=0).fit(bags)
    _, instance, bag = model.forward(bags)
    np.testing.assert_allclose(instance["attention"], 1 / 20, atol=1e-6)
    mean = np.stack([b.table().mean(0) for b in bags])
    y = bags.labels[:, 0]
    from sklearn.linear_model import Ridge

    line = Ridge(0.01).fit(mean, y).predict(mean)
    assert spearmanr(bag["embedding"][:, 0], line)[0] > 0.95


def test_it_finds_where_the_attention_lies():
    bags = mixmil_bags(900, n_outputs=3, n_features=10, length=30)
    train, test = bags[:700], bags[700:]

    def score(model):
        u = model.forward(test)[2]["embedding"]
        return np.mean([spearmanr(u[:, j], test.bag[f"u_{j}"])[0] for j in range(3)])

    start = score(MixMIL(epochs=0).fit(train))
    end = score(MixMIL(epochs=60, lr=1e-2).fit(train))
    assert start < 0.75
    assert end > start + 0.1


@pytest.mark.parametrize(("settings", "match"), [
    (dict(posterior="x"), "posterior='x'"), (dict(draws=0), "draws must be"),
    (dict(batch_size=1), "batch_size 2"),
])  # fmt: skip
def test_bad_settings(settings, match):
    with pytest.raises(InputError, match=match):
        fitted(planted_bags(20), **settings)


def test_against_the_authors_package():
    """Optional: the package needs a compiled extension."""
    mixmil = pytest.importorskip("mixmil")
    bags = mixmil_bags(200, n_outputs=2, n_features=8, length=10)
    model = fitted(bags)
    net = model.network_
    theirs = mixmil.MixMIL(8, 2, 1, "binomial")
    x = net.scale(torch.as_tensor(bags.table())).view(200, 10, 8) / 8**0.5
    mean = net.mean.detach()  # (p, 2q): b_u, then b_z
    theirs.posterior.q_mu.data = mean.clone()
    w = theirs.get_weights(x).detach().numpy()
    ours = model.forward(bags)[1]["attention"].reshape(200, 10, 2)
    np.testing.assert_allclose(np.moveaxis(w, -1, 2).reshape(200, 10, 2), ours, atol=1e-4)
