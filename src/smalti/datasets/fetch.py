"""Files of data sets: fetched once, checked, kept; and the pictures of MNIST."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np

from smalti.errors import InputError
from smalti.system.arrays import read_npz
from smalti.system.user_cache import user_cache

_MNIST = "https://ossci-datasets.s3.amazonaws.com/mnist/"
_MNIST_FILES = {
    ("train", "x"): ("train-images-idx3-ubyte.gz", "md5:f68b3c2dcbeaaa9fbdd348bbdeb94873"),
    ("train", "y"): ("train-labels-idx1-ubyte.gz", "md5:d53e105ee54ea40749a09fcbcd1e9432"),
    ("test", "x"): ("t10k-images-idx3-ubyte.gz", "md5:9fb629c4189551a2d022fa330f9573f3"),
    ("test", "y"): ("t10k-labels-idx1-ubyte.gz", "md5:ec29112dd5afa0611ce80d1b7f02629c"),
}


def mirror() -> str | None:
    """The server of SMALTI_MIRROR, if one is named."""
    return os.environ.get("SMALTI_MIRROR") or None


def read_arrays(path: str | Path, *keys: str) -> tuple[np.ndarray, ...]:
    """Some arrays of an npz, of any shape, in the order of ``keys``.

    Raises
    ------
    InputError
        If there is no such file, it is damaged, or it lacks an array.
    """
    found = read_npz(path, keys)
    lost = [k for k in keys if k not in found]
    if lost:
        raise InputError(f"{path} has no array {lost[0]!r}: download or write it again.")
    return tuple(found[k] for k in keys)


def fetch(file: str, known: str, base: str) -> Path:
    """Get a file once and keep it in the user's cache.

    Raises
    ------
    InputError
        Without network, with the offline way; or if the checksum differs.
    """
    import pooch

    cache = user_cache()
    try:
        found = pooch.retrieve(
            f"{base.rstrip('/')}/{file}", known_hash=known, fname=file, path=cache
        )
    except ValueError as error:
        raise InputError(
            f"{file} from {base} is not the file that was expected ({error}): delete "
            f"{cache / file} and try again."
        ) from error
    except OSError as error:
        raise InputError(
            f"{file} cannot be fetched from {base} ({type(error).__name__}). Offline: get it on "
            f"another machine, put it at {cache / file}, and run again."
        ) from error
    return Path(found)


def mnist_arrays(split: str, path: str | Path | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 28, 28) uint8 and digits (n,) of one part of MNIST.

    Raises
    ------
    InputError
        If ``split`` is neither "train" nor "test".
    """
    if split not in ("train", "test"):
        raise InputError(f"split={split!r} is not 'train' or 'test'.")
    root = os.environ.get("SMALTI_DATA")
    if path is None and root and (Path(root) / "mnist" / "mnist.npz").exists():
        path = Path(root) / "mnist" / "mnist.npz"
    if path is not None:
        images, digits = read_arrays(path, f"x_{split}", f"y_{split}")
        return images, digits
    arrays = []
    for part, skip in (("x", 16), ("y", 8)):
        raw = gzip.decompress(fetch(*_MNIST_FILES[split, part], mirror() or _MNIST).read_bytes())
        arrays.append(np.frombuffer(raw, np.uint8, offset=skip))
    return arrays[0].reshape(-1, 28, 28), arrays[1]
