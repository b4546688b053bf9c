"""MixMIL: attention multiple-instance learning in a generalised linear mixed model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from smalti import segment
from smalti.batch import Batch, Output, Shape
from smalti.errors import InputError
from smalti.method import NetworkMethod
from smalti.nn import Standardize, noise
from smalti.nn.linear import PENALTIES, choose_penalty, fit_head
from smalti.nn.scale import standardize_sweep
from smalti.stage import Gradient, Stage, Sweep, Training
from smalti.task import Task

POSTERIORS = ("full", "mean_field")


class MixMIL(NetworkMethod):
    """Linear attention and linear values with Gaussian posteriors, fitted by variational inference.

    Instance x_i has attention w_i = softmax_i(x_i' b_u) and value t_i = x_i' b_z / b with
    b = rms(b_z); the bag's effect is u = sum_i w_i t_i, standardised over the bags, times b; and
    logit = f' alpha + u for the covariates f of the bag and an intercept. Each output has its own
    2 Q weights (b_u, b_z), with priors N(0, s_u^2) and N(0, s_z^2) whose s is learned, and a
    Gaussian posterior. The objective is the mean log likelihood over the bags, by ``draws``
    of the weights, less the Kullback-Leibler divergence over the number of bags, in closed form.

    Likelihoods by the kind of target: Bernoulli (binary; multi-label: one output each), binomial,
    categorical, Gaussian with a learned noise (regression), cumulative logit (ordinal).

    A prediction uses the posterior mean, the covariates, and the mean and standard deviation of u
    over the *training* bags, so that other bags do not matter. ``attention`` is w_i;
    ``contribution`` is w_i b (t_i - mean) / sd: signed, summing to the logit less its fixed
    effects.

    Notes
    -----
    Starts from the mean model: a penalised linear model of the bags' means gives b_z, its standard
    errors by Laplace's approximation, and alpha (the authors use variational Bayes of statsmodels,
    or cross-validated logistic regression); attention starts uniform.
    """

    name: ClassVar[str] = "mixmil"
    reference: ClassVar[str] = (
        "Engelmann, Palma, Tomczak, Theis & Casale (2024). Mixed models with multiple instance "
        "learning. AISTATS. arXiv:2311.02455"
    )
    stacks: ClassVar[bool] = False

    covariates: tuple[str, ...] = ()  # columns of the bags: fixed effects, beside an intercept
    posterior: str = "full"  # covariance of the weights; "mean_field": none
    draws: int = 8  # of the weights, in a step
    epochs: int = 2000  # passes over the training bags
    batch_size: int = 64  # bags in a step; u is standardised over them
    weight_decay: float = 0.0  # the prior does that

    def network(self, shape: Shape) -> nn.Module:
        """Posterior of the weights, fixed effects, scale."""
        if len(shape.x) != 1:
            raise InputError(f"mixmil takes vectors, not instances of shape {shape.x}.")
        if self.posterior not in POSTERIORS:
            raise InputError(f"posterior={self.posterior!r} is not one of {POSTERIORS}.")
        if self.draws < 1 or self.batch_size < 2:
            raise InputError("draws must be at least 1, batch_size 2: u is standardised over it.")
        return _Net(self, shape)

    def plan(self, shape: Shape) -> Iterator[Stage]:
        """Scale, mean model, variational inference, scale of u."""
        yield standardize_sweep()
        yield Sweep(step=_mean_model, name="mean model")
        if self.epochs:
            yield Gradient(
                epochs=self.epochs, lr=self.lr, optimizer=self.optimizer, momentum=self.momentum,
                weight_decay=self.weight_decay, batch_size=self.batch_size, loss=_loss,
                max_instances=self.max_instances, patience=self.patience, name="train",
            )  # fmt: skip
        yield Sweep(step=_effects, name="effects")

    @classmethod
    def example(cls) -> MixMIL:
        """Fewer epochs."""
        return cls(epochs=60, lr=0.02, batch_size=16, draws=4)


class _Net(nn.Module):
    center: Tensor
    spread: Tensor

    def __init__(self, method: MixMIL, shape: Shape) -> None:
        super().__init__()
        self.task, self.n_draws, self.n_bags = shape.task, method.draws, shape.n_bags
        self.scale = Standardize(shape.x)
        q = shape.x[0]
        p = 1 if shape.task.kind == "ordinal" else shape.task.n_outputs
        self.mean = nn.Parameter(torch.zeros(p, 2 * q))  # of b_u, then of b_z
        self.log_sd = nn.Parameter(torch.zeros(p, 2 * q))  # diagonal of the Cholesky factor
        full = method.posterior == "full"
        self.lower = nn.Parameter(torch.zeros(p, 2 * q, 2 * q)) if full else None
        self.log_prior = nn.Parameter(torch.full((p, 2), float(np.log(0.5))))  # log s_u^2, s_z^2
        self.fixed = nn.Linear(shape.n_covariates, p, bias=False) if shape.n_covariates else None
        self.head = shape.task.head(1) if shape.task.kind == "ordinal" else None
        self.intercept = nn.Parameter(torch.zeros(p)) if self.head is None else None
        self.log_noise = nn.Parameter(torch.zeros(())) if shape.task.kind == "regression" else None
        self.register_buffer("center", torch.zeros(p))
        self.register_buffer("spread", torch.ones(p))

    # ---------------------------------------------------------------- posterior

    def factor(self) -> Tensor:
        """(p, 2q, 2q) Cholesky factor of the covariance, or (p, 2q) standard deviations."""
        sd = self.log_sd.exp()
        return sd if self.lower is None else self.lower.tril(-1) + torch.diag_embed(sd)

    def draw(self) -> Tensor:
        """(samples, p, 2q) weights."""
        eps = torch.empty(self.n_draws, *self.mean.shape, device=self.mean.device)
        eps = eps.normal_(generator=noise.generator()).to(self.mean.dtype)
        factor = self.factor()
        if self.lower is None:
            return self.mean + factor * eps
        return self.mean + torch.einsum("pij,spj->spi", factor, eps)

    def divergence(self) -> Tensor:
        """Kullback-Leibler divergence of the posterior from the prior, over all outputs."""
        q = self.mean.shape[1] // 2
        factor = self.factor()
        var = factor.square() if self.lower is None else factor.square().sum(2)  # (p, 2q)
        log_prior = self.log_prior.repeat_interleave(q, dim=1)
        each = (var + self.mean.square()) / log_prior.exp() - 1 + log_prior - 2 * self.log_sd
        return 0.5 * each.sum()

    # ---------------------------------------------------------------- model

    def effects(self, x: Tensor, weights: Tensor, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Attention and values (n, s * p), and effects of the bags (n_bags, s * p), not scaled."""
        q = x.shape[1]
        b_u, b_z = weights.reshape(-1, 2 * q).split(q, dim=1)  # (s p, q)
        eta = b_z / _rms(b_z)[:, None]
        both = x @ torch.cat([b_u, eta]).T  # one product for all outputs and samples
        score, value = both.chunk(2, dim=1)
        share = segment.softmax(score.contiguous(), batch.segments)
        return share, value, segment.total(share * value, batch.segments)

    def inputs(self, batch: Batch) -> Tensor:
        """Cells, standardised and divided by the root of their width."""
        return self.scale(batch.x) / batch.x.shape[1] ** 0.5

    def finish(self, effect: Tensor, batch: Batch) -> Tensor:
        """Raw predictions from scaled effects (n_bags, ..., p): fixed effects are added."""
        if self.fixed is not None:
            side = self.fixed(batch.bag["covariates"])
            effect = effect + (side if effect.ndim == 2 else side[:, None])
        if self.intercept is not None:
            return effect + self.intercept
        assert self.head is not None
        return self.head(effect)

    def forward(self, batch: Batch) -> Output:
        x = self.inputs(batch)
        if self.training:
            return self._train(x, batch)
        share, value, u = self.effects(x, self.mean, batch)
        size = _rms(self.mean[:, self.mean.shape[1] // 2 :]) / self.spread
        effect = (u - self.center) * size
        part = share * (value - self.center) * size
        if self.head is not None:
            part = self.head(part) - self.head(torch.zeros_like(part[:1]))
        return Output(
            self.finish(effect, batch), instance={"attention": share, "contribution": part},
            bag={"embedding": effect}, extra=self._extra(),
        )  # fmt: skip

    def _train(self, x: Tensor, batch: Batch) -> Output:
        weights = self.draw()  # (s, p, 2q)
        u = self.effects(x, weights, batch)[2]
        center = u.mean(0)
        spread = u.std(0) if len(u) > 1 else torch.ones_like(center)
        spread = spread.clamp(min=1e-6)
        effect = (u - center) / spread * _rms(weights[:, :, x.shape[1] :]).flatten()
        samples = self.finish(effect.unflatten(1, (self.n_draws, -1)), batch)
        with torch.no_grad():  # for validation; the last stage computes them exactly
            for kept, now in ((self.center, center), (self.spread, spread)):
                kept.lerp_(now.view(self.n_draws, -1).mean(0).to(kept), 0.1)
        return Output(samples.mean(1), extra={"samples": samples, **self._extra()})

    def _extra(self) -> dict[str, Tensor | None]:
        return {"penalty": self.divergence() / self.n_bags, "log_noise": self.log_noise}


def _rms(weights: Tensor) -> Tensor:
    return weights.square().mean(-1).sqrt().clamp(min=1e-12)


def _loss(task: Task, output: Output, target: Tensor) -> Tensor:
    """Negative log likelihood of each bag, mean over the draws, and its share of the divergence."""
    raw = output.extra.get("samples")
    raw = output.raw[:, None] if raw is None else raw
    flat, each = raw.flatten(0, 1), target.repeat_interleave(raw.shape[1], dim=0)
    loss = task.loss(flat, each)
    log_noise = output.extra["log_noise"]
    if log_noise is not None:  # the task's loss is half the squared error
        loss = loss * (-2 * log_noise).exp() + log_noise
    return loss.view(len(raw), -1).mean(1) + output.extra["penalty"]


def _mean_model(network: nn.Module, training: Training) -> None:
    """Begin at a penalised linear model of the bags' means, with uniform attention."""
    assert isinstance(network, _Net)
    means, sides = [], []
    for batch in training.batches(network):
        means.append(segment.mean(network.inputs(batch), batch.segments))
        sides.append(batch.bag.get("covariates", means[-1][:, :0]))
    x = torch.cat(means).double().cpu().numpy()
    f = torch.cat(sides).double().cpu().numpy()
    scale = x.std(0)
    scale[scale <= 1e-9] = 1.0
    z = np.concatenate([(x - x.mean(0)) / scale, f], axis=1)
    penalty = choose_penalty(z, training, PENALTIES, folds=5)
    head = training.task.head(z.shape[1]).double()
    fit_head(head, z, training.target, training.weight, training.task, penalty)
    weight = next(p for p in head.parameters() if p.ndim == 2).detach().numpy()  # (p, q + k)
    q = x.shape[1]
    coef = weight[:, :q] / scale
    size = np.maximum((x @ coef.T).std(0), 1e-3)  # b is the s.d. of u
    turn = size / np.maximum(np.sqrt((coef**2).mean(1)), 1e-12)
    b_z = torch.as_tensor(coef * turn[:, None])
    network.mean.zero_()
    network.mean[:, q:] = b_z
    raw = head(torch.as_tensor(z))
    curve = _curvature(training.task, raw).numpy()  # mean second derivative of the loss, (p,)
    sd = 1 / np.sqrt(len(z) * (curve[:, None] + penalty)) / scale * turn[:, None]
    network.log_sd[:, :q] = 0.5 * float(np.log(0.1))
    network.log_sd[:, q:] = torch.as_tensor(np.log(np.clip(sd, 1e-3, 1.0)))
    if network.fixed is not None:
        network.fixed.weight.copy_(torch.as_tensor(weight[:, q:]))
    if network.intercept is not None:
        network.intercept.copy_(head.get_parameter("bias"))
    else:
        assert network.head is not None
        state = {k: v.float() for k, v in head.state_dict().items() if v.ndim < 2}
        network.head.load_state_dict(
            state | {k: torch.ones_like(v) for k, v in network.head.state_dict().items()
                     if v.ndim == 2}
        )  # fmt: skip
    if network.log_noise is not None:
        left = float((raw[:, 0] - torch.as_tensor(training.target)).std())
        network.log_noise.fill_(float(np.log(max(left, 1e-3))))
    _effects(network, training)


def _curvature(task: Task, raw: Tensor) -> Tensor:
    """Mean second derivative of the loss with respect to each output; 1 for a regression."""
    if task.kind == "regression":
        return torch.ones(1)
    p = task.values(raw)
    trials = task.trials if task.kind == "binomial" else 1
    curve = trials * (p * (1 - p)).mean(0)
    return curve.mean(0, keepdim=True) if task.kind == "ordinal" else curve


def _effects(network: nn.Module, training: Training) -> None:
    """Keep mean and s.d. of u over the training bags, at the posterior mean."""
    assert isinstance(network, _Net)
    u = torch.cat([
        network.effects(network.inputs(batch), network.mean, batch)[2]
        for batch in training.batches(network)
    ])  # fmt: skip
    network.center.copy_(u.mean(0))
    network.spread.copy_(u.std(0).clamp(min=1e-6))
