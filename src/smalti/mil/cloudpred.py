"""CloudPred: a Gaussian mixture of the cells, and a polynomial of each sample's cluster shares."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from smalti import segment
from smalti.batch import Batch, Output, Shape
from smalti.core.settings import Count, Positive, Weight
from smalti.core.stage import Gradient, Stage, Sweep, Training, units_of_step
from smalti.core.validation import folds_by_donor
from smalti.errors import InputError
from smalti.mil.base import NetworkMethod
from smalti.nn.linear import PENALTIES, BagLinear, bag_features, fit_head, linear_sweep
from smalti.nn.mixture import as_choices, bag_cells, scale_cells
from smalti.nn.scale import Standardize

if TYPE_CHECKING:
    from smalti.bags import Bags

_TRIAL = 20_000  # cells by which mixtures are chosen

_FLOOR = 1e-5  # of a variance, as published
_LANES = 16  # columns below which PyTorch's softmax goes number by number: 10 cost as much as 30


class CloudPred(NetworkMethod):
    """A Gaussian mixture of the cells, and a polynomial of a sample's shares of its clusters.

    Of the shares pi_k of the clusters k in a sample:

        logit = c + sum_k (a_k pi_k + b_k pi_k^2)

    Three stages: expectation maximisation of a diagonal mixture on the training cells; the
    polynomial alone, a convex problem that is solved exactly; then means, variances, weights and
    polynomial together by gradient. The mixture, and so the number of clusters, is chosen in folds
    of the training donors by the loss of the second stage.

    ``contribution`` of cell i is (1 / n) sum_k r_ik (a_k + b_k pi_k), r the responsibilities:
    signed, summing to the logit less its constant. ``cluster`` is the most responsible cluster.
    :meth:`clusters` lists the clusters and their effects.

    Notes
    -----
    Scaled as published: the training mean is subtracted and all features are divided by the
    largest standard deviation among them, so that principal components keep their relative size.
    Features in several units need ``standardize=True``.
    Published: 1,000 joint epochs, the best by validation; without validation donors (the default,
    see ``validation``) there is nothing to choose by, and 100 are run. Mixture weights are a
    softmax here and cannot turn negative.

    Examples
    --------
    >>> import smalti as sm
    >>> bags = sm.datasets.planted_bags(20, seed=0)
    >>> model = sm.mil.CloudPred(centers=3, epochs=1, progress=False).fit(bags)
    >>> model.clusters(bags)[["cluster", "effect", "main"]].shape  # a row per cluster
    (3, 3)
    """

    name: ClassVar[str] = "cloudpred"
    reference: ClassVar[str] = (
        "He, Thomson, Subramaniam, Perez, Ye & Zou (2022). CloudPred: predicting patient "
        "phenotypes from single-cell RNA-seq. PSB. arXiv:2110.07069"
    )
    cite: ClassVar[tuple[str, ...]] = ("he2022",)

    standardize: bool = False  # each feature to s.d. 1; False: all by the largest, for PCs
    centers: Count | tuple[Count, ...] = (5, 10, 15, 20, 25)  # clusters; several: chosen in folds
    starts: Count = 3  # mixtures fitted for each number of clusters, of which the best is kept
    folds: Count = 5  # of the training donors, for that choice
    em_rounds: Count = 100  # of expectation maximisation, at most
    max_cells: Count = 100_000  # cells that the mixture sees, drawn at random
    joint: bool = True  # train mixture and polynomial together in the end
    epochs: Count = 100  # of that joint training
    lr: Positive = 1e-4  # learning rate
    optimizer: Literal["adam", "adamw", "sgd"] = "sgd"
    weight_decay: Weight = 0.0
    batch_size: Count = 1  # bags in a step

    def network(self, shape: Shape) -> nn.Module:
        """Scale, mixture, polynomial head."""
        if len(shape.x) != 1:
            raise InputError(f"cloudpred takes vectors, not instances of shape {shape.x}.")
        return _Net(shape, max(as_choices(self.centers)))

    def plan(self, shape: Shape) -> Iterator[Stage]:
        """Scale, choose, mixture, polynomial, both."""
        yield scale_cells(each=self.standardize)
        cells = _Cells(self)
        yield Sweep(step=cells.choose, name="centers")
        yield Sweep(step=cells.em, rounds=self.em_rounds, tolerance=1e-5, name="mixture")
        yield linear_sweep(folds=self.folds)
        if self.joint:
            yield Gradient(
                epochs=self.epochs, lr=self.lr, optimizer=self.optimizer, momentum=self.momentum,
                weight_decay=self.weight_decay,
                batch_size=units_of_step(shape.task, self.batch_size),
                max_instances=self.max_instances, patience=self.patience, name="joint",
            )  # fmt: skip

    @classmethod
    def example(cls) -> CloudPred:
        """A few clusters."""
        return cls(centers=(2, 4), epochs=3)

    def clusters(self, X: Bags | None = None, *, group: str = "cell_type") -> pd.DataFrame:
        """The clusters and what they do.

        Parameters
        ----------
        X
            Bags with a ``group`` column, to say what each cluster is.
        group
            Column of the instances.

        Returns
        -------
        DataFrame
            One row per cluster and output: ``weight`` in the mixture, ``linear`` and ``quadratic``
            (a and b on the logit scale), ``effect`` = a + 2 b w, the slope at the mixture's own
            share w; with bags also ``main`` (the most frequent group) and ``share`` (its share).

        Raises
        ------
        InputError
            If the bags have no such column.
        """
        network = self.network_
        assert isinstance(network, _Net)
        with torch.no_grad():
            weight = network.log_weights.softmax(0).double().cpu().numpy()
            slope = network.slopes().double().cpu().numpy().reshape(2, len(weight), -1)
        used = np.flatnonzero(network.used.cpu().numpy())
        outputs = [""] if slope.shape[2] == 1 else list(map(str, self.task_.classes))
        if self.task_.kind == "ordinal":  # one score moves all thresholds alike
            outputs = [""]
        rows = [
            {"cluster": k, "output": o, "weight": weight[k], "linear": slope[0, k, j],
             "quadratic": slope[1, k, j], "effect": slope[0, k, j] + 2 * slope[1, k, j] * weight[k]}
            for k in used for j, o in enumerate(outputs)
        ]  # fmt: skip
        table = pd.DataFrame(rows)
        if X is None:
            return table
        cluster = self.forward(X)[1]["cluster"].astype(int)
        if group not in X.instance:
            raise InputError(f"no instance column {group!r} to name the clusters by.")
        counts = pd.crosstab(cluster, X.instance[group].astype(str).to_numpy())
        table["main"] = table["cluster"].map(counts.idxmax(axis=1))
        table["share"] = table["cluster"].map(counts.max(axis=1) / counts.sum(axis=1))
        return table


class _Net(BagLinear):
    used: Tensor

    def __init__(self, shape: Shape, k: int) -> None:
        super().__init__(2 * k, shape)
        self.cells = Standardize(shape.x)
        self.means = nn.Parameter(torch.zeros(k, shape.x[0]))
        self.log_variances = nn.Parameter(torch.zeros(k, shape.x[0]))
        self.log_weights = nn.Parameter(torch.zeros(k))
        self.register_buffer("used", torch.ones(k, dtype=torch.bool))

    def log_density(self, x: Tensor, more: int = 0) -> Tensor:
        """Log of weight times density of scaled cells under each cluster, (n, k + more).

        Two matrix products for all cells and clusters: (x - m)' L (x - m) is expanded. ``more``
        clusters without weight follow, of density 0.
        """
        precision = (-self.log_variances).exp().clamp(max=1 / _FLOOR)
        scaled = precision * self.means
        logs = precision.log().sum(1) - x.shape[1] * float(np.log(2 * np.pi))
        weights = self.log_weights.masked_fill(~self.used, -torch.inf).log_softmax(0)
        constant = weights + 0.5 * (logs - (scaled * self.means).sum(1))
        constant = pad(constant, (0, more), value=-torch.inf)
        precision, scaled = (pad(each, (0, 0, 0, more)) for each in (precision, scaled))
        return torch.addmm(torch.addmm(constant, x * x, -0.5 * precision.T), x, scaled.T)

    def place(self, weights: Tensor, means: Tensor, variances: Tensor) -> None:
        """Take over a mixture; the clusters left over stay unused."""
        k = len(weights)
        self.used[:] = torch.arange(len(self.used), device=self.used.device) < k
        self.log_weights[:k] = weights.clamp(min=1e-12).log().to(self.log_weights)
        self.means[:k] = means.to(self.means)
        self.log_variances[:k] = variances.clamp(min=_FLOOR).log().to(self.log_variances)

    def mixture(self, like: Tensor) -> Mixture:
        """Weights (k,), means and variances (k, d) of the clusters in use, of the type of cells."""
        used = self.used
        parts = self.log_weights[used].exp(), self.means[used], self.log_variances[used].exp()
        return tuple(part.to(like) for part in parts)  # type: ignore[return-value]

    def responsibility(self, batch: Batch) -> Tensor:
        """(n, k) share of each cluster in each cell."""
        k = len(self.means)
        return self.log_density(self.cells(batch.x), max(_LANES - k, 0)).softmax(1)[:, :k]

    def features(self, batch: Batch) -> Tensor:
        share = segment.mean(self.responsibility(batch), batch.segments)
        return torch.cat([share, share * share], dim=1)

    def forward(self, batch: Batch) -> Output:
        r = self.responsibility(batch)
        share = segment.mean(r, batch.segments)
        z = torch.cat([share, share * share], dim=1)
        raw = self.head((z - self.center) / self.scale)
        if self.training:
            return Output(raw)
        linear, square = self.slopes().chunk(2)
        index, lengths = batch.segments.index, batch.segments.lengths
        part = r @ linear + (r * share[index]) @ square
        return Output(
            raw, instance={"contribution": part / lengths[index][:, None], "cluster": r.argmax(1),
                           "responsibility": r}, bag={"embedding": z},
        )  # fmt: skip


Splits: TypeAlias = Sequence[tuple[np.ndarray, np.ndarray]]
Mixture: TypeAlias = tuple[Tensor, Tensor, Tensor]


class _Cells:
    """The sweeps that look at single cells: the choice of the number of clusters, and EM."""

    def __init__(self, method: CloudPred) -> None:
        self.method = method
        self.x: Tensor | None = None
        self.mixture: Mixture

    def choose(self, network: nn.Module, training: Training) -> None:
        """Fit mixtures to a part of the cells; keep the one with the least held-out loss.

        Mixtures see all training donors, but no label; the polynomial is fitted and tested in
        folds of them. A mixture of few clusters has many local optima that merge different types,
        so the winner itself goes on, not its number of clusters alone.
        """
        assert isinstance(network, _Net)
        everything = np.arange(len(training.bags))
        cells = bag_cells(network, training, everything, min(self.method.max_cells, _TRIAL))
        x, choices = torch.as_tensor(cells), as_choices(self.method.centers)
        splits: Splits = []
        if len(choices) * self.method.starts > 1:
            splits = folds_by_donor(training.bags, training.task, self.method.folds, training.rng)
        if not splits and len(choices) > 1:
            choices = (choices[len(choices) // 2],)
        least = np.inf
        for k in choices:
            for _ in range(self.method.starts):
                mixture, unlikely = fit_mixture(x, k, 50, 1e-4, training.rng)
                network.place(*mixture)
                loss = self._loss(network, training, splits) if splits else unlikely
                if loss < least:
                    least, best = loss, mixture
        network.place(*best)

    def _loss(self, network: _Net, training: Training, splits: Splits) -> float:
        """Held-out loss of the polynomial on the shares of a mixture, at its best penalty."""
        losses = np.zeros(len(PENALTIES))
        features = bag_features(network, training)
        for train, test in splits:
            center, scale = features[train].mean(0), features[train].std(0)
            z = (features - center) / np.where(scale > 1e-9, scale, 1.0)
            head = training.task.head(z.shape[1]).double()
            for i in reversed(range(len(PENALTIES))):
                fit_head(head, z[train], training.target[train], training.weight[train],
                         training.task, PENALTIES[i])  # fmt: skip
                raw = head(torch.as_tensor(z[test]))
                loss = training.task.loss(raw, torch.as_tensor(training.target[test]))
                losses[i] += float((loss * torch.as_tensor(training.weight[test])).sum())
        return float(losses.min())

    def em(self, network: nn.Module, training: Training) -> float:
        """One round on all cells, from the mixture that was chosen."""
        assert isinstance(network, _Net)
        if self.x is None:
            everything = np.arange(len(training.bags))
            cells = bag_cells(network, training, everything, self.method.max_cells)
            self.x = torch.as_tensor(cells)
            # of the network: what a stage before has left beside it is gone where a fit was killed
            self.mixture = network.mixture(self.x)
        self.mixture, objective = em_round(self.x, *self.mixture)
        network.place(*self.mixture)
        return objective


def start(x: Tensor, k: int, rng: np.random.Generator) -> Mixture:
    """Weights (k,), means and variances (k, d) of the clusters of k-means of cells (n, d)."""
    from sklearn.cluster import MiniBatchKMeans
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct cells than clusters
        means = MiniBatchKMeans(
            min(k, len(x)), n_init=3, batch_size=4096, random_state=int(rng.integers(2**31))
        ).fit(x.numpy())
    label = torch.as_tensor(means.labels_.astype(np.int64))
    return _update(x, nn.functional.one_hot(label, means.n_clusters).to(x.dtype))


def fit_mixture(
    x: Tensor, k: int, rounds: int, tolerance: float, rng: np.random.Generator
) -> tuple[Mixture, float]:
    """Expectation maximisation of a diagonal mixture of (n, d) cells; and its last objective."""
    mixture, before = start(x, k, rng), np.inf
    for _ in range(rounds):
        mixture, objective = em_round(x, *mixture)
        if before - objective < tolerance * abs(before):
            break
        before = objective
    return mixture, objective


def em_round(x: Tensor, weights: Tensor, means: Tensor, variances: Tensor) -> tuple[Mixture, float]:
    """One round of expectation and maximisation of a diagonal mixture of cells (n, d).

    Weights (k,), means and variances (k, d) are taken and given; and the mean negative log
    likelihood before the round, in nats per cell.
    """
    precision = 1 / variances
    scaled = precision * means
    square = (x * x) @ precision.T - 2 * x @ scaled.T + (scaled * means).sum(1)
    logs = precision.log().sum(1) - x.shape[1] * float(np.log(2 * np.pi))
    joint = weights.log() + 0.5 * (logs - square)
    whole = joint.logsumexp(1, keepdim=True)
    return _update(x, (joint - whole).exp_()), -float(whole.mean())


def _update(x: Tensor, r: Tensor) -> Mixture:
    mass = r.sum(0).clamp(min=1e-12)
    means = r.T @ x / mass[:, None]
    variances = (r.T @ (x * x) / mass[:, None] - means * means).clamp(min=0) + _FLOOR
    return mass / mass.sum(), means, variances
