"""MixMIL: attention multiple-instance learning in a generalised linear mixed model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn

from smalti import segment
from smalti.batch import Batch, Output, Shape
from smalti.core import noise
from smalti.core.settings import Count, Weight, Whole
from smalti.core.stage import Gradient, Stage, Sweep, Training
from smalti.errors import InputError
from smalti.mil.base import NetworkMethod
from smalti.nn import Standardize
from smalti.nn.linear import PENALTIES, choose_penalty, fit_head
from smalti.nn.scale import standardize_sweep
from smalti.task import Task

_MOST = 2**27  # numbers in the covariance factors of all outputs: half a gigabyte
_FREE = 10.0  # covariates of the mean model times this: a hundredth of the penalty falls on them


class MixMIL(NetworkMethod):
    """Linear attention and linear values with Gaussian posteriors, fitted by variational inference.

    Instance x_i has attention w_i and value t_i; the bag's effect u is their sum, standardised over
    the bags, times b; the logit adds the covariates f of the bag and an intercept:

        w_i = softmax_i(x_i' b_u),    t_i = x_i' b_z / b,    b = rms(b_z)
        u = b standardised(sum_i w_i t_i),    logit = f' alpha + u

    Each output has its own 2 Q weights (b_u, b_z), with priors N(0, s_u^2) and N(0, s_z^2) whose s
    is learned, and a Gaussian posterior. The objective is the mean log likelihood over the bags, by
    ``draws`` draws of the weights, less the Kullback-Leibler divergence over the number of bags, in
    closed form.

    Likelihoods by the kind of target: Bernoulli (binary; multi-label: one output each), binomial,
    categorical, Gaussian with a learned noise (regression), cumulative logit (ordinal).

    A prediction uses the posterior mean, the covariates, and the mean and standard deviation of u
    over the *training* bags, so that other bags do not matter. ``attention`` is w_i;
    ``contribution`` is w_i b (t_i - mean) / sd: signed, summing to the logit less its fixed
    effects.

    Notes
    -----
    Starts from the mean model: a penalised linear model of the bags' means gives b_z, its
    covariance by Laplace's approximation, and alpha (the authors use variational Bayes of
    statsmodels, or cross-validated logistic regression); attention starts uniform.
    While training, u is standardised over the mini-batch, as published; a last mini-batch with few
    bags counts in proportion to its size.
    With ``donor_intercept`` the logit of a bag also has v_d of its donor d, with the prior
    N(0, s_v^2), whose s is learned, and a Gaussian posterior for each donor: bags of one donor are
    then no independent ones. A new donor has v = 0, the mean of the prior. It is ours, not the
    paper's.

    With ``tolerance`` it stops where the objective, which bounds the log likelihood of the bags
    from below, has flattened: where its mean over ``patience`` epochs is better than that of those
    before by less than this share. It needs no validation bags; until then the fit is the same.

    Examples
    --------
    >>> import smalti as sm
    >>> bags = sm.datasets.planted_bags(20, seed=0)
    >>> model = sm.mil.MixMIL(epochs=2, covariates=("trait",), progress=False).fit(bags)
    >>> model.predict(bags).shape
    (20,)
    >>> list(model.attribute(bags))
    ['bag', 'attention', 'contribution_1']
    """

    name: ClassVar[str] = "mixmil"
    reference: ClassVar[str] = (
        "Engelmann, Palma, Tomczak, Theis & Casale (2024). Mixed models with multiple instance "
        "learning. AISTATS. arXiv:2311.02455"
    )
    cite: ClassVar[tuple[str, ...]] = ("engelmann2024",)

    survivals: ClassVar[tuple[str, ...]] = ("discrete",)  # a likelihood of each bag by itself

    covariates: tuple[str, ...] = ()  # columns of the bags: fixed effects, beside an intercept
    donor_intercept: bool = False  # a random intercept of each donor, who has several bags
    posterior: Literal["full", "mean_field"] = "full"  # covariance of the weights
    draws: Count = 8  # of the weights, in a step
    epochs: Whole = 2000  # passes over the training bags; 0: the mean model that it starts from
    batch_size: Count = 64  # bags in a step; u is standardised over them
    weight_decay: Weight = 0.0  # the prior does that
    tolerance: Weight = 0.0  # stop where the bound gains less than this share of itself; 0: never

    def network(self, shape: Shape) -> nn.Module:
        """Posterior of the weights, fixed effects, scale."""
        if len(shape.x) != 1:
            raise InputError(f"mixmil takes vectors, not instances of shape {shape.x}.")
        if self.batch_size < 2:
            raise InputError("mixmil: batch_size=1: u is standardised over the bags of a step.")
        if self.posterior == "full" and _n_effects(shape.task) * (2 * shape.x[0]) ** 2 > _MOST:
            raise InputError(
                f"posterior='full' of {shape.x[0]} features and {_n_effects(shape.task)} outputs "
                "does not fit into memory: use fewer features (preprocess='pca=50'), or "
                "posterior='mean_field'."
            )
        return _Net(self, shape)

    def plan(self, shape: Shape) -> Iterator[Stage]:
        """Scale, mean model, variational inference, scale of u."""
        if self.standardize:
            yield standardize_sweep()
        yield Sweep(step=_mean_model, name="mean model")
        if self.epochs:
            yield Gradient(
                epochs=self.epochs, lr=self.lr, optimizer=self.optimizer, momentum=self.momentum,
                weight_decay=self.weight_decay, batch_size=self.batch_size, loss=_loss,
                max_instances=self.max_instances, patience=self.patience,
                tolerance=self.tolerance, moves=_MOVES, name="train",
            )  # fmt: skip
        yield Sweep(step=_scale_effects, name="effects")

    @classmethod
    def example(cls) -> MixMIL:
        """Fewer epochs."""
        return cls(epochs=60, lr=0.02, batch_size=16, draws=4)


# all but the slope of an ordinal head, which b already is
_MOVES = ("mean", "log_sd", "lower", "log_prior", "fixed", "intercept", "log_noise", "head.first",
          "head.steps", "level", "log_level_sd", "log_level_prior")  # fmt: skip


class _Net(nn.Module):
    center: Tensor
    spread: Tensor

    def __init__(self, method: MixMIL, shape: Shape) -> None:
        super().__init__()
        self.n_draws, self.tracks = method.draws, method.validation > 0
        self.n_bags, self.full_batch = shape.n_units, min(method.batch_size, shape.n_units)
        self.scale = Standardize(shape.x) if method.standardize else nn.Identity()
        q, p, task = shape.x[0], _n_effects(shape.task), shape.task
        self.mean = nn.Parameter(torch.zeros(p, 2 * q))  # of b_u, then of b_z
        self.log_sd = nn.Parameter(torch.zeros(p, 2 * q))  # diagonal of the Cholesky factor
        full = method.posterior == "full"
        self.lower = nn.Parameter(torch.zeros(p, 2 * q, 2 * q)) if full else None
        self.log_prior = nn.Parameter(torch.full((p, 2), float(np.log(0.5))))  # log s_u^2, s_z^2
        self.fixed = nn.Linear(shape.n_covariates, p, bias=False) if shape.n_covariates else None
        self.head = task.head(1) if task.kind == "ordinal" else None
        self.intercept = nn.Parameter(torch.zeros(p)) if self.head is None else None
        self.log_noise = nn.Parameter(torch.zeros(())) if task.kind == "regression" else None
        d = shape.n_donors
        self.level = nn.Parameter(torch.zeros(d, p)) if d else None  # posterior mean of v
        self.log_level_sd = nn.Parameter(torch.full((d, p), float(np.log(0.5)))) if d else None
        self.log_level_prior = nn.Parameter(torch.zeros(p)) if d else None  # log s_v^2
        self.register_buffer("center", torch.zeros(p))  # of u, over the training bags
        self.register_buffer("spread", torch.ones(p))

    # ---------------------------------------------------------------- posterior

    def factor(self) -> Tensor:
        """(p, 2q, 2q) Cholesky factor of the covariance, or (p, 2q) standard deviations."""
        return _factor(self.log_sd, self.lower)

    def draw(self) -> tuple[Tensor, Tensor]:
        """(draws, p, 2q) weights, and the divergence of the posterior from the prior, ()."""
        eps = noise.normal(self.mean.detach().expand(self.n_draws, -1, -1))
        return _Draw.apply(self.mean, self.log_sd, self.lower, self.log_prior, eps)

    def level_divergence(self) -> Tensor | float:
        """The divergence of the posterior from the prior of the levels of donors."""
        if self.level is None or self.log_level_sd is None or self.log_level_prior is None:
            return 0.0
        square = self.level.square() + (2 * self.log_level_sd).exp()
        each = square * (-self.log_level_prior).exp() + self.log_level_prior - 1
        return 0.5 * each.sum() - self.log_level_sd.sum()

    def draw_levels(self, batch: Batch) -> Tensor | float:
        """(n_bags, draws, p) levels of the donors of the bags, one draw for all bags of a donor."""
        if self.level is None or self.log_level_sd is None:
            return 0.0
        eps = noise.normal(self.level.detach().expand(self.n_draws, -1, -1))
        levels = self.level + self.log_level_sd.exp() * eps  # (draws, d, p)
        return levels.index_select(1, batch.bag["donor"]).transpose(0, 1)

    # ---------------------------------------------------------------- model

    def centred(self, batch: Batch) -> Tensor:
        """Instances less the mean. Their scale is put on the weights, of which there are fewer."""
        return batch.x - self.scale.mean if isinstance(self.scale, Standardize) else batch.x

    @property
    def unit(self) -> Tensor | float:
        """Standard deviation of each feature times the root of their number."""
        root = (self.mean.shape[1] // 2) ** 0.5
        return self.scale.sd * root if isinstance(self.scale, Standardize) else root

    def maps(self, weights: Tensor) -> tuple[Tensor, ...]:
        """Of :meth:`centred` instances: scores of the attention, and values times b; (q, s p) each.

        Rows are features, as the product that makes their gradient is then twice as fast.
        """
        both = weights.reshape(-1, 2, len(self.mean[0]) // 2) / self.unit  # (s p, 2, q)
        return both.flatten(1).T.contiguous().chunk(2)

    def effects(self, x: Tensor, weights: Tensor, batch: Batch) -> Tensor:
        """Effects of the bags times b, (n_bags, s p); of all outputs and draws at once."""
        score, value = (x @ m for m in self.maps(weights))
        return segment.attend(score, value, batch.segments)

    def finish(self, effect: Tensor, batch: Batch) -> Tensor:
        """Raw predictions from scaled effects (n_bags, ..., p): fixed effects are added."""
        if self.fixed is not None:
            side = self.fixed(batch.bag["covariates"])
            effect = effect + (side if effect.ndim == 2 else side[:, None])
        if self.head is not None:
            return self.head(effect)
        assert self.intercept is not None
        return effect + self.intercept

    def forward(self, batch: Batch) -> Output:
        # effects are small differences of large sums: never in half precision
        with torch.autocast(batch.x.device.type, enabled=False):
            return self._train(batch) if self.training else self._predict(batch)

    def _predict(self, batch: Batch) -> Output:
        x, b = self.centred(batch), _rms(self.mean)
        score, value = (x @ m for m in self.maps(self.mean))
        share, value = segment.softmax(score, batch.segments), value / b
        u = segment.total(share * value, batch.segments)
        size = b / self.spread
        effect = (u - self.center) * size
        raw = self.finish(effect, batch)
        part = (share * (value - self.center) * size).expand(-1, raw.shape[1])
        return Output(
            raw, instance={"attention": share, "contribution": part}, bag={"embedding": effect},
            extra={"log_noise": self.log_noise},
        )  # fmt: skip

    def _train(self, batch: Batch) -> Output:
        x, (weights, divergence) = self.centred(batch), self.draw()
        u = self.effects(x, weights, batch)
        effect = _standardised(u, _rms(weights).flatten())
        effect = effect.unflatten(1, (self.n_draws, -1)) + self.draw_levels(batch)
        samples = self.finish(effect, batch)
        if self.tracks:  # a validation needs them before the last stage, which is exact
            with torch.no_grad():
                now = _moments(self.effects(x, self.mean, batch) / _rms(self.mean))
                for kept, value in zip((self.center, self.spread), now, strict=True):
                    kept.copy_(torch.lerp(kept, value.to(kept.dtype), 0.1))
        share = min(len(u) / self.full_batch, 1.0)
        penalty = (divergence + self.level_divergence()) / self.n_bags
        return Output(samples.mean(1), extra={
            "samples": samples, "penalty": penalty, "share": share,
            "log_noise": self.log_noise,
        })  # fmt: skip


def _factor(log_sd: Tensor, lower: Tensor | None) -> Tensor:
    sd = log_sd.exp()
    return sd if lower is None else lower.tril(-1) + torch.diag_embed(sd)


class _Draw(torch.autograd.Function):
    """Weights m + L e, and the Kullback-Leibler divergence of N(m, LL') from N(0, s^2).

    Both have their gradients in closed form, in fewer operations than autograd's: a step is so
    small that these are a good part of its cost. With r = 1 / s^2, over all outputs and weights j,
    the divergence is sum of (r_j (sum of L_jk^2 over k + m_j^2) + log s_j^2 - 1) / 2 - log L_jj.
    """

    @staticmethod
    def forward(
        ctx: Any, mean: Tensor, log_sd: Tensor, lower: Tensor | None, log_prior: Tensor, eps: Tensor
    ) -> tuple[Tensor, Tensor]:
        q, factor = mean.shape[1] // 2, _factor(log_sd, lower)
        inverse = (-log_prior).exp().repeat_interleave(q, dim=1)  # (p, 2q)
        var = factor.square() if lower is None else factor.square().sum(2)
        square = (var.addcmul_(mean, mean)).mul_(inverse)  # (p, 2q)
        divergence = 0.5 * (square.sum() + q * (log_prior - 1).sum()) - log_sd.sum()
        ctx.save_for_backward(mean, log_sd, factor, inverse, square, eps)
        if lower is None:
            return torch.addcmul(mean, factor, eps), divergence
        away = eps.transpose(0, 1) @ factor.mT  # (p, draws, 2q): one product for all draws
        return mean + away.transpose(0, 1), divergence

    @staticmethod
    def backward(ctx: Any, slope: Tensor, share: Tensor) -> tuple[Tensor | None, ...]:
        # slope (draws, p, 2q) of the weights, share () of the divergence
        mean, log_sd, factor, inverse, square, eps = ctx.saved_tensors
        pull = share * inverse  # (p, 2q)
        grad_mean = slope.sum(0).addcmul_(pull, mean)
        grad_prior = 0.5 * share * (mean.shape[1] // 2 - square.unflatten(1, (2, -1)).sum(2))
        if factor.ndim == 2:
            grad_sd = (slope * eps).sum(0).addcmul_(pull, factor).mul_(factor).sub_(share)
            return grad_mean, grad_sd, None, grad_prior, None
        grad = pull[:, :, None] * factor
        grad.baddbmm_(slope.permute(1, 2, 0), eps.transpose(0, 1))  # (p, 2q, 2q)
        grad_sd = grad.diagonal(dim1=1, dim2=2) * log_sd.exp() - share
        return grad_mean, grad_sd, grad.tril_(-1), grad_prior, None


def _n_effects(task: Task) -> int:
    """Effects of a bag: one for each output; ordered classes share one."""
    return 1 if task.kind == "ordinal" else task.n_outputs


def _rms(weights: Tensor) -> Tensor:
    """The b of (..., 2q) weights, (...): the root of the mean square of b_z."""
    b_z = weights.chunk(2, dim=-1)[1]
    return (torch.linalg.vector_norm(b_z, dim=-1) / b_z.shape[-1] ** 0.5).clamp(min=1e-12)


def _standardised(u: Tensor, size: Tensor) -> Tensor:
    """Columns of (n_bags, k) less their mean, of standard deviation ``size`` (k,); of one bag 0."""
    size = size * (1 - 1 / len(u)) ** 0.5  # the variance of batch norm is the mean square
    return torch.batch_norm(u, size, None, None, None, True, 0.0, 1e-12, True)


def _moments(u: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the columns of (n_bags, k), two of (k,); of one bag 1e-6."""
    center = u.sum(0) / len(u)
    var = (u - center).square().sum(0) / max(len(u) - 1, 1)
    return center, var.clamp(min=1e-12).sqrt()


def _loss(task: Task, output: Output, target: Tensor) -> Tensor:
    """Negative log likelihood of each bag; in training the mean over the draws, with the penalty.

    The gradient, not the value, is scaled down for a mini-batch that is not full.
    """
    training = "samples" in output.extra
    raw = output.extra["samples"] if training else output.raw[:, None]  # (n, s, n_outputs)
    each = target.unsqueeze(1).expand(len(target), raw.shape[1], *target.shape[1:])
    loss = task.loss(raw.flatten(0, 1), each.flatten(0, 1)).view(len(raw), -1)
    log_noise = output.extra["log_noise"]
    if log_noise is not None:  # the task's loss is half the squared error
        loss = loss * (-2 * log_noise).exp() + log_noise
    loss = loss.mean(1)
    if not training:
        return loss
    loss = loss + output.extra["penalty"]
    return torch.lerp(loss.detach(), loss, output.extra["share"])


# -------------------------------------------------------------------- sweeps


def _mean_model(network: nn.Module, training: Training) -> None:
    """Begin at a penalised linear model of the bags' means, with uniform attention."""
    assert isinstance(network, _Net)
    means, sides = [], []
    for batch in training.batches(network):
        means.append(segment.mean(network.centred(batch), batch.segments) / network.unit)
        sides.append(batch.bag.get("covariates", means[-1][:, :0]))
    x = torch.cat(means).double().cpu().numpy()
    f = torch.cat(sides).double().cpu().numpy()
    center, scale = x.mean(0), x.std(0)
    scale[scale <= 1e-6 * np.maximum(np.abs(center), 1e-30)] = 1.0
    z = (x - center) / scale
    design = np.concatenate([z, _FREE * f], axis=1)
    penalty = choose_penalty(design, training, PENALTIES, folds=5)
    head = training.task.head(design.shape[1]).double()
    fit_head(head, design, training.target, training.weight, training.task, penalty)
    slopes = next(p for p in head.parameters() if p.ndim == 2).detach().numpy()  # (p, q + k)
    q, raw = x.shape[1], head(torch.as_tensor(design))
    coef = slopes[:, :q] / scale
    size = np.maximum((x @ coef.T).std(0, ddof=1), 1e-3)  # b is the s.d. of u
    turn = size / np.maximum(np.sqrt((coef**2).mean(1)), 1e-12)  # (p,)
    network.mean.zero_()
    network.mean[:, q:] = torch.as_tensor(coef * turn[:, None])
    curve = _curvature(training, raw)
    if network.log_noise is not None:
        left = max(float((raw[:, 0].numpy() - training.target).std()), 1e-3)
        network.log_noise.fill_(float(np.log(left)))
        curve, penalty = curve / left**2, penalty / left**2
    network.log_sd[:, :q] = 0.5 * float(np.log(0.1))
    for j in range(len(curve.T)):
        _laplace(network, j, z, curve[:, j], penalty, turn[j] / scale)
    var = network.factor().square()
    var = (var if network.lower is None else var.sum(2))[:, q:]
    network.log_prior[:, 1] = (network.mean[:, q:].square() + var).mean(1).log()
    if network.fixed is not None:
        network.fixed.weight.copy_(torch.as_tensor(slopes[:, q:] * _FREE))
    if network.intercept is not None:
        network.intercept.copy_(head.get_parameter("bias"))
    else:
        assert network.head is not None
        for name, value in network.head.named_parameters():
            value.copy_(torch.ones_like(value) if value.ndim == 2 else head.get_parameter(name))
    _scale_effects(network, training)


def _laplace(
    network: _Net, j: int, z: np.ndarray, curve: np.ndarray, penalty: float, unit: np.ndarray
) -> None:
    """Covariance of b_z of output j: the inverse curvature at the mean model, in units of b_z.

    A mean field takes the inverse of the curvature's diagonal, which is its optimum.
    """
    q = z.shape[1]
    if network.lower is None:
        sd = 1 / np.sqrt(curve @ z**2 + len(z) * penalty) * unit
        network.log_sd[j, q:] = torch.as_tensor(np.log(np.clip(sd, 1e-3, 1.0)))
        return
    precision = (z * curve[:, None]).T @ z + len(z) * penalty * np.eye(q)
    factor = np.linalg.cholesky(np.linalg.inv(precision)) * unit[:, None]
    sd = np.sqrt((factor**2).sum(1, keepdims=True))
    factor *= np.clip(sd, 1e-3, 1.0) / sd
    network.lower[j, q:, q:] = torch.as_tensor(np.tril(factor, -1))
    network.log_sd[j, q:] = torch.as_tensor(np.log(np.diag(factor)))


def _curvature(training: Training, raw: Tensor) -> np.ndarray:
    """(n_bags, p) second derivative of each bag's weighted loss with respect to its effects."""
    with torch.enable_grad():
        shift = torch.zeros(len(raw), _n_effects(training.task), dtype=raw.dtype)
        shift.requires_grad_()
        loss = training.task.loss(raw + shift, torch.as_tensor(training.target))
        (slope,) = torch.autograd.grad(loss.sum(), shift, create_graph=True)
        curve = [torch.autograd.grad(s.sum(), shift, retain_graph=True)[0][:, j]
                 for j, s in enumerate(slope.T)]  # fmt: skip
    return torch.stack(curve, dim=1).numpy() * training.weight[:, None]


def _scale_effects(network: nn.Module, training: Training) -> None:
    """Keep mean and s.d. of u over the training bags, at the posterior mean."""
    assert isinstance(network, _Net)
    u = torch.cat([
        network.effects(network.centred(batch), network.mean, batch) / _rms(network.mean)
        for batch in training.batches(network)
    ])  # fmt: skip
    for kept, value in zip((network.center, network.spread), _moments(u), strict=True):
        kept.copy_(value)
