"""Which groups of instances (cell types) carry a prediction: a permutation test."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control

from smalti.bags import Bags
from smalti.errors import InputError


def key_groups(
    model: Any,
    bags: Bags,
    *,
    group: str | None = None,
    n_permutations: int = 999,
    seed: int = 0,
) -> pd.DataFrame:
    """Test whether a group's contribution differs with the target.

    The contributions of the cells of a group are summed in each bag (0 where a bag has none); the
    statistic is the difference of their means between a class and the others (for ordered or real
    targets: the correlation with the target). Labels are permuted between donors, all bags of a
    donor together.

    Parameters
    ----------
    model
        Fitted method whose attribution has ``contribution``.
    bags
        Bags with a target, best ones that the model has **not** seen: on training bags the
        contributions were fitted to these very labels, and the p-values are too small.
    group
        Instance column; the model's own ``group``, or "cell_type".
    n_permutations
        Permutations of the labels.
    seed
        Of the permutations.

    Returns
    -------
    DataFrame
        One row per group (and class, if there are more than two): ``difference`` (or
        ``correlation``), ``p`` = (1 + c) / (1 + n) with c permutations at least as extreme
        (two-sided), ``q`` the false discovery rate (Benjamini-Hochberg), ``n_bags`` that have the
        group. Sorted by p, then by size.

    Raises
    ------
    InputError
        Without contributions, group column or target.

    Examples
    --------
    >>> import smalti as sm
    >>> train, test = (sm.datasets.planted_bags(40, seed=s) for s in (0, 1))
    >>> model = sm.mil.BagMean(progress=False).fit(train)
    >>> table = sm.explain.key_groups(model, test, n_permutations=99)
    >>> table["group"].iloc[0]  # the planted key instances are of type "c"
    'c'
    """
    group = group or getattr(model, "group", None) or "cell_type"
    if group not in bags.instance:
        there = ", ".join(map(str, bags.instance.columns)) or "none"
        raise InputError(f"no instance column {group!r}; there are {there}. Name one, group=...")
    if n_permutations < 1:
        raise InputError("n_permutations must be at least 1.")
    task = bags.task
    if task is None or task.several:
        raise InputError("key_groups needs one target: name it (label=, target= or y=).")
    frame = model.attribute(bags)
    columns = [c for c in frame if c == "contribution" or c.startswith("contribution_")]
    if not columns:
        raise InputError(
            f"{model.name} has no signed contributions, only {', '.join(frame.columns[1:])}: "
            "use a method that is additive, such as hier_mil or abmil."
        )
    kinds = bags.instance[group].astype(str).to_numpy()
    has = pd.crosstab(bags.index, kinds) > 0
    target = _targets(task, bags.labels, columns)
    rng = np.random.default_rng(seed)
    donors = np.arange(len(bags)) if bags.donor is None else bags.donors
    orders = [_permuted(donors, rng) for _ in range(n_permutations)]
    rows = []
    for column, y in zip(columns, target.T, strict=True):
        sums = pd.crosstab(bags.index, kinds, values=frame[column].to_numpy(), aggfunc="sum")
        sums = sums.fillna(0.0)
        found = _statistic(sums.to_numpy(), y, task.kind)
        null = np.stack([_statistic(sums.to_numpy(), y[order], task.kind) for order in orders])
        extreme = (np.abs(null) >= np.abs(found) - 1e-12).sum(0)
        name = "difference" if task.is_classifier and task.kind != "ordinal" else "correlation"
        part = pd.DataFrame({
            "group": sums.columns, name: found, "p": (1 + extreme) / (1 + n_permutations),
            "n_bags": has[sums.columns].sum().to_numpy(),
        })  # fmt: skip
        if len(columns) > 1:
            part.insert(1, "class", column.removeprefix("contribution_"))
        rows.append(part)
    table = pd.concat(rows, ignore_index=True)
    table["q"] = false_discovery_control(table["p"])
    by_size = table[name].abs().sort_values(ascending=False, kind="stable").index
    return table.loc[by_size].sort_values("p", kind="stable", ignore_index=True)


def _targets(task: Any, labels: np.ndarray, columns: list[str]) -> np.ndarray:
    """(n_bags, n_columns): whether a bag is of the column's class, or its rank or value."""
    code = np.asarray(task.encode(labels), dtype=float).reshape(len(labels), -1)
    if task.kind == "multiclass":
        return (code == np.arange(len(columns))).astype(float)
    return code[:, :1]


def _permuted(donors: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """For each bag the bag whose label it takes: that of another donor."""
    first = np.unique(donors, return_index=True)[1]
    return first[rng.permutation(len(first))][np.unique(donors, return_inverse=True)[1]]


def _statistic(sums: np.ndarray, y: np.ndarray, kind: str) -> np.ndarray:
    """(n_groups,) difference of means, or correlation."""
    if kind in ("binary", "multiclass"):
        one = y > 0
        if one.all() or not one.any():
            return np.zeros(sums.shape[1])
        return sums[one].mean(0) - sums[~one].mean(0)
    a, b = sums - sums.mean(0), y - y.mean()
    spread = np.sqrt((a**2).sum(0) * (b**2).sum())
    return np.divide(b @ a, spread, out=np.zeros(sums.shape[1]), where=spread > 0)
