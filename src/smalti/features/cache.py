"""Features on disk: blocks that are whole or not there, under a digest of what they depend on."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from smalti.errors import InputError
from smalti.system.tensors import read_tensors, write_tensors
from smalti.views import read_rows

BLOCK = 256  # tiles of a block: what a killed run loses at most


class FeatureCache:
    """Blocks of features of one slide.

    Parameters
    ----------
    folder
        Where; None keeps nothing.
    key
        Digest of tiles, encoder and flips (see :func:`tiles_digest`).
    half
        Keep them as float16.
    """

    def __init__(self, folder: str | Path | None, key: str, *, half: bool) -> None:
        self.folder = None if folder is None else Path(folder) / key[:24]
        self.dtype = np.float16 if half else np.float32

    def block(
        self, start: int, shape: tuple[int, ...], make: Callable[[], np.ndarray]
    ) -> np.ndarray:
        """The block that begins at tile ``start``: read, or made and kept; float32.

        ``shape`` is (n_tiles, width), that of the block. One that is damaged or of another shape is
        made anew, with a warning.
        """
        if self.folder is None:
            return make()
        file = self.folder / f"{start:08d}.safetensors"
        if file.exists():
            try:
                kept = read_tensors(file, "features")[0]["x"].numpy()
                if kept.shape == shape:
                    return kept.astype(np.float32)
                problem = f"{file} has the shape {kept.shape}, not {shape}"
            except InputError as error:
                problem = str(error)
            warnings.warn(f"{problem.rstrip('.')}. It was made anew.", UserWarning, stacklevel=2)
        made = make()
        # through the type of the file, so that a first run and a second give the same
        small = made.astype(self.dtype)
        write_tensors(file, "features", {"x": torch.from_numpy(small)}, {}, durable=False)
        return small.astype(np.float32)


def tiles_digest(view: Any, start: int, stop: int) -> str:
    """Digest of some tiles: of pictures' files and places, where the view is cut from pictures."""
    base, rows = view, np.arange(start, stop)
    if hasattr(base, "rows") and hasattr(base, "base"):  # some tiles of a backed view
        base, rows = base.base, base.rows[rows]
    if not hasattr(base, "images"):
        data = np.ascontiguousarray(read_rows(view, start, stop))
        return hashlib.sha256(f"{data.shape} {data.dtype}".encode() + data.tobytes()).hexdigest()
    sha = hashlib.sha256(base.how.encode())
    for image in np.unique(base.of[rows]):
        own = rows[base.of[rows] == image]
        sha.update(base.images[image].digest().encode())
        sha.update(np.ascontiguousarray(base.corners[own]).tobytes())
        sha.update(str(base.side[image]).encode())
    return sha.hexdigest()
