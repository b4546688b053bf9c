"""Versions of what results depend on."""

from __future__ import annotations

import importlib.metadata
import platform

_PARTS = (
    "torch", "lightning-fabric", "numpy", "scipy", "pandas", "scikit-learn", "anndata", "h5py",
    "safetensors", "joblib", "matplotlib",
)  # fmt: skip


def versions() -> dict[str, str]:
    """Version of Python and of each package that results depend on; "missing" if absent."""
    from smalti._version import __version__

    found = {"smalti": __version__, "python": platform.python_version()}
    for name in _PARTS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "missing"
    return found
