"""Make a CUDA build of torchvision importable beside a CPU build of PyTorch.

The registry has one torchvision for all; beside a PyTorch without CUDA its import ends in
``operator torchvision::nms does not exist``, and with it that of timm, torchmetrics and lightning.
The two operators whose signatures it looks for are declared here (not implemented: nothing of ours
calls them). Where torchvision fits PyTorch, nothing is done.
"""

from __future__ import annotations

import importlib.util
import re
import sys
import threading
from pathlib import Path
from typing import Any

_kept: list[Any] = []  # the declarations live as long as this
_lock = threading.Lock()


def mend_torchvision() -> bool:
    """Declare the operators where they will be missed; whether anything was done.

    To be called before the first import of torchvision, or of a package that imports it.
    """
    with _lock:  # a pool of threads may ask for packages at once
        return _mend()


def _mend() -> bool:
    import torch

    if _kept or "torchvision" in sys.modules:
        return False
    if torch.version.cuda is not None or getattr(torch.version, "hip", None) is not None:
        return False
    if not re.search(r"\+(cu|rocm)", build()):
        return False
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _kept.append(library)
    return True


def build() -> str:
    """Version of torchvision with its build, read without importing it; "" if not installed."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return ""
    file = Path(spec.origin).parent / "version.py"
    found = re.search(r"__version__\s*=\s*['\"]([^'\"]+)", file.read_text(encoding="utf-8"))
    return found[1] if found else ""
