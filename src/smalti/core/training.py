"""The one training loop, on Lightning Fabric. Only this room knows optimisers and devices.

Design:

- :func:`descend` runs one ``Gradient`` stage for a *list* of fits that advance together. A fit
  alone is a list of one, run by :class:`Alone`; a stack of fits (``many``) brings another runner
  with the same four methods. Order, early stopping and best weights are each fit's own.
- All randomness of a fit comes from two sources that it owns: ``order`` (NumPy) for the order of
  its bags and ``noise`` (PyTorch) for its network. Both are part of a checkpoint, and so is the
  place inside the epoch, so that a fit that was killed goes on as if it had not been.
- A checkpoint is one safetensors file, written to a temporary name and renamed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from smalti.bags import Bags
from smalti.batch import Output
from smalti.core import noise
from smalti.core.checkpoint import Checkpoint
from smalti.core.fit import Fit, Place
from smalti.core.stage import Gradient, Sweep, Training
from smalti.core.store import Store, pack
from smalti.errors import InputError
from smalti.system.progress import Progress
from smalti.views import slice_rows


def make_optimizer(parameters: Sequence[Tensor], stage: Gradient) -> torch.optim.Optimizer:
    """The stage's optimiser; fused kernels, which matter where the network is small."""
    decay = stage.weight_decay
    if stage.optimizer == "sgd":
        return torch.optim.SGD(
            parameters, lr=stage.lr, momentum=stage.momentum, weight_decay=decay,
            nesterov=stage.momentum > 0, fused=True,
        )  # fmt: skip
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    if stage.optimizer not in kinds:
        raise InputError(f"optimizer={stage.optimizer!r} is not one of ['adam', 'adamw', 'sgd'].")
    return kinds[stage.optimizer](
        parameters, lr=stage.lr, weight_decay=decay, eps=stage.epsilon, fused=True
    )


def make_fabric(accelerator: str, devices: int, precision: str) -> Any:
    """Lightning Fabric for one process, or for the processes that torchrun or SLURM started."""
    from lightning_fabric import Fabric

    strategy = "ddp" if devices > 1 else "auto"
    if accelerator == "auto" and not torch.cuda.is_available():
        accelerator = "cpu"  # the Apple GPU lacks kernels that ragged bags need
    try:
        fabric = Fabric(
            accelerator=accelerator, devices=devices, precision=precision, strategy=strategy
        )
    except (ValueError, RuntimeError) as error:
        raise InputError(
            f"accelerator={accelerator!r}, devices={devices}, precision={precision!r} cannot be "
            f"had here: {error}. Run `smalti doctor` to see what this machine has."
        ) from error
    fabric.launch()
    return fabric


DTYPES = {"64-true": torch.float64, "bf16-true": torch.bfloat16, "16-true": torch.float16}


def noise_stream(seed: int, device: torch.device) -> torch.Generator:
    """The stream that a fit's network draws from."""
    return torch.Generator(device=device).manual_seed(seed)


_SMALL = 5e8  # floating-point operations in a step below which a second thread gains little


@contextmanager
def few_threads(stage: Gradient, fit: Fit, store: Store) -> Iterator[None]:
    """One CPU thread while steps are small.

    Threads that wait for one another spin: on a machine that does anything else, a step of a
    millisecond then takes thirty. A small step loses an eighth without its second thread.
    """
    weights = sum(p.numel() for p in fit.network.parameters())
    rows = float(store.lengths[fit.train].mean()) * stage.batch_size
    flat = all(len(v.shape) == 2 for v in store.views.values())  # images reuse each weight
    before = torch.get_num_threads()
    small = flat and 6 * weights * min(rows, stage.max_instances) < _SMALL
    try:
        torch.set_num_threads(1 if small else before)
        yield
    finally:
        torch.set_num_threads(before)


# -------------------------------------------------------------------- stages


