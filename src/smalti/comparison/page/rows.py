"""What sections share: which methods they show, in which order, and what stands beside a name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from smalti.comparison.protocols import DONORS


def marks(table: Any, frame: pd.DataFrame) -> dict[int, str]:
    """Position of a row -> its role, and fits that failed."""
    told = [" ".join(filter(None, [table.role(m), table.lost(m).strip()])) for m in frame["method"]]
    return {i: words for i, words in enumerate(told) if words}


def in_order(table: Any, frame: pd.DataFrame) -> pd.DataFrame:
    """Rows of methods in the order of the scores."""
    place = {m: i for i, m in enumerate(table.summary()["method"].drop_duplicates())}
    order = frame["method"].map(place)
    return frame.iloc[order.argsort(kind="stable")].reset_index(drop=True)


def of_classes(table: Any, numbers: Callable[[], pd.DataFrame]) -> pd.DataFrame | None:
    """A table per method and class; None of a task without classes, or where it is empty."""
    if not table.task.is_classifier:
        return None
    found = numbers()
    return None if found.empty else in_order(table, found)


def of_one_class(found: pd.DataFrame) -> tuple[str, pd.DataFrame]:
    """What a table is of, in words, and the table without a column that is always the same."""
    if len(set(found["class"])) > 1:
        return "each class", found
    return f"“{found['class'].iloc[0]}”", found.drop(columns="class")


def leading(table: Any, most: int = 6) -> list[str]:
    """Methods that a picture shows: the best, and the best baseline."""
    ranked, rival = table.ranked(), table.best_baseline()
    own = [str(m) for m in ranked.loc[~ranked["baseline"], "method"]]
    if not own:
        return [str(m) for m in ranked["method"]][:most]
    return [*own[: most - 1], *([rival] if rival else [])]


def in_one_order(table: Any) -> bool:
    """Whether scores of all test bags can be set in one order.

    Of a binary task; not where each donor was left out alone, by models that never met.
    """
    return table.task.kind == "binary" and table.protocol != DONORS and bool(leading(table))
