"""Section: what calls are worth, by thresholds that other donors chose."""

from __future__ import annotations

from typing import Any

from smalti.comparison.page.rows import marks, of_classes, of_one_class
from smalti.report.section import Section, Table

_IDLE = ["threshold_low", "threshold_high", "prevalence", "ppv_low", "ppv_high", "npv_low",
         "npv_high"]  # fmt: skip


def thresholds(table: Any) -> Section | None:
    """Sensitivity, specificity and predictive values; None of a task without classes."""
    found = of_classes(table, table.thresholds)
    if found is None:
        return None
    of, frame = of_one_class(found.drop(columns=_IDLE))
    shares = ", ".join(f"{v:.2f}" for v in sorted(set(found["prevalence"].round(4))))
    caption = (
        f"Calls of {of} by thresholds that were chosen without the donors that are called. PPV and "
        f"NPV, the predictive values, are at a prevalence of {shares}, that of these bags: where "
        "the class is rarer, a positive call is right less often."
    )
    heads = {"ppv": "PPV", "npv": "NPV"}
    shown = Table("thresholds", frame, caption, heads=heads, marks=marks(table, frame))
    return Section("thresholds", "Calls by a threshold", (shown,))
