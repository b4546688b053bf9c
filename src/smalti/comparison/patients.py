"""Donors one by one: what left-out models said of each bag, and what was in it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from smalti.comparison.cohort import Cohort
from smalti.comparison.risks import judged
from smalti.scores.sentences import plain
from smalti.scores.survival import deviance
from smalti.task import Task

_MOST = 2000  # bags of which the types are compared
_OFF = 0.02  # a share of a type that differs by less is not worth a word


def one_by_one(
    predictions: pd.DataFrame, task: Task, cohort: Cohort | None = None, alone: bool = False
) -> pd.DataFrame:
    """One row per test bag, those judged worst first.

    Parameters
    ----------
    predictions
        Of one method, in all repeats.
    task
        With one target.
    cohort
        What is known of the bags.
    alone
        Whether test folds are single donors.

    Returns
    -------
    DataFrame
        bag, donor, true; of classes predicted (that of the mean probability), p (the mean over
        times of the positive class, where there are two; else of the true one), p_low, p_high,
        right (how many times), times, off (1 less the mean probability of the true class); of
        numbers predicted (mean), predicted_low, predicted_high, times, residual, off (its size); of
        times until an event time, event, rank (0 to 1, the highest risk last), rank_low,
        rank_high, times, p_event (while it was watched), residual (deviance: above 0 the event
        came earlier than predicted) and off.
        Then site, instances, and where types are known ``differs`` and ``like``, in words.
    """
    if task.kind == "survival":
        found = _of_times(judged(predictions, alone))
    else:
        found = (_of_classes if task.is_classifier else _of_numbers)(predictions, task)
    found = found.sort_values("off", ascending=False, kind="stable")
    found = found.reset_index(drop=True)
    return found if cohort is None else _with_cohort(found, cohort)


def _of_classes(rows: pd.DataFrame, task: Task) -> pd.DataFrame:
    columns = {str(c): f"p_{c}" for c in task.classes}
    truth = rows["true"].astype(str)
    own = rows[list(columns.values())].to_numpy(float)
    place = {c: i for i, c in enumerate(columns)}
    p_true = own[np.arange(len(rows)), truth.map(place)]
    p = own[:, place[str(task.positive)]] if task.kind == "binary" else p_true
    rows = rows.assign(p=p, p_true=p_true, hit=truth == rows["predicted"].astype(str))
    by = rows.groupby("bag", sort=False)
    found = by.agg(donor=("donor", "first"), true=("true", "first"), p=("p", "mean"),
                   p_low=("p", "min"), p_high=("p", "max"), right=("hit", "sum"),
                   times=("hit", "size"), off=("p_true", "mean"))  # fmt: skip
    mean = by[list(columns.values())].mean().to_numpy()
    found.insert(2, "predicted", [task.classes[i] for i in mean.argmax(1)])
    return found.assign(off=1 - found["off"]).reset_index()


def _of_numbers(rows: pd.DataFrame, task: Task) -> pd.DataFrame:
    by = rows.astype({"true": float, "predicted": float}).groupby("bag", sort=False)
    found = by.agg(donor=("donor", "first"), true=("true", "first"),
                   predicted=("predicted", "mean"),
                   predicted_low=("predicted", "min"), predicted_high=("predicted", "max"),
                   times=("predicted", "size")).reset_index()  # fmt: skip
    residual = found["predicted"] - found["true"]
    return found.assign(residual=residual, off=residual.abs())


def _of_times(rows: pd.DataFrame) -> pd.DataFrame:
    by = rows.groupby("bag", sort=False)
    found = by.agg(donor=("donor", "first"), time=("time", "first"), event=("event", "first"),
                   rank=("rank", "mean"), rank_low=("rank", "min"), rank_high=("rank", "max"),
                   times=("rank", "size"), expected=("expected", "mean")).reset_index()  # fmt: skip
    due = found.pop("expected").to_numpy(float)
    residual = deviance(found["event"].to_numpy(float), due)
    return found.assign(p_event=1 - np.exp(-due), residual=residual, off=np.abs(residual))


def _with_cohort(found: pd.DataFrame, cohort: Cohort) -> pd.DataFrame:
    """Site, size and types of each bag, in the rows of the bags."""
    tested = cohort.tested
    place = pd.Series(np.arange(len(tested.bags)), index=tested.bags["bag"])
    at = place.loc[found["bag"]].to_numpy()
    more = [c for c in ("site", "instances") if c in tested.bags]
    found = found.assign(**{c: tested.bags[c].to_numpy()[at] for c in more})
    few = tested.types.shape[1] < 2 or len(tested.bags["group"].unique()) < 2
    if few or len(tested.bags) > _MOST:  # each bag is held against each other
        return found
    return found.assign(differs=_differences(tested)[at], like=_likeness(tested)[at])


def _differences(cohort: Cohort) -> np.ndarray:
    """(n_bags,) the two types whose shares are farthest from the others of a bag's class."""
    shares, groups, donors = _shares(cohort)
    out = []
    for i, row in enumerate(shares):
        others = (groups == groups[i]) & (donors != donors[i])
        if not others.any():
            out.append("")
            continue
        usual = np.median(shares[others], axis=0)
        gap = row - usual
        far = [j for j in np.argsort(-np.abs(gap))[:2] if abs(gap[j]) >= _OFF]
        words = [f"{cohort.types.columns[j]}: {row[j]:.0%} ({usual[j]:.0%})" for j in far]
        out.append(", ".join(words))
    return np.array(out, dtype=object)


