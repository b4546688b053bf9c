"""mi-Graph: a kernel of bags whose instances are not independent, and a support vector machine."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise, product
from typing import Any, ClassVar, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from smalti import segment
from smalti.batch import Batch, Output, Shape
from smalti.core.settings import Count, Positive
from smalti.core.stage import Stage, Sweep, Training
from smalti.core.validation import folds_by_donor
from smalti.mil.base import Method
from smalti.nn import Standardize
from smalti.nn.scale import standardize_sweep
from smalti.solve.linear import fit_head
from smalti.task import Task

Choice: TypeAlias = Positive | tuple[Positive, ...]
_PAIRS = 2**24  # distances that are held at a time
_PENALTY = 1e-3  # on what turns decisions into raw predictions, which must stay finite


class MiGraph(Method):
    """Similar instances of a bag share one voice; a support vector machine on the kernel of bags.

    Two instances of a bag are linked if their distance is at most the mean distance of its
    instances. An instance that is linked to many speaks for few: W_a = 1 / #{b: linked to a, with
    a itself}. The kernel of bags is the mean of a kernel of instances under these weights,

        K(X, Y) = sum_a sum_b W_a V_b exp(-gamma ||x_a - y_b||^2) / (sum_a W_a sum_b V_b)

    of bags X with weights W and Y with weights V, the simpler of the two kernels of the paper, on
    standardised features. Classes are learned by support vector classification (one against the
    rest), labels each by one of its own, quantities and grades by support vector regression.

    gamma and C are chosen in folds of the training donors. The held-out decisions of the chosen
    pair also say what a decision is worth: the head of the target (for two classes Platt's sigmoid)
    is fitted on them.

    ``contribution`` of an instance is exact, for the decision is a sum over the instances of the
    bag: W_a / sum W times the sum over the training instances. It adds up to the raw prediction
    less its constant.

    Notes
    -----
    The paper does not say whether an instance is among those whose mean distance is taken; here it
    is. With more than ``max_instances`` training instances each bag gives an equal number of them,
    drawn at random; a bag to be predicted is read whole.

    It learns no survival target: its loss is none of scikit-learn's machines.

    Examples
    --------
    >>> import smalti as sm
    >>> bags = sm.datasets.planted_bags(40, seed=0)
    >>> model = sm.mil.MiGraph(progress=False).fit(bags)
    >>> list(model.attribute(bags))
    ['bag', 'contribution_1']
    """

    name: ClassVar[str] = "mi_graph"
    reference: ClassVar[str] = (
        "Zhou, Sun & Li (2009). Multi-instance learning by treating instances as non-I.I.D. "
        "samples. ICML. arXiv:0807.1997"
    )
    cite: ClassVar[tuple[str, ...]] = ("zhou2009",)
    kinds: ClassVar[tuple[str, ...]] = (
        "binary", "multiclass", "multilabel", "ordinal", "binomial", "regression",
    )  # fmt: skip
    embeds: ClassVar[bool] = False

    gammas: Choice = (0.25, 1.0, 4.0, 16.0, 64.0)  # over the mean squared distance of instances
    costs: Choice = (0.1, 1.0, 10.0, 100.0)  # C; several, here and above: chosen in folds
    folds: Count = 5  # of the training donors, for these choices
    standardize: bool = True  # features to mean 0, s.d. 1, by the training bags
    max_instances: Count = 10_000  # training instances that are kept; time grows with the square

    def network(self, shape: Shape) -> nn.Module:
        """Scale, kernel with the support instances, head."""
        return _Net(shape)

    def plan(self, shape: Shape) -> Iterator[Stage]:
        """Standardise; then kernel, choices and machines."""
        if self.standardize:
            yield standardize_sweep()
        yield Sweep(step=self._fit, name="machine")

    def _fit(self, network: nn.Module, training: Training) -> float:
        assert isinstance(network, _Net)
        x, voice, ends = self._instances(network, training)
        mean_square = float(2 * x.var(0, correction=0).sum()) or 1.0
        gammas = [g / mean_square for g in _several(self.gammas)]
        kernels = bag_kernels(x, voice, ends, gammas)  # (n_gammas, n_bags, n_bags)
        task, columns = training.task, _columns(training.task, training.target)
        splits = folds_by_donor(training.bags, task, self.folds, training.rng)
        best: tuple[float, Any] = (np.inf, None)
        for (gamma, kernel), cost in product(
            zip(gammas, kernels, strict=True), _several(self.costs)
        ):
            held = _held_out(kernel, columns, training.weight, task, cost, splits)
            spread = np.where(held.std(0) > 1e-9, held.std(0), 1.0)
            head = task.head(held.shape[1])
            loss = fit_head(head, held / spread, training.target, training.weight, task, _PENALTY)
            if loss < best[0]:
                best = loss, (gamma, kernel, cost, spread, head)
        gamma, kernel, cost, spread, head = best[1]
        machines = [_machine(kernel, y, training.weight, task, cost) for y in columns]
        alpha, constant = (np.stack(part, -1) / spread for part in zip(*machines, strict=True))
        per_instance = torch.as_tensor(np.repeat(alpha, np.diff(ends), axis=0)) * voice[:, None]
        used = (per_instance != 0).any(1)
        network.place(gamma, x[used], per_instance[used], torch.as_tensor(constant), head)
        return best[0]

    def _instances(self, network: _Net, training: Training) -> tuple[Tensor, Tensor, np.ndarray]:
        """Scaled training instances (n, d), the voice of each in its bag (n,), ends of the bags."""
        lengths = training.bags.lengths
        most = int(lengths.max())
        if lengths.sum() > self.max_instances:
            most = max(1, self.max_instances // len(lengths))
        parts, voices = [], []
        for batch in training.batches(network):
            scaled = network.scaled(batch.x)
            for start, stop in pairwise(batch.segments.offsets.tolist()):
                rows = np.arange(start, stop)
                if len(rows) > most:
                    rows = np.sort(training.rng.choice(rows, most, replace=False))
                parts.append(scaled[torch.as_tensor(rows, device=scaled.device)].cpu())
                voices.append(voice_of(parts[-1]))
        ends = np.concatenate([[0], np.cumsum([len(part) for part in parts])])
        return torch.cat(parts), torch.cat(voices), ends

    @classmethod
    def example(cls) -> MiGraph:
        """Few choices."""
        return cls(gammas=(1.0, 4.0), costs=10.0, folds=3)


class _Net(nn.Module):
    """The buffers of the support have as many rows as a fit has found."""

    gamma: Tensor
    support: Tensor  # (n_support, d)
    alpha: Tensor  # (n_support, n_decisions)
    constant: Tensor  # (n_decisions,)

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.scale = Standardize(shape.x)
        n = _n_decisions(shape.task)
        self.register_buffer("gamma", torch.ones((), dtype=torch.float32))
        self.register_buffer("support", torch.zeros(0, int(np.prod(shape.x))))
        self.register_buffer("alpha", torch.zeros(0, n))
        self.register_buffer("constant", torch.zeros(n))
        self.head = shape.task.head(n)

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        for name in ("support", "alpha"):
            there, own = state.get(prefix + name), getattr(self, name)
            if there is not None:
                setattr(self, name, own.new_zeros(there.shape))
        super()._load_from_state_dict(state, prefix, *rest)

    def place(
        self, gamma: float, support: Tensor, alpha: Tensor, constant: Tensor, head: nn.Module
    ) -> None:
        self.gamma.fill_(gamma)
        self.support = support.to(self.support)
        self.alpha = alpha.to(self.alpha)
        self.constant.copy_(constant)
        self.head.load_state_dict(head.state_dict())

    def scaled(self, x: Tensor) -> Tensor:
        """(n, ...) to (n, d) float64: a link must not depend on the precision of a prediction."""
        z = (x.double() - self.scale.mean.double()) / self.scale.sd.double()
        return z.flatten(1)

    def forward(self, batch: Batch) -> Output:
        x, segments = self.scaled(batch.x), batch.segments
        ends = segments.offsets.tolist()
        voice = torch.cat([voice_of(x[start:stop]) for start, stop in pairwise(ends)])
        support, alpha, gamma = self.support.double(), self.alpha.double(), float(self.gamma)
        said = [torch.exp(-gamma * _square(part, support)) @ alpha for part in _rows(x, support)]
        part = torch.cat(said) * voice[:, None]  # (n, n_decisions)
        decision = (segment.total(part, segments) + self.constant).to(self.constant.dtype)
        zero = decision.new_zeros(1, decision.shape[1])
        contribution = self.head(part.to(decision.dtype)) - self.head(zero)
        return Output(self.head(decision), instance={"contribution": contribution})


# -------------------------------------------------------------------- the kernel


def voice_of(x: Tensor) -> Tensor:
    """Weights W_a / sum W of the instances of one bag, (n, d) to (n,), which sum to 1."""
    blocks = [_square(part, x).sqrt_() for part in _rows(x, x)] if len(x) ** 2 <= _PAIRS else None

    def distances() -> Iterator[Tensor]:
        """Rows of the (n, n) distances; made twice where they cannot be held."""
        yield from blocks if blocks is not None else (_square(p, x).sqrt_() for p in _rows(x, x))

    mean = sum(float(block.sum()) for block in distances()) / len(x) ** 2
    linked = torch.cat([(block <= mean).sum(1) for block in distances()])
    weight = 1 / linked.clamp(min=1).double()  # rounding may part copies from themselves
    return weight / weight.sum()


def bag_kernels(
    x: Tensor, voice: Tensor, ends: np.ndarray, gammas: list[float]
) -> list[np.ndarray]:
    """The kernel of bags for each gamma, (n_bags, n_bags).

    Of instances (n, d), their voices (n,) and the ends of the bags among them (n_bags + 1,).
    """
    kernels = [np.zeros((len(ends) - 1, len(ends) - 1)) for _ in gammas]
    for i, (start, stop) in enumerate(pairwise(ends)):
        later = x[start:]  # with itself; what stands before has met it already
        rows = [torch.zeros(len(later), dtype=x.dtype) for _ in gammas]
        for part, own in zip(
            _rows(x[start:stop], later), _rows(voice[start:stop], later), strict=True
        ):
            square = _square(part, later)
            for row, gamma in zip(rows, gammas, strict=True):
                row += own @ torch.exp(-gamma * square)
        for kernel, row in zip(kernels, rows, strict=True):
            met = np.add.reduceat((row * voice[start:]).numpy(), ends[i:-1] - start)
            kernel[i, i:] = kernel[i:, i] = met
    return kernels


def _square(a: Tensor, b: Tensor) -> Tensor:
    """Squared distances, (n, d) and (m, d) to (n, m)."""
    sizes = a.square().sum(1)[:, None] + b.square().sum(1)
    return torch.addmm(sizes, a, b.T, alpha=-2).clamp_(min=0)


def _rows(x: Tensor, other: Tensor) -> tuple[Tensor, ...]:
    """Rows (n, ...) in blocks that can be held beside all of ``other`` (m, ...)."""
    return x.split(max(1, _PAIRS // max(len(other), 1)))


# -------------------------------------------------------------------- the machines


def _several(values: float | tuple[float, ...]) -> tuple[float, ...]:
    return values if isinstance(values, tuple) else (values,)


def _n_decisions(task: Task) -> int:
    return 1 if task.kind == "ordinal" else task.n_outputs


def _columns(task: Task, target: np.ndarray) -> list[np.ndarray]:
    """What each machine learns, (n_bags,): classes 0 and 1, or a number."""
    if task.kind == "multiclass":
        return [(target == c).astype(int) for c in range(len(task.classes))]
    return list(np.asarray(target).reshape(len(target), -1).T)


def _held_out(
    kernel: np.ndarray, columns: list[np.ndarray], weight: np.ndarray, task: Task, cost: float,
    splits: list[tuple[np.ndarray, np.ndarray]],
) -> np.ndarray:  # fmt: skip
    """(n_bags, n_decisions) decisions of machines that have not seen the donor of the bag.

    Where there are too few donors to leave some out, those of machines that have.
    """
    everything = np.arange(len(kernel))
    out = np.zeros((len(kernel), len(columns)))
    for train, test in splits or [(everything, everything)]:
        inner, across = kernel[np.ix_(train, train)], kernel[np.ix_(test, train)]
        for j, y in enumerate(columns):
            alpha, constant = _machine(inner, y[train], weight[train], task, cost)
            out[test, j] = across @ alpha + constant
    return out


def _machine(
    kernel: np.ndarray, y: np.ndarray, weight: np.ndarray, task: Task, cost: float
) -> tuple[np.ndarray, float]:
    """Weights of the training bags (n_bags,) and constant of one machine."""
    from sklearn.svm import SVC, SVR

    alpha = np.zeros(len(kernel))
    if len(np.unique(y)) < 2:
        return alpha, 0.0
    classes = task.kind in ("binary", "multiclass", "multilabel")
    machine = SVC(C=cost, kernel="precomputed") if classes else SVR(C=cost, kernel="precomputed")
    machine.random_state = 0  # or a draw of the global stream is made, and not used
    machine.fit(kernel, y, sample_weight=weight)
    alpha[machine.support_] = machine.dual_coef_[0]
    return alpha, float(machine.intercept_[0])
