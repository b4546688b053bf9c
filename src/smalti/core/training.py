"""The one training loop. Only this room knows optimisers, devices and Lightning Fabric.

Design:

- :func:`run` goes through a plan, :func:`descend` through a ``Gradient`` stage of it. What a step
  is, a :class:`~smalti.core.runner.Runner` knows; order, early stopping and best weights are here.
- All randomness of a fit comes from two sources that it owns: ``order`` (NumPy) for the order of
  its bags and ``noise`` (PyTorch) for its network. Both are part of a checkpoint, and so is the
  place inside the epoch, so that a fit that was killed goes on as if it had not been.
- A checkpoint is one safetensors file, written to a temporary name and renamed.
"""

from __future__ import annotations

import atexit
import gc
import math
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache
from typing import Any

import numpy as np
import torch

from smalti.bags import Bags
from smalti.core.alone import PRECISIONS, Alone
from smalti.core.callbacks import Callbacks
from smalti.core.checkpoint import Checkpoint
from smalti.core.convergence import is_flat, still_falling
from smalti.core.fit import Fit, Place
from smalti.core.runner import Runner
from smalti.core.stage import ALL, Gradient, Sweep, Training
from smalti.core.store import Store, pack
from smalti.errors import InputError
from smalti.system.progress import Progress
from smalti.views import slice_rows


def make_fabric(accelerator: str, devices: int, precision: str) -> Any:
    """Lightning Fabric for a GPU, or for the processes that torchrun or SLURM started.

    One process on one CPU needs none of it, and loads none of it.

    Raises
    ------
    InputError
        If this machine has no such accelerator, so many devices, or this precision.
    """
    if accelerator == "auto" and not torch.cuda.is_available():
        accelerator = "cpu"  # the Apple GPU lacks kernels that ragged bags need
    if accelerator == "cpu" and devices == 1 and precision in PRECISIONS:
        return Alone(precision)
    from lightning_fabric import Fabric

    strategy = "ddp" if devices > 1 else "auto"
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
    if fabric.world_size > 1:
        _part_at_the_end()
    return fabric


@cache
def _part_at_the_end() -> None:
    """Leave the group of processes in order: its threads, left to the end, may abort a process.

    Fabric does so where the group is one of GPUs only.
    """
    atexit.register(_part)


def _part() -> None:
    if torch.distributed.is_initialized():
        # A network that was wrapped for the group holds it. Where a fit failed that network is
        # garbage in a cycle, and were it freed last, the group would end inside of a garbage
        # collection: that waits for a thread of the group, which waits for the interpreter.
        gc.collect()
        time.sleep(0.02)  # in which threads have the interpreter, and give up what they hold
        torch.distributed.destroy_process_group()


def jobs_for(methods: Iterable[Any], n_jobs: int | None) -> int | None:
    """Worker processes for some fits: none of its own accord where they would wait for one GPU.

    Parameters
    ----------
    methods
        Of the fits.
    n_jobs
        What the user asked for; anything but None stays as it is.
    """
    if n_jobs is None and torch.cuda.is_available():
        return 1 if any(m.accelerator != "cpu" for m in methods) else None
    return n_jobs


def noise_stream(seed: int, device: torch.device) -> torch.Generator:
    """The stream that a fit's network draws from (see :mod:`smalti.core.noise`)."""
    return torch.Generator(device=device).manual_seed(seed)


_NOBODY = Callbacks()  # watches
_SMALL = 5e8  # floating-point operations of a step


def is_small(stage: Gradient, fit: Fit, store: Store) -> bool:
    """Whether a step is so small that a second thread, or products of 16 bits, do not pay.

    Threads that wait for one another spin: on a machine that does anything else, a step of a
    millisecond then takes thirty; a small step loses an eighth without its second thread. And of
    16 bits each product is compiled anew for each number of rows, 1 to 2 ms, as long as a small
    step takes in all.
    """
    weights = sum(p.numel() for p in fit.network.parameters())
    rows = float(store.lengths[fit.train].mean()) * stage.batch_size
    flat = all(len(v.shape) == 2 for v in store.views.values())  # images reuse each weight
    # a weight is multiplied and added, 2, once a row forward and twice backward: 6
    return flat and 6 * weights * min(rows, stage.max_instances) < _SMALL


