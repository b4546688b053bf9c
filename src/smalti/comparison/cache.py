"""What fits gave, kept on disk: one file a fit, so that a comparison that was killed goes on."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import torch

from smalti.system.tensors import read_tensors, write_tensors


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
