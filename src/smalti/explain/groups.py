"""Which groups of instances (cell types) carry a prediction: a permutation test."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control

from smalti.bags import Bags
from smalti.core.seen import donor_names
from smalti.errors import InputError
from smalti.explain.training_bags import warn_of_training_bags
from smalti.scores.exchange import Exchange, Tested
from smalti.task import Task


def key_groups(
    model: Any,
    bags: Bags,
    *,
    group: str | None = None,
    n_permutations: int = 999,
    seed: int = 0,
) -> pd.DataFrame:
    """Test whether a group's contribution differs with the target.

    The contributions of the cells of a group are summed in each bag (0 where a bag has none).
    Bags of one donor and one label count once, by their mean. The statistic is the difference
    between a class and the others (for ordered or real targets: the slope) over its standard
    error. Labels are permuted where they are exchangeable: within donors that have several
    labels, between donors that have one. Where there are at most ``n_permutations`` arrangements,
    all of them are looked at.

    Parameters
    ----------
    model
        Fitted method whose attribution has ``contribution``.
    bags
        Bags with the target of the model, and with a donor, or each is taken for one. Ones that
        the model has **not** seen: on training bags the contributions were fitted to these very
        labels, and the p-values are too small; then a warning says so.
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
        ``correlation``), ``p`` (two-sided; (1 + c) / (1 + n) with c of n random permutations at
        least as extreme, or the share of all arrangements), ``least_p`` the smallest p that the
        design can give, ``n_bags`` that have the group, ``q`` the false discovery rate
        (Benjamini-Hochberg). Sorted by p, then by size. NaN for a class that no arrangement can
        test. ``attrs["note"]`` says what was permuted.

    Raises
    ------
    InputError
        Without contributions, group column or target; or if there are so few donors that every p
        would be 1.

    Notes
    -----
    A p is exact where samples are exchangeable as said. It is close where donors differ in their
    number of samples: their means differ in variance, which the standard error allows for (0.06
    for 0.05 in simulations).
    Differences are within donors where donors have several labels; where there are donors of
    either kind, each kind weighs by its precision.

    Examples
    --------
    >>> import smalti as sm
    >>> train, test = (sm.datasets.planted_bags(40, seed=s) for s in (0, 1))
    >>> model = sm.mil.BagMean(progress=False).fit(train)
    >>> table = sm.explain.key_groups(model, test, n_permutations=99)
    >>> table["group"].iloc[0]  # the planted key instances are of type "c"
    'c'
    >>> table.attrs["note"]
    'labels permuted between 40 donors of one label: 99 random arrangements; the smallest possible
    p is 0.01'
    """
    group = group or getattr(model, "group", None) or "cell_type"
    if group not in bags.instance:
        there = ", ".join(map(str, bags.instance.columns)) or "none"
        raise InputError(f"no instance column {group!r}; there are {there}. Name one, group=...")
    if n_permutations < 1:
        raise InputError("n_permutations must be at least 1.")
    if bags.task is None or len(bags.task.truths) > 1:
        raise InputError(
            "key_groups needs a target of one column: name it (label=, target= or y=)."
        )
    given = _contributions(model, bags)
    warn_of_training_bags(model, bags, "their contributions were fitted to these labels, so p is "
                          "too small")  # fmt: skip
    labels = _numbers(model.task_, bags.labels)
    kinds = bags.instance[group].astype(str).to_numpy()
    exchange = Exchange.of(labels, donor_names(bags))
    found, parts = [], []
    for i, (of_class, values) in enumerate(given.items()):
        sums = pd.crosstab(bags.index, kinds, values=values, aggfunc="sum").fillna(0.0)
        y = labels == i if model.task_.kind == "multiclass" else labels
        found.append(exchange.test(sums.to_numpy(), y, n_permutations, seed))
        parts.append(_rows(found[-1], sums.columns, _effect(model.task_), of_class))
    note = _note(exchange.describe(), found, bags.donor is None)
    table = pd.concat(parts, ignore_index=True)
    table["n_bags"] = table["group"].map((pd.crosstab(bags.index, kinds) > 0).sum())
    tested = table["p"].notna()
    table.loc[tested, "q"] = false_discovery_control(table.loc[tested, "p"])
    by_size = table[_effect(model.task_)].abs().sort_values(ascending=False, kind="stable").index
    table = table.loc[by_size].sort_values("p", kind="stable", ignore_index=True)
    table.attrs["note"] = note
    return table


def _contributions(model: Any, bags: Bags) -> dict[str, np.ndarray]:
    """(n_instances,) signed contributions to each class, or ("") to the one number there is."""
    frame = model.attribute(bags)
    columns = [c for c in frame if c == "contribution" or c.startswith("contribution_")]
    if not columns:
        raise InputError(
            f"{model.name} has no signed contributions, only {', '.join(frame.columns[1:])}: "
            "use a method that is additive, such as hier_mil or abmil."
        )
    return {c.removeprefix("contribution").removeprefix("_"): frame[c].to_numpy() for c in columns}


def _numbers(task: Task, labels: np.ndarray) -> np.ndarray:
    """(n_bags,) codes of the classes that the model knows, or values."""
    if task.is_classifier:
        return np.asarray(task.encode(labels), dtype=float)
    try:
        return np.asarray(labels, dtype=float)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"the model predicts numbers ({task.column!r}), the target of these bags is none: give "
            "them the target of the model."
        ) from error


def _effect(task: Task) -> str:
    """What the size of an effect is called."""
    return "difference" if task.kind in ("binary", "multiclass") else "correlation"


def _rows(found: Tested, groups: pd.Index, effect: str, of_class: str) -> pd.DataFrame:
    """One row per group, of a class where there are several."""
    size = found.slope if effect == "difference" else found.correlation
    part = pd.DataFrame({"group": groups, effect: size, "p": found.p, "least_p": found.least})
    if found.least == 1:  # no arrangement differs: nothing was tested
        part[[effect, "p"]] = np.nan
    if of_class:
        part.insert(1, "class", of_class)
    return part


def _note(where: str, found: list[Tested], unnamed: bool) -> str:
    """What was permuted, and the smallest p there can be; a warning where that shows nothing."""
    least = min(test.least for test in found)
    if least == 1:
        raise InputError(
            "too few donors: however their labels are permuted, within donors of several labels "
            "or between donors of one, no arrangement differs from the one there is, and every p "
            "would be 1. Add donors."
        )
    how = {f"all {test.n_arrangements:,}" if test.exact else f"{test.n_arrangements - 1:,} random"
           for test in found if test.least < 1}  # fmt: skip
    note = (
        f"{where}: {' or '.join(sorted(how))} arrangements; the smallest possible p is {least:.3g}"
    )
    if least > 0.05:
        warnings.warn(f"{note}: with so few donors nothing can be shown.", stacklevel=3)
    return note + ("; no donor was named, each bag is taken for one" if unnamed else "")
