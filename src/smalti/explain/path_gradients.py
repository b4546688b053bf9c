"""Gradients of a prediction along a line of bags: constant where it is linear, else by captum."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from smalti.bags import Bags
from smalti.batch import Batch
from smalti.core.store import Store, pack
from smalti.errors import InputError
from smalti.segment import Segments
from smalti.system.extras import need

_ROWS = 100_000  # of a pass of the network, with all steps of the line
_EXACT = 1e-6  # a gradient that moves less along the line does not move


class Path:
    """Bags on the line from average instances to what they are, through a network in float64.

    Parameters
    ----------
    model
        Fitted.
    read
        Bags after its steps.
    start
        (width,) the average instance, as the network reads it.
    pick
        Raw predictions (n_bags, n_outputs) to the (n_bags,) numbers that are followed.
    """

    def __init__(
        self, model: Any, read: Bags, start: np.ndarray, pick: Callable[[Tensor], Tensor]
    ) -> None:
        self.network, self.pick = copy.deepcopy(model.network_).double().eval(), pick
        self.name, self.read = model.name, read
        device = next((t.device for t in self.network.state_dict().values()), torch.device("cpu"))
        self.store = Store(read, device, torch.float64, model.columns_)
        self.view = read.view()[0]
        self.start = torch.as_tensor(start, dtype=torch.float64, device=device)  # (width,)

    def gradients(self, steps: int) -> tuple[np.ndarray, np.ndarray, str]:
        """Mean gradients over the line (n_instances, width), what it makes (n_bags,), and how."""
        packs = pack(np.arange(len(self.read)), self.read.lengths, 4096, _ROWS)
        found, made, how = [], [], "linear"
        for batch in self.store.stream(packs):
            ends = [self._end(batch, share) for share in (0.0, 0.5, 1.0)]
            made.append((ends[2][1] - ends[0][1]).cpu().numpy())
            one, *others = (gradient for gradient, _ in ends)
            size = max(float(one.abs().max()), 1e-300)
            if max(float((one - other).abs().max()) for other in others) <= _EXACT * size:
                found.append(one.cpu().numpy())
                continue
            how = "integrated gradients"
            found.append(self._integrated(batch, steps))
        return np.concatenate(found), np.concatenate(made), how

    def _end(self, batch: Batch, share: float) -> tuple[Tensor, Tensor]:
        """Gradient and prediction at a share of the line."""
        x = (self.start + share * (batch.x - self.start)).requires_grad_()
        value = self._predict(x, batch)
        found = None
        if value.requires_grad:
            found = torch.autograd.grad(value.sum(), x, allow_unused=True)[0]
        if found is None:
            raise InputError(f"{self.name}: no gradient passes from the features to the "
                             "prediction, so that nothing can be attributed to them.")  # fmt: skip
        return found, value.detach()

    def _integrated(self, batch: Batch, steps: int) -> np.ndarray:
        method = need("captum.attr", extra="explain").IntegratedGradients(
            lambda x: self._predict(x, batch), multiply_by_inputs=False
        )
        found = method.attribute(
            batch.x, baselines=self.start.expand_as(batch.x), n_steps=steps,
            internal_batch_size=max(_ROWS, len(batch.x)),
        )  # fmt: skip
        return found.detach().cpu().numpy()

    def _predict(self, x: Tensor, batch: Batch) -> Tensor:
        """(k * n_bags,) of k copies of the rows of a batch, one after another."""
        times = len(x) // len(batch.x)
        ends = batch.segments.offsets
        offsets = torch.cat([ends[:1], *(ends[1:] + i * len(batch.x) for i in range(times))])
        whole = Batch(
            {**batch.views, self.view: x} if times == 1 else {self.view: x},
            Segments.of(offsets, x.device),
            {k: torch.cat([v] * times) for k, v in batch.instance.items()},
            {k: torch.cat([v] * times) for k, v in batch.bag.items()},
        )
        return self.pick(self.network(whole).raw)
