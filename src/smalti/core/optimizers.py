"""Adam, AdamW and SGD: PyTorch's fused kernels, without its classes around them.

A class of ``torch.optim`` loads TorchDynamo when it is made: 1.1 CPU seconds and 70 MiB in every
process, for a compiler that no fit here asks. And where a network is small, half of its step is
Python. Weights are those of ``torch.optim`` to the bit (``tests/core/test_optimizers.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from smalti.core.stage import Gradient
from smalti.errors import InputError


class Optimizer:
    """Steps down the gradient; the part of PyTorch's own that Fabric and its scaling of losses use.

    Parameters
    ----------
    parameters
        Of any shape.
    stage
        Its learning rate and all else.

    Attributes
    ----------
    param_groups
        One: the parameters, and ``lr``, which a schedule may change.
    state
        What is kept from step to step, by position of the parameter and name; of any shape. One
        that never had a gradient has none.
    """

    def __init__(self, parameters: Sequence[Tensor], stage: Gradient) -> None:
        self.stage = stage
        self.param_groups: list[dict[str, Any]] = [{"params": list(parameters), "lr": stage.lr}]
        self.state: dict[int, dict[str, Tensor]] = {}

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.param_groups[0]["params"]:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Move every parameter that has a gradient."""
        alike: dict[torch.dtype, tuple[list[Tensor], list[dict[str, Tensor]]]] = {}
        for i, parameter in enumerate(self.param_groups[0]["params"]):
            if parameter.grad is None:
                continue
            if i not in self.state:
                self.state[i] = self._begin(parameter)
            parameters, slots = alike.setdefault(parameter.dtype, ([], []))
            parameters.append(parameter)
            slots.append(self.state[i])
        for parameters, slots in alike.values():  # a kernel takes numbers of one type
            self._move(parameters, [p.grad for p in parameters], slots)

    def load(self, state: dict[int, dict[str, Tensor]]) -> None:
        """Go on from a ``state``, tensors of any shape."""
        self.state.clear()
        for i, slots in state.items():
            begun = self._begin(self.param_groups[0]["params"][i])
            self.state[i] = {name: slot.copy_(slots[name]) for name, slot in begun.items()}

    def _begin(self, parameter: Tensor) -> dict[str, Tensor]:
        raise NotImplementedError

    def _move(
        self, parameters: list[Tensor], grads: list[Any], slots: list[dict[str, Tensor]]
    ) -> None:
        raise NotImplementedError


class Adam(Optimizer):
    """Adam (Kingma & Ba 2015); the weights decay through the gradient."""

    kernel = staticmethod(torch._fused_adam_)

    def _begin(self, parameter: Tensor) -> dict[str, Tensor]:
        step = torch.zeros((), device=parameter.device)  # where the kernel is
        return {
            "step": step,
            "exp_avg": torch.zeros_like(parameter),
            "exp_avg_sq": torch.zeros_like(parameter),
        }

    def _move(
        self, parameters: list[Tensor], grads: list[Any], slots: list[dict[str, Tensor]]
    ) -> None:
        steps = [s["step"] for s in slots]
        torch._foreach_add_(steps, 1)
        self.kernel(
            parameters, grads, [s["exp_avg"] for s in slots], [s["exp_avg_sq"] for s in slots],
            [], steps, lr=self.param_groups[0]["lr"], beta1=0.9, beta2=0.999,
            weight_decay=self.stage.weight_decay, eps=self.stage.epsilon, amsgrad=False,
            maximize=False,
        )  # fmt: skip


class AdamW(Adam):
    """Adam whose weights decay by themselves (Loshchilov & Hutter 2019)."""

    kernel = staticmethod(torch._fused_adamw_)


class SGD(Optimizer):
    """Stochastic gradient descent, with Nesterov's momentum where there is any."""

    def _begin(self, parameter: Tensor) -> dict[str, Tensor]:
        # from zero, the first momentum is the gradient, as PyTorch begins it
        moves = self.stage.momentum > 0
        return {"momentum_buffer": torch.zeros_like(parameter)} if moves else {}

    def _move(
        self, parameters: list[Tensor], grads: list[Any], slots: list[dict[str, Tensor]]
    ) -> None:
        momentum = self.stage.momentum
        torch._fused_sgd_(
            parameters, grads, [s["momentum_buffer"] for s in slots] if momentum else [],
            weight_decay=self.stage.weight_decay, momentum=momentum,
            lr=self.param_groups[0]["lr"], dampening=0.0, nesterov=momentum > 0, maximize=False,
            is_first_step=False,
        )  # fmt: skip


KINDS = {"adam": Adam, "adamw": AdamW, "sgd": SGD}


def make_optimizer(parameters: Sequence[Tensor], stage: Gradient) -> Optimizer:
    """The stage's optimiser of ``parameters``, of any shape.

    Raises
    ------
    InputError
        If there is none of this name.
    """
    if stage.optimizer not in KINDS:
        raise InputError(f"optimizer={stage.optimizer!r} is not one of {sorted(KINDS)}.")
    return KINDS[stage.optimizer](parameters, stage)
