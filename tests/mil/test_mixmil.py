import dataclasses

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch.distributions import Bernoulli, Binomial, Categorical, MultivariateNormal, Normal
from torch.distributions import kl_divergence as kl

import smalti as sm
from smalti.batch import Batch
from smalti.core import noise
from smalti.datasets import mixmil_bags, planted_bags
from smalti.errors import InputError
from smalti.mil import MixMIL
from smalti.mil.mixmil import _Draw, _loss, _moments, _rms, _standardised
from smalti.nn.linear import PENALTIES
from smalti.segment import Segments


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
    assert net.draw()[1].item() == pytest.approx(want.item(), rel=1e-4)


@pytest.mark.parametrize("posterior", ["full", "mean_field"])
def test_the_gradients_of_draws_and_divergence_are_those_of_autograd(posterior):
    torch.manual_seed(0)
    p, q, s, full = 2, 3, 4, posterior == "full"
    of = [torch.randn(p, 2 * q), torch.randn(p, 2 * q), torch.randn(p, 2), torch.randn(s, p, 2 * q)]
    mean, log_sd, log_prior, eps = (t.double() for t in of)
    lower = torch.randn(p, 2 * q, 2 * q).double() if full else None
    moving = [t.requires_grad_() for t in (mean, log_sd, log_prior, lower) if t is not None]

    def plainly():
        factor = torch.diag_embed(log_sd.exp()) + (lower.tril(-1) if full else 0)
        scale = torch.diag_embed((log_prior / 2).exp().repeat_interleave(q, dim=1))
        prior = MultivariateNormal(torch.zeros_like(mean), scale_tril=scale)
        far = kl(MultivariateNormal(mean, scale_tril=factor), prior).sum()
        return mean + torch.einsum("pij,spj->spi", factor, eps), far

    ways = [plainly(), _Draw.apply(mean, log_sd, lower, log_prior, eps)]
    torch.testing.assert_close(ways[1], ways[0])
    slope = torch.randn_like(eps)
    grads = [torch.autograd.grad((w * slope).sum() + 0.3 * far, moving) for w, far in ways]
    torch.testing.assert_close(grads[1], grads[0])


def draws_of(net, seed=0):
    with noise.drawn_from(torch.Generator().manual_seed(seed)), torch.no_grad():
        return net.draw()[0]


@pytest.mark.parametrize("posterior", ["full", "mean_field"])
def test_draws_have_the_posterior_mean_and_covariance(posterior):
    net = fitted(planted_bags(20), posterior=posterior).network_
    net.n_draws = 20_000
    if net.lower is not None:
        net.lower.data += 0.2 * torch.randn(net.lower.shape, generator=torch.Generator())
    draws = draws_of(net)[:, 0]
    factor = net.factor()[0].detach()
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
        told = {"penalty": torch.zeros(()), "share": torch.ones(()), "log_noise": None,
                "samples": raw} | extra  # fmt: skip
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


@pytest.mark.parametrize("n", [1, 5, 64])
def test_effects_of_a_step_are_standardised_by_the_formula(n):
    torch.manual_seed(0)
    u, size, flow = 0.3 + torch.randn(n, 80), torch.rand(80), torch.randn(n, 80)
    found, wanted = [], []
    for values, own, standardised in (
        (u, found, _standardised),
        (u.double(), wanted, lambda u, size: (u - _moments(u)[0]) / _moments(u)[1] * size),
    ):
        x, s = (t.detach().to(values, copy=True).requires_grad_() for t in (values, size))
        out = standardised(x, s)
        out.backward(flow.to(values))
        own += [out.detach(), s.grad, x.grad]
    for a, b in zip(found, wanted, strict=True):
        if n > 1:
            torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-4)
    assert (found[0] == 0).all() == (n == 1)


def test_a_prediction_knows_no_other_bag():
    bags = planted_bags(30)
    model = fitted(bags)
    alone = np.concatenate([model.forward(b)[0] for b in bags])
    np.testing.assert_allclose(alone, model.forward(bags)[0], atol=1e-5)
    u = model.forward(bags)[2]["embedding"]  # over the training bags: mean 0, s.d. b
    size = model.network_.mean[:, bags.shape[1] :].square().mean(1).sqrt().item()
    assert u.mean() == pytest.approx(0, abs=1e-4)
    assert u.std(ddof=1) == pytest.approx(size, rel=1e-3)