def _likeness(cohort: Cohort) -> np.ndarray:
    """(n_bags,) the bag of another donor with the most similar shares of types, by Hellinger."""
    shares, groups, donors = _shares(cohort)
    roots = np.sqrt(shares)
    far = ((roots[:, None] - roots) ** 2).sum(2)
    far[donors[:, None] == donors] = np.inf
    names = cohort.bags["bag"].astype(str).to_numpy()
    near = far.argmin(1)
    there = np.isfinite(far.min(1))
    words = [f"{names[j]} ({groups[j]})" for j in near]
    return np.where(there, np.array(words, dtype=object), "")


def _shares(cohort: Cohort) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(n_bags, n_types) shares of the types, (n_bags,) classes and donors."""
    counts = cohort.types.to_numpy(float)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    return shares, cohort.bags["group"].astype(str).to_numpy(), cohort.bags["donor"].to_numpy()


def verdict(found: pd.DataFrame, task: Task, unit: str = "bags") -> str:
    """The finding in a sentence: how many are judged wrong, and by whom most surely."""
    n = len(found)
    if task.kind == "survival":
        first = found.iloc[0]
        what = "an event at" if first["event"] else "no event until"
        p = float(np.clip(first["p_event"], 0.01, 0.99))
        given = f"{'below ' if p <= 0.01 else 'above ' if p >= 0.99 else ''}{p:.0%}"
        return (f"Farthest off of {n} {unit} is {first['bag']}: {what} {plain(first['time'])}, "
                f"where an event by then was given {given}")  # fmt: skip
    if not task.is_classifier:
        first = found.iloc[0]
        half = float(np.median(found["off"]))
        return (f"Half of the {n} {unit} are predicted within {half:.3g}; {first['bag']} is "
                f"farthest off ({first['predicted']:.3g}, truly {first['true']:.3g})")  # fmt: skip
    wrong = found[found["predicted"].astype(str) != found["true"].astype(str)]
    if wrong.empty:
        return f"All {n} {unit} are called right by the mean of their probabilities"
    first = wrong.iloc[0]
    return (f"{len(wrong)} of {n} {unit} are called wrong by the mean of their probabilities; most "
            f"surely {first['bag']}, truly {first['true']}")  # fmt: skip


def drawn(found: pd.DataFrame, most: int) -> pd.DataFrame:
    """Rows to draw: all, or the worst and the best half of so many."""
    if len(found) <= most:
        return found
    return pd.concat([found.head(most - most // 3), found.tail(most // 3)])


def columns_shown(found: pd.DataFrame, task: Task) -> dict[str, Any]:
    """Column -> heading, of the table of a page."""
    p = f"p of {task.positive}" if task.kind == "binary" else "p of the true class"
    names = {
        "bag": "bag", "donor": "donor", "site": "site", "true": "true", "predicted": "called",
        "time": "time", "event": "event", "rank": "rank of risk",
        "p_event": "p of an event by then", "p": p,
        "right": "right in", "residual": "residual", "instances": "instances",
        "differs": "types (in its class)", "like": "types most like",
    }  # fmt: skip
    if not found["donor"].duplicated().any():
        names.pop("donor")
    if found["times"].max() < 2:
        names.pop("right")
    if not task.is_classifier:
        names["predicted"] = "predicted"
    return {c: h for c, h in names.items() if c in found}
