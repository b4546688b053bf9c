"""Batch, site, date: what they alone say of the label."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype

from smalti.leaks.case import ALPHA, Case, check
from smalti.leaks.finding import Finding

_DRAWS = 4999
_RESAMPLES = 500
_TECHNICAL = {
    "batch", "site", "center", "centre", "hospital", "run", "plate", "lane", "chip", "pool",
    "library", "date", "chemistry", "platform", "protocol", "technology", "operator", "scanner",
    "stainer", "kit", "sequencer", "machine", "instrument", "study", "dataset", "flowcell",
}  # fmt: skip


@check("confounded")
def confounded(case: Case) -> Iterator[Finding]:
    """Batch, site, date and the like go with the label."""
    if not case.targets or len(case.units) < 8:
        return
    tested = [(n, v) for n, v, _ in case.columns() if technical(n) and len(pd.unique(v)) > 1]
    for name, values in tested:
        part = values.iloc[case.units].reset_index(drop=True)
        p = association(case, part)
        if p > ALPHA / len(tested):
            continue
        found = told(case, part)
        yield Finding(
            "confounded",
            f"{name!r} goes with the label (p = {p:.2g}, labels dealt anew)"
            + (f"; it alone tells the label of donors left out with AUROC {found['auroc']:.2f} "
               f"({found['low']:.2f} to {found['high']:.2f} over donors)" if found else "")
            + ": what methods learn may be that.",
            f"Compare within one {name!r} at a time or leave whole ones out (splits=), and set "
            "every score beside what this column says alone.",
            "doubt", {"column": name, "p": p} | found,
        )  # fmt: skip


def technical(name: str) -> bool:
    """Whether a column is of how bags were made, by its name."""
    return bool(_TECHNICAL & set(re.findall(r"[a-z]+", name.casefold())))


def association(case: Case, values: pd.Series) -> float:
    """How often labels dealt anew to the units go with a column as these do: its p.

    The statistic is the sum of squares of the labels between its values; of numbers with many
    values, the squared product with their ranks.
    """
    y = case.y  # (n_units, k)
    values = _as_dates(values)
    if is_numeric_dtype(values) and values.nunique() > len(values) / 4:
        ranks = values.rank(na_option="bottom").to_numpy(float)
        design = (ranks - ranks.mean())[:, None]
    else:
        design = pd.get_dummies(values.astype(str)).to_numpy(float)
    design /= np.sqrt((design**2).sum(0))
    rng = case.rng
    orders = rng.permuted(np.tile(np.arange(len(y)), (_DRAWS, 1)), axis=1)  # (draws, n_units)
    null = sum(((y[:, k][orders] @ design) ** 2).sum(1) for k in range(y.shape[1]))
    seen = ((design.T @ y) ** 2).sum()
    return float((1 + (null >= seen * (1 - 1e-9)).sum()) / (1 + _DRAWS))


def told(case: Case, values: pd.Series) -> dict[str, float]:
    """AUROC of what a column alone says of units left out, with its interval over donors.

    Each unit is scored by the mean label of the others of its value. Nothing but for two classes.
    """
    y = case.y
    if not case.is_classes or y.shape[1] != 2:
        return {}
    truth = (y[:, 1] > 0).astype(int)
    values = _as_dates(values)
    if is_numeric_dtype(values) and values.nunique() > len(values) / 4:
        score = values.rank(na_option="bottom").to_numpy(float)
    else:
        by = pd.Series(truth).groupby(values.astype(str).to_numpy())
        rest = (truth.sum() - truth) / (len(truth) - 1)  # of all others
        score = (by.transform("sum") - truth + rest) / by.transform("size")
        score = np.asarray(score)
    # (cases, controls): how each pair is ordered; units are drawn by how often they count
    ordered = (np.sign(score[truth == 1][:, None] - score[truth == 0]) + 1) / 2
    if is_numeric_dtype(values) and ordered.mean() < 0.5:
        ordered = 1 - ordered
    times = case.rng.multinomial(len(truth), np.full(len(truth), 1 / len(truth)), _RESAMPLES)
    one, other = times[:, truth == 1], times[:, truth == 0]  # (draws, cases), (draws, controls)
    some = (one.sum(1) > 0) & (other.sum(1) > 0)
    pairs = ((one @ ordered) * other).sum(1)[some] / (one.sum(1) * other.sum(1))[some]
    low, high = np.quantile(pairs, [0.025, 0.975])
    return {"auroc": float(ordered.mean()), "low": float(low), "high": float(high)}


def _as_dates(values: pd.Series) -> pd.Series:
    """Dates as numbers, where every value is one."""
    if is_numeric_dtype(values):
        return values
    text = values.astype(str)
    if not text.str.fullmatch(r"\d{4}-\d{1,2}-\d{1,2}.*").all():
        return values
    return pd.to_datetime(text, errors="coerce").astype("int64").astype(float)
