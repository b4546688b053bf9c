"""Other people's networks that find nuclei: packages and weights are the user's own."""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Callable
from typing import Any

import numpy as np

from smalti.errors import InputError

SOURCES = ("watershed", "stardist", "cellpose")
_WAY_OUT = (
    'or take source="watershed", or give your own label images or table to sm.features.nuclei_maps'
)


def version(source: str) -> str:
    """Version of the package behind a source, for the key of a cache; "" where it has none."""
    if source == "watershed":
        return ""
    _package("stardist.models" if source == "stardist" else "cellpose.models")
    try:
        return importlib.metadata.version(source)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def labeller(source: str) -> Callable[[np.ndarray], np.ndarray]:
    """(height, width, 3) uint8 to (height, width) labels, by "stardist" or "cellpose".

    Raises
    ------
    InputError
        If the package or its weights cannot be had.
    """
    return _stardist() if source == "stardist" else _cellpose()


def _stardist() -> Callable[[np.ndarray], np.ndarray]:
    models, tools = _package("stardist.models"), _package("csbdeep.utils")
    name = "2D_versatile_he"
    model = _loaded("stardist", name, lambda: models.StarDist2D.from_pretrained(name))
    # percentiles over all channels, as the authors prepare H&E
    return lambda rgb: model.predict_instances(tools.normalize(rgb, 1, 99.8))[0]


def _cellpose() -> Callable[[np.ndarray], np.ndarray]:
    import torch

    models = _package("cellpose.models")
    found = version("cellpose")
    if found.split(".")[0] in ("0", "1", "2", "3"):
        raise InputError(
            f"cellpose {found} takes no colour pictures: pip install -U cellpose, {_WAY_OUT}."
        )
    model = _loaded("cellpose", "cpsam",
                    lambda: models.CellposeModel(gpu=torch.cuda.is_available()))  # fmt: skip
    return lambda rgb: model.eval(rgb, channel_axis=2)[0]


def _package(module: str) -> Any:
    # not by extras.need: no extra of smalti brings these
    try:
        return importlib.import_module(module)
    except (ImportError, RuntimeError) as error:  # csbdeep without TensorFlow: RuntimeError
        name = module.partition(".")[0]
        wanted = "stardist tensorflow" if name in ("stardist", "csbdeep") else name
        raise InputError(
            f"{name} cannot be imported ({error}): pip install {wanted}, {_WAY_OUT}."
        ) from error


def _loaded(package: str, weights: str, load: Callable[[], Any]) -> Any:
    try:
        model = load()
    except Exception as error:  # Keras raises a bare Exception where a download fails
        raise InputError(
            f"the weights {weights} of {package} cannot be had ({error}): fetch them once with a "
            f"connection to the network, {_WAY_OUT}."
        ) from error
    if model is None:  # StarDist returns None for a name that it does not know
        raise InputError(f"{package} knows no weights {weights}: pip install -U {package}, "
                         f"{_WAY_OUT}.")  # fmt: skip
    return model
