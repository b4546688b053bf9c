"""Two methods, or all, over several data sets."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
import pandas as pd
from scipy import stats

from smalti.errors import InputError
from smalti.scores.metrics import LOWER_IS_BETTER, margin_of
from smalti.scores.table import Scores
from smalti.scores.verdicts import LEVEL, holm, judge

LEAST = 8  # a signed rank test of fewer sets has no p that outlives a correction


def differences_over_sets(
    tables: Mapping[str, Scores], method: str, reference: str, metric: str | None = None
) -> pd.DataFrame:
    """Paired differences of two methods, set by set, as one family.

    Parameters
    ----------
    tables
        Name of a data set -> its comparison.
    method, reference
        Two methods of all of them.
    metric
        Default: the one that the first ranks by.

    Returns
    -------
    DataFrame
        One row per set, for :func:`smalti.plot.plot_forest`: set, method, reference, metric, and
        what :meth:`~smalti.scores.Scores.against` gives; Holm over the sets.

    Raises
    ------
    InputError
        If there is no table, or one lacks a method or the metric.
    """
    metric = metric or _first(tables)
    rows = []
    for name, table in tables.items():
        found = table.against(reference, metric)
        found = found[found["method"] == method]
        if found.empty:
            raise InputError(f"no method {method!r} in the comparison of {name!r}.")
        rows.append(found.assign(set=name))
    told = pd.concat(rows, ignore_index=True)
    told = judge(told, margin=margin_of(metric), lower_is_better=metric in LOWER_IS_BETTER)
    return told[["set", *told.columns.drop("set")]]


def wilcoxon_over_sets(tables: Mapping[str, Scores], metric: str | None = None) -> pd.DataFrame:
    """Every two methods over eight or more data sets: signed rank tests, Holm over the pairs.

    A set counts once, by its mean (Demsar 2006; Benavoli et al. 2016 for the pairs without ranks
    that hang on the other methods).

    Parameters
    ----------
    tables
        Name of a data set -> its comparison.
    metric
        Default: the one that the first ranks by.

    Returns
    -------
    DataFrame
        Per pair of methods that all sets have: method, reference, metric, difference (median over
        the sets), better and worse (sets), p, p_holm and the verdict: better, worse or not told
        apart.

    Raises
    ------
    InputError
        If there are fewer than eight sets.
    """
    if len(tables) < LEAST:
        raise InputError(f"{len(tables)} data sets: a test over sets needs {LEAST} or more.")
    metric = metric or _first(tables)
    down = metric in LOWER_IS_BETTER
    means = pd.DataFrame({
        name: t.summary(metric).set_index("method")["mean"] for name, t in tables.items()
    }).dropna()  # fmt: skip
    rows = []
    for two, one in itertools.combinations(means.index, 2):
        gap = (means.loc[one] - means.loc[two]).to_numpy()
        p = float(stats.wilcoxon(gap).pvalue) if np.abs(gap).max() > 1e-12 else np.nan
        gain = -gap if down else gap
        rows.append({"method": one, "reference": two, "metric": metric,
                     "difference": float(np.median(gap)), "better": int((gain > 0).sum()),
                     "worse": int((gain < 0).sum()), "p": p})  # fmt: skip
    table = pd.DataFrame(rows)
    if table.empty:
        raise InputError("no two methods are in all of these comparisons.")
    table["p_holm"] = holm(table["p"].to_numpy())
    more = np.where(table["better"] > table["worse"], "better", "worse")
    surely = (table["p_holm"] <= LEVEL) & (table["better"] != table["worse"])
    return table.assign(verdict=np.where(surely, more, "not told apart"))


def _first(tables: Mapping[str, Scores]) -> str:
    if not tables:
        raise InputError("no comparison was given.")
    return next(iter(tables.values())).metrics[0]
