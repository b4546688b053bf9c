"""Columns, cell types and features that are the label."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from pandas.api.types import is_numeric_dtype

from smalti.leaks.case import ALPHA, Case, check, each_has_one
from smalti.leaks.confounding import association, technical
from smalti.leaks.finding import Finding
from smalti.names import some


@check("column is the label")
def columns(case: Case) -> Iterator[Finding]:
    """Methods that read the target; columns of the bags each value of which has one label."""
    for setting in ("covariates", "group"):
        for label, named in case.settings(setting).items():
            if set(named) & set(case.targets):
                yield Finding(
                    "column is the label",
                    f"{label} reads {some(sorted(set(named) & set(case.targets)))}, the target.",
                    f"Leave it out of {setting}=.", evidence={"method": label},
                )  # fmt: skip
    if not case.targets or len(case.units) < 8:
        return
    read = {c for named in case.settings("covariates").values() for c in named}
    tested = [(n, v) for n, v, own in case.columns() if (own or n in read) and not technical(n)]
    for name, values in tested:
        part = values.iloc[case.units].reset_index(drop=True)
        if not (_is_label(case, part) or (name in read and _sorts(case, part))):
            continue
        p = association(case, part)
        if p <= ALPHA / len(tested):
            yield Finding(
                "column is the label",
                f"column {name!r} tells the label of every bag by itself.",
                f"Do not read it: leave {name!r} out of covariates=. If it is known before the "
                "label is, compare with what it says alone.",
                evidence={"column": name, "p": p},
            )


@check("cell types are the label")
def types(case: Case) -> Iterator[Finding]:
    """Types each of which occurs in donors of one class alone."""
    if not case.targets or not case.is_classes or len(case.units) < 8:
        return
    bags = case.bags
    named = {c for read in case.settings("group").values() for c in read}
    for name in [c for c in bags.instance if c == "cell_type" or c in named]:
        values = bags.instance[name]
        if is_numeric_dtype(values) or name in case.targets:
            continue
        sizes = pd.crosstab(bags.index, values.astype(str).to_numpy()).to_numpy()  # (n_bags, t)
        share, p = _of_one_class(case, sizes)
        if share > 0.9 and p <= ALPHA:
            yield Finding(
                "cell types are the label",
                f"{share:.0%} of the instances have a {name!r} that occurs in one class alone: the "
                "types tell the label.",
                "Name types without regard to the label (cluster and annotate all donors alike), "
                "and leave the label out of their names.",
                evidence={"column": name, "share": share, "p": p},
            )


@check("feature is the label")
def features(case: Case) -> Iterator[Finding]:
    """Features whose values in one class have nothing in common with those in the others."""
    if not case.targets or not case.is_classes or len(case.units) < 8:
        return
    labels = pd.factorize(case.labels)[0]
    if not 2 <= labels.max() + 1 <= 10:
        return
    for name, table in case.tables.items():
        low, high = (_ends(case, table, labels, end) for end in ("min", "max"))  # (classes, d)
        order = np.argsort(low, axis=0)
        low, high = (np.take_along_axis(v, order, 0) for v in (low, high))
        apart = (high[:-1] < low[1:]).all(0)
        if case.bags.lengths.max() == 1:  # a measured feature may part so few: one value a class
            apart &= (low == high).all(0)
        # null: labels dealt to units; so many arrangements are as pure as this one
        counts = np.unique(case.labels[case.units], return_counts=True)[1]
        if apart.any() and np.exp(_log_arrangements(counts)) > table.shape[1] / ALPHA:
            known = case.bags.features.get(name) or [f"number {j}" for j in range(table.shape[1])]
            which = [str(known[j]) for j in np.flatnonzero(apart)]
            yield Finding(
                "feature is the label",
                f"of {name!r}, {some(which)} tells the label of each instance by itself.",
                "Leave the feature out; if it was measured, find out what else went with the "
                "label.", evidence={"view": name, "features": which[:20]},
            )  # fmt: skip


def _is_label(case: Case, values: pd.Series) -> bool:
    """Whether each value has one label, and some value several units."""
    labels = pd.Series(case.labels[case.units])
    codes = values.astype(str).to_numpy()
    if pd.Series(codes).nunique() > len(codes) / 2:
        return not case.is_classes and _sorts(case, values)
    return each_has_one(codes, labels)


def _sorts(case: Case, values: pd.Series) -> bool:
    """Whether numbers are in the order of the labels, with no class between two of another."""
    if not is_numeric_dtype(values) or values.isna().any():
        return False
    labels = pd.Series(case.labels[case.units])
    if not case.is_classes:
        return abs(values.corr(labels.astype(float), method="spearman")) > 0.999
    ends = values.groupby(labels.to_numpy()).agg(["min", "max"]).sort_values("min")
    return bool((ends["max"].to_numpy()[:-1] < ends["min"].to_numpy()[1:]).all())


def _of_one_class(case: Case, sizes: np.ndarray) -> tuple[float, float]:
    """Share of instances whose type is in one class alone; p: labels permuted between units."""
    y = (case.y > 0).astype(float)  # (n_units, classes)
    there = (sizes[case.units] > 0).astype(float)
    weight = sizes.sum(0) / sizes.sum()

    def share(order: np.ndarray) -> float:
        return float(weight @ (((there.T @ y[order]) > 0).sum(1) == 1))

    seen, rng = share(np.arange(len(y))), case.rng
    null = np.array([share(rng.permutation(len(y))) for _ in range(999)])
    return seen, float((1 + (null >= seen).sum()) / 1000)


def _ends(case: Case, table: Any, labels: np.ndarray, end: str) -> np.ndarray:
    """(classes, d) least or largest values of the instances of each class, by the bags' labels."""
    classes = range(labels.max() + 1)
    if sp.issparse(table):
        of = labels[case.bags.index]
        return np.stack([getattr(table[of == k], end)(axis=0).toarray().ravel() for k in classes])
    least = {"min": np.minimum, "max": np.maximum}[end]
    each = least.reduceat(table, case.bags.offsets[:-1], axis=0)  # (n_bags, d)
    return np.stack([least.reduce(each[labels == k]) for k in classes])


def _log_arrangements(counts: np.ndarray) -> float:
    """Logarithm of how many ways labels can be dealt to units."""
    from scipy.special import gammaln

    return float(gammaln(counts.sum() + 1) - gammaln(counts + 1).sum())
