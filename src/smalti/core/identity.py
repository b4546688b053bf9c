"""Who a method is: its name and the settings that change what a fit of it gives."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from smalti.errors import InputError
from smalti.preprocess import Step, spec_of, steps_of

# the seed is a fit's own, the others say where and how loudly it is made
_IDLE = ("progress", "accelerator", "devices", "seed")


def settings_of(method: Any) -> dict[str, Any]:
    """Settings of a method, fitted or not, as JSON has them; two equal methods have equal ones."""
    return {
        name: _steps(value) if name == "preprocess" else _plain(value)
        for name, value in method.get_params(deep=False).items() if name not in _IDLE
    }  # fmt: skip


def identity(method: Any) -> str:
    """16 digits that tell methods of different settings apart, whatever a table calls them."""
    text = json.dumps([method.name, settings_of(method)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def model_digest(model: Any) -> str:
    """16 digits that tell fitted models apart: settings, seed, data, target, order of classes."""
    text = f"{model.identity_} {model.seed} {model.digest_} {model.task_.column!r}"
    if model.task_.is_classifier:  # which of them is positive, which is the least
        text += f" {list(map(str, model.task_.classes))}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _steps(spec: Any) -> Any:
    """Steps by what makes them again: a text and the steps that it names are the same."""
    return spec if isinstance(spec, str) and spec == "auto" else _plain(spec_of(steps_of(spec)))


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()[:16]
    if isinstance(value, Step):
        return _plain(value.spec())
    if isinstance(value, BaseEstimator):
        return {"method": getattr(value, "name", type(value).__name__)} | settings_of(value)
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "dist") and hasattr(value, "kwds"):  # a distribution of SciPy's
        return [value.dist.name, _plain(value.args), _plain(value.kwds)]
    if callable(value) and hasattr(value, "__qualname__"):  # whose repr is another in each process
        return f"{value.__module__}:{value.__qualname__}"
    return getattr(value, "digest", None) or repr(value)


def row_of(model: Any, scores: Any, label: str | None = None) -> str:
    """The row of a comparison that is of this model: of its settings, or the one that is named.

    Raises
    ------
    InputError
        If the comparison is of another target or positive class, no row has its settings, or
        several have and their seeds do not tell them apart.
    """
    asked = getattr(scores, "task", None)
    if asked is not None and (asked.column or "target") != model.task_.column:
        raise InputError(
            f"this comparison is of {asked.column!r}, the model predicts {model.task_.column!r}: "
            "give the comparison of its own target."
        )
    if asked is not None and asked.positive != model.task_.positive:
        raise InputError(
            f"in this comparison {asked.positive!r} is positive, in the model "
            f"{model.task_.positive!r}: give the comparison of the same positive class."
        )
    if label is not None:
        return label
    found = scores.find(model.identity_, model.seed)
    if len(found) == 1:
        return found[0]
    there = ", ".join(scores.identities)
    if found:
        raise InputError(
            f"{', '.join(found)} all have the settings of this {type(model).__name__}: name the "
            "one whose scores are meant, label='NAME'."
        )
    raise InputError(
        f"no row of this comparison has the settings of this {type(model).__name__} (rows: "
        f"{there}): compare it with these settings, or name the row that is meant, label='NAME'."
    )
