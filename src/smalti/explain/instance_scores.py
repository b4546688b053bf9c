"""Scores that methods give to instances, and what of a prediction they are held against."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from smalti.mil.results import SIGNED, one_score
from smalti.task import Task

KINDS = ("contribution", "score", "attention", "top_key")
"""Names of attributions that say how much an instance had to do with a prediction."""


def scores_of(model: Any, instance: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Kind -> (n_instances, c) scores, of all that a network says of its instances.

    Parameters
    ----------
    model
        Fitted.
    instance
        Name -> (n_instances, ...), as ``forward`` gives it.
    """
    return {kind: one_score(model, instance[kind]).astype(np.float64)
            for kind in KINDS if kind in instance}  # fmt: skip


_FOLLOWED = {
    "regression": "the predicted value, in standard deviations of training, on that side of their "
    "mean",
    "ordinal": "the predicted share of the scale of grades, on that side of its middle",
    "binomial": "the predicted share of the trials, on that side of a half",
}


def followed_of(task: Task) -> str:
    """What of a prediction curves follow, in words."""
    return _FOLLOWED.get(task.kind, "the probability of that class")


def side_of(kind: str) -> int:
    """What a kind of scores is held against: 0, what is predicted; 1, what is true."""
    return 0 if kind in SIGNED else 1


@dataclasses.dataclass(frozen=True)
class AtHand:
    """Of each bag, the side of its prediction that scores are held against.

    Of classes one of them; of grades and numbers a direction, up or down from the middle of the
    scale (of training).

    Scores with a sign speak for a class, and are held against the one that the model predicts,
    right or wrong. Attention speaks for none, and is held against the true one: of two random
    draws of instances the one that a prediction was made of always looks as if it had mattered.

    Attributes
    ----------
    task
        Of the model.
    column
        (n_bags,) the output that is followed.
    sign
        (n_bags,) 1, or -1 where the prediction is the other class of two, or lies below the middle.
    """

    task: Task
    column: np.ndarray
    sign: np.ndarray

    @classmethod
    def of(cls, task: Task, raw: np.ndarray) -> AtHand:
        """Of predictions (n_bags, n_outputs)."""
        nothing = np.zeros(len(raw), dtype=np.int64)
        if task.kind == "multiclass":
            return cls(task, raw.argmax(1), np.ones(len(raw)))
        middle = 0.0 if _unbounded(task) else 0.5
        return cls(task, nothing, np.where(_level(task, raw) >= middle, 1.0, -1.0))

    @classmethod
    def true(cls, task: Task, labels: np.ndarray, raw: np.ndarray) -> AtHand:
        """Of the labels (n_bags,) of bags; of a label that training lacked the predicted one."""
        own = cls.of(task, raw)
        if len(task.truths) > 1:  # of a censored time nobody knows on which side of a middle it is
            return own
        if not task.is_classifier:
            middle = task.center if task.kind == "regression" else task.trials / 2
            return dataclasses.replace(
                own, sign=np.where(labels.astype(float) >= middle, 1.0, -1.0)
            )
        place = {c: i for i, c in enumerate(task.classes)}
        codes = np.array([place.get(c, -1) for c in labels.tolist()])
        if task.kind == "multiclass":
            return dataclasses.replace(own, column=np.where(codes < 0, own.column, codes))
        above = np.where(codes >= (len(task.classes) - 1) / 2, 1.0, -1.0)
        return dataclasses.replace(own, sign=np.where(codes < 0, own.sign, above))

    def values(self, raw: np.ndarray, bags: np.ndarray | None = None) -> np.ndarray:
        """(k,) how strongly it is predicted.

        A probability; of grades a share of the scale; of numbers standard deviations; of survival
        the risk.

        Parameters
        ----------
        raw
            (k, n_outputs) predictions.
        bags
            (k,) the bag that each is of; all of them in turn where left out.
        """
        bags = np.arange(len(raw)) if bags is None else bags
        if self.task.kind == "multiclass":
            p = self.task.values(torch.as_tensor(raw, dtype=torch.float64)).numpy()
            return p[np.arange(len(raw)), self.column[bags]]
        level, sign = _level(self.task, raw), self.sign[bags]
        return sign * level if _unbounded(self.task) else np.where(
            sign > 0, level, 1 - level
        )  # fmt: skip

    def scores(self, kind: str, values: np.ndarray, index: np.ndarray) -> np.ndarray:
        """(n_instances,) scores that are high where an instance speaks for what is predicted.

        What has no sign (attention) is taken as it is; of several columns that are not of classes
        the mean.

        Parameters
        ----------
        kind
            One of :data:`KINDS`.
        values
            (n_instances, c).
        index
            (n_instances,) the bag of each.
        """
        if values.shape[1] > 1:
            if self.task.kind == "multiclass" and values.shape[1] == len(self.task.classes):
                return values[np.arange(len(values)), self.column[index]]
            return values.mean(1)
        return values[:, 0] * self.sign[index] if kind in SIGNED else values[:, 0]


def _unbounded(task: Task) -> bool:
    """Whether a prediction is a number around 0, not a share."""
    return task.kind == "regression" or (task.kind == "survival" and task.model != "discrete")


def _level(task: Task, raw: np.ndarray) -> np.ndarray:
    """(k,) standardised value; probability of the positive class; share of the scale of grades.

    Of survival the risk: a log hazard, or the share of the time that is lost.
    """
    if task.kind == "survival":
        return task.decide(raw)
    return task.values(torch.as_tensor(raw, dtype=torch.float64)).numpy().mean(1)
