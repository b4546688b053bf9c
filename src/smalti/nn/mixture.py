"""Full-covariance Gaussian mixtures, fitted by scikit-learn and read as buffers of a network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from smalti.batch import Batch, Output, Shape
from smalti.core.stage import Sweep, Training
from smalti.core.validation import folds_by_donor
from smalti.errors import InputError
from smalti.nn.scale import Standardize
from smalti.solve.moments import moments
from smalti.task import Task
from smalti.views import dense_rows, slice_rows

_NUMBERS = 2**26  # of the largest tensor in a pass over components
TEMPERS = ("squash", "mean")


class Mixtures(nn.Module):
    """M mixtures of up to K Gaussians each in d dimensions; unused components have weight 0."""

    log_weights: Tensor  # (M, K)
    means: Tensor  # (M, K, d)
    whiten: Tensor  # (M, K, d, d), Cholesky factors of the precisions

    def __init__(self, n: int, k: int, width: int) -> None:
        super().__init__()
        self.register_buffer("log_weights", torch.full((n, k), -torch.inf))
        self.register_buffer("means", torch.zeros(n, k, width))
        self.register_buffer("whiten", torch.eye(width).repeat(n, k, 1, 1))

    def place(self, m: int, fitted: Any) -> None:
        """Take over scikit-learn's mixture as number m."""
        k = len(fitted.weights_)
        self.log_weights[m] = -torch.inf
        self.log_weights[m, :k] = torch.as_tensor(np.log(np.maximum(fitted.weights_, 1e-300)))
        self.means[m, :k] = torch.as_tensor(fitted.means_)
        self.whiten[m, :k] = torch.as_tensor(fitted.precisions_cholesky_)

    def forward(self, x: Tensor) -> Tensor:
        """Log density of each cell under each mixture, (n, M)."""
        n, k, width = self.means.shape
        spread = torch.diagonal(self.whiten, dim1=2, dim2=3).log().sum(2)  # log det
        base = self.log_weights + spread - 0.5 * width * float(np.log(2 * np.pi))
        step = max(1, _NUMBERS // max(1, len(x) * k * width))
        parts = []
        for m in range(0, n, step):
            whiten = self.whiten[m : m + step].flatten(0, 1)  # (step k, d, d)
            shift = torch.einsum("kd,kde->ke", self.means[m : m + step].flatten(0, 1), whiten)
            y = (x @ whiten.permute(1, 0, 2).flatten(1)).view(len(x), -1, width) - shift
            square = y.square_().sum(2).view(len(x), -1, k)
            parts.append((base[m : m + step] - 0.5 * square).logsumexp(2))
        return torch.cat(parts, dim=1)


class MixtureNet(nn.Module):
    """What the two classifiers by likelihood share: scale, mixtures, and the way to raw numbers.

    Raises
    ------
    InputError
        If instances are no vectors, ``temper`` is unknown or ``centers`` no numbers.
    """

    def __init__(self, shape: Shape, n: int, centers: int | tuple[int, ...], temper: str) -> None:
        super().__init__()
        if len(shape.x) != 1:
            raise InputError(f"mixtures take vectors, not instances of shape {shape.x}.")
        if temper not in TEMPERS:
            raise InputError(f"temper={temper!r} is not one of {TEMPERS}.")
        self.cells = Standardize(shape.x)
        self.mixtures = Mixtures(n, max(as_choices(centers)), shape.x[0])
        self.task, self.temper, self.n_classes = shape.task, temper, len(shape.task.classes)

    def sums(self, log_p: Tensor, batch: Batch) -> Tensor:
        """(n, c) log densities summed over the cells of each sample, (n_bags, c).

        In float64: sums of thousands of cells differ by little.
        """
        index = batch.segments.index
        out = log_p.new_zeros(len(batch.segments.lengths), log_p.shape[1], dtype=torch.float64)
        step = max(1, _NUMBERS // log_p.shape[1])
        for start in range(0, len(log_p), step):
            part = slice(start, start + step)
            out.index_add_(0, index[part], log_p[part].double())
        return out

    def output(self, likelihood: Tensor, cell: Tensor, batch: Batch) -> Output:
        """Raw predictions from (n_bags, n_classes), scores from (n, n_classes)."""
        raw = raw_of(likelihood, batch.segments.lengths, self.task, self.temper)
        others = (cell.sum(1, keepdim=True) - cell) / (self.n_classes - 1)
        score = cell - others
        if self.n_classes == 2:
            score = score[:, 1]
        return Output(raw.to(cell.dtype), instance={"score": score})


def as_choices(centers: int | tuple[int, ...]) -> tuple[int, ...]:
    """Numbers of components to choose among.

    Raises
    ------
    InputError
        If there is none, or one is no whole number from 1.
    """
    choices = tuple(centers) if isinstance(centers, (tuple, list)) else (centers,)
    if not choices or not all(isinstance(k, int) and k >= 1 for k in choices):
        raise InputError(f"centers={centers!r}: whole numbers from 1, such as (5, 10).")
    return tuple(sorted(set(choices)))


def scale_cells(*, each: bool = False) -> Sweep:
    """A stage that centres ``network.cells`` and divides all features by the largest s.d.

    Principal components keep their relative size. With ``each`` every feature has its own s.d.
    """

    def step(network: nn.Module, training: Training) -> None:
        scale = network.cells
        assert isinstance(scale, Standardize)
        if each:
            scale.fit(training.bags)
            return
        mean, var = moments(training.bags.view()[1])
        scale.mean.copy_(torch.as_tensor(mean))
        scale.sd.fill_(max(float(np.sqrt(var.max())), 1e-12))

    return Sweep(step=step, name="scale")


def bag_cells(network: nn.Module, training: Training, bags: np.ndarray, most: int) -> np.ndarray:
    """Scaled cells of some bags, at most so many, (n, d) float64."""
    rows = slice_rows(training.bags.offsets, bags)
    if len(rows) > most:
        rows = np.sort(training.rng.choice(rows, most, replace=False))
    x = dense_rows(training.bags.view()[1], rows)
    scale = network.cells
    assert isinstance(scale, Standardize)
    mean, sd = scale.mean.double().cpu().numpy(), scale.sd.double().cpu().numpy()
    return (np.asarray(x, dtype=np.float64) - mean) / sd


Place = Callable[["MixtureNet", Training, np.ndarray, int], None]


def choose_centers(
    network: MixtureNet,
    training: Training,
    centers: int | tuple[int, ...],
    folds: int,
    place: Place,
) -> int:
    """The number of components with the best accuracy in folds of the training donors.

    Ties go to the fewer.
    """
    choices = as_choices(centers)
    if len(choices) == 1:
        return choices[0]
    splits = folds_by_donor(training.bags, training.task, folds, training.rng)
    if not splits:
        return choices[0]
    right = []
    for k in choices:
        hits = 0
        for train, test in splits:
            place(network, training, train, k)
            raw = torch.cat([network(b).raw for b in training.batches(network)])
            guess = training.task.probabilities(raw[test].cpu().numpy()).argmax(1)
            hits += int((guess == training.target[test]).sum())
        right.append(hits)
    return choices[int(np.argmax(right))]


def raw_of(likelihood: Tensor, lengths: Tensor, task: Task, temper: str) -> Tensor:
    """Raw predictions of a task from (n_bags, n_classes) log likelihoods.

    Summed over the cells of a sample, log likelihoods differ by thousands, and probabilities made
    from them are 0 or 1 to the last bit: every patient ties. "squash" takes the inverse hyperbolic
    sine of the difference to the best other class, which keeps its sign and order; "mean" divides
    by the number of cells, as if a sample were one observation.

    Raises
    ------
    InputError
        If ``temper`` is neither.
    """
    if temper not in TEMPERS:
        raise InputError(f"temper={temper!r} is not one of {TEMPERS}.")
    if temper == "mean":
        margin = likelihood / lengths.to(likelihood.dtype)[:, None]
        margin = margin - margin.logsumexp(1, keepdim=True)
    else:
        others = likelihood[:, None, :].expand(-1, likelihood.shape[1], -1).clone()
        others.diagonal(dim1=1, dim2=2).fill_(-torch.inf)
        margin = torch.asinh(likelihood - others.amax(2))
    if task.kind == "binary":
        if temper == "squash":
            return margin[:, 1:]
        return margin[:, 1:] - margin[:, :1]
    if task.kind == "multiclass":
        return margin
    log_p = margin.log_softmax(1)  # ordinal: logits of P(y > k)
    falling = log_p.flip(1).logcumsumexp(1).flip(1)[:, 1:]
    rising = log_p.logcumsumexp(1)[:, :-1]
    return falling - rising
