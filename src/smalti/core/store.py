"""Bags as tensors: kept on the device when they fit, streamed with read-ahead when they do not."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from smalti.bags import Bags
from smalti.batch import Batch
from smalti.columns import Columns
from smalti.segment import Segments
from smalti.views import View, pick, slice_rows

RESIDENT = 2**31  # bytes of one dense view that may live on the device as a whole
_NUMBERS = 2**27  # of a view in one batch: half a gigabyte
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
        self.streams = any(not isinstance(v, Tensor) for v in self.views.values())
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
        if columns is not None and columns.covariates:
            self.bag["covariates"] = torch.as_tensor(columns.table(bags)).to(device, dtype)

    def _resident(self, view: View) -> Tensor | View:
        """The view on the device as a whole, or as it is where it is sparse, large or on disk."""
        if _cut(view):
            # in random order each batch would decode every picture anew
            view = view.read(0, int(view.shape[0]))
        if not isinstance(view, np.ndarray) or view.nbytes > RESIDENT:
            return view
        return torch.as_tensor(np.ascontiguousarray(view), device=self.device)

    def _gather(self, view: Tensor | View, rows: np.ndarray) -> Tensor:
        """Rows (n,) of a view on the device, (n, ...)."""
        # the first test is cheap and nearly always decides
        whole = len(rows) and rows[-1] - rows[0] + 1 == len(rows) and (np.diff(rows) == 1).all()
        if isinstance(view, Tensor):
            if whole:  # a slice is no copy
                return view[int(rows[0]) : int(rows[-1]) + 1].to(self.dtype)
            at = torch.from_numpy(rows).to(self.device)
            return view.index_select(0, at).to(self.dtype)
        part: Any
        if isinstance(view, np.ndarray):
            part = view[rows[0] : rows[-1] + 1] if whole else view[rows]
        else:
            part = view[rows] if sp.issparse(view) else pick(view, rows)
        if sp.issparse(part):
            if self.sparse:
                return _csr(part).to(self.device, self.dtype)
            part = part.toarray()
        return torch.as_tensor(part).to(self.device, self.dtype, non_blocking=True)

    def batch(self, bags: np.ndarray) -> Batch:
        """Some bags as one batch, in the order given.

        ``bags`` are (n_bags,) positions. Bags that follow one another in the data are a slice of
        it: their instances are not copied.
        """
        slices = np.concatenate([[0], self.lengths[bags].cumsum()])  # (n_bags + 1,) of the batch
        return self.parts(slice_rows(self.offsets, bags), slices, bags)

    def parts(self, rows: np.ndarray, offsets: np.ndarray, bags: np.ndarray) -> Batch:
        """Parts of bags as bags of a batch: what a bag is when some of its instances are gone.

        ``rows`` (n,) of the data, cut by ``offsets`` (k + 1,); ``bags`` (k,) the bag that each part
        is of.
        """
        return Batch(
            self.rows(rows),
            Segments.of(torch.from_numpy(offsets), self.device),
            {k: column.index_select(0, self._ints(rows)) for k, column in self.instance.items()},
            {k: column.index_select(0, self._ints(bags)) for k, column in self.bag.items()},
        )

    def most(self, max_instances: int) -> int:
        """Instances of a batch: so many, but no more than memory has room for when dense."""
        width = max(int(np.prod(v.shape[1:])) for v in self.views.values())
        return max(1, min(max_instances, _NUMBERS // max(width, 1)))

    def rows(self, rows: np.ndarray) -> dict[str, Tensor]:
        """Any (n,) rows of all views, each (n, ...)."""
        return {name: self._gather(view, rows) for name, view in self.views.items()}

    def instances(self, rows: np.ndarray) -> Batch:
        """Some (n,) rows of the data as a batch of n bags of one instance each."""
        at, ends = self._ints(rows), self._ints(np.arange(len(rows) + 1))
        return Batch(
            self.rows(rows), Segments(ends, ends[:-1], None),
            {name: column.index_select(0, at) for name, column in self.instance.items()},
        )  # fmt: skip

    def _ints(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self.device, non_blocking=True)

    def stream(self, packs: Sequence[np.ndarray]) -> Iterator[Batch]:
        """Batches of packs of bags, in order; the next is read while the present one is used.

        Each pack is (k,) positions of bags.
        """
        if not self.streams or len(packs) < 2:
            yield from map(self.batch, packs)
            return
        with ThreadPoolExecutor(1) as pool:
            ahead = pool.submit(self.batch, packs[0])
            for bags in packs[1:]:
                ready, ahead = ahead.result(), pool.submit(self.batch, bags)
                yield ready
            yield ahead.result()


def _cut(view: View) -> bool:
    """Whether these are tiles on disk that fit into memory."""
    if not hasattr(view, "read") or len(view.shape) != 4:
        return False
    return int(np.prod(view.shape)) * view.dtype.itemsize <= _TILES


def _csr(part: sp.csr_matrix) -> Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # PyTorch calls its sparse tensors a beta
        return torch.sparse_csr_tensor(
            torch.as_tensor(part.indptr.astype(np.int64)),
            torch.as_tensor(part.indices.astype(np.int64)),
            torch.as_tensor(part.data), part.shape,
        )  # fmt: skip


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
