"""Values in a file beside the output, put into place in any order and read in their own."""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import Any

import numpy as np


class Scratch:
    """A file of values (n, ...) that are put into place in any order."""

    def __init__(self, path: Path, dtype: Any, shape: tuple[int, ...]) -> None:
        self.path = path
        empty = not all(shape)  # of nothing there is no map
        self.values: Any = np.empty(shape, dtype) if empty else \
            np.memmap(path, dtype=dtype, mode="w+", shape=shape)  # fmt: skip

    def put(self, at: np.ndarray, values: np.ndarray) -> None:
        """Values (k, ...) at (k,) places; those that follow one another are one copy."""
        if len(at) and int(at[-1]) - int(at[0]) + 1 == len(at) and (np.diff(at) == 1).all():
            self.values[int(at[0]) : int(at[-1]) + 1] = values
        else:
            self.values[at] = values
        self.let_go()

    def let_go(self) -> None:
        """Leave what was written to the system, which else counts it as this process's memory."""
        if hasattr(self.values, "_mmap") and hasattr(mmap, "MADV_DONTNEED"):
            self.values._mmap.madvise(mmap.MADV_DONTNEED)

    def read(self, start: int, stop: int) -> np.ndarray:
        """Values ``start:stop``, copied: (stop - start, ...)."""
        part = np.array(self.values[start:stop])
        self.let_go()
        return part

    def remove(self) -> None:
        """Give the disk back."""
        del self.values
        if self.path.exists():
            os.remove(self.path)
