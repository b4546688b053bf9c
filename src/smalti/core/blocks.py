"""The order of an epoch over single rows on disk: some runs of neighbours at a time, shuffled.

Design:

- In random order each batch would be hundreds of reads of a row, from all over the file. So runs of
  neighbours are taken in random order, and those of a buffer read one after another and shuffled
  among themselves, as WebDataset and annbatch do.
- What fits in one buffer is drawn as in memory, to the bit.
- Buffers of an epoch have one number of rows: the order alone tells where each begins, so that an
  epoch is left and taken up as any other. One buffer is used while the next is read.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from smalti.core.ahead import begin
from smalti.system.readers import readers
from smalti.views import Picked, dense, leaf, pick, places, stored_bytes

BUFFER = 2**28  # bytes of rows that are shuffled among themselves; two such are held
RUNS = 64  # runs in a buffer, at least: cells of a file that is sorted are of so many places
_RUN = 2**20  # bytes of a run: so long a read takes a disk no longer than a short one
_CHUNKS = 4  # of a file that a run takes up, at least: those at its ends are unpacked twice
_BATCH = 256  # rows that buffers are multiples of, so that few batches lie in two
_log = logging.getLogger("smalti")


class Blocks:
    """Rows of views on disk, in an order in which they are read in long runs.

    Parameters
    ----------
    views
        Those on disk, by name; each has all rows.

    Attributes
    ----------
    buffer, run
        Rows of a buffer, and of a run, at most.
    """

    def __init__(self, views: Mapping[str, Any]) -> None:
        self.views = dict(views)
        each = {name: max(1, stored_bytes(v) // max(1, v.shape[0])) for name, v in views.items()}
        self.first = views[max(each, key=lambda name: each[name])]  # whose neighbours are taken
        row = sum(each.values())
        self.buffer = max(_BATCH, BUFFER // row // _BATCH * _BATCH)
        chunk = int(getattr(leaf(self.first), "chunk", 1))
        self.run = max(1, min(max(_RUN // row, _CHUNKS * chunk), self.buffer // RUNS))
        self.coming: deque[np.ndarray] = deque()  # (k,) rows of each buffer that is not begun
        self.held: deque[_Buffer] = deque()
        self.told = False

    def order(self, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Rows (n,) of the views in the order of an epoch: (n,)."""
        n, size = len(rows), self._size(len(rows))
        if n <= size:
            return rng.permutation(rows)
        self._tell(n)
        rows = rows[np.argsort(places(self.first, rows), kind="stable")]
        starts = rng.permutation(-(-n // self.run)) * self.run
        rows = rows[Picked(starts, np.minimum(self.run, n - starts)).rows]
        for start in range(0, n, size):
            rng.shuffle(rows[start : start + size])
        return rows

    def _size(self, n: int) -> int:
        """Rows of each buffer of an epoch of n: no last one of few."""
        times = max(1, -(-n // self.buffer))
        return -(-n // (times * _BATCH)) * _BATCH

    def _tell(self, n: int) -> None:
        if not self.told:
            self.told = True
            _log.info(
                "%s rows on disk are drawn in block order: runs of %s neighbours in the file in "
                "random order, about %s rows shuffled at a time.",
                f"{n:,}", f"{self.run:,}", f"{self._size(n):,}",
            )  # fmt: skip

    def expect(self, order: np.ndarray, done: int) -> None:
        """Begin to read an epoch (n,) that :meth:`order` gave, from its row ``done`` on."""
        size = self._size(len(order))
        cuts = [max(done, start) for start in range(done // size * size, len(order), size)]
        self.coming = deque(np.split(order, cuts)[1:])
        self.held.clear()
        self._begin()

    def take(self, rows: np.ndarray) -> dict[str, Tensor]:
        """Rows (n,) of each view, (n, ...), as on disk; none where they were not expected."""
        if not self.held:
            return {}
        first, *after = [buffer.find(rows) for buffer in self.held]
        if after and (first < 0).all() and (after[0] >= 0).any():
            self.held.popleft()
            self._begin()
            return self.take(rows)
        found = [first, *after]
        if (np.max(found, axis=0) < 0).any():
            return {}
        return {name: self._taken(name, found) for name in self.views}

    def _taken(self, name: str, found: list[np.ndarray]) -> Tensor:
        if (found[0] >= 0).all():  # most batches lie in one buffer: no copy
            return torch.from_numpy(self.held[0].rows_of(name, found[0]))
        view = self.views[name]
        out = np.empty((len(found[0]), *view.shape[1:]), view.dtype)
        for buffer, at in zip(self.held, found, strict=True):
            here = at >= 0
            if here.any():
                out[here] = buffer.rows_of(name, at[here])
        return torch.from_numpy(out)

    def _begin(self) -> None:
        while self.coming and len(self.held) < 2:
            rows = self.coming.popleft()
            rows = rows[np.argsort(places(self.first, rows), kind="stable")]
            self.held.append(_Buffer(self.views, rows))


class _Buffer:
    """Some rows (k,) of views, as they are read, in the order of their file."""

    def __init__(self, views: Mapping[str, Any], rows: np.ndarray) -> None:
        self.sorter = np.argsort(rows, kind="stable")
        self.sorted = rows[self.sorter]
        self.parts: dict[str, Any] = {}
        self.reads: dict[str, list[Future[Any]]] = {}
        for name, view in views.items():
            if getattr(view, "sparse", False):
                step = max(1, -(-len(rows) // 8))
                self.reads[name] = [readers().submit(pick, view, rows[at : at + step])
                                    for at in range(0, len(rows), step)]  # fmt: skip
            else:
                part, self.reads[name] = begin(view, Picked.of(rows), pinned=False)
                self.parts[name] = part.numpy()

    def find(self, rows: np.ndarray) -> np.ndarray:
        """(n,) places of rows in this buffer, -1 for those of others."""
        at = np.minimum(np.searchsorted(self.sorted, rows), len(self.sorted) - 1)
        return np.where(self.sorted[at] == rows, self.sorter[at], -1)

    def rows_of(self, name: str, at: np.ndarray) -> np.ndarray:
        """Rows at places (k,), dense: (k, ...)."""
        read = [piece.result() for piece in self.reads.pop(name, [])]
        if name not in self.parts:
            self.parts[name] = sp.vstack(read, format="csr")
        return dense(self.parts[name][at])
