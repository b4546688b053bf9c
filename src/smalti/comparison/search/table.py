"""What searches came to: which settings in which fold, and how hopeful their inner scores were."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from smalti.comparison.search.space import as_text
from smalti.scores.headline import signed
from smalti.scores.metrics import LOWER_IS_BETTER, named

COLUMNS = ["method", "repeat", "fold", "metric", "inner", "trials", "failed", "folds", "unit",
           "chosen", "unsearched"]  # fmt: skip


def as_frame(notes: list[dict[str, Any]], unsearched: Mapping[str, str]) -> pd.DataFrame:
    """Notes of fits that chose their settings, one row each.

    Parameters
    ----------
    notes
        As fits left them, with method, repeat and fold.
    unsearched
        Label of a searched method -> that of the row of the same method as it was given.
    """
    rows = [note | {"unsearched": unsearched.get(note["method"], "")} for note in notes]
    return pd.DataFrame(rows, columns=COLUMNS)


def searches(searched: pd.DataFrame, folds: pd.DataFrame) -> pd.DataFrame:
    """Inner and outer score of each fit that chose its settings.

    Parameters
    ----------
    searched
        By :func:`as_frame`.
    folds
        Scores of the table.

    Returns
    -------
    DataFrame
        method, repeat, fold, metric, inner (of the chosen settings, mean over the inner folds),
        outer (of the same fold's test donors), optimism (how much better the inner one is; of a
        loss too), trials, failed, and what was chosen, as text.
    """
    keys = ["method", "repeat", "fold", "metric"]
    outer = folds[[*keys, "value"]].rename(columns={"value": "outer"})
    table = searched.merge(outer, on=keys, how="left")
    sign = np.where(table["metric"].isin(LOWER_IS_BETTER), -1, 1)
    optimism = sign * (table["inner"] - table["outer"])
    chosen = [in_words(found) for found in table["chosen"]]
    out = table.assign(optimism=optimism, chosen=chosen)
    return out[[*keys, "inner", "outer", "optimism", "trials", "failed", "chosen"]]


def optimism(searched: pd.DataFrame, folds: pd.DataFrame) -> pd.DataFrame:
    """By how much the inner score is better than the outer one, per searched method.

    Returns
    -------
    DataFrame
        method, metric, inner, outer, optimism (means over the folds), low and high (the least and
        the most optimism of a fold), fits, and unsearched: the outer mean of the same method as it
        was given.
    """
    rows = []
    for (method, metric), part in searches(searched, folds).groupby(["method", "metric"],
                                                                     sort=False):  # fmt: skip
        rival = searched.loc[searched["method"] == method, "unsearched"].iloc[0]
        there = folds[(folds["method"] == rival) & (folds["metric"] == metric)]
        rows.append({
            "method": method, "metric": metric, **part[["inner", "outer", "optimism"]].mean(),
            "low": part["optimism"].min(), "high": part["optimism"].max(), "fits": len(part),
            "unsearched": there["value"].mean(),
        })  # fmt: skip
    columns = ["method", "metric", "inner", "outer", "optimism", "low", "high", "fits",
               "unsearched"]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def chosen(searched: pd.DataFrame) -> pd.DataFrame:
    """How often each value was chosen: method, setting, value, fits, of."""
    rows = [
        {"method": row["method"], "setting": name, "value": as_text(value)}
        for row in searched.to_dict("records") for name, value in row["chosen"].items()
    ]  # fmt: skip
    if not rows:
        return pd.DataFrame(columns=["method", "setting", "value", "fits", "of"])
    keys = ["method", "setting", "value"]
    table = pd.DataFrame(rows).groupby(keys, sort=False).size().rename("fits").reset_index()
    fits = searched.groupby("method").size()
    table = table.assign(of=table["method"].map(fits))
    order = table.groupby(keys[:2], sort=False).ngroup()
    table = table.assign(order=order).sort_values(["order", "fits"], ascending=[True, False],
                                                  kind="stable")  # fmt: skip
    return table.drop(columns="order").reset_index(drop=True)


def sentences(searched: pd.DataFrame, folds: pd.DataFrame) -> list[str]:
    """What is to be said of each search, without the full stop."""
    return [
        f"{row['method']}: settings that had {named(row['metric'])} {row['inner']:.3f} inside the "
        f"folds have {row['outer']:.3f} on donors who took no part, an optimism of "
        f"{signed(row['optimism'], 3)} (fold by fold {signed(row['low'], 3)} to "
        f"{signed(row['high'], 3)})"
        + ("" if np.isnan(row["unsearched"]) else f"; as given it has {row['unsearched']:.3f}")
        for row in optimism(searched, folds).to_dict("records") if not np.isnan(row["outer"])
    ]  # fmt: skip


def in_words(settings: Mapping[str, Any]) -> str:
    """Settings as text."""
    return ", ".join(f"{k}={as_text(v)}" for k, v in settings.items())


def chosen_of(note: Mapping[str, Any]) -> str:
    """What a fit chose, behind the time that it took; nothing where it did not choose."""
    found = note.get("search")
    if found is None:
        return ""
    settings = ", ".join(f"{k} {as_text(v)}" for k, v in found["chosen"].items())
    return f"; chose {settings} by {named(found['metric'])} {found['inner']:.3f} inside"