@pytest.mark.slow
def test_fixed_effects_are_in_the_prediction():
    bags = planted_bags(60, effect=0.1)
    rng = np.random.default_rng(0)
    table = bags.bag.assign(age=bags.labels * 3.0 + rng.normal(size=60))
    told = dataclasses.replace(bags, bag=table)
    model = fitted(told, covariates=("age",), epochs=40)
    assert model.score(told) > 0.85
    older = dataclasses.replace(told, bag=table.assign(age=table["age"] + 5))
    assert (model.forward(older)[0] > model.forward(told)[0]).all()
    contribution = model.attribute(told).groupby("bag", sort=False)["contribution_1"].sum()
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


@pytest.mark.slow  # 700 bags; that it learns is of the contract
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
    (dict(posterior="x"), "posterior='x'"), (dict(batch_size=1), "batch_size=1: u is stand"),
])  # fmt: skip
def test_bad_settings(settings, match):
    with pytest.raises(InputError, match=match):
        fitted(planted_bags(20), **settings)


def test_normal_noise_is_of_the_stream_that_is_said():
    like = torch.zeros(5, 7, requires_grad=True)
    with noise.drawn_from(torch.Generator().manual_seed(1)):
        one, two = noise.normal(like), noise.normal(like)
    stream = torch.Generator().manual_seed(1)
    assert torch.equal(one, torch.empty(5, 7).normal_(generator=stream))
    assert torch.equal(two, torch.empty(5, 7).normal_(generator=stream))  # the stream went on
    assert not one.requires_grad
    assert noise.generator() is None


def test_the_gradient_reaches_mean_and_factor():
    """d/dm E[sum w] = 1; d/dL of w_i = L e is e."""
    net = fitted(planted_bags(20)).network_
    net.zero_grad()
    with noise.drawn_from(torch.Generator().manual_seed(1)):
        net.draw()[0][0, 0].sum().backward()
    with noise.drawn_from(torch.Generator().manual_seed(1)):
        eps = noise.normal(net.mean.detach().expand(net.n_draws, -1, -1))[0, 0]
    torch.testing.assert_close(net.mean.grad[0], torch.ones_like(eps))
    torch.testing.assert_close(net.lower.grad[0], eps.expand(len(eps), -1).tril(-1))
    torch.testing.assert_close(net.log_sd.grad[0], eps * net.log_sd[0].detach().exp())


def test_a_step_equals_a_loop_over_draws_outputs_and_bags():
    bags = planted_bags(12, kind="multilabel")
    net = fitted(bags, draws=3).network_.train()
    batch = Batch({"x": torch.as_tensor(bags.table())}, Segments.of(torch.as_tensor(bags.offsets)))
    with noise.drawn_from(torch.Generator().manual_seed(5)), torch.no_grad():
        extra = net(batch).extra
    samples = extra["samples"]
    penalty = net.draw()[1] / 12  # shared by the bags
    torch.testing.assert_close(extra["penalty"], penalty)
    assert extra["share"] == 12 / 12
    x, q = net.scale(batch.x) / bags.shape[1] ** 0.5, bags.shape[1]
    for s, weights in enumerate(draws_of(net, seed=5)):
        for p in range(2):
            u = torch.stack([
                own @ (weights[p, q:] / weights[p, q:].square().mean().sqrt())
                @ (own @ weights[p, :q]).softmax(0)
                for own in x.split(bags.lengths.tolist())
            ])  # fmt: skip
            want = (u - u.mean()) / u.std() * weights[p, q:].square().mean().sqrt()
            want = (want + net.intercept[p]).detach()
            torch.testing.assert_close(samples[:, s, p], want, atol=1e-4, rtol=1e-4)


def test_the_stages_by_name():
    bags = planted_bags(12)
    for settings, names in [
        ({}, ["standardize", "mean model", "train", "effects"]),
        ({"standardize": False, "epochs": 0}, ["mean model", "effects"]),
    ]:
        assert fitted(bags, **settings).history_["stage"].unique().tolist() == names


def test_moments_are_mean_and_standard_deviation():
    u = torch.randn(5, 3)
    center, spread = _moments(u)
    torch.testing.assert_close(center, u.mean(0))
    torch.testing.assert_close(spread, u.std(0))
    torch.testing.assert_close(_moments(u[:1])[1], torch.full((3,), 1e-6))


