"""Bags as a data set of PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from smalti.bags import Bags, as_bags
from smalti.batch import Batch, Shape
from smalti.columns import Columns
from smalti.core.store import Store
from smalti.errors import InputError
from smalti.task import NOTHING, Task

_CPU = torch.device("cpu")


class BagDataset(Dataset[Any]):
    """Bags for a ``DataLoader``: an item is one bag, and a step is one ``Batch`` without padding.

    A :class:`~smalti.batch.Batch` is what every network of smalti takes, and :class:`~smalti.Task`
    has the loss of its target, so that a loop of one's own is a few lines. Views on disk are read
    when a bag is asked for, by the workers of the loader where it has some.

    Parameters
    ----------
    bags
        :class:`~smalti.Bags`; or what a fitted model takes, where ``like`` is one.
    like
        The training set (a ``BagDataset``), whose target, levels and means are those of these bags
        too: a class is the same number on both sides. Or a fitted model of smalti; then bags go
        through its steps, and are what its ``network_`` reads.
    group
        Column of the instances (cell type), for ``batch.instance["group"]``.
    covariates
        Columns of the bags, for ``batch.bag["covariates"]``.

    Attributes
    ----------
    bags
        As the network reads them.
    task
        The target, fitted; ``task.loss(raw, target)`` is the loss of each bag, (n_bags,).
    shape
        What a method of smalti needs to build its network: ``method.network(data.shape)``.
    target
        (n_bags, ...) encoded target of each bag; None where the bags have none.

    Raises
    ------
    InputError
        If the bags are not sound, or other than those that they are to be like.

    See Also
    --------
    smalti.loaders.data_module : training, validation and test by donor, for Lightning.

    Notes
    -----
    ``data[i]`` is a pair: a batch of one bag, and its target (1, ...), or None where there is none.
    A loader needs ``collate_fn=smalti.loaders.collate``; it then asks for all bags of a step at
    once, and gets a batch and the target (n_bags, ...). Batches are on the CPU:
    ``batch.to(device)`` moves one.

    Examples
    --------
    >>> import smalti as sm
    >>> from torch.optim import Adam
    >>> from torch.utils.data import DataLoader
    >>> bags = sm.datasets.planted_bags(20, seed=0)
    >>> data = sm.loaders.BagDataset(bags)
    >>> loader = DataLoader(data, batch_size=5, shuffle=True, collate_fn=sm.loaders.collate)
    >>> network = sm.mil.ABMIL(standardize=False).network(data.shape)
    >>> optimizer = Adam(network.parameters(), lr=0.001)
    >>> for batch, target in loader:
    ...     loss = data.task.loss(network(batch).raw, target).mean()
    ...     optimizer.zero_grad()
    ...     loss.backward()
    ...     optimizer.step()
    >>> len(loader), batch.segments.lengths.shape
    (4, torch.Size([5]))
    """

    def __init__(
        self,
        bags: Any,
        *,
        like: Any = None,
        group: str | None = None,
        covariates: Sequence[str] = (),
    ) -> None:
        self.sparse, self.dtype = False, torch.float32
        self.task: Task
        if like is not None and (group is not None or covariates):
            raise InputError("group= and covariates= are those of like=: leave them out.")
        if like is None:
            self.bags = as_bags(bags).check()
            self.task = NOTHING if self.bags.target is None else self.bags.as_task()
            self.columns = Columns.fit(self.bags, group, tuple(covariates))
        elif isinstance(like, BagDataset):
            self.bags = as_bags(bags).check()
            _refuse_others(self.bags, like.bags)
            self.task, self.columns = like.task, like.columns
        else:
            self.bags = like._read_new(bags)
            self.task, self.columns = like.task_, like.columns_
            self.sparse, self.dtype = like.sparse, like._dtype
        self.target: Tensor | None = None
        if self.bags.target is not None and self.task is not NOTHING:
            self.target = torch.as_tensor(self.task.encode(self.bags.labels))
        self._store: Store | None = None

    @property
    def shape(self) -> Shape:
        """What a method of smalti needs to build its network."""
        views = {name: tuple(view.shape[1:]) for name, view in self.bags.x.items()}
        return Shape(views, self.task, len(self), self.columns.levels, self.columns.n_covariates)

    def __len__(self) -> int:
        return len(self.bags)

    def __getitem__(self, index: int) -> tuple[Batch, Tensor | None]:
        return self.__getitems__([index])

    def __getitems__(self, indices: Sequence[int]) -> tuple[Batch, Tensor | None]:
        """A whole step, for which a loader asks so: its bags in this order, and their target."""
        at = np.arange(len(self))[np.asarray(indices, dtype=np.int64)]  # (n_bags,)
        if self._store is None:  # each worker has its own: open files are of one process
            self._store = Store(self.bags, _CPU, self.dtype, self.columns, sparse=self.sparse)
        batch = self._store.batch(at)
        if get_worker_info() is not None:
            # to send a slice of a view, PyTorch would put the whole view into shared memory
            batch = batch.each(Tensor.clone)
        return batch, None if self.target is None else self.target[torch.from_numpy(at)]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_store": None}


def collate(step: Any) -> tuple[Batch, Tensor | None]:
    """Join what a loader has asked for to one batch: ``DataLoader(..., collate_fn=collate)``.

    Parameters
    ----------
    step
        A step of a :class:`BagDataset`, which is a batch already; or a list of its items, as other
        data sets around it pass them on.

    Returns
    -------
    tuple
        A batch, and the target of its bags, (n_bags, ...), or None.

    Examples
    --------
    >>> import smalti as sm
    >>> data = sm.loaders.BagDataset(sm.datasets.planted_bags(20, seed=0))
    >>> batch, target = sm.loaders.collate([data[3], data[7]])
    >>> target.shape
    torch.Size([2])
    """
    if isinstance(step, tuple):
        return step
    batches, targets = zip(*step, strict=True)
    return Batch.join(batches), None if targets[0] is None else torch.cat(targets)


def _refuse_others(bags: Bags, known: Bags) -> None:
    """Refuse bags of other views or features than those of training."""
    here, there = (
        {k: (tuple(v.shape[1:]), b.features.get(k)) for k, v in b.x.items()} for b in (bags, known)
    )
    if list(here) != list(there):
        raise InputError(
            f"these bags have the views {', '.join(here)}, those of like= {', '.join(there)}."
        )
    for name, found in here.items():
        if found != there[name]:
            raise InputError(
                f"view {name!r} has other features, or another order of them, than the bags of "
                "like=: a fitted model of smalti puts them in order (like=model)."
            )
