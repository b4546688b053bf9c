"""What fits gave, kept on disk: one file a fit, so that a comparison that was killed goes on."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch

from smalti.errors import InputError
from smalti.system.lock import lock
from smalti.system.tensors import read_tensors, write_tensors

_POLL = 0.2  # seconds between two looks at what another process makes


@dataclasses.dataclass
class Answer:
    """What one fit gave.

    Attributes
    ----------
    arrays
        By name: predictions of the bags or tiles, (n, ...), or an embedding, (n, width).
    note
        What else JSON can hold: names of genes, scores that were computed beside the fit.
    seconds
        What the fit took.
    extra
        What scoring leaves for the table; not kept on disk.
    """

    arrays: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    note: dict[str, Any] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0
    extra: dict[str, Any] = dataclasses.field(default_factory=dict)


class Cache:
    """A folder of answers under the digests of all that they depend on."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def file(self, name: str, key: str) -> Path:
        """Where the answer of a method under a key is kept."""
        return self.folder / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.safetensors"

    def read(self, file: Path) -> Answer | None:
        """The answer of a file; None where there is none.

        Raises
        ------
        InputError
            If the file is damaged.
        """
        if not file.exists():
            return None
        tensors, note = read_tensors(file, "cached fit")
        arrays = {k: v.numpy() for k, v in tensors.items()}
        return Answer(arrays, note["note"], note["seconds"])

    def write(self, file: Path, answer: Answer) -> None:
        """Keep an answer, whole or not at all."""
        note = {"note": answer.note, "seconds": answer.seconds}
        tensors = {k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in answer.arrays.items()}
        write_tensors(file, "cached fit", tensors, note, durable=False)


class Claims:
    """Which fits this process makes, so that none that shares its cache makes them too.

    A claim is a lock of the kernel, which ends with the process, however that ends.

    Parameters
    ----------
    files
        Where the answer of each fit is kept; None where none is.
    """

    def __init__(self, files: Sequence[Path | None]) -> None:
        self.files = files
        self._held: dict[int, ExitStack] = {}

    def take(self, i: int) -> bool:
        """Whether fit ``i`` is to be made here: nobody makes it, and its answer is not there."""
        file = self.files[i]
        if file is None or i in self._held:
            return True
        held = ExitStack()
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            # not the file itself, which whoever writes it locks
            held.enter_context(lock(file.with_suffix(".claim"), "another process makes it"))
        except InputError:
            return False
        except OSError:  # of a folder that cannot be written: keeping the answer says so
            return True
        if file.exists():  # made a moment ago
            held.close()
            return False
        self._held[i] = held
        return True

    def release(self, i: int) -> None:
        """Let a fit go, of which the answer is kept or which failed."""
        self._held.pop(i, ExitStack()).close()

    def close(self) -> None:
        """Let all go."""
        for i in list(self._held):
            self.release(i)

    def wait(self, waiting: Sequence[int]) -> None:
        """Until the answer of one of these is there, or it is to be made here."""
        while waiting and not any(self._there(i) or self.take(i) for i in waiting):
            time.sleep(_POLL)

    def _there(self, i: int) -> bool:
        file = self.files[i]
        return file is not None and file.exists()
