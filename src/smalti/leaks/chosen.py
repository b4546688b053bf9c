"""Features that were chosen by the labels of all donors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.stats import binom

from smalti.leaks.case import Case, check
from smalti.leaks.finding import Finding
from smalti.views import placed

_LEAST = 15  # features, below which nothing can be said
_DRAWS = 199
_NUMBERS = 2**20  # of a table that are widened at a time


@check("chosen by the label")
def chosen(case: Case) -> Iterator[Finding]:
    """Many features, each of which differs between the classes, up as well as down: none is idle.

    Null: the differences of features, in standard errors, are normal around zero, of whatever
    spread: 26 % of them are below half the median. Choosing by the label cuts these off. Beside it
    their median must be one that labels dealt anew do not have.
    """
    n_labels = len(np.unique(case.labels))
    if n_labels != 2 or not case.is_classes or len(case.units) < 10:
        return
    second = case.labels[case.units] == np.unique(case.labels)[1]
    if min(second.sum(), (~second).sum()) < 4:
        return
    for name, table in case.tables.items():
        if table.shape[1] < _LEAST:
            continue
        means = _means(case, table)
        t = _differences(means, second)
        t = t[np.isfinite(t)]
        if len(t) < _LEAST:
            continue
        size, idle = np.abs(t), np.abs(t) < np.median(np.abs(t)) / 2
        up = (t > 0).mean()
        # a shift that all share is no choice
        if not 0.15 < up < 0.85 or binom.cdf(idle.sum(), len(t), 0.26) > 0.01:
            continue
        rng = case.rng
        null = [np.nanmedian(np.abs(_differences(means, rng.permutation(second))))
                for _ in range(_DRAWS)]  # fmt: skip
        if np.median(size) > max(null):
            yield Finding(
                "chosen by the label",
                f"each of the {len(t)} features of {name!r} differs between the classes (median "
                f"{np.median(size):.1f} standard errors; {int(idle.sum())} below half of that): so "
                "do features that were chosen by the labels of all donors.",
                "If they were chosen so, read all features, and choose in each fold "
                "(preprocess='genes=2000').",
                "doubt", {"view": name, "features": len(t), "median": float(np.median(size))},
            )  # fmt: skip


def _means(case: Case, table: Any) -> np.ndarray:
    """(n_units, d) means of the first bag of each donor and label.

    Some rows at a time, for the product widens them.
    """
    bags, of = case.bags, case.bags.index
    found = np.zeros((len(bags), table.shape[1]))
    for start, part in placed(table, max(1, _NUMBERS // table.shape[1])):
        rows = of[start : start + part.shape[0]]
        first, last = int(rows[0]), int(rows[-1]) + 1
        each = sp.csr_matrix((1 / bags.lengths[rows], (rows - first, np.arange(len(rows)))))
        sums = each @ part
        found[first:last] += sums.toarray() if sp.issparse(sums) else sums
    return found[case.units]


def _differences(means: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(d,) difference of two classes in standard errors."""
    one, other = means[~second], means[second]
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.sqrt(one.var(0, ddof=1) / len(one) + other.var(0, ddof=1) / len(other))
        return np.asarray((other.mean(0) - one.mean(0)) / error)
