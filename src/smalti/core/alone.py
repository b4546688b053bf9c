"""One process on one CPU: what the training loop asks of Lightning Fabric, without loading it.

Fabric brings torchmetrics, SciPy's signals, Matplotlib and TorchDynamo along: more CPU seconds than
all else that a short fit does, in each of its workers again. Where there is no other process to
wait for and no loss to scale, what is left of it is this file. Results are those of Fabric to the
bit (``tests/core/test_alone.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

T = TypeVar("T")
DTYPES = {"64-true": torch.float64, "bf16-true": torch.bfloat16, "16-true": torch.float16}
PRECISIONS = ("32-true", "64-true", "bf16-true", "bf16-mixed")  # those of 16 bits are for GPUs


class Alone:
    """A process that fits without others, on a CPU.

    Parameters
    ----------
    precision
        One of ``PRECISIONS``, as Fabric names them.
    """

    device: ClassVar[torch.device] = torch.device("cpu")
    global_rank: ClassVar[int] = 0
    world_size: ClassVar[int] = 1

    def __init__(self, precision: str) -> None:
        self.precision = precision

    def setup(self, network: nn.Module, optimizer: T) -> tuple[Callable[[Any], Any], T]:
        """The forward pass of a network in this precision, and the optimiser as it is."""
        if self.precision == "32-true":
            return network, optimizer
        if self.precision in DTYPES:
            network.to(DTYPES[self.precision])

        def forward(batch: Any) -> Any:
            with self._precise():
                return network(batch)

        return forward, optimizer

    def _precise(self) -> AbstractContextManager[None]:
        if self.precision == "bf16-mixed":
            return torch.autocast("cpu", torch.bfloat16)
        return _made_as(DTYPES[self.precision])

    def backward(self, loss: Tensor) -> None:
        """Gradients of a loss (), a scalar."""
        loss.backward()

    def barrier(self) -> None:
        """Wait for the others: there are none."""


@contextmanager
def _made_as(dtype: torch.dtype) -> Iterator[None]:
    """Tensors that are made inside have this type, unless they are told another."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
