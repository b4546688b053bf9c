"""Adam, AdamW and SGD: PyTorch's fused kernels, without its classes around them.

A class of ``torch.optim`` loads TorchDynamo when it is made: 1.1 CPU seconds and 70 MiB in every
process, for a compiler that no fit here asks. And where a network is small, half of its step is
Python. Weights are those of ``torch.optim`` to the bit (``tests/core/test_alone.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

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
        self._groups: list[_Group] = []
        self._moving: list[int] = []  # positions of those that are in a group

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for parameter in self.param_groups[0]["params"]:
            parameter.grad = None

    @torch.no_grad()
    def step(self) -> None:
        """Move every parameter that has a gradient."""
        parameters = self.param_groups[0]["params"]
        moving = [i for i, p in enumerate(parameters) if p.grad is not None]
        if moving != self._moving:  # nearly always those of the step before
            self._gather(moving)
        for group in self._groups:
            for count in group.counts.values():
                count += 1
            self._move(group.parameters, [p.grad for p in group.parameters], group.slots)

    def _gather(self, moving: list[int]) -> None:
        """Lists of what moves together, for a kernel takes numbers of one type.

        Parameters that have made as many steps share one count of them, anew with each choice.
        """
        alike: dict[torch.dtype, _Group] = {}
        for i in moving:
            parameter = self.param_groups[0]["params"][i]
            slots = self.state.setdefault(i, self._begin(parameter))
            group = alike.setdefault(parameter.dtype, _Group([], {k: [] for k in slots}, {}))
            if "step" in slots:
                slots["step"] = group.counts.setdefault(int(slots["step"]), slots["step"].clone())
            group.parameters.append(parameter)
            for name, slot in slots.items():
                group.slots[name].append(slot)
        self._groups, self._moving = list(alike.values()), moving

    def load(self, state: dict[int, dict[str, Tensor]]) -> None:
        """Go on from a ``state``, tensors of any shape."""
        self.state.clear()
        self._groups, self._moving = [], []
        for i, slots in state.items():
            begun = self._begin(self.param_groups[0]["params"][i])
            self.state[i] = {name: slot.copy_(slots[name]) for name, slot in begun.items()}

    def _begin(self, parameter: Tensor) -> dict[str, Tensor]:
        raise NotImplementedError

    def _move(
        self, parameters: list[Tensor], grads: list[Any], slots: dict[str, list[Tensor]]
    ) -> None:
        raise NotImplementedError


class _Group(NamedTuple):
    parameters: list[Tensor]
    slots: dict[str, list[Tensor]]
    counts: dict[int, Tensor]  # of steps, each (), by what they were at the start


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
        self, parameters: list[Tensor], grads: list[Any], slots: dict[str, list[Tensor]]
    ) -> None:
        self.kernel(
            parameters, grads, slots["exp_avg"], slots["exp_avg_sq"], [], slots["step"],
            lr=self.param_groups[0]["lr"], beta1=0.9, beta2=0.999,
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
        self, parameters: list[Tensor], grads: list[Any], slots: dict[str, list[Tensor]]
    ) -> None:
        momentum = self.stage.momentum
        torch._fused_sgd_(
            parameters, grads, slots.get("momentum_buffer", []),
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