def test_a_last_mini_batch_of_two_counts_by_its_size():
    def pull(bags):
        """Gradient of the intercept, which does not depend on how u is standardised."""
        x = torch.as_tensor(bags.table())
        batch = Batch({"x": x}, Segments.of(torch.as_tensor(bags.offsets)))
        net.zero_grad()
        with noise.drawn_from(torch.Generator().manual_seed(0)):
            output = net(batch)
        loss = _loss(model.task_, output, torch.as_tensor(model.task_.encode(bags.labels)))
        loss.mean().backward()
        raw = output.extra["samples"][:, :, 0].sigmoid().detach().mean(1)
        return net.intercept.grad.item(), (raw - torch.as_tensor(bags.labels)).mean().item()

    bags = planted_bags(34)
    model = fitted(bags, batch_size=16)
    net = model.network_.train()
    full, want = pull(bags[:16])
    assert full == pytest.approx(want, abs=1e-5)
    small, want = pull(bags[:2])
    assert small == pytest.approx(want * 2 / 16, abs=1e-5)


def test_the_start_is_the_laplace_approximation():
    """One feature: the curvature of a logistic regression is p (1 - p) z^2 and the penalty."""
    bags = planted_bags(60, n_features=1, effect=1.0)
    for posterior in ("full", "mean_field"):
        net = fitted(bags, epochs=0, posterior=posterior).network_
        mean = np.array([b.table().mean() for b in bags])
        z = (mean - mean.mean()) / mean.std()
        unit = z.std(ddof=1)  # b is the s.d. of u, which is the slope times this
        logit = net.mean[0, 1].item() / unit * z + net.intercept.item()
        p = 1 / (1 + np.exp(-logit))
        found = net.log_sd[0, 1].exp().item() / unit
        sds = [1 / np.sqrt((p * (1 - p) * z**2).sum() + 60 * a) for a in PENALTIES]
        assert min(abs(found - sd) / sd for sd in sds) < 1e-3


@pytest.mark.slow  # 300 epochs; the likelihood by the formula is above
def test_regression_learns_its_noise():
    bags = planted_bags(80, kind="regression", effect=4.0)
    model = MixMIL(epochs=300, lr=0.01, batch_size=80).fit(bags)
    left = (model.predict(bags) - bags.labels) / model.task_.scale
    assert model.network_.log_noise.exp().item() == pytest.approx(left.std(), rel=0.35)
    assert model.score(bags) > 0.8


def test_the_noise_of_a_regression_starts_at_what_the_mean_model_leaves():
    bags = planted_bags(40, kind="regression", effect=4.0)
    model = MixMIL(epochs=0).fit(bags)
    left = (model.predict(bags) - bags.labels) / model.task_.scale
    assert model.network_.log_noise.item() == pytest.approx(np.log(left.std()), abs=1e-3)


def test_validation_sees_effects_that_are_scaled_by_an_average_over_steps():
    bags = planted_bags(24)
    model = fitted(bags, epochs=3, validation=0.25, batch_size=32)
    assert np.isfinite(model.history_.query("stage == 'train'")["val_loss"]).all()
    net = model.network_.train()
    batch = Batch({"x": torch.as_tensor(bags.table())}, Segments.of(torch.as_tensor(bags.offsets)))
    before = net.center.clone(), net.spread.clone()
    with torch.no_grad():
        now = _moments(net.effects(net.centred(batch), net.mean, batch) / _rms(net.mean))
        net(batch)
    for kept, old, new in zip((net.center, net.spread), before, now, strict=True):
        torch.testing.assert_close(kept, 0.9 * old + 0.1 * new)


def test_it_stops_where_the_bound_has_flattened_and_is_the_same_until_then(tmp_path):
    bags = planted_bags(40)
    settings = dict(epochs=200, lr=0.05, batch_size=40, draws=8, patience=10)
    whole = fitted(bags, **settings)
    loss = whole.history_.query("stage == 'train'")["train_loss"].to_numpy()
    early = fitted(bags, tolerance=0.01, **settings)
    kept = early.history_.query("stage == 'train'")["train_loss"].to_numpy()
    n = len(kept)
    assert 20 <= n < 200
    np.testing.assert_array_equal(kept, loss[:n])

    def gain(n):
        return 1 - loss[n - 10 : n].mean() / loss[n - 20 : n - 10].mean()

    assert gain(n) < 0.01  # and at no epoch before
    assert min((gain(m) for m in range(20, n)), default=1) >= 0.01
    short = fitted(bags, **settings | {"epochs": n})
    np.testing.assert_array_equal(early.forward(bags)[0], short.forward(bags)[0])
    never = fitted(bags, tolerance=0.01, **settings | {"epochs": n + 20, "patience": None})
    assert len(never.history_) > len(early.history_)


