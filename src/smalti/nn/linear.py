"""A penalised linear model on one vector per bag, for every kind of target.

One convex problem for all kinds: the weighted mean of the task's own loss plus an L2 penalty on the
weights (not on the intercept). Classes are scikit-learn's ``LogisticRegression``, a regression is
ridge in closed form, ordered classes are proportional odds.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import scipy.optimize
import torch
from torch import Tensor, nn

from smalti.batch import Batch, Output, Shape
from smalti.stage import Sweep, Training
from smalti.task import Task
from smalti.validation import folds_by_donor

PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)


class BagLinear(nn.Module):
    """Standardised bag features, then the task's head. Subclasses say what the features are."""

    center: Tensor
    scale: Tensor

    def __init__(self, width: int, shape: Shape) -> None:
        super().__init__()
        self.register_buffer("center", torch.zeros(width))
        self.register_buffer("scale", torch.ones(width))
        self.head = shape.task.head(width)
        self.task = shape.task

    def features(self, batch: Batch) -> Tensor:
        """(n_bags, width) features of each bag."""
        raise TypeError("a subclass must say what the features of a bag are.")

    def forward(self, batch: Batch) -> Output:
        """Raw predictions, and the bag features as embedding."""
        z = self.features(batch)
        raw = self.head((z - self.center) / self.scale)
        share = None if self.training else self.shares(batch, z)
        instance = {} if share is None else {"contribution": share @ self.slopes()}
        return Output(raw, instance=instance, bag={"embedding": z})

    def shares(self, batch: Batch, z: Tensor) -> Tensor | None:
        """(n, width) share of each instance in the features; None where they are no sum."""
        return None

    def slopes(self) -> Tensor:
        """(width, n_outputs) change of raw with each feature."""
        eye = torch.diag(1 / self.scale)
        return self.head(eye) - self.head(torch.zeros_like(eye[:1]))


def linear_sweep(penalties: Sequence[float] = PENALTIES, folds: int = 5) -> Sweep:
    """A stage that standardises the bag features and fits ``network.head``.

    The penalty is chosen by the task's loss in folds of the training donors.
    """

    def step(network: nn.Module, training: Training) -> float:
        assert isinstance(network, BagLinear)
        z = bag_features(network, training)
        center, scale = z.mean(0), z.std(0)
        scale[scale <= 1e-7 * np.maximum(np.abs(center), 1e-30)] = 1.0
        network.center.copy_(torch.as_tensor(center))
        network.scale.copy_(torch.as_tensor(scale))
        z = (z - center) / scale
        best = choose_penalty(z, training, penalties, folds)
        return fit_head(network.head, z, training.target, training.weight, training.task, best)

    return Sweep(step=step, name="linear")


def bag_features(network: BagLinear, training: Training) -> np.ndarray:
    """(n_bags, width) float64 features of the training bags."""
    parts = [network.features(batch) for batch in training.batches(network)]
    return torch.cat(parts).double().cpu().numpy()


def choose_penalty(
    z: np.ndarray, training: Training, penalties: Sequence[float], folds: int
) -> float:
    """The penalty with the lowest loss in folds of the training donors; ties go to the larger."""
    splits = folds_by_donor(training.bags, training.task, folds, training.rng)
    if not splits or len(penalties) == 1:
        return penalties[len(penalties) // 2]
    losses = np.zeros(len(penalties))
    for train, test in splits:
        head = training.task.head(z.shape[1])
        for i in reversed(range(len(penalties))):  # strong to weak: each starts from the last
            fit_head(head, z[train], training.target[train], training.weight[train],
                     training.task, penalties[i])  # fmt: skip
            with torch.no_grad():
                raw = head(torch.as_tensor(z[test]).to(next(head.parameters()).dtype))
                loss = training.task.loss(raw, torch.as_tensor(training.target[test]))
                losses[i] += float((loss * torch.as_tensor(training.weight[test])).sum())
    return penalties[len(penalties) - 1 - int(np.argmin(losses[::-1]))]


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

    Returns
    -------
    float
        The objective at the minimum.
    """
    span = np.eye(z.shape[1])
    data = z
    if z.shape[1] > z.shape[0]:
        u, s, span = np.linalg.svd(z, full_matrices=False)
        data = u * s
    share = np.asarray(weight, dtype=np.float64) / np.sum(weight)
    if task.kind == "ordinal":
        return _fit_ordinal(head, data, span, target, share, task, penalty)
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
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    w = np.zeros((task.n_outputs, data.shape[1]))
    b = np.full(task.n_outputs, -30.0)  # a class that the bags at hand lack
    several = task.kind in ("multilabel", "binomial")
    labels = target.T if several else [target]
    rows, mass = data, share
    for j, y in enumerate(labels):
        if task.kind == "binomial":  # y successes and n - y failures, as rows of that weight
            rows = np.concatenate([data, data])
            mass = np.concatenate([share * y, share * (task.trials - y)])
            y = np.repeat([1, 0], len(data))[mass > 0]
            rows, mass = rows[mass > 0], mass[mass > 0]
        there = np.unique(y).astype(int)
        if len(there) == 1:
            at = j if several else 0
            b[there if task.kind == "multiclass" else at] = 30.0 if there[0] else -30.0
            if task.kind == "multiclass":
                b[there] = 0.0
            continue
        solver = "newton-cholesky" if data.shape[1] <= 500 else "lbfgs"
        model = LogisticRegression(C=1 / penalty, solver=solver, max_iter=200)
        with warnings.catch_warnings():
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


def _fit_ordinal(
    head: nn.Module,
    data: np.ndarray,
    span: np.ndarray,
    target: np.ndarray,
    share: np.ndarray,
    task: Task,
    penalty: float,
) -> float:
    """Proportional odds by L-BFGS in float64; scikit-learn has none."""
    rows, y, weights = map(torch.as_tensor, (data, target, share))
    values = {n: p.detach().double().cpu() for n, p in head.named_parameters()}
    names = [n for n, p in values.items() if p.ndim == 2]  # the rest are thresholds
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
