"""Bags as tensors: kept on the device where they fit, else read ahead of the step."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
import torch
from torch import Tensor

from smalti.bags import Bags
from smalti.batch import Batch
from smalti.columns import Columns
from smalti.core.ahead import Ahead, begin
from smalti.core.blocks import Blocks
from smalti.segment import Segments
from smalti.views import Picked, View, fills, in_memory, pick, slice_rows

RESIDENT = 2**31  # bytes of one dense view that lives in memory as a tensor, where there is no GPU
_NUMBERS = 2**27  # of a view in one batch: half a gigabyte
_PIECE = 2**24  # numbers that go to a GPU at a time
_TILES = 2**30  # bytes of tiles that are cut once and held


class Store:
    """Makes batches of the bags of one data set.

    Parameters
    ----------
    bags
        The data.
    device
        Where batches go.
    dtype
        Floating type of the features; integer views (image bytes) are converted batch by batch.
    columns
        Columns of instances and bags that the method asked for.
    sparse
        Give CSR views as sparse tensors; otherwise each batch of them is made dense.
    """

    def __init__(
        self,
        bags: Bags,
        device: torch.device,
        dtype: torch.dtype,
        columns: Columns | None = None,
        *,
        sparse: bool = False,
    ) -> None:
        self.sparse = sparse
        self.offsets, self.lengths = bags.offsets, bags.lengths
        self.device, self.dtype = device, dtype
        self.views: dict[str, Tensor | View] = {
            name: self._resident(view) for name, view in bags.x.items()
        }
        # those that a network takes as sparse tensors are not read into arrays ahead
        on_disk = {name: v for name, v in self.views.items()
                   if not (isinstance(v, Tensor) or in_memory(v))
                   and not (sparse and getattr(v, "sparse", False))}  # fmt: skip
        self.streams = bool(on_disk)
        self.ahead = Ahead(on_disk, self.offsets, pinned=device.type == "cuda")
        self.blocks = Blocks(on_disk) if on_disk else None  # of single instances
        self.instance: dict[str, Tensor] = {}
        self.bag: dict[str, Tensor] = {}
        if bags.present:
            all_ = np.ones(bags.n_instances, dtype=bool)
            # (n, n_views), a view without gaps is there in every row
            there = np.stack([bags.present.get(name, all_) for name in bags.x], axis=1)
            self.instance["present"] = torch.as_tensor(there).to(device, dtype)
        if columns is not None and columns.group is not None:
            self.instance["group"] = self._ints(columns.codes(bags))
        if columns is not None and columns.batch is not None:
            self.instance["batch"] = self._ints(columns.batch_codes(bags))
        if columns is not None and columns.placed:
            self.instance["place"] = self._ints(columns.reading_order(bags))
        if columns is not None and columns.covariates:
            self.bag["covariates"] = torch.as_tensor(columns.table(bags)).to(device, dtype)
        if columns is not None and columns.donor in bags.bag:
            self.bag["donor"] = self._ints(pd.factorize(bags.bag[columns.donor])[0])

    def _resident(self, view: View) -> Tensor | View:
        """The view on the device as a whole, or as it is where it is sparse, large or on disk.

        On a GPU it stays where half of what is free holds it, in the type that it has on disk. On a
        CPU a view on disk is read again: the system keeps its files in memory as long as there is
        room, once for all processes.
        """
        if _cut(view):
            # in random order each batch would decode every picture anew
            view = view.read(0, int(view.shape[0]))
        n_bytes = math.prod(view.shape) * view.dtype.itemsize
        if sp.issparse(view) or n_bytes > _room(self.device):
            return view
        if isinstance(view, np.ndarray):
            return _tensor(np.ascontiguousarray(view)).to(self.device)
        if self.device.type == "cpu":
            return view
        return self._loaded(view)

    def _loaded(self, view: View) -> Tensor:
        """A view on disk, read piece by piece onto the device: (n, ...)."""
        n, step = int(view.shape[0]), max(1, _PIECE // math.prod(view.shape[1:]))
        dtype = torch.from_numpy(np.empty(0, view.dtype)).dtype
        out = torch.empty(tuple(view.shape), dtype=dtype, device=self.device)
        for start in range(0, n, step):
            part = _read(view, np.arange(start, min(start + step, n)))
            out[start : start + step].copy_(part)
        return out

    def _gather(self, view: Tensor | View, rows: np.ndarray | slice) -> Tensor:
        """Rows (n,) of a view on the device, (n, ...)."""
        if isinstance(view, Tensor):
            if isinstance(rows, slice):  # no copy
                return view[rows].to(self.dtype)
            return view.index_select(0, self._ints(rows)).to(self.dtype)
        part: Any
        if sp.issparse(view) or isinstance(view, np.ndarray):
            part = view[rows]
        else:
            at = np.arange(rows.start, rows.stop) if isinstance(rows, slice) else rows
            if fills(view):
                return _read(view, at).to(self.device, self.dtype)
            part = pick(view, at)
        if sp.issparse(part):
            if self.sparse:
                return _csr(part).to(self.device, self.dtype)
            part = part.toarray()
        return _tensor(part).to(self.device, self.dtype, non_blocking=True)

    def batch(self, bags: np.ndarray) -> Batch:
        """Some bags as one batch, in the order given.

        ``bags`` are (n_bags,) positions. Bags that follow one another in the data are a slice of
        it: their instances are not copied.
        """
        read = self.ahead.take(bags) or {}
        run = _run(bags)
        if run is None:
            rows: np.ndarray | slice = slice_rows(self.offsets, bags)
        else:
            rows = slice(int(self.offsets[run.start]), int(self.offsets[run.stop]))
        slices = np.zeros(len(bags) + 1, dtype=np.int64)  # of the batch
        self.lengths[bags].cumsum(out=slices[1:])
        return self.parts(rows, slices, bags, read)

    def parts(
        self, rows: np.ndarray | slice, offsets: np.ndarray, bags: np.ndarray,
        read: Mapping[str, Tensor] = MappingProxyType({}),
    ) -> Batch:  # fmt: skip
        """Parts of bags as bags of a batch: what a bag is when some of its instances are gone.

        ``rows`` (n,) of the data, cut by ``offsets`` (k + 1,); ``bags`` (k,) the bag that each part
        is of; ``read`` has what is there already of the views on disk, (n, ...) each.
        """
        return Batch(
            self.rows(rows, read),
            Segments.of(torch.from_numpy(offsets), self.device),
            {k: self._column(column, rows) for k, column in self.instance.items()},
            {k: self._column(column, bags) for k, column in self.bag.items()},
        )

    def most(self, max_instances: int) -> int:
        """Instances of a batch: so many, but no more than memory has room for when dense."""
        width = max(int(np.prod(v.shape[1:])) for v in self.views.values())
        return max(1, min(max_instances, _NUMBERS // max(width, 1)))

    def rows(
        self, rows: np.ndarray | slice, read: Mapping[str, Tensor] = MappingProxyType({})
    ) -> dict[str, Tensor]:
        """Any (n,) rows of all views, each (n, ...); ``read`` as in :meth:`parts`."""
        if not isinstance(rows, slice):
            rows = _run(rows) or rows
        return {
            name: read[name].to(self.device, self.dtype, non_blocking=True) if name in read else
            self._gather(view, rows) for name, view in self.views.items()
        }  # fmt: skip

    def instances(self, rows: np.ndarray) -> Batch:
        """Some (n,) rows of the data as a batch of n bags of one instance each."""
        at, ends = self._ints(rows), self._ints(np.arange(len(rows) + 1))
        read = {} if self.blocks is None else self.blocks.take(rows)
        return Batch(
            self.rows(rows, read), Segments(ends, ends[:-1], None),
            {name: column.index_select(0, at) for name, column in self.instance.items()},
        )  # fmt: skip

    def _column(self, column: Tensor, at: np.ndarray | slice) -> Tensor:
        """Some (n,) of the rows of a tensor on the device, (n, ...)."""
        return column[at] if isinstance(at, slice) else column.index_select(0, self._ints(at))

    def _ints(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self.device, non_blocking=True)

    def expect(self, packs: Sequence[np.ndarray]) -> None:
        """Read what is on disk ahead, for :meth:`batch` to be asked for these packs, in order.

        Each pack is (k,) positions of bags; none: nothing is read ahead any more.
        """
        self.ahead.expect(packs)

    def stream(self, packs: Sequence[np.ndarray]) -> Iterator[Batch]:
        """Batches of packs of bags, in order; the next are read while the present one is used.

        Each pack is (k,) positions of bags.
        """
        self.expect(packs)
        yield from map(self.batch, packs)


def _run(at: np.ndarray) -> slice | None:
    """Positions (n,) as a slice, where each follows the one before."""
    n = len(at)
    # the first test is cheap and nearly always decides
    if not n or at[-1] - at[0] + 1 != n or (n > 1 and (np.diff(at) != 1).any()):
        return None
    return slice(int(at[0]), int(at[-1]) + 1)


def _room(device: torch.device) -> float:
    """Bytes of a view that may be on a device as a whole."""
    if device.type != "cuda":
        return RESIDENT
    free, _ = torch.cuda.mem_get_info(device)
    return free / 2


def _cut(view: View) -> bool:
    """Whether these are tiles on disk that fit into memory."""
    if not hasattr(view, "read") or len(view.shape) != 4:
        return False
    return int(np.prod(view.shape)) * view.dtype.itemsize <= _TILES


def _tensor(part: np.ndarray) -> Tensor:
    """The same numbers, (n, ...), where processes share them too: nothing writes into a batch."""
    if part.flags.writeable:
        return torch.from_numpy(part)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return torch.from_numpy(part)


def _csr(part: sp.csr_matrix) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # PyTorch calls its sparse tensors a beta
        return torch.sparse_csr_tensor(
            torch.as_tensor(part.indptr.astype(np.int64)),
            torch.as_tensor(part.indices.astype(np.int64)),
            torch.as_tensor(part.data), part.shape,
        )  # fmt: skip


def _read(view: View, rows: np.ndarray) -> Tensor:
    """Rows (n,) of a view on disk, as they are there."""
    part, pieces = begin(view, Picked.of(rows), pinned=False)
    for piece in pieces:
        piece.result()
    return part


def pack(
    order: np.ndarray, lengths: np.ndarray, batch_size: int, max_instances: int
) -> list[np.ndarray]:
    """Cut an order of bags into batches of whole bags.

    A batch takes bags while they are at most ``batch_size`` and hold at most ``max_instances``
    instances; a bag larger than that is a batch of its own.

    Parameters
    ----------
    order
        (n,) positions of bags, in the order in which they are taken.
    lengths
        Instances of every bag of the data.
    batch_size
        Bags in a batch, at most.
    max_instances
        Instances in a batch, at most.

    Returns
    -------
    list of arrays
        Positions of the bags of each batch; joined, they are ``order``.
    """
    if lengths[order].sum() <= max_instances or batch_size == 1:
        return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    packs: list[np.ndarray] = []
    start, held = 0, 0  # where the open batch begins, and its instances so far
    for i, bag in enumerate(order):
        n = int(lengths[bag])
        if i > start and (i - start == batch_size or held + n > max_instances):
            packs.append(order[start:i])
            start, held = i, 0
        held += n
    packs.append(order[start:])
    return packs