@contextmanager
def _one_thread(small: bool) -> Iterator[None]:
    """One CPU thread while steps are small."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1 if small else before)
        yield
    finally:
        torch.set_num_threads(before)


def _as_precise(fabric: Any, small: bool) -> Any:
    """Float32 in place of mixed bfloat16 while steps are small, on a CPU; said once."""
    if not (small and isinstance(fabric, Alone) and fabric.precision == "bf16-mixed"):
        return fabric
    warnings.warn(
        "precision='bf16-mixed': the steps of this fit are so small that 32 bits are faster, and "
        "are taken.", stacklevel=2,
    )  # fmt: skip
    return Alone("32-true")


# -------------------------------------------------------------------- stages


def descend(
    runner: Runner,
    *,
    checkpoint: Checkpoint | None = None,
    progress: Progress,
    callbacks: Callbacks = _NOBODY,
) -> None:
    """Run the gradient stage of a runner until it has ended.

    Afterwards the network holds its best weights (with validation bags) or its last ones
    (without).

    Parameters
    ----------
    runner
        A fit and a stage.
    checkpoint
        Where to leave the fit, and from where to take it up.
    progress
        A bar: one step per epoch.
    callbacks
        Told of each epoch; one may end the stage.

    Raises
    ------
    InputError
        If the training loss is no longer finite.
    """
    stage, fit = runner.stage, runner.fit
    place = Place()
    fit.restart()
    if checkpoint is not None:
        checkpoint.restore_gradient(runner, fit, place)
    progress.start(stage.name, stage.epochs)
    if place.epoch:
        progress.advance(steps=place.epoch)  # made before the fit was left
    with nullcontext() if checkpoint is None else checkpoint.between_steps():
        while _goes_on(stage, fit, place):
            begun = time.perf_counter()
            _epoch(runner, place, checkpoint)
            _end_epoch(runner, place, progress)
            lr = runner.optimizer.param_groups[0]["lr"]
            place.stopped = _tell(callbacks, fit, lr, begun)
            if checkpoint is not None:
                checkpoint.save_gradient(runner, fit, place)
    # one that was stopped early was not cut off
    fit.falling = place.epoch >= stage.epochs and still_falling(_losses(fit, place), stage.schedule)
    fit.network.load_state_dict(fit.best_state or runner.weights())
    fit.network.eval()
    runner.close()


def _goes_on(stage: Gradient, fit: Fit, place: Place) -> bool:
    """Whether another epoch follows.

    Asked of what a checkpoint holds, so that a fit that was killed after its last epoch has ended.
    """
    if place.stopped:
        return False
    if stage.patience is None or place.epoch in (0, stage.epochs):  # one epoch there always is
        return place.epoch < stage.epochs
    # without validation every epoch is as good as the last
    stale = len(fit.valid) > 0 and fit.stale >= stage.patience
    losses = _losses(fit, place) if stage.tolerance else []
    return not stale and not is_flat(losses, stage.patience, stage.tolerance)


def _losses(fit: Fit, place: Place) -> list[float]:
    """(n_epochs,) training loss of each epoch of this stage, one at the least."""
    return [row["train_loss"] for row in fit.history[-place.epoch :]]


def _epoch(runner: Runner, place: Place, checkpoint: Checkpoint | None) -> None:
    """The steps of an epoch, or the rest of them from where a checkpoint left it."""
    stage, fit, store = runner.stage, runner.fit, runner.store
    if place.order is None or place.loss is None:
        place.order = _order(fit, stage, store)
        # float64: many small float32 losses are added
        place.loss = torch.zeros((), dtype=torch.float64, device=store.device)
    steps = _steps(place.order, stage, store)
    if fit.task.compares and stage.batch_size == ALL:
        _check_compared(len(steps), place, runner)
    sampler = stage.sampler
    if store.streams and sampler is None:
        runner.expect([piece for units in steps[place.step :] for piece in runner.pieces(units)])
    elif sampler is not None and hasattr(sampler, "expect"):
        sampler.expect(store, place.order, place.step * stage.batch_size)
    while place.step < len(steps):
        units = steps[place.step]
        if stage.schedule is not None or place.step == 0:
            at = place.epoch + place.step / len(steps)
            for settings in runner.optimizer.param_groups:
                settings["lr"] = stage.lr * (stage.schedule(at) if stage.schedule else 1.0)
        torch.add(place.loss, runner.step(units), alpha=len(units), out=place.loss)
        place.step += 1
        if checkpoint is not None:
            checkpoint.save_gradient(runner, fit, place)


def _order(fit: Fit, stage: Gradient, store: Store) -> np.ndarray:
    """What an epoch goes through: (n,) training bags, or (n_units, k) units made of them."""
    if stage.sampler is None:
        return fit.order.permutation(fit.train)
    return stage.sampler.epoch(fit.train, fit.target, store, fit.order)


def _steps(order: np.ndarray, stage: Gradient, store: Store) -> list[np.ndarray]:
    """Batches of an epoch. The order inside a step is free: sorted, neighbours need no copy."""
    if stage.sampler is not None:
        return [order[i : i + stage.batch_size] for i in range(0, len(order), stage.batch_size)]
    most = store.most(stage.max_instances)
    packs = pack(order, store.lengths, stage.batch_size, most)
    return [np.sort(bags) for bags in packs]


def _check_compared(n_steps: int, place: Place, runner: Runner) -> None:
    """Units that do not fit into one step are compared within steps; said once.

    Raises
    ------
    InputError
        If several processes share a step: each would compare its own units only.
    """
    if runner.fabric.world_size > 1:
        raise InputError(
            "the loss of a Cox model compares all bags of a fit, which several processes cannot "
            "share: take devices=1, or survival='discrete'."
        )
    if n_steps > 1 and place.epoch == 0 and place.step == 0:
        warnings.warn(
            "the loss of a Cox model compares all bags with one another; they do not fit into one "
            f"step, so that each is compared with those of its step only, of {n_steps} an epoch. "
            "Raise max_instances where memory allows it, or take survival='discrete', which "
            "compares none.",
            UserWarning, stacklevel=2,
        )  # fmt: skip


def _end_epoch(runner: Runner, place: Place, progress: Progress) -> None:
    """Validate, note, and keep the weights if they are the best so far."""
    stage, fit = runner.stage, runner.fit
    assert place.order is not None
    assert place.loss is not None
    train = float(place.loss) / len(place.order)
    if not math.isfinite(train):
        raise InputError(
            f"the training loss of stage {stage.name!r} became {train} in epoch "
            f"{place.epoch + 1}: lower lr (now {stage.lr}), or look for extreme features."
        )
    valid = runner.evaluate() if len(fit.valid) else math.nan
    fit.history.append(
        {"stage": stage.name, "epoch": place.epoch, "train_loss": train, "val_loss": valid}
    )
    if valid < fit.best:  # never where there is no validation: NaN is below nothing
        fit.best, fit.stale, fit.best_state = valid, 0, runner.weights()
    else:
        fit.stale += 1
    place.epoch, place.step, place.order, place.loss = place.epoch + 1, 0, None, None
    progress.advance(train, valid)


def _tell(callbacks: Callbacks, fit: Fit, lr: float, begun: float) -> bool:
    """Tell of the last row of the history; whether the stage is to end there."""
    seconds = time.perf_counter() - begun
    return callbacks.epoch(fit.history[-1] | {"lr": lr, "seconds": seconds})


def sweep(
    stage: Sweep, fit: Fit, bags: Bags, store: Store, progress: Progress,
    callbacks: Callbacks = _NOBODY,
) -> None:  # fmt: skip
    """Run a sweep stage: its step again and again, until it gains too little."""
    units = slice_rows(store.offsets, fit.train) if fit.per_instance else fit.train
    training = Training(
        bags=bags[fit.train], target=fit.target[units], weight=fit.weight[fit.train],
        task=fit.task, rng=fit.order, store=store, members=fit.train,
    )  # fmt: skip
    stage = stage if stage.begin is None else stage.begin(stage, training)
    before = math.inf
    progress.start(stage.name, stage.rounds)
    fit.network.eval()
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        # what a step draws from the global stream, as the weights of a layer that it makes, is the
        # fit's own too; afterwards the stream is as it was
        torch.default_generator.manual_seed(fit.noise.initial_seed())
        for epoch in range(stage.rounds):
            begun = time.perf_counter()
            value = stage.step(fit.network, training)
            shown = math.nan if value is None else value
            fit.history.append(
                {"stage": stage.name, "epoch": epoch, "train_loss": shown, "val_loss": math.nan}
            )
            progress.advance(shown, math.nan)
            if _tell(callbacks, fit, math.nan, begun):
                break
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
    callbacks: Callbacks = _NOBODY,
) -> None:
    """Run a plan for one fit, stage by stage; with a checkpoint, from where it was left.

    Parameters
    ----------
    plan
        Stages, in order. A stage of a generator is asked for once those before it have ended.
    fit
        What to train, in place: network, history, randomness.
    bags
        The data, for stages that sweep.
    store
        The same bags as batches, for stages that follow a gradient.
    fabric
        See :func:`make_fabric`.
    checkpoint
        Where to leave the fit, and from where to take it up.
    progress
        A bar.
    callbacks
        Told of each epoch of each stage.

    Raises
    ------
    InputError
        If the checkpoint belongs to another fit or is damaged, the stage names no optimiser, or
        the training loss is no longer finite.
    """
    done = checkpoint.begin(fit, fabric) if checkpoint is not None else 0
    for i, stage in enumerate(plan):
        if i < done:
            continue
        if checkpoint is not None:
            checkpoint.save_stage(i, stage.name, fit, fabric)
        if isinstance(stage, Sweep):
            sweep(stage, fit, bags, store, progress, callbacks)
        else:
            stage = stage if stage.begin is None else stage.begin(stage, store)
            small = is_small(stage, fit, store)
            runner = Runner(_as_precise(fabric, small), stage, store, fit)
            with _one_thread(small):
                descend(runner, checkpoint=checkpoint, progress=progress, callbacks=callbacks)
    fit.network.eval()
    if fit.task.compares:
        _settle(fit, store)


@torch.no_grad()
def _settle(fit: Fit, store: Store) -> None:
    """What a comparison of bags leaves open, as a baseline, is taken from the training bags."""
    packs = pack(fit.train, store.lengths, 4096, store.most(200_000))
    raw = [fit.network(batch).raw.double().cpu().numpy() for batch in store.stream(packs)]
    members = np.concatenate(packs)
    fit.task = fit.task.settled(np.concatenate(raw), fit.target[members])