class Alone:
    """Runs one fit, on one device or sharded over several processes."""

    def __init__(self, fabric: Any, stage: Gradient, store: Store, fit: Fit) -> None:
        self.stage, self.store, self.fit, self.fabric = stage, store, fit, fabric
        self.frozen = {n: p.requires_grad for n, p in fit.network.named_parameters()}
        for name, parameter in fit.network.named_parameters():
            moves = not stage.moves or name.startswith(stage.moves)
            parameter.requires_grad_(moves and self.frozen[name])
        moving = [p for p in fit.network.parameters() if p.requires_grad]
        self.module, self.optimizer = fabric.setup(fit.network, make_optimizer(moving, stage))
        self.target = torch.as_tensor(fit.target, device=store.device)
        self.weight = torch.as_tensor(fit.weight, device=store.device, dtype=store.dtype)
        self.cached = self._cache()

    @torch.no_grad()
    def _cache(self) -> list[str]:
        """Compute what stays the same in this stage; returns the names of the new views."""
        if self.stage.cache is None:
            return []
        everything = np.arange(len(self.store.lengths))
        groups = pack(
            everything, self.store.lengths, 4096, self.store.most(self.stage.max_instances)
        )
        self.fit.network.eval()
        parts = [self.stage.cache(self.fit.network, b) for b in self.store.stream(groups)]
        for name in parts[0]:
            self.store.views[name] = torch.cat([p[name] for p in parts])
        return list(parts[0])

    def close(self) -> None:
        """Give back parameters that the stage froze, and what it had computed in advance."""
        for name in self.cached:
            del self.store.views[name]
        for name, parameter in self.fit.network.named_parameters():
            parameter.requires_grad_(self.frozen[name])

    def _loss(self, group: np.ndarray) -> Tensor:
        """Weighted sum of the losses of this process's share of the bags."""
        rank, world = self.fabric.global_rank, self.fabric.world_size
        mine = group[rank::world]
        units = mine if len(mine) else group[:1]  # every process must take part in the step
        sampler = self.stage.sampler if self.fit.network.training else None
        if sampler is None:
            at = torch.from_numpy(units).to(self.store.device)
            batch, target, weight = self.store.batch(units), self.target[at], self.weight[at]
        else:
            batch, target = sampler.batch(self.store, units), sampler.target(units, self.target)
            weight = torch.as_tensor(sampler.weight(units, self.fit.weight)).to(self.weight)
        output: Output = self.module(batch)
        output.raw = output.raw.to(self.store.dtype)
        losses = self.stage.loss(self.fit.task, output, target)
        return (losses * weight).sum() * (len(mine) > 0)

    def step(self, groups: list[np.ndarray]) -> Tensor:
        """One step down the gradient; the loss before it, (1,)."""
        self.fit.network.train()
        world, sampler, weight = self.fabric.world_size, self.stage.sampler, self.fit.weight
        mass = weight[groups[0]] if sampler is None else sampler.weight(groups[0], weight)
        share = world / float(mass.sum())  # DDP averages over the processes
        self.optimizer.zero_grad(set_to_none=True)
        pieces = min(self.stage.accumulate, len(groups[0]))
        total = torch.zeros((), device=self.store.device)
        with noise.drawn_from(noise.Source([self.fit.noise], {})):
            for piece in np.array_split(groups[0], pieces):
                loss = self._loss(piece) * share
                self.fabric.backward(loss)
                total = total + loss.detach()
        self.optimizer.step()
        return total[None]

    @torch.no_grad()
    def evaluate(self) -> list[float]:
        """Mean loss of the validation bags, reduced over the processes."""
        self.fit.network.eval()
        groups = pack(
            self.fit.valid, self.store.lengths, max(64, self.stage.batch_size),
            self.store.most(self.stage.max_instances),
        )  # fmt: skip
        total = sum(self._loss(g).double() for g in groups)
        if self.fabric.world_size > 1:
            total = self.fabric.all_reduce(total, reduce_op="sum")
        return [float(total) / float(self.fit.weight[self.fit.valid].sum())]

    def weights(self, f: int) -> dict[str, Tensor]:
        """A copy of the weights of fit ``f``."""
        return {k: v.detach().clone() for k, v in self.fit.network.state_dict().items()}

    def drop(self, keep: list[int]) -> None:
        """Go on with these fits only."""

    def state(self) -> dict[str, Tensor]:
        """All that the runner would need to go on."""
        state = {f"network.{k}": v for k, v in self.fit.network.state_dict().items()}
        for i, slots in self.optimizer.state_dict()["state"].items():
            state |= {f"optimizer.{i}.{k}": torch.as_tensor(v) for k, v in slots.items()
                      if v is not None}  # fmt: skip
        return state

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go back to a :meth:`state`."""
        prefix = "network."
        self.fit.network.load_state_dict(
            {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        )
        slots: dict[int, dict[str, Tensor]] = {}
        for key, value in state.items():
            if key.startswith("optimizer."):
                _, i, name = key.split(".", 2)
                slots.setdefault(int(i), {})[name] = value
        whole = self.optimizer.state_dict()
        self.optimizer.load_state_dict({"state": slots, "param_groups": whole["param_groups"]})


def descend(
    stage: Gradient,
    runner: Any,
    fits: list[Fit],
    *,
    checkpoint: Checkpoint | None = None,
    progress: Progress,
) -> None:
    """Run a gradient stage for fits that advance together, until each has ended.

    All fits must have the same number of steps in an epoch. Afterwards every network holds its
    best weights (with validation bags) or its last ones (without).
    """
    store = runner.store
    place = Place()
    for fit in fits:
        fit.restart()
    if checkpoint is not None and checkpoint.has_gradient:
        checkpoint.restore_gradient(runner, fits[0], place)
    active = list(fits)
    progress.start(stage.name, stage.epochs)
    while place.epoch < stage.epochs and active:
        if place.orders is None:
            place.orders = [_order(fit, stage, store) for fit in active]
        groups = [_steps(order, stage, store) for order in place.orders]
        if place.losses is None:
            place.losses = torch.zeros(len(active), dtype=torch.float64, device=store.device)
        while place.step < len(groups[0]):
            now = [g[place.step] for g in groups]
            sizes = torch.tensor([len(g) for g in now], device=store.device)
            if stage.schedule is not None or place.step == 0:
                at = place.epoch + place.step / len(groups[0])
                for group in runner.optimizer.param_groups:
                    group["lr"] = stage.lr * (stage.schedule(at) if stage.schedule else 1.0)
            place.losses += runner.step(now) * sizes
            place.step += 1
            if checkpoint is not None:
                checkpoint.save_gradient(runner, fits[0], place)
        active = _end_epoch(stage, runner, active, place, progress)
        if checkpoint is not None:
            checkpoint.save_gradient(runner, fits[0], place)
    for f, fit in enumerate(active):
        fit.best_state = fit.best_state or runner.weights(f)
    for fit in fits:
        assert fit.best_state is not None
        fit.network.load_state_dict(fit.best_state)
        fit.network.eval()
    runner.close()


def _order(fit: Fit, stage: Gradient, store: Store) -> np.ndarray:
    """What an epoch goes through: the training bags, or the units made of them."""
    if stage.sampler is None:
        return fit.order.permutation(fit.train)
    return stage.sampler.epoch(fit.train, fit.target, store.lengths, fit.order)


def _steps(order: np.ndarray, stage: Gradient, store: Store) -> list[np.ndarray]:
    """Batches of an epoch. The order inside a step is free: sorted, neighbours need no copy."""
    if stage.sampler is not None:
        return [order[i : i + stage.batch_size] for i in range(0, len(order), stage.batch_size)]
    most = store.most(stage.max_instances)
    groups = pack(order, store.lengths, stage.batch_size, most)
    return [np.sort(g) for g in groups]


def _end_epoch(
    stage: Gradient, runner: Any, active: list[Fit], place: Place, progress: Progress
) -> list[Fit]:
    """Validate, note, keep the best weights, and say which fits go on."""
    assert place.losses is not None
    assert place.orders is not None
    losses = (place.losses.cpu().numpy() / [len(order) for order in place.orders]).tolist()
    if not np.isfinite(losses).all():
        raise InputError(
            f"the training loss of stage {stage.name!r} became {losses[0]} in epoch "
            f"{place.epoch + 1}: lower lr (now {stage.lr}), or look for extreme features."
        )
    validated = len(active[0].valid) > 0
    values = runner.evaluate() if validated else [math.nan] * len(active)
    keep = []
    for f, (fit, train, valid) in enumerate(zip(active, losses, values, strict=True)):
        fit.history.append(
            {"stage": stage.name, "epoch": place.epoch, "train_loss": train, "val_loss": valid}
        )
        if not validated:
            keep.append(f)
            continue
        if valid < fit.best:
            fit.best, fit.stale, fit.best_state = valid, 0, runner.weights(f)
        else:
            fit.stale += 1
        if stage.patience is None or fit.stale < stage.patience:
            keep.append(f)
    if len(keep) < len(active):
        runner.drop(keep)
    place.epoch, place.step, place.orders, place.losses = place.epoch + 1, 0, None, None
    progress.advance(float(np.mean(losses)), float(np.mean(values)))
    return [active[f] for f in keep]


def sweep(stage: Sweep, fit: Fit, bags: Bags, store: Store, progress: Progress) -> None:
    """Run a sweep stage for one fit."""
    units = slice_rows(store.offsets, fit.train) if fit.per_instance else fit.train
    training = Training(
        bags=bags[fit.train], target=fit.target[units], weight=fit.weight[fit.train],
        task=fit.task, rng=fit.order, store=store, members=fit.train,
    )  # fmt: skip
    before = math.inf
    progress.start(stage.name, stage.rounds)
    fit.network.eval()
    for epoch in range(stage.rounds):
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            value = stage.step(fit.network, training)
        fit.history.append({
            "stage": stage.name, "epoch": epoch,
            "train_loss": math.nan if value is None else value, "val_loss": math.nan,
        })  # fmt: skip
        progress.advance(math.nan if value is None else value, math.nan)
        if value is not None and before - value < stage.tolerance * abs(before):
            break
        before = math.inf if value is None else value


def run(
    plan: Sequence[Gradient | Sweep] | Any,
    fit: Fit,
    bags: Bags,
    store: Store,
    fabric: Any,
    *,
    checkpoint: Checkpoint | None = None,
    progress: Progress,
) -> None:
    """Run a plan for one fit, stage by stage; with a checkpoint, from where it was left."""
    done = checkpoint.begin(fit) if checkpoint is not None else 0
    for i, stage in enumerate(plan):
        if i < done:
            continue
        if checkpoint is not None:
            checkpoint.save_stage(i, fit)
        if isinstance(stage, Sweep):
            sweep(stage, fit, bags, store, progress)
        else:
            runner = Alone(fabric, stage, store, fit)
            with few_threads(stage, fit, store):
                descend(stage, runner, [fit], checkpoint=checkpoint, progress=progress)
    fit.network.eval()
