"""Model files: a folder of ``weights.safetensors`` and ``model.json``. Pickle is never read."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from sklearn.base import BaseEstimator

from smalti._version import __version__
from smalti.batch import Shape
from smalti.checkpoint import read_tensors
from smalti.columns import Columns
from smalti.errors import InputError
from smalti.genes.vectors import GeneVectors
from smalti.preprocess import from_state, names_of, spec_of, state_of
from smalti.task import Task

if TYPE_CHECKING:
    from smalti.estimator import Estimator

WEIGHTS, NOTE = "weights.safetensors", "model.json"
_STEPS = "preprocess/"  # prefix of the tensors of the preprocessing steps
_MORE = "more/"  # of those that a method keeps beside its network


def save(method: Estimator, folder: Path) -> None:
    """Write a fitted method; a folder that exists is replaced as a whole."""
    from safetensors.torch import save_file
    from sklearn.utils.validation import check_is_fitted

    from smalti.io.files import atomic_folder

    check_is_fitted(method)
    note, tensors = describe(method)
    with atomic_folder(folder) as temporary:
        weights = Path(temporary) / WEIGHTS
        save_file(tensors, str(weights))
        note["weights_sha256"] = hashlib.sha256(weights.read_bytes()).hexdigest()
        note["note_sha256"] = _digest(note)
        text = json.dumps(note, indent=1, default=_plain)
        (Path(temporary) / NOTE).write_text(text, encoding="utf-8")


def describe(method: Estimator) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """All that a fitted method is: a note that JSON can hold, and tensors by name."""
    tensors = {k: v.detach().cpu().contiguous() for k, v in method.network_.state_dict().items()}
    for name, values in state_of(method.steps_).items():
        tensors[f"{_STEPS}{name}"] = torch.as_tensor(np.ascontiguousarray(values))
    more, arrays = method._more()
    tensors |= {f"{_MORE}{k}": torch.as_tensor(np.ascontiguousarray(v)) for k, v in arrays.items()}
    note = {
        "smalti": __version__,
        "method": method.name,
        "settings": method.get_params(deep=False) | (
            {"preprocess": spec_of(method.steps_)} if method.steps_ else {}
        ),
        "preprocess": names_of(method.steps_),
        "columns": dataclasses.asdict(method.columns_),
        "task": {k: getattr(method.task_, k) for k in ("kind", "column", "classes", "center",
                                                       "scale", "trials")},
        "shape": {"views": dict(method.shape_.views), "n_bags": method.shape_.n_bags,
                  "outputs": method.shape_.outputs, "groups": method.shape_.groups,
                  "meaning": method.shape_.meaning},
        "more": more,
        "inputs": method.inputs_,
        "features": method.features_,
        "cells": getattr(method, "cells_", None),
        "decoded": getattr(method, "decoded_", None),
        "training_digest": method.digest_,
        "origin": None if method.origin_ is None else dict(method.origin_),
        "history": method.history_.to_dict("records"),
    }  # fmt: skip
    return json.loads(json.dumps(note, default=_plain)), tensors


def load(folder: str | Path) -> Any:
    """Read a model that :meth:`Method.save` wrote.

    Raises
    ------
    InputError
        If the folder is not a model, or one of its files was changed or cut short.
    """
    folder = Path(folder)
    note = _read_note(folder)
    weights = folder / WEIGHTS
    if not weights.exists():
        raise InputError(f"{folder} has no {WEIGHTS}: save the model again.")
    if hashlib.sha256(weights.read_bytes()).hexdigest() != note["weights_sha256"]:
        raise InputError(f"{weights} is damaged (its checksum differs): save the model again.")
    tensors, _ = read_tensors(weights, "model file")
    return rebuild(note, tensors)


def _read_note(folder: Path) -> dict[str, Any]:
    path = folder / NOTE
    if folder.is_file() or not path.exists():
        raise InputError(
            f"{folder} is not a smalti model: expected a folder with {NOTE} and {WEIGHTS}. "
            "Pickled models (.pt, .pkl) are never opened."
        )
    try:
        note = json.loads(path.read_text(encoding="utf-8"))
        said = note.pop("note_sha256")
    except (ValueError, KeyError, AttributeError) as error:
        raise InputError(f"{path} is damaged ({error}): save the model again.") from error
    if _digest(note) != said:
        raise InputError(f"{path} is damaged (its checksum differs): save the model again.")
    return note


def rebuild(note: dict[str, Any], tensors: dict[str, torch.Tensor]) -> Any:
    """The method that :func:`describe` described."""
    from smalti.registry import make

    settings = {k: tuple(v) if isinstance(v, list) and k != "preprocess" else v
                for k, v in note["settings"].items()}  # fmt: skip
    method = make(note["method"], **settings)
    column, classes = note["task"]["column"], tuple(note["task"]["classes"])
    column = tuple(column) if isinstance(column, list) else column
    method.task_ = Task(**(note["task"] | {"classes": classes, "column": column}))
    views = {k: tuple(v) for k, v in note["shape"]["views"].items()}
    known = note["columns"]
    method.columns_ = Columns(known["group"], tuple(known["levels"]), tuple(known["covariates"]))
    method.shape_ = Shape(views, method.task_, note["shape"]["n_bags"], method.columns_.levels,
                          method.columns_.n_covariates, tuple(note["shape"].get("outputs", ())),
                          tuple(note["shape"].get("groups", ())),
                          tuple(note["shape"].get("meaning", ())))  # fmt: skip
    if method.shape_.outputs:
        method.genes_ = method.shape_.outputs
    arrays, more = (
        {k.removeprefix(prefix): tensors.pop(k).numpy() for k in list(tensors)
         if k.startswith(prefix)} for prefix in (_STEPS, _MORE)
    )  # fmt: skip
    method._take_more(note.get("more", {}), more)
    method.steps_ = from_state(settings.get("preprocess"), arrays, note["preprocess"])
    method.inputs_ = {k: tuple(v) for k, v in note["inputs"].items()}
    with torch.random.fork_rng(devices=[]):
        method.network_ = method.network(method.shape_)
    if any(t.dtype == torch.float64 for t in tensors.values()):
        method.network_.double()
    method.network_.load_state_dict(tensors)
    method.network_.eval()
    method.features_ = {k: tuple(v) if v else None for k, v in note["features"].items()}
    if note["decoded"] is not None:
        method.cells_ = note["cells"]
        method.decoded_ = {k: tuple(v) for k, v in note["decoded"].items()}
    names = next(iter(method.features_.values()))
    method.n_features_in_ = next(iter(method.inputs_.values()))[0]
    if names:
        method.feature_names_in_ = np.asarray(names, dtype=object)
    if method.task_.is_classifier:
        method.classes_ = np.asarray(method.task_.classes)
    method.digest_, method.origin_ = note["training_digest"], note["origin"]
    method.history_ = pd.DataFrame(note["history"])
    method.n_parameters_ = sum(p.numel() for p in method.network_.parameters())
    return method


def _plain(value: Any) -> Any:
    """NumPy numbers as JSON has them; a method that is a setting of another, by its settings."""
    if isinstance(value, BaseEstimator):
        return {"method": getattr(value, "name", "")} | value.get_params(deep=False)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (GeneVectors, Path)):
        return str(value)  # vectors themselves are among the tensors
    raise TypeError(f"{value!r} cannot be written to {NOTE}.")


def _digest(note: dict[str, Any]) -> str:
    # through JSON and back, so that tuples and lists count as the same
    text = json.dumps(json.loads(json.dumps(note, default=_plain)), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
