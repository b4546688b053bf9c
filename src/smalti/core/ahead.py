"""Rows of views on disk, read by threads ahead of the step that needs them.

Design:

- Each batch is read into an array of its own, in pieces that several threads fill at a time. Rows
  keep the type that they have on disk until the step, so float16 waits in half the memory.
- What is read ahead is bounded in bytes; one batch always is, or nothing would be gained.
- Threads gain where a view reads without a lock of its own. libhdf5 has one for the whole process:
  what it must unpack is read by one thread at a time, ahead of the step all the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from smalti.system.readers import readers
from smalti.views import Picked, dense, fills, pick

AHEAD = 2**29  # bytes of batches that wait, at most
_PIECE = 2**24  # bytes that a thread reads at a time: what is packed at its ends is unpacked twice


class _Begun(NamedTuple):
    bags: np.ndarray
    parts: dict[str, Tensor]  # as on disk
    pieces: list[Future[None]]


class Ahead:
    """Batches of bags that will be asked for, in order, as they are read.

    Parameters
    ----------
    views
        Those on disk, by name.
    offsets
        (n_bags + 1,) rows of the bags.
    pinned
        Into memory from which a GPU copies while it computes.
    """

    def __init__(self, views: Mapping[str, Any], offsets: np.ndarray, *, pinned: bool) -> None:
        self.views, self.offsets, self.pinned = dict(views), offsets, pinned
        self.coming: deque[np.ndarray] = deque()
        self.begun: deque[_Begun] = deque()

    def expect(self, packs: Sequence[np.ndarray]) -> None:
        """Begin to read packs of bags, each (k,) positions; what was expected before is dropped."""
        self.coming = deque(packs if self.views else ())
        self.begun.clear()
        self._begin()

    def take(self, bags: np.ndarray) -> dict[str, Tensor] | None:
        """Rows of the next pack by view, each (n, ...); None where these bags are not the next."""
        if not self.begun or not np.array_equal(self.begun[0].bags, bags):
            return None
        batch = self.begun.popleft()
        self._begin()
        for piece in batch.pieces:
            piece.result()
        return batch.parts

    def _begin(self) -> None:
        held = sum(part.nbytes for batch in self.begun for part in batch.parts.values())
        while self.coming:
            bags = self.coming[0]
            rows = Picked(self.offsets[bags], np.diff(self.offsets)[bags])
            held += sum(len(rows) * _row_bytes(view) for view in self.views.values())
            if self.begun and held > AHEAD:
                return
            parts, pieces = {}, []
            for name, view in self.views.items():
                parts[name], begun = begin(view, rows, pinned=self.pinned)
                pieces += begun
            self.begun.append(_Begun(self.coming.popleft(), parts, pieces))


def _row_bytes(view: Any) -> int:
    return int(np.prod(view.shape[1:])) * int(view.dtype.itemsize)


def begin(view: Any, rows: Picked, *, pinned: bool) -> tuple[Tensor, list[Future[None]]]:
    """An array for n rows of a view on disk, (n, ...), and the reads that fill it."""
    shape = (len(rows), *view.shape[1:])
    if pinned:
        like = torch.from_numpy(np.empty(0, view.dtype)).dtype
        part = torch.empty(shape, dtype=like, pin_memory=True)
    else:
        part = torch.from_numpy(np.empty(shape, view.dtype))  # which asks for large pages
    out, step = part.numpy(), max(1, _PIECE // max(_row_bytes(view), 1))
    if hasattr(view, "picked"):  # some rows of a view: what lies together there is one read
        view, rows = view.base, view.picked.take(rows)
    if fills(view):
        pieces = [
            (start, min(start + step, high), at + start - low)
            for low, high, at in rows.runs() for start in range(low, high, step)
        ]  # fmt: skip
        return part, [readers().submit(_filled, view, *piece, out) for piece in pieces]
    at = rows.rows
    return part, [readers().submit(_picked, view, at[start : start + step], start, out)
                  for start in range(0, len(at), step)]  # fmt: skip


def _filled(view: Any, start: int, stop: int, at: int, out: np.ndarray) -> None:
    view.fill(start, out[at : at + stop - start])


def _picked(view: Any, rows: np.ndarray, at: int, out: np.ndarray) -> None:
    out[at : at + len(rows)] = dense(pick(view, rows))
