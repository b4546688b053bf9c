"""Ridge of one penalty."""

from collections.abc import Iterator
from typing import Any, ClassVar

from torch import nn

from smalti.batch import Batch, Output, Shape
from smalti.core.stage import Stage, Sweep, Training
from smalti.expression.base import ExpressionMethod, linear_map
from smalti.solve.ridge import ridge_path


class OnePenalty(ExpressionMethod):
    """Each gene is a linear function of the features, shrunk by one penalty for all."""

    name: ClassVar[str] = "one_penalty"
    reference: ClassVar[str] = "Example (2025). One penalty"

    alpha: float = 10.0  # the penalty

    def network(self, shape: Shape) -> nn.Module:
        """One linear layer, which the sweep fills."""
        return _Net(shape.x[0], len(shape.outputs))

    def plan(self, shape: Shape) -> Iterator[Stage]:
        """Solve."""

        def step(network: Any, training: Training) -> None:
            path = ridge_path(training.bags.table(), training.target)
            linear_map(network, *path.solution(self.alpha))

        yield Sweep(step=step, name="ridge")

    @classmethod
    def example(cls) -> "OnePenalty":
        """As it is."""
        return cls()


class _Net(nn.Module):
    def __init__(self, n_features: int, n_genes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(n_features, n_genes).requires_grad_(False)

    def forward(self, batch: Batch) -> Output:
        return Output(self.linear(batch.x))
