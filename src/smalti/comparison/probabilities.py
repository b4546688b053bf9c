"""Probabilities of left-out bags, class by class: calibration, thresholds, net benefit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from smalti.errors import InputError
from smalti.scores.decisions import net_benefit, operating_point, pick_threshold
from smalti.scores.probabilities import calibration, calibration_curve

if TYPE_CHECKING:
    from smalti.task import Task


def by_class(predictions: pd.DataFrame, task: Task) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Method, class and rows (repeat, fold, donor, truth, p) of each; one class if binary.

    Raises
    ------
    InputError
        If the task has no classes.
    """
    if not task.is_classifier:
        raise InputError(f"a {task.kind} target has no probabilities of classes.")
    classes = [task.positive] if task.kind == "binary" else list(task.classes)
    for method, part in predictions.groupby("method", sort=False):
        for c in classes:
            if task.kind == "multilabel":
                truth = part[f"true_{c}"].to_numpy(float) > 0
            else:
                truth = task.encode(part["true"].to_numpy()) == list(task.classes).index(c)
            rows = part[["repeat", "fold", "donor"]].assign(truth=truth, p=part[f"p_{c}"])
            yield str(method), str(c), rows


def table_of(
    predictions: pd.DataFrame, task: Task, numbers: Callable[[pd.DataFrame], Any]
) -> pd.DataFrame:
    """One row, or rows, of numbers for each method and class of which there are bags and others."""
    frames = []
    for method, c, rows in by_class(predictions, task):
        if rows["truth"].nunique() == 2:
            found = numbers(rows)
            frame = pd.DataFrame([found]) if isinstance(found, dict) else found
            frame.insert(0, "method", method)
            frame.insert(1, "class", c)
            frames.append(frame)
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def calibrated(rows: pd.DataFrame) -> dict[str, float]:
    """What :func:`~smalti.scores.calibration` says of them."""
    return calibration(rows["truth"], rows["p"], rows["donor"])


def curve(rows: pd.DataFrame) -> pd.DataFrame:
    """What :func:`~smalti.scores.calibration_curve` says of them."""
    return calibration_curve(rows["truth"], rows["p"], rows["donor"])


def benefit(
    rows: pd.DataFrame, thresholds: Sequence[float] | None, prevalence: float | None
) -> pd.DataFrame:
    """What :func:`~smalti.scores.net_benefit` says of them."""
    return net_benefit(rows["truth"], rows["p"], thresholds, prevalence=prevalence)


def decided(
    rows: pd.DataFrame, sensitivity: float | None, prevalence: float | None
) -> dict[str, float]:
    """Calls by thresholds that other donors chose, and what they are worth."""
    called, at = np.zeros(len(rows), bool), []
    folds = rows.groupby(["repeat", "fold"], sort=False).indices
    repeat, donor = rows["repeat"].to_numpy(), rows["donor"].to_numpy()
    truth, p = rows["truth"].to_numpy(bool), rows["p"].to_numpy(float)
    for (r, _), test in folds.items():
        others = (repeat == r) & ~np.isin(donor, donor[test])
        at.append(pick_threshold(truth[others], p[others], sensitivity=sensitivity))
        called[test] = p[test] >= at[-1]
    found = operating_point(truth, called, donor, prevalence=prevalence)
    ends = {"threshold_low": min(at), "threshold_high": max(at)}
    return {"threshold": float(np.median(at))} | ends | found
