"""Steps of one fit: its network, its optimiser, its device, its share of the processes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from smalti.batch import Output
from smalti.core import noise
from smalti.core.fit import Fit
from smalti.core.optimizers import make_optimizer
from smalti.core.stage import Gradient
from smalti.core.store import Store, pack


class Runner:
    """Steps and validation of one fit in one gradient stage.

    With several processes each computes its share of the bags of every step, and Fabric averages
    the gradients.

    Parameters
    ----------
    fabric
        The device, the precision and the processes: Lightning Fabric, or
        :class:`~smalti.core.alone.Alone`.
    stage
        What to do.
    store
        The bags as batches.
    fit
        Its network is trained in place.
    """

    def __init__(self, fabric: Any, stage: Gradient, store: Store, fit: Fit) -> None:
        self.stage, self.store, self.fit, self.fabric = stage, store, fit, fabric
        self.movable = {n: p.requires_grad for n, p in fit.network.named_parameters()}
        for name, parameter in fit.network.named_parameters():
            moves = not stage.moves or name.startswith(stage.moves)
            parameter.requires_grad_(moves and self.movable[name])
        moving = [p for p in fit.network.parameters() if p.requires_grad]
        self.module, self.optimizer = fabric.setup(fit.network, make_optimizer(moving, stage))
        self.target = torch.as_tensor(fit.target, device=store.device)  # for a sampler
        # the weight of a usual bag; a step is not divided by its own: a step of one bag would not
        # know how heavy the bag is
        self.usual = float(fit.weight[fit.train].mean())
        self.cached = self._cache()

    @torch.no_grad()
    def _cache(self) -> list[str]:
        """Compute what stays the same in this stage; returns the names of the new views.

        They are put into the store itself, one row per instance, until :meth:`close`.
        """
        if self.stage.cache is None:
            return []
        everything = np.arange(len(self.store.lengths))
        packs = pack(
            everything, self.store.lengths, 4096, self.store.most(self.stage.max_instances)
        )
        self.fit.network.eval()
        cached = partial(self.stage.cache, self.fit.network)
        parts = list(map(cached, self.store.stream(packs)))
        for name in parts[0]:
            self.store.views[name] = torch.cat([p[name] for p in parts])
        return list(parts[0])

    def close(self) -> None:
        """Give back parameters that the stage froze, and what it had computed in advance."""
        for name in self.cached:
            del self.store.views[name]
        for name, parameter in self.fit.network.named_parameters():
            parameter.requires_grad_(self.movable[name])

    def expect(self, batches: Sequence[np.ndarray]) -> None:
        """Have what is on disk of coming batches read ahead: (n_bags,) positions of bags each."""
        self.store.expect([self._own(units) for units in batches])

    def _own(self, units: np.ndarray) -> np.ndarray:
        """Of (n, ...) units the share of this process, or one: each must take part in a step."""
        mine = units[self.fabric.global_rank :: self.fabric.world_size]
        return mine if len(mine) else units[:1]

    def pieces(self, units: np.ndarray) -> list[np.ndarray]:
        """Units of a step, (n, ...), as the gradient is computed of them, one after another."""
        n = min(self.stage.accumulate, len(units))
        return [units] if n == 1 else np.array_split(units, n)

    def _loss(self, units: np.ndarray, share: float = 1.0) -> Tensor:
        """Weighted sum of the losses of this process's share of the bags, times ``share``, ().

        ``units`` are (n_bags,) positions of bags, or (n_units, k) units of the sampler.
        """
        own = self._own(units)
        # validation sees whole bags, whatever the training is made of
        sampler = self.stage.sampler if self.fit.network.training else None
        if sampler is None:
            batch, target = self.store.batch(own), self._put(self.fit.target[own])
            heavy = self.fit.weight[own]
        else:
            batch, target = sampler.batch(self.store, own), sampler.target(own, self.target)
            heavy = sampler.weight(own, self.fit.weight)
        output: Output = self.module(batch)
        if output.raw.dtype != self.store.dtype:
            output.raw = output.raw.to(self.store.dtype)
        losses = self.stage.loss(self.fit.task, output, target)  # (n_units,)
        share *= len(units) > self.fabric.global_rank  # else the unit is there to take part only
        return losses @ self._put(heavy * share).to(losses.dtype)

    def _put(self, values: np.ndarray) -> Tensor:
        """An array on the device, of the same shape; few are cheaper picked by NumPy."""
        return torch.from_numpy(values).to(self.store.device, non_blocking=True)

    def step(self, units: np.ndarray) -> Tensor:
        """One step down the gradient; the mean loss before it, ().

        ``units`` are (n_bags,) positions of bags, or (n_units, k) units of the sampler. The loss
        stays on the device: to read it would make every step wait for the last.
        """
        if not self.fit.network.training:  # to say so to each layer takes as long as a layer
            self.fit.network.train()
        # DDP averages over the processes
        share = self.fabric.world_size / (len(units) * self.usual)
        self.optimizer.zero_grad()
        losses = []
        with noise.drawn_from(self._stream()):
            for piece in self.pieces(units):
                loss = self._loss(piece, share)
                self.fabric.backward(loss)
                losses.append(loss.detach())
        self.optimizer.step()
        total = sum(losses[1:], start=losses[0])
        if self.fabric.world_size > 1:
            total = self.fabric.all_reduce(total, reduce_op="mean")
        return total

    def agreed(self, number: int) -> int:
        """The greatest number that any process has: all of them stop at the same step."""
        if self.fabric.world_size == 1:
            return number
        here = torch.tensor(number, device=self.store.device)
        return int(self.fabric.all_reduce(here, reduce_op="max"))

    def _stream(self) -> torch.Generator:
        """What this process draws from in a step.

        Shares differ in size, and so would streams that each process drew its masks from: of
        several, each takes one number of the fit's own, which thus stays the same in all of them.
        """
        if self.fabric.world_size == 1:
            return self.fit.noise
        device = self.fit.noise.device
        seed = torch.randint(2**62, (), generator=self.fit.noise, device=device)
        return torch.Generator(device=device).manual_seed(int(seed) + self.fabric.global_rank)

    @torch.no_grad()
    def evaluate(self) -> float:
        """Mean loss of the validation bags, reduced over the processes."""
        self.fit.network.eval()
        packs = pack(
            self.fit.valid, self.store.lengths, max(64, self.stage.batch_size),
            self.store.most(self.stage.max_instances),
        )  # fmt: skip
        self.expect(packs)
        total = sum(self._loss(g).double() for g in packs)
        if self.fabric.world_size > 1:
            total = self.fabric.all_reduce(total, reduce_op="sum")
        return float(total) / (len(self.fit.valid) * self.usual)

    def weights(self) -> dict[str, Tensor]:
        """A copy of the network's weights and buffers by name, of any shape."""
        return {k: v.detach().clone() for k, v in self.fit.network.state_dict().items()}

    def state(self) -> dict[str, Tensor]:
        """All that the runner would need to go on: the network, and the optimiser's slots.

        Tensors of any shape, flat, as a safetensors file has no nesting: ``network.NAME``,
        ``optimizer.I.SLOT``.
        """
        state = {f"network.{k}": v for k, v in self.fit.network.state_dict().items()}
        for i, slots in self.optimizer.state.items():
            state |= {f"optimizer.{i}.{name}": slot for name, slot in slots.items()}
        return state

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go back to a :meth:`state`, tensors of any shape by name."""
        prefix = "network."
        self.fit.network.load_state_dict(
            {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        )
        slots: dict[int, dict[str, Tensor]] = {}
        for key, value in state.items():
            if key.startswith("optimizer."):
                _, i, name = key.split(".", 2)
                slots.setdefault(int(i), {})[name] = value
        self.optimizer.load(slots)
