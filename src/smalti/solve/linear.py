"""A penalised linear head on one vector per bag, for every kind of target.

One convex problem for all kinds: the weighted mean of the task's own loss plus an L2 penalty on the
weights (not on the intercept). Classes are scikit-learn's ``LogisticRegression``, a regression is
ridge in closed form, ordered classes are proportional odds, and survival is its own likelihood.
"""

from __future__ import annotations

import warnings
from functools import partial

import numpy as np
import scipy.optimize
import torch
from torch import Tensor, nn

from smalti.errors import InputError
from smalti.task import Task
from smalti.task.survival import Survival


def fit_head(
    head: nn.Module,
    z: np.ndarray,
    target: np.ndarray,
    weight: np.ndarray,
    task: Task,
    penalty: float,
) -> float:
    """Minimise the weighted mean of the loss + penalty / 2 * |W|^2; writes it into ``head``.

    With more features than bags the search runs in the span of the bags, where the minimum lies.

    Parameters
    ----------
    head
        Of the task, for rows of ``z``.
    z
        (n_bags, width) features.
    target, weight
        Encoded target, one row per bag, and (n_bags,) weight of each in the loss.
    task
        The fitted task.
    penalty
        Over 0.

    Returns
    -------
    float
        The objective at the minimum.

    Raises
    ------
    InputError
        If a feature is not finite.
    """
    if not np.isfinite(z).all():  # of instances that are, by sums and squares
        raise InputError(
            "features of bags overflow: values of instances are too large. Scale them down."
        )
    span = np.eye(z.shape[1])
    data = z
    if z.shape[1] > z.shape[0]:
        u, s, span = np.linalg.svd(z, full_matrices=False)
        data = u * s
    share = np.asarray(weight, dtype=np.float64) / np.sum(weight)
    if task.kind == "ordinal" or (task.kind == "survival" and task.model != "discrete"):
        return _descend(head, data, span, target, share, task, penalty)
    if task.kind == "regression":
        middle, mean = share @ data, float(share @ target)
        centred = data - middle
        gram = (centred * share[:, None]).T @ centred + penalty * np.eye(data.shape[1])
        w = np.linalg.solve(gram, (centred * share[:, None]).T @ (target - mean))[None]
        b = np.array([mean - float(middle @ w[0])])
    else:
        w, b = _fit_logistic(data, target, share, task, penalty)
    with torch.no_grad():
        head.get_parameter("weight").copy_(torch.as_tensor(w @ span))
        head.get_parameter("bias").copy_(torch.as_tensor(b))
        raw = torch.as_tensor(data @ w.T + b)
        loss = (task.loss(raw, torch.as_tensor(target)) * torch.as_tensor(share)).sum()
    return float(loss) + 0.5 * penalty * float((w**2).sum())


def _fit_logistic(
    data: np.ndarray, target: np.ndarray, share: np.ndarray, task: Task, penalty: float
) -> tuple[np.ndarray, np.ndarray]:
    """Weights (n_outputs, width) and intercepts, one problem per label of a multi-label task."""
    from sklearn import config_context
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    # ours, and found finite by fit_head: to ask again is an eighth of a small fit
    unchecked = partial(config_context, assume_finite=True, skip_parameter_validation=True)
    w = np.zeros((task.n_outputs, data.shape[1]))
    b = np.full(task.n_outputs, -30.0)  # a class that the bags at hand lack
    several = task.kind in ("multilabel", "binomial", "survival")
    labels = target.T if several else [target]
    if isinstance(task, Survival):  # hazards of intervals, each of the bags that were watched in it
        hits, through = (part.numpy() for part in task.intervals(torch.as_tensor(target)))
        labels, watched = hits.T.astype(int), (hits | through).T
    rows, mass = data, share
    for j, y in enumerate(labels):
        if task.kind == "survival":
            rows, mass, y = data[watched[j]], share[watched[j]], y[watched[j]]
        if task.kind == "binomial":  # y successes and n - y failures, as rows of that weight
            rows = np.concatenate([data, data])
            mass = np.concatenate([share * y, share * (task.trials - y)])
            y = np.repeat([1, 0], len(data))[mass > 0]
            rows, mass = rows[mass > 0], mass[mass > 0]
        there = np.unique(y).astype(int)
        if not len(there):
            continue
        if len(there) == 1:
            at = j if several else 0
            b[there if task.kind == "multiclass" else at] = 30.0 if there[0] else -30.0
            if task.kind == "multiclass":
                b[there] = 0.0
            continue
        solver = "newton-cholesky" if data.shape[1] <= 500 else "lbfgs"
        model = LogisticRegression(C=1 / penalty, solver=solver, max_iter=200)
        with warnings.catch_warnings(), unchecked():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a weak penalty on separable data
            model.fit(rows, y, sample_weight=mass)
        if task.kind == "multiclass" and len(there) == 2:  # two logits that differ by one
            w[there] = np.stack([-model.coef_[0], model.coef_[0]]) / 2
            b[there] = np.array([-model.intercept_[0], model.intercept_[0]]) / 2
        elif task.kind == "multiclass":
            w[there], b[there] = model.coef_, model.intercept_
        else:
            w[j], b[j] = model.coef_[0], model.intercept_[0]
    return w, b


def _descend(
    head: nn.Module,
    data: np.ndarray,
    span: np.ndarray,
    target: np.ndarray,
    share: np.ndarray,
    task: Task,
    penalty: float,
) -> float:
    """By L-BFGS in float64: proportional odds and survival, which scikit-learn has not."""
    rows, y, weights = map(torch.as_tensor, (data, target, share))
    values = {n: p.detach().double().cpu() for n, p in head.named_parameters()}
    names = [n for n, p in values.items() if p.ndim == 2]  # the rest are thresholds and shapes
    values |= {n: values[n] @ torch.as_tensor(span).T for n in names}
    shapes = {n: v.shape for n, v in values.items()}

    def unpack(flat: np.ndarray) -> dict[str, Tensor]:
        parts = torch.as_tensor(flat).split([s.numel() for s in shapes.values()])
        return {n: p.reshape(s) for (n, s), p in zip(shapes.items(), parts, strict=True)}

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        with torch.enable_grad():
            p = {n: v.detach().clone().requires_grad_() for n, v in unpack(flat).items()}
            raw = torch.func.functional_call(head, p, (rows,))
            loss = (task.loss(raw, y) * weights).sum()
            loss = loss + sum(0.5 * penalty * p[n].square().sum() for n in names)
            grads = torch.autograd.grad(loss, list(p.values()))
        return float(loss.detach()), torch.cat([g.reshape(-1) for g in grads]).numpy()

    start = torch.cat([v.reshape(-1) for v in values.values()]).numpy()
    found = scipy.optimize.minimize(
        objective, start, jac=True, method="L-BFGS-B", options={"maxiter": 500, "gtol": 1e-6}
    )
    with torch.no_grad():
        for name, value in unpack(found.x).items():
            full = value @ torch.as_tensor(span) if name in names else value
            head.get_parameter(name).copy_(full)
    return float(found.fun)
