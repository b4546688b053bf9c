"""Many fits as one job: folds x repeats x seeds of small models.

Patients are few, so the same small model is trained hundreds of times. Three ways to do it:

- ``"sequential"``: one after another.
- ``"stacked"``: gradient stages of all fits advance together. Their weights are stacked, each fit's
  own bags are gathered (no masks over all the data), and one ``torch.vmap`` step moves them all.
  Each fit has its own order, dropout, validation and early stopping, drawn as it would draw alone,
  so that its result equals the fit alone to rounding. This wins where launches bound a step: on a
  GPU.
- ``"processes"``: joblib processes of one thread each. This wins on CPU cores, where a small fit
  cannot use two threads well.

``"auto"`` measures: see :func:`choose`.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from torch import Tensor
from torch.func import functional_call, stack_module_state

from smalti.bags import Bags
from smalti.batch import Batch
from smalti.core import noise, training
from smalti.core.fit import Fit
from smalti.core.stage import Gradient, Sweep
from smalti.core.store import Store, pack
from smalti.errors import InputError
from smalti.mil.base import Method
from smalti.segment import Segments
from smalti.system.progress import Progress

Job = tuple[Method, np.ndarray]
STRATEGIES = ("auto", "sequential", "stacked", "processes")
_START = 6.0  # seconds that starting a worker process costs, at most (importing torch)


def fit_many(
    jobs: Sequence[Job],
    bags: Bags,
    *,
    strategy: str = "auto",
    n_jobs: int | None = None,
    progress: bool | None = None,
) -> list[Method]:
    """Fit many methods, each on its own part of the same bags.

    Parameters
    ----------
    jobs
        Pairs of a method (not changed) and the positions of its training bags.
    bags
        All bags.
    strategy
        "sequential", "stacked", "processes", or "auto" to measure and choose.
    n_jobs
        Worker processes; the number of cores when left out.
    progress
        Show a bar; None: on a terminal only.

    Returns
    -------
    list of Method
        Fitted clones, in the order of the jobs.
    """
    if strategy not in STRATEGIES:
        raise InputError(f"strategy={strategy!r} is not one of {STRATEGIES}.")
    bags.check()
    if bags.task is not None:  # a small part may not say of which kind the target is
        bags = dataclasses.replace(bags, kind=bags.task.kind)
    jobs = [(clone(m).set_params(progress=False), np.asarray(i)) for m, i in jobs]
    if not jobs:
        return []
    with Progress(progress, "fits") as bar:
        bar.start("", len(jobs))
        done: list[Method] = []
        if strategy == "auto":
            strategy, done = choose(jobs, bags, n_jobs)
            bar.advance(steps=len(done))
        rest = list(jobs[len(done) :])
        run = {"sequential": _sequential, "stacked": _stacked}
        if strategy == "processes":
            return done + _processes(rest, bags, n_jobs, bar)
        return done + run[strategy](rest, bags, bar)


def choose(jobs: Sequence[Job], bags: Bags, n_jobs: int | None = None) -> tuple[str, list[Method]]:
    """Decide by measuring; fits made on the way are kept.

    On a GPU, methods that can be stacked are stacked: launches bound small fits there. On CPU
    cores the first fit is run alone and timed; w workers end n fits of t seconds in 1.1 n t / w
    and the seconds that they need to start. On a single core, two epochs of a stack of the rest
    are timed too. (With more cores, processes were as fast as the stack or faster on every job
    long enough to pay for their start.)
    """
    if len(jobs) < 2:
        return "sequential", []
    fabric = training.make_fabric(jobs[0][0].accelerator, 1, jobs[0][0].precision)
    if fabric.device.type == "cuda":
        return "stacked", []
    began = time.perf_counter()
    first = _sequential(jobs[:1], bags)
    rest = jobs[1:]
    alone = (time.perf_counter() - began) * len(rest)
    workers = min(n_jobs or os.cpu_count() or 1, len(rest))
    ends = {"sequential": alone, "processes": 1.1 * alone / workers + _START}
    epochs = getattr(first[0], "epochs", 0)
    if workers == 1 and alone > 2.0 and epochs >= 20 and all(m.stackable for m, _ in rest):
        trial = [(clone(m).set_params(epochs=2, patience=None), i) for m, i in rest]
        began = time.perf_counter()
        _stacked(trial, bags)
        # a stack that stops early shrinks, but fits that go on pay for it: count the first's epochs
        ran = len(first[0].history_)
        # a quarter on top: the trial is short, and a busy machine misleads it
        ends["stacked"] = 1.25 * (time.perf_counter() - began) / 2 * max(ran, 2)
    return min(ends, key=lambda k: ends[k]), first


# -------------------------------------------------------------------- one after another


def _sequential(jobs: Sequence[Job], bags: Bags, bar: Progress | None = None) -> list[Method]:
    fitted = []
    for method, members in jobs:
        fitted.append(method.fit(bags[members]))
        if bar is not None:
            bar.advance()
    return fitted


# -------------------------------------------------------------------- processes


def _fit_in_worker(jobs: Sequence[Job], bags: Bags) -> list[Method]:
    torch.set_num_threads(1)
    return _sequential(jobs, bags)


def _processes(jobs: Sequence[Job], bags: Bags, n_jobs: int | None, bar: Progress) -> list[Method]:
    from joblib import Parallel, delayed

    workers = n_jobs or os.cpu_count() or 1
    size = max(1, min(8, len(jobs) // (2 * workers)))  # a few fits a call: the bags travel once
    parts = [jobs[i : i + size] for i in range(0, len(jobs), size)]
    fitted: list[Method] = []
    results = Parallel(n_jobs=workers, return_as="generator", inner_max_num_threads=1)(
        delayed(_fit_in_worker)(part, bags) for part in parts
    )
    for part in results:
        fitted += part
        bar.advance(steps=len(part))
    return fitted


# -------------------------------------------------------------------- stacked


class Stack:
    """Runs many fits of one network shape as one (see :class:`smalti.core.training.Alone`)."""

    def __init__(self, stage: Gradient, store: Store, fits: list[Fit]) -> None:
        self.stage, self.store, self.fits = stage, store, list(fits)
        self.base = fits[0].network
        networks: list[Any] = [f.network for f in fits]
        self.parameters, self.buffers = stack_module_state(networks)
        for name, parameter in self.parameters.items():
            moves = not stage.moves or name.startswith(stage.moves)
            parameter.requires_grad_(moves)
        moving = [p for p in self.parameters.values() if p.requires_grad]
        self.optimizer = training.make_optimizer(moving, stage)
        self.target = [torch.as_tensor(f.target, device=store.device) for f in fits]
        self.weight = [torch.as_tensor(f.weight, device=store.device) for f in fits]

    def close(self) -> None:
        """Nothing was frozen in the networks themselves."""

    def _losses(self, groups: list[np.ndarray]) -> Tensor:
        """Mean loss of each fit over its bags, (n_fits,)."""
        views, segments = self.store.stack(groups)
        size = max(map(len, groups))
        target = torch.stack(
            [_filled(t, g, size) for t, g in zip(self.target, groups, strict=True)]
        )
        weight = torch.stack(
            [_filled(w, g, size) for w, g in zip(self.weight, groups, strict=True)]
        )
        task, base, loss = self.fits[0].task, self.base, self.stage.loss

        def one(params: Any, buffers: Any, x: Any, slices: Any, y: Tensor, w: Tensor) -> Tensor:
            batch = Batch(x, Segments(*slices))
            output = functional_call(base, (params, buffers), (batch,))
            return (loss(task, output, y) * w).sum() / w.sum()

        n_rows = views[next(iter(views))].shape[1]
        rows = {size: [len(g) for g in groups]}
        rows[n_rows] = [int(self.store.lengths[g].sum()) for g in groups]
        source = noise.Source([f.noise for f in self.fits], rows)
        with noise.drawn_from(source):
            return torch.vmap(one)(
                self.parameters, self.buffers, views, tuple(segments), target, weight
            )

    def step(self, groups: list[np.ndarray]) -> Tensor:
        """One step of every fit; the losses before it, (n_fits,)."""
        self.base.train()
        losses = self._losses(groups)
        self.optimizer.zero_grad(set_to_none=True)
        losses.sum().backward()  # the loss of a fit depends on its own weights alone
        self.optimizer.step()
        return losses.detach()

    @torch.no_grad()
    def evaluate(self) -> list[float]:
        """Mean loss of each fit's validation bags."""
        self.base.eval()
        return self._losses([f.valid for f in self.fits]).double().tolist()

    def weights(self, f: int) -> dict[str, Tensor]:
        """A copy of the weights of fit ``f``."""
        whole = self.parameters | self.buffers
        return {k: v[f].detach().clone() for k, v in whole.items()}

    def drop(self, keep: list[int]) -> None:
        """Go on with these fits only: shrink weights and optimiser state in place."""
        self.fits = [self.fits[f] for f in keep]
        self.target = [self.target[f] for f in keep]
        self.weight = [self.weight[f] for f in keep]
        if not keep:
            return
        at = torch.as_tensor(keep, device=self.store.device)
        for parameter in self.parameters.values():
            slots = self.optimizer.state.get(parameter, {})
            for name, value in slots.items():
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    slots[name] = value[at]
            parameter.data = parameter.data[at]
            parameter.grad = None
        self.buffers = {k: v[at] for k, v in self.buffers.items()}


