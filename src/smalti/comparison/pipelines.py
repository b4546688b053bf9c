"""scikit-learn's pipelines that end in a method: steps, and the method that they are for."""

from __future__ import annotations

from typing import Any

from sklearn.base import clone
from sklearn.pipeline import Pipeline

from smalti.errors import InputError


def last_of(estimator: Any) -> Any:
    """The method in which a pipeline ends; what is no pipeline is itself."""
    return estimator.steps[-1][1] if isinstance(estimator, Pipeline) else estimator


def as_method(estimator: Any) -> Any:
    """A pipeline as its method with the steps before it; what is no pipeline is a clone of itself.

    Raises
    ------
    InputError
        If the method has steps of its own.
    """
    if not isinstance(estimator, Pipeline):
        return clone(estimator)
    *steps, (_, method) = estimator.steps
    if method.preprocess not in (None, "auto"):
        raise InputError("the pipeline's method has a preprocess of its own: name one of them.")
    return clone(method).set_params(preprocess=tuple(step for _, step in steps))
