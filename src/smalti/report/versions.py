"""Versions of what results depend on."""

from __future__ import annotations

import contextlib
import importlib.metadata
import platform

_PARTS = (
    "torch", "lightning-fabric", "numpy", "scipy", "pandas", "scikit-learn", "anndata", "mudata",
    "h5py", "safetensors", "joblib", "matplotlib",
)  # fmt: skip
_EXTRAS = ("mofapy2", "muon", "scvi-tools", "igraph", "umap-learn", "scib-metrics", "multigrate",
           "pillow", "scikit-image", "timm", "torchvision", "spatialdata", "optuna")  # fmt: skip


def versions(*, extras: bool = False) -> dict[str, str]:
    """Version of Python and of each package that results depend on; "missing" if absent.

    With ``extras`` also of those packages of the extras that are installed.
    """
    from smalti._version import __version__

    found = {"smalti": __version__, "python": platform.python_version()}
    for name in _PARTS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "missing"
    for name in _EXTRAS if extras else ():
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found
