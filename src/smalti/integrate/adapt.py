"""A new batch of cells into a fitted network: its offsets are learned, all else stays."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from smalti.bags import Bags
from smalti.batch import Batch, Shape
from smalti.columns import Columns, batches_of
from smalti.core import training
from smalti.core.seen import Seen
from smalti.core.stage import Gradient
from smalti.errors import InputError
from smalti.system.progress import Progress


def adapted(model: Any, bags: Bags, stepped: Bags, shape: Shape) -> Any:
    """A copy of a fitted model that knows the new batches among the cells.

    Parameters
    ----------
    model
        Fitted, with ``batch=``.
    bags
        The cells as they came, of known batches and of new ones.
    stepped
        The same after the steps of the model.
    shape
        Of the model.

    Raises
    ------
    InputError
        If none of the cells is of a new batch.
    """
    names = batches_of(stepped, model.batch)
    fresh = sorted(set(names) - set(model.columns_.batches))
    if not fresh:
        raise InputError(f"all of these cells are of batches that {model.name} knows: "
                         f"{some_of(sorted(set(names)))}. There is nothing to adapt.")  # fmt: skip
    rows = np.flatnonzero(np.isin(names, fresh))
    out = copy.copy(model)
    out.columns_ = dataclasses.replace(model.columns_, batches=(*model.columns_.batches, *fresh))
    out.shape_ = dataclasses.replace(shape, batches=out.columns_.batches)
    cells = _cells(stepped, rows)
    out.network_, out.history_ = _trained(out, model.network_, cells, len(fresh))
    told = f"{model.digest_} {bags.digest} {fresh}"
    out.digest_ = hashlib.sha256(told.encode()).hexdigest()[:16]
    out.n_parameters_ = sum(p.numel() for p in out.network_.parameters())
    if bags.donor not in (None, "bag"):
        new, old = Seen.of_donors(bags), getattr(model, "seen_", Seen())
        out.seen_ = Seen(old.bags, tuple(sorted({*old.donors, *new.donors})))
    return out


def refuse_new_batches(model: Any, bags: Bags) -> None:
    """Refuse cells of batches that a model has no offsets for.

    Raises
    ------
    InputError
        If there are some, or the column is not there.
    """
    known = model.columns_.batches
    if not known:
        return
    names = batches_of(bags, model.batch)
    new = sorted(set(names) - set(known))
    if new:
        n = int(np.isin(names, new).sum())
        how = "learn these first, model = model.adapt(cells), which leaves the codes of all " \
              "other cells as they are" if hasattr(model, "adapt") else "fit it with cells of " \
              "theirs among the others"  # fmt: skip
        raise InputError(
            f"{n:,} cells are of batch {some_of(new)} of column {model.batch!r}, which "
            f"{model.name} was not fitted on (it knows {some_of(known)}), so it has no offsets for "
            f"them: {how}."
        )


def decoding(columns: Columns, batch: Batch, as_batch: str | None) -> tuple[Tensor, ...]:
    """What a decoder takes beside the code: (n,) batches of the cells, where it knows some.

    Parameters
    ----------
    columns
        Of the model.
    batch
        The cells.
    as_batch
        Batch that all are to be decoded in; None: each in its own.

    Raises
    ------
    InputError
        If the model knows no such batch.
    """
    if as_batch is not None and as_batch not in columns.batches:
        raise InputError(f"as_batch={as_batch!r} is no batch that the model was fitted on: it "
                         f"knows {some_of(columns.batches) or 'none'}.")  # fmt: skip
    if not columns.batches:
        return ()
    own = batch.instance["batch"]
    return (own if as_batch is None else torch.full_like(own, columns.batches.index(as_batch)),)


def some_of(names: Sequence[str]) -> str:
    """The first few names, quoted."""
    return ", ".join(map(repr, names[:4])) + (", ..." if len(names) > 4 else "")


def _cells(bags: Bags, rows: np.ndarray) -> Bags:
    """Those cells alone, each a bag of its own."""
    columns = {name: bags.instance[name].iloc[rows].to_numpy() for name in bags.instance}
    columns |= {name: bags.bag[name].iloc[bags.index[rows]].to_numpy() for name in bags.bag
                if name not in columns}  # fmt: skip
    whole = Bags.from_rows(bags.x, np.arange(bags.n_instances), features=bags.features,
                           present=bags.present)[rows]  # fmt: skip
    return dataclasses.replace(whole, instance=pd.DataFrame(columns, index=whole.instance.index))


def _trained(
    model: Any, before: nn.Module, cells: Bags, n_new: int
) -> tuple[nn.Module, pd.DataFrame]:
    """The network with offsets of the new batches learned from their cells, and the losses."""
    shape = dataclasses.replace(model.shape_, n_units=cells.n_instances)
    fabric = training.make_fabric(model.accelerator, 1, model.precision)
    job = model._unlabelled(cells, np.arange(len(cells)), fabric.device)
    state = dict(before.state_dict())
    own = job.network.state_dict()
    for name in [k for k in state if k.startswith("offsets.")]:  # a new batch starts at the mean
        fresh = state[name].mean(0, keepdim=True).expand(n_new, -1)
        state[name] = torch.cat([state[name], fresh])
        assert own[name].shape == state[name].shape
    job.network.load_state_dict(state)
    job.network.to(fabric.device)
    hooks = [table.register_hook(_only_last(n_new)) for table in job.network.offsets.tables]
    plan = [dataclasses.replace(stage, moves=("offsets.",)) for stage in model.plan(shape)
            if isinstance(stage, Gradient)]  # fmt: skip
    store = model._store(cells, fabric.device)
    with Progress(model.progress, model.name) as bar:
        training.run(iter(plan), job, cells, store, fabric, progress=bar)
    for hook in hooks:
        hook.remove()
    network = job.network.cpu() if model.accelerator == "cpu" else job.network
    return network.eval(), pd.DataFrame(job.history)


def _only_last(n: int) -> Any:
    """Keep the gradient of the last rows alone: Adam leaves the others as they are, to the bit."""

    def keep(gradient: Tensor) -> Tensor:
        gradient = gradient.clone()
        gradient[:-n] = 0
        return gradient

    return keep
