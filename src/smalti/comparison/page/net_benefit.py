"""Section: what deciding by a model is worth."""

from __future__ import annotations

from typing import Any

from smalti.comparison.page.rows import in_one_order, leading
from smalti.report.section import Drawing, Section


def net_benefit(table: Any) -> Section | None:
    """Decision curves of a binary task."""
    if not in_one_order(table):
        return None
    from smalti.plot import plot_net_benefit

    curve = table.net_benefit()
    names = leading(table)
    first = next((m for m in names if m in set(curve["method"])), None)
    part = curve[curve["method"] == first]
    above = part["net_benefit"] > part["treat_all"].clip(lower=0)
    share = f"in {above.sum()} of {len(part)} thresholds" if len(part) else "in none"
    drawing = Drawing(
        "net-benefit", plot_net_benefit(curve, methods=names),
        alt=f"Deciding by {first} is worth more than treating everyone or nobody {share}.",
        caption="Found cases per bag, less false alarms weighed by the odds of the threshold. A "
                "method is of use where its curve is above both treating everyone and nobody.",
    )  # fmt: skip
    return Section("net-benefit", "What is deciding by it worth?", (drawing,))
