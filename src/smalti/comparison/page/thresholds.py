"""Section: what calls are worth, by thresholds that other donors chose."""

from __future__ import annotations

from typing import Any

from smalti.comparison.page.classes import by_class, single
from smalti.report.section import Section, Table

_IDLE = ["threshold_low", "threshold_high", "prevalence", "ppv_low", "ppv_high", "npv_low",
         "npv_high"]  # fmt: skip


def thresholds(table: Any) -> Section | None:
    """Sensitivity, specificity and predictive values; None of a task without classes."""
    found = by_class(table, table.thresholds)
    if found is None:
        return None
    of, frame = single(found.drop(columns=_IDLE))
    shares = ", ".join(f"{v:.2f}" for v in sorted(set(found["prevalence"].round(4))))
    caption = (
        f"Calls of {of} by thresholds that were chosen without the donors that are called. PPV and "
        f"NPV, the predictive values, are at a prevalence of {shares}, that of these bags: where "
        "the class is rarer, a positive call is right less often."
    )
    heads = {"ppv": "PPV", "npv": "NPV"}
    return Section("thresholds", "Calls by a threshold",
                   (Table("thresholds", frame, caption, heads=heads),))  # fmt: skip