def _filled(values: Tensor, group: np.ndarray, size: int) -> Tensor:
    part = values[torch.from_numpy(group).to(values.device)]
    return torch.cat([part, part.new_zeros(size - len(group), *part.shape[1:])])


def _stacked(jobs: Sequence[Job], bags: Bags, bar: Progress | None = None) -> list[Method]:
    """Group fits that can advance together, and run each group's plans in step."""
    if not all(method.stackable for method, _ in jobs):
        return _sequential(jobs, bags, bar)
    fabric = training.make_fabric(jobs[0][0].accelerator, 1, jobs[0][0].precision)
    store = Store(bags, fabric.device, jobs[0][0]._dtype)
    fits = [method.prepare(bags, members, fabric.device) for method, members in jobs]
    groups: dict[Any, list[int]] = {}
    for i, ((method, _), fit) in enumerate(zip(jobs, fits, strict=True)):
        groups.setdefault(_kin(method, fit, store, i), []).append(i)
    for members in groups.values():
        _run_group([jobs[i][0] for i in members], [fits[i] for i in members], bags, store, fabric)
        if bar is not None:
            bar.advance(steps=len(members))
    return [m.adopt(f, bags[i]) for (m, i), f in zip(jobs, fits, strict=True)]


def _kin(method: Method, fit: Fit, store: Store, i: int) -> Any:
    """Fits with equal keys have networks of one shape and as many steps in an epoch."""
    settings = {k: v for k, v in method.get_params().items() if k != "seed"}
    budget, size = settings.get("max_instances", 0), settings.get("batch_size", 0)
    longest = np.sort(store.lengths[fit.train])[::-1][:size].sum() if size else 0
    if not size or longest > budget or store.lengths[fit.valid].sum() > budget:
        return i  # no gradient stage, or batches that the budget cuts: alone
    task = (fit.task.kind, fit.task.classes)
    steps = len(pack(fit.train, store.lengths, size, budget))
    return type(method), repr(sorted(settings.items())), task, steps, len(fit.valid) > 0


def _run_group(
    methods: list[Method], fits: list[Fit], bags: Bags, store: Store, fabric: Any
) -> None:
    quiet = Progress(False)
    if len(fits) == 1:
        training.run(methods[0].plan(methods[0].shape_), fits[0], bags, store, fabric,
                     progress=quiet)  # fmt: skip
        return
    for stages in zip(*(m.plan(m.shape_) for m in methods), strict=True):
        if isinstance(stages[0], Sweep):
            for stage, fit in zip(stages, fits, strict=True):
                training.sweep(stage, fit, bags, store, quiet)
        else:
            training.descend(stages[0], Stack(stages[0], store, fits), fits, progress=quiet)
    for fit in fits:
        fit.network.eval()
