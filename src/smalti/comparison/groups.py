"""Whether a method works alike in groups of donors: sexes, ages, sites."""

from __future__ import annotations

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype
from scipy import stats

from smalti.comparison.cohort import OWN, Cohort
from smalti.comparison.risks import excess, judged
from smalti.labels import missing
from smalti.scores.intervals import donor_bootstrap, pairs_bootstrap
from smalti.scores.survival import comparable
from smalti.scores.verdicts import LEVEL, holm
from smalti.task import Task

_LEVELS, _SITES = 8, 30  # more are no groups
_LEAST = 3  # donors of a group of which anything is said
_DRAWS = 500


def groupings(cohort: Cohort) -> dict[str, pd.Series]:
    """Column -> the group of each test bag, NaN where it is missing; numbers at their median."""
    bags = cohort.tested.bags.drop_duplicates("bag").set_index("bag")
    found = {}
    for name in (c for c in bags if c == "site" or c not in OWN):
        column, gone = bags[name], missing(bags[name])
        number = is_numeric_dtype(column) and not is_bool_dtype(column)
        if number and column[~gone].nunique() > _LEVELS:
            middle = float(column[~gone].median())
            groups = column.gt(middle).map({True: f"above {middle:.3g}",
                                            False: f"up to {middle:.3g}"})  # fmt: skip
        else:
            groups = column.astype(str)
        groups = groups.mask(gone)
        donors = bags["donor"].groupby(groups).nunique()
        most = _SITES if name == "site" else _LEVELS
        if 1 < len(donors) <= most and (donors >= _LEAST).sum() > 1:
            found[str(name)] = groups
    return found


def by_group(
    predictions: pd.DataFrame, task: Task, groups: dict[str, pd.Series], alone: bool = False
) -> pd.DataFrame:
    """What left-out models are worth in each group of donors.

    Parameters
    ----------
    predictions
        Of one method, in all repeats.
    task
        With one target.
    groups
        Column -> the group of each bag.
    alone
        Whether test folds are single donors.

    Returns
    -------
    DataFrame
        column, group, donors, bags; of two classes events (bags of the positive one), roc_auc
        (pairs of one fold and one group) and excess (mean probability less share of the class); of
        times events, c_index (such pairs too) and excess (the same, of an event by the median time
        of events, weighted against censoring); then loss, the mean over donors (log_loss in nats;
        of numbers the absolute error). Each with the 95 % interval of a bootstrap over donors
        (_low, _high): of these models' predictions; none of a share of 0 or 1. p: that donors of
        the groups of a column have losses of one law (Kruskal-Wallis; each loss less the mean of
        its class); of times, that excesses have one mean (Alexander & Govern 1994: groups at other
        risks spread otherwise). p_holm over the columns, and the verdict: "not alike" where that is
        at most 0.05, else "not told apart".
    """
    if task.kind == "survival":
        rows = judged(predictions, alone)
        rows["apart"] = excess(predictions).round(12)
    else:
        rows = predictions.assign(loss=_losses(predictions, task))
        usual = rows.groupby("true")["loss"].transform("mean") if task.is_classifier else 0.0
        # a group of mostly one class is not another for that
        rows["apart"] = (rows["loss"] - usual).round(12)
    rows["part"] = rows.groupby(["repeat", "fold"]).ngroup()
    out, ps = [], {}
    for column, of in groups.items():
        own = rows.assign(group=rows["bag"].map(of)).dropna(subset=["group"])
        if task.is_classifier and own.groupby("group")["true"].nunique().max() == 1:
            continue  # the column is the class itself
        each = own.groupby(["group", "donor"], sort=True)["apart"].mean()
        parts = [values for _, values in each.groupby("group") if len(values) >= _LEAST]
        ps[column] = _p(parts, task) if len(set(each)) > 1 else np.nan
        for group, part in own.groupby("group", sort=True):
            about = {"column": column, "group": str(group), "donors": part["donor"].nunique(),
                     "bags": part["bag"].nunique()}  # fmt: skip
            out.append(about | _numbers(part, task))
    table = pd.DataFrame(out)
    if table.empty:
        return table
    adjusted = dict(zip(ps, holm(list(ps.values())), strict=True))
    table["p"], table["p_holm"] = table["column"].map(ps), table["column"].map(adjusted)
    apart = table["p_holm"] <= LEVEL
    return table.assign(verdict=np.where(apart, "not alike", "not told apart"))


def _p(parts: list[np.ndarray], task: Task) -> float:
    if task.kind != "survival":
        return float(stats.kruskal(*parts).pvalue)
    known = all(np.ptp(values) > 0 for values in parts)
    return float(stats.alexandergovern(*parts).pvalue) if known and len(parts) > 1 else np.nan


def _losses(rows: pd.DataFrame, task: Task) -> np.ndarray:
    """(n,) what a prediction costs."""
    if not task.is_classifier:
        return np.abs(rows["predicted"].to_numpy(float) - rows["true"].to_numpy(float))
    p = rows[[f"p_{c}" for c in task.classes]].to_numpy(float)
    own = p[np.arange(len(p)), task.encode(rows["true"].to_numpy())]
    return -np.log(np.clip(own, 1e-15, 1))


def _numbers(part: pd.DataFrame, task: Task) -> dict[str, float]:
    found: dict[str, float] = {}
    if task.kind == "survival":
        time, event, entry = (part[c].to_numpy() for c in ("time", "event", "entry"))
        found["events"] = part.loc[event, "bag"].nunique()
        share = pairs_bootstrap(lambda of: comparable(time[of], event[of], entry[of])[0],
                                part["rank"], part["donor"], part["part"])  # fmt: skip
        return found | _share("c_index", share) | _mean("excess", part["apart"].to_numpy(),
                                                        part["donor"])  # fmt: skip
    if task.kind == "binary":
        truth = (part["true"].astype(str) == str(task.positive)).to_numpy()
        p = part[f"p_{task.positive}"].to_numpy(float)
        found["events"] = part.loc[truth, "bag"].nunique()
        found |= _share("roc_auc", donor_bootstrap(truth, p, part["donor"], part["part"]))
        found |= _mean("excess", p - truth, part["donor"])
    return found | _mean("loss", part["loss"].to_numpy(), part["donor"])


def _share(name: str, found: tuple[float, float, float]) -> dict[str, float]:
    value, low, high = found
    if value in (0.0, 1.0):  # of which each sample is the same
        low = high = np.nan
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def _mean(name: str, values: np.ndarray, donors: pd.Series) -> dict[str, float]:
    """The mean over donors, and its bootstrap interval."""
    each = pd.Series(values).groupby(donors.to_numpy()).mean().to_numpy()
    drawn = np.random.default_rng(53).integers(len(each), size=(_DRAWS, len(each)))
    low, high = np.quantile(each[drawn].mean(1), [0.025, 0.975])
    return {name: float(each.mean()), f"{name}_low": float(low), f"{name}_high": float(high)}
