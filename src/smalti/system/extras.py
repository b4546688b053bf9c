"""Packages that are only needed by some methods: imported when used, asked for by name when not."""

from __future__ import annotations

import importlib
import importlib.util
import io
import logging
import os
import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, redirect_stdout
from typing import Any

from smalti.errors import InputError

# where the package to install is not called as imported
_PROJECTS = {
    "scvi": "scvi-tools",
    "scib_metrics": "scib-metrics",
    "umap": "umap-learn",
    "skimage": "scikit-image",
    "PIL": "pillow",
    "openslide": "openslide-python",
    "spatialdata_io": "spatialdata-io",
}


def absent(package: str, extra: str | None = None) -> str | None:
    """Why a package cannot be imported, with the command that mends it; None if it is there.

    Parameters
    ----------
    package
        Name to import; only its first part is looked for, and nothing is imported.
    extra
        The extra of smalti that brings it; None: it is asked for by its own name.
    """
    root = package.partition(".")[0]
    if importlib.util.find_spec(root) is not None:
        return None
    return f"{_PROJECTS.get(root, root)} is not installed: pip install {_bringing(root, extra)}"


def _bringing(root: str, extra: str | None) -> str:
    return _PROJECTS.get(root, root) if extra is None else f'"smalti[{extra}]"'


def need(package: str, extra: str | None = None) -> Any:
    """Import a package that only some methods need.

    Raises
    ------
    InputError
        If it is not installed, or cannot be imported; with the install command.
    """
    reason = absent(package, extra)
    if reason is not None:
        raise InputError(f"{reason}.")
    from smalti.system.torchvision_shim import mend_torchvision

    mend_torchvision()  # timm, captum, lpips, and by torchmetrics scvi-tools import it
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise InputError(
            f"{package} cannot be imported ({error}): "
            f"pip install -U {_bringing(package.partition('.')[0], extra)}."
        ) from error


@contextmanager
def global_numpy_seed(seed: int) -> Iterator[None]:
    """Seed NumPy's global stream for a library that draws from it, and put it back after."""
    import numpy as np

    before = np.random.get_state()  # noqa: NPY002 - it is the global stream that is meant
    np.random.seed(seed % 2**32)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(before)  # noqa: NPY002


@contextmanager
def seeded_scvi(seed: int) -> Iterator[None]:
    """Seed all that scvi-tools draws from (PyTorch, NumPy, Python), and put it back after."""
    import torch

    settings = need("scvi", "scvi").settings
    before, names = random.getstate(), ("PL_GLOBAL_SEED", "PL_SEED_WORKERS")
    env = {k: os.environ.get(k) for k in names}
    old = settings.seed
    devices = list(range(torch.cuda.device_count()))
    try:
        with global_numpy_seed(seed), torch.random.fork_rng(devices=devices):
            settings.seed = seed
            yield
    finally:
        settings._seed = old  # its setter would seed everything once more
        random.setstate(before)
        for name, value in env.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def calling(package: str, *, prints: bool = False) -> Iterator[None]:
    """Call another package quietly; whatever it dies of is one RuntimeError that names it.

    No warnings, no logs of theirs, and nothing printed unless ``prints``.
    """
    loggers = [logging.getLogger(n) for n in ("scvi", "lightning.pytorch", "lightning.fabric",
                                              "pytorch_lightning", "lightning_fabric",
                                              "scib_metrics")]  # fmt: skip
    levels = [log.level for log in loggers]
    out = nullcontext() if prints else redirect_stdout(io.StringIO())
    with warnings.catch_warnings(), out:
        warnings.simplefilter("ignore")
        for log in loggers:
            log.setLevel(logging.ERROR)
        try:
            yield
        except (InputError, MemoryError):
            raise
        except Exception as error:
            raise RuntimeError(
                f"{package} failed ({type(error).__name__}: {error}); its version may not fit "
                "those of what it stands on: see smalti doctor."
            ) from error
        finally:
            for log, level in zip(loggers, levels, strict=True):
                log.setLevel(level)
