"""Model files: a folder of ``weights.safetensors`` and ``model.json``. Pickle is never read."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator

from smalti._version import __version__
from smalti.core.needs import needs_of
from smalti.errors import InputError
from smalti.preprocess import names_of, spec_of, state_of
from smalti.preprocess.step import STEPS as KNOWN_STEPS
from smalti.system.files import atomic_folder

WEIGHTS, NOTE = "weights.safetensors", "model.json"
CONFIG = "config.yaml"  # the options of the command that fitted it
UNSEEN = "unseen.txt"  # genes that the command line kept from a model, one a line
FORMAT = 1  # of the folder: raised where an older smalti could not read it
STEPS = "preprocess/"  # prefix of the tensors of the preprocessing steps
MEANS = "means/"  # of those of training that stand for features that new data lack
MORE = "more/"  # of those that a method keeps beside its network


def is_model(folder: Path) -> bool:
    """Whether a folder holds a model and nothing else, so that another may take its place."""
    names = {p.name for p in folder.iterdir()} if folder.is_dir() else set()
    return {NOTE, WEIGHTS} <= names <= {NOTE, WEIGHTS, CONFIG, UNSEEN}


def save(method: Any, folder: Path, *, overwrite: bool = False) -> None:
    """Write a fitted method; a folder that holds a model is replaced as a whole.

    Raises
    ------
    InputError
        If the method, or one inside it, could not be loaded again: its class is not known. If the
        folder holds other files, and ``overwrite`` does not say that they may go.
    """
    from safetensors.torch import save as as_bytes
    from sklearn.utils.validation import check_is_fitted

    if not hasattr(method, "holds"):
        check_is_fitted(method)
    note, tensors = describe(method)
    with atomic_folder(folder, overwrite=overwrite, ours=is_model) as temporary:
        weights = as_bytes(tensors)
        (temporary / WEIGHTS).write_bytes(weights)
        note["weights_sha256"] = hashlib.sha256(weights).hexdigest()
        note["note_sha256"] = digest_of(note)
        text = json.dumps(note, indent=1, default=_plain)
        (temporary / NOTE).write_text(text, encoding="utf-8")


def describe(method: Any) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """All that a fitted method is: a note that JSON can hold, and tensors of any shape by name.

    Raises
    ------
    InputError
        If a method or a step could not be found again, because its class is not known by name.
    """
    if hasattr(method, "holds"):  # a method, and more
        return method.describe()
    needs = needs_of(method)  # refused before anything is written
    for step in method.steps_:
        if KNOWN_STEPS.get(step.name) is not type(step):
            raise InputError(
                f"step {type(step).__name__} could not be loaded again: give its class a name= of "
                "its own, by which it is found."
            )
    tensors = {k: v.detach().cpu().contiguous() for k, v in method.network_.state_dict().items()}
    for name, values in state_of(method.steps_).items():
        tensors[f"{STEPS}{name}"] = torch.as_tensor(np.ascontiguousarray(values))
    for name, values in method.means_.items():
        tensors[f"{MEANS}{name}"] = torch.as_tensor(values)
    state = method.fitted_state()
    for name, values in state.arrays.items():
        tensors[f"{MORE}{name}"] = torch.as_tensor(np.ascontiguousarray(values))
    note = {
        "smalti": __version__,
        "format": FORMAT,
        "method": method.name,
        "needs": needs,
        "settings": method.get_params(deep=False) | (
            {"preprocess": spec_of(method.steps_)} if method.steps_ else {}
        ),
        "preprocess": names_of(method.steps_),
        "columns": dataclasses.asdict(method.columns_),
        "task": {k: getattr(method.task_, k) for k in ("kind", "column", "classes", "center",
                                                       "scale", "trials", "model", "cuts",
                                                       "hazard_times", "hazard", "deciles")},
        "shape": {"views": dict(method.shape_.views), "n_units": method.shape_.n_units,
                  "outputs": method.shape_.outputs, "groups": method.shape_.groups,
                  "meaning": method.shape_.meaning, "n_donors": method.shape_.n_donors},
        "more": state.note,
        "inputs": method.inputs_,
        "features": method.features_,
        "cells": getattr(method, "cells_", None),
        "decoded": getattr(method, "decoded_", None),
        "modalities": [dataclasses.asdict(m) for m in getattr(method, "modalities_", ())],
        "training_digest": method.digest_,
        "seen": dataclasses.asdict(method.seen_) if hasattr(method, "seen_") else None,
        "tile_scale": method.tile_scale_ and dataclasses.asdict(method.tile_scale_),
        "identity": method.identity_,
        "origin": None if method.origin_ is None else dict(method.origin_),
        "history": method.history_.to_dict("records"),
        "converged": method.converged_,
        "searched": getattr(method, "searched_", None),
    }  # fmt: skip
    return json.loads(json.dumps(note, default=_plain)), tensors


def _plain(value: Any) -> Any:
    """NumPy numbers as JSON has them; a method that is a setting of another, by its settings."""
    if isinstance(value, BaseEstimator):
        return {"method": getattr(value, "name", "")} | value.get_params(deep=False)
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "as_setting"):  # vectors of genes: the numbers are among the tensors
        return value.as_setting()
    raise TypeError(f"{value!r} cannot be written to {NOTE}.")


def digest_of(note: dict[str, Any]) -> str:
    """SHA-256 of a note, whatever the order of its keys."""
    # through JSON and back, so that tuples and lists count as the same
    text = json.dumps(json.loads(json.dumps(note, default=_plain)), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