def test_unscaled_instances():
    bags = planted_bags(20)
    model = fitted(bags, standardize=False)
    b_u = model.network_.mean[0, :8].detach().numpy()
    score = np.exp(bags.table() @ b_u / 8**0.5)
    share = score / np.bincount(bags.index, score)[bags.index]
    np.testing.assert_allclose(model.forward(bags)[1]["attention"][:, 0], share, atol=1e-5)
    assert "standardize" not in set(model.history_["stage"])


def test_wide_instances_need_a_mean_field(monkeypatch):
    monkeypatch.setattr("smalti.mil.mixmil._MOST", 2**17)  # 2**27: 6,000 features
    rng = np.random.default_rng(0)
    bags = sm.Bags.from_list(
        [rng.normal(size=(3, 190)).astype(np.float32) for _ in range(6)], [0, 1] * 3
    )
    with pytest.raises(InputError, match="mean_field"):
        MixMIL(epochs=1).fit(bags)
    assert MixMIL(epochs=1, posterior="mean_field").fit(bags).predict(bags).shape == (6,)


@pytest.mark.slow  # 2,000 bags, twice
def test_the_simulation_is_of_its_seeds():
    one, two = (mixmil_bags(2000, n_outputs=2, seed=s) for s in range(2))
    assert not np.allclose(one.table()[:10], two.table()[:10])
    model = MixMIL(epochs=0).fit(one)  # what holds in one sample of a law holds in another
    for j in range(2):
        found = spearmanr(model.forward(two)[2]["embedding"][:, j], two.bag[f"u_{j}"])[0]
        assert found > 0.5
        key = two.instance[f"key_{j}"]
        assert key.mean() == pytest.approx(0.1, abs=1e-3)
        weight = two.instance[f"weight_{j}"]
        assert weight[key].min() > weight[~key].max()
    assert mixmil_bags(20, seed=1).digest == mixmil_bags(20, seed=1).digest
    assert mixmil_bags(20, seed=1).digest != mixmil_bags(20, seed=1, law_seed=1).digest


def test_against_the_authors_package():
    """Optional: the package needs a compiled extension."""
    mixmil = pytest.importorskip("mixmil")
    bags = mixmil_bags(200, n_outputs=2, n_features=8, length=10)
    model = fitted(bags)
    net = model.network_
    theirs = mixmil.MixMIL(8, 1, 2, "binomial")
    sigma = net.log_prior.detach().T / 2
    for name, value in (("log_sigma_u", sigma[:1]), ("log_sigma_z", sigma[1:]),
                        ("alpha", net.intercept.detach()[None]),
                        ("posterior.mu", net.mean.detach())):  # fmt: skip
        theirs.get_parameter(name).data = value.clone()
    theirs.posterior.cov_factor.data = net.factor().detach().clone()
    theirs.posterior.cov_logdiag.fill_(-30.0)  # it adds a fixed diagonal
    x = (net.scale(torch.as_tensor(bags.table())) / 8**0.5).view(200, 10, 8)
    raw, instance, bag = model.forward(bags)
    w = theirs.get_weights(x)[0].flatten(0, 1)
    np.testing.assert_allclose(instance["attention"], w, atol=1e-5)
    np.testing.assert_allclose(bag["embedding"], theirs.predict(x), atol=1e-4)
    y = torch.as_tensor(bags.labels).float()
    u = theirs(x, n_samples=None, predict=True)
    _, parts = theirs.loss(u, torch.ones(200, 1), y, return_dict=True)
    assert parts["kld"] == pytest.approx(net.draw()[1].item() / 200, rel=1e-3)
    constant = np.log(2) * (bags.labels == 1).sum() / 200  # the binomial coefficient
    ours = model.task_.loss(torch.as_tensor(raw), y).mean().item() - constant
    assert -parts["ll"] == pytest.approx(ours, abs=1e-4)
