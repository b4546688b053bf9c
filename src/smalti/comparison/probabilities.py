"""Probabilities of left-out bags, class by class: calibration, thresholds, net benefit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import stats

from smalti.errors import InputError
from smalti.names import meant
from smalti.scores.decisions import net_benefit, operating_point, pick_threshold
from smalti.scores.delong import delong_interval
from smalti.scores.probabilities import calibration, calibration_curve
from smalti.scores.verdicts import LEVEL, holm

if TYPE_CHECKING:
    from smalti.task import Task


BY_BAG = ("log_loss", "brier")


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
    parts: Iterable[tuple[str, Any, pd.DataFrame]],
    numbers: Callable[[pd.DataFrame], Any],
    of: str = "class",
) -> pd.DataFrame:
    """One row, or rows, of numbers for each method and class of which there are bags and others.

    ``parts`` as :func:`by_class` gives them; ``of`` is what they are called that it gives second.
    """
    frames = []
    for method, c, rows in parts:
        if rows["truth"].nunique() == 2:
            found = numbers(rows)
            frame = pd.DataFrame([found]) if isinstance(found, dict) else found
            frame.insert(0, "method", method)
            frame.insert(1, of, c)
            frames.append(frame)
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def calibrated(rows: pd.DataFrame) -> dict[str, float]:
    """What :func:`~smalti.scores.calibration` says of them."""
    return calibration(rows["truth"], rows["p"], rows["donor"], weight=rows.get("weight"))


def curve(rows: pd.DataFrame) -> pd.DataFrame:
    """What :func:`~smalti.scores.calibration_curve` says of them."""
    return calibration_curve(rows["truth"], rows["p"], rows["donor"], weight=rows.get("weight"))


def of_one_model(rows: pd.DataFrame) -> dict[str, float]:
    """What :func:`~smalti.scores.delong_interval` says of them."""
    return delong_interval(rows["truth"], rows["p"], rows["donor"])


def benefit(
    rows: pd.DataFrame, thresholds: Sequence[float] | None, prevalence: float | None
) -> pd.DataFrame:
    """What :func:`~smalti.scores.net_benefit` says of them."""
    return net_benefit(rows["truth"], rows["p"], thresholds, prevalence=prevalence)


def donor_losses(predictions: pd.DataFrame, task: Task, metric: str) -> pd.DataFrame:
    """(donor by method) mean loss of each donor's left-out bags over all repeats.

    Raises
    ------
    InputError
        If the task has no single class a bag, or the metric is no sum over bags.
    """
    if metric not in BY_BAG:
        raise InputError(f"{metric!r} is not of single bags; {' and '.join(BY_BAG)} are.")
    if not task.is_classifier or task.several:
        raise InputError(f"a {task.kind} target has no probability of one class.")
    p = predictions[[f"p_{c}" for c in task.classes]].to_numpy(float)
    truth = task.encode(predictions["true"].to_numpy())[:, None] == np.arange(p.shape[1])
    if metric == "log_loss":
        loss = -np.log(np.clip(p[truth], 1e-15, 1))
    else:
        loss = ((p - truth) ** 2).sum(1) / (2 if task.kind == "binary" else 1)
    return predictions.assign(loss=loss).pivot_table("loss", "donor", "method", sort=False)


def by_donor(losses: pd.DataFrame, reference: str, draws: int = 9999) -> pd.DataFrame:
    """Sign permutation test of the donors' differences to a reference.

    Raises
    ------
    InputError
        If there is no such method.
    """
    if reference not in losses:
        raise InputError(f"no method {reference!r} in this comparison: {list(losses)}."
                         f"{meant(reference, losses)}")  # fmt: skip
    rows = []
    for method in losses.columns.drop(reference):
        gap = (losses[method] - losses[reference]).dropna().to_numpy()
        found = stats.permutation_test(
            (gap,), np.mean, permutation_type="samples", n_resamples=draws, vectorized=True,
            random_state=0,  # the newer name, rng, is not in SciPy 1.11
        )  # fmt: skip
        rows.append({"method": method, "reference": reference, "difference": gap.mean(),
                     "donors": len(gap), "p": float(found.pvalue)})  # fmt: skip
    table = pd.DataFrame(rows, columns=["method", "reference", "difference", "donors", "p"])
    table["p_holm"] = holm(table["p"].to_numpy())
    surely = table["p_holm"] <= LEVEL
    words = np.where(table["difference"] < 0, "better", "worse")
    return table.assign(verdict=np.where(surely, words, "not told apart"))


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
