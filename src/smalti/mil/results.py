"""What a fitted method says of instances and bags, as tables for people and for AnnData."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
import pandas as pd

from smalti.bags import Bags
from smalti.core.identity import model_digest, row_of
from smalti.preprocess import Step, spec_text
from smalti.task import Task
from smalti.task.survival import Survival

if TYPE_CHECKING:
    from smalti.scores.table import Scores


class Fitted(Protocol):
    """What these tables ask of a fitted method."""

    name: ClassVar[str]
    reference: ClassVar[str]
    task_: Task
    steps_: list[Step]
    digest_: str
    identity_: str
    seed: int

    def forward(self, X: Any) -> tuple[np.ndarray, dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Raw predictions, and named values of the instances and of the bags.

        (n_bags, n_outputs), then by name (n_instances, ...) and (n_bags, ...).
        """
        ...

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Settings by name."""
        ...


PER_CLASS = ("attention", "contribution", "score")  # attributions that may have a column per class
SIGNED = ("contribution", "score")  # those that speak for a class


def instance_frame(model: Fitted, bags: Bags) -> pd.DataFrame:
    """One row per instance: its bag, and one column per attribution (and class)."""
    frame = pd.DataFrame({"bag": bags.bag.index.to_numpy()[bags.index]},
                         index=bags.instance.index)  # fmt: skip
    for name, values in model.forward(bags)[1].items():
        values = one_score(model, values)
        for column, part in zip(_names(model, name, values.shape[1]), values.T, strict=True):
            frame[column] = part
    return frame


def cell_tables(
    model: Fitted, bags: Bags, n: int | None, key: str
) -> tuple[dict[str, np.ndarray], dict[str, pd.DataFrame]]:
    """Columns of ``obs`` (n,) and tables of ``obsm`` (n, k), in the rows of the user's table.

    ``n`` is the length of that table.
    """
    raw, instance, _ = model.forward(bags)
    obs, obsm = {}, {}
    for name, values in instance.items():
        column, values = f"{key}_{name}", one_score(model, values)
        names = [c.replace("/", "_") for c in _names(model, name, values.shape[1])]  # a slash nests
        if len(names) == 1:
            obs[f"{key}_{names[0]}"] = bags.scatter(values[:, 0], n)
            continue
        columns = [c.removeprefix(f"{name}_") for c in names]
        obsm[column] = pd.DataFrame(bags.scatter(values, n), columns=columns)
        if model.task_.kind == "multiclass" and len(names) == len(model.task_.classes):
            own = values[np.arange(len(values)), raw.argmax(1)[bags.index]]
            obs[column] = bags.scatter(own, n)
    return obs, obsm


def bag_tables(
    model: Fitted, bags: Bags, group: str | None
) -> tuple[np.ndarray, pd.DataFrame, dict[str, Any]]:
    """Embedding, bag table with predictions, and sums of the attributions over groups.

    The embedding is (n_bags, width): raw predictions where the method has none. Tables of
    ``obsm`` have one row per bag.
    """
    raw, instance, bag = model.forward(bags)
    task, obs = model.task_, bags.bag.copy()
    guess = task.decide(raw)
    names = [f"prediction_{c}" for c in task.classes] if guess.ndim == 2 else ["prediction"]
    obs[names] = guess.reshape(len(bags), -1)
    if task.is_classifier:
        obs[[f"p_{c}" for c in task.classes]] = task.probabilities(raw)
    if isinstance(task, Survival):
        obs[task.curve_columns(task.deciles)] = task.curves(raw, task.deciles)
    obs["n_instances"] = bags.lengths
    obsm = {k: v for k, v in bag.items() if k != "embedding" and v.ndim == 2}
    group = group or getattr(model, "group", None)
    if group is not None and group in bags.instance:
        kinds = bags.instance[group].astype(str).to_numpy()
        for name in set(PER_CLASS) & set(instance):
            values = one_score(model, instance[name])
            for column, part in zip(_names(model, name, values.shape[1]), values.T, strict=True):
                sums = pd.crosstab(bags.index, kinds, values=part, aggfunc="sum").fillna(0.0)
                obsm[f"{column}_by_group"] = sums.set_axis(bags.bag.index.astype(str))
    return bag.get("embedding", raw), obs, obsm


def note(model: Fitted, scores: Scores | None = None, label: str | None = None) -> dict[str, Any]:
    """Settings, target, digests and scores, as AnnData can hold them."""
    settings = {k: v for k, v in model.get_params(deep=False).items() if v is not None}
    settings["preprocess"] = spec_text(model.steps_)
    told = {
        "settings": {k: list(v) if isinstance(v, tuple) else str(v) if isinstance(v, dict) else v
                     for k, v in settings.items()},
        "training_digest": model.digest_, "model": model_digest(model),
        "target": str(model.task_.column), "reference": model.reference,
    }  # fmt: skip
    if model.task_.is_classifier:
        told["classes"] = list(map(str, model.task_.classes))
    if model.task_.positive is not None:
        told["positive"] = str(model.task_.positive)
    if scores is None:
        return told
    row = row_of(model, scores, label)
    return told | {"scores": scores.of(row), "scores_of": row}


def one_score(model: Fitted, values: np.ndarray) -> np.ndarray:
    """(n, c) values; of an ordinal task (n, 1): one score moves all thresholds alike."""
    values = values.reshape(len(values), -1)
    task = model.task_
    alike = task.kind == "ordinal" and values.shape[1] == task.n_outputs
    return values[:, :1] if alike else values


def _names(model: Fitted, name: str, width: int) -> list[str]:
    """Names of the columns of an attribution: of the classes that they are for."""
    if width == 1:
        positive = model.task_.positive
        return [name if positive is None or name not in SIGNED else f"{name}_{positive}"]
    each = name in PER_CLASS and width == len(model.task_.classes)
    return [f"{name}_{c}" for c in (model.task_.classes if each else range(width))]
