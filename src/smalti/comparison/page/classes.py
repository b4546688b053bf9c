"""What sections of a task with classes share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from smalti.comparison.protocols import DONORS


def by_class(table: Any, numbers: Callable[[], pd.DataFrame]) -> pd.DataFrame | None:
    """A table per method and class; None of a task without classes, or where it is empty."""
    if not table.task.is_classifier:
        return None
    found = numbers()
    return None if found.empty else found


def single(found: pd.DataFrame) -> tuple[str, pd.DataFrame]:
    """What a table is of, in words, and the table without a column that is always the same."""
    if len(set(found["class"])) > 1:
        return "each class", found
    return f"“{found['class'].iloc[0]}”", found.drop(columns="class")


def ranked(table: Any) -> list[str]:
    """Methods of which no fit failed, best first."""
    table = table.ranked()
    return [str(m) for m in table["method"]]


def in_one_order(table: Any) -> bool:
    """Whether scores of all test bags can be set in one order.

    Of a binary task; not where each donor was left out alone, by models that never met.
    """
    ready = ~table.predictions["method"].isin(table.failed)
    return table.task.kind == "binary" and bool(ready.any()) and table.protocol != DONORS
