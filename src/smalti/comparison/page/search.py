"""Section: settings that were chosen inside the folds, and how hopeful the inner scores were."""

from __future__ import annotations

from typing import Any

from smalti.report.section import Folded, Section, Table, Text

_WHY = (
    "These methods chose their settings anew in every fold, by inner folds of its training donors; "
    "the donors whom it tests took no part. The score of the chosen settings inside is the best of "
    "all that were tried, and so too good; only the outer score is what new donors may expect."
)
_HEADS = {
    "inner": "inner score", "outer": "outer score", "unsearched": "outer score as given",
    "fits": "fits", "of": "of fits",
}  # fmt: skip


def search(table: Any) -> Section | None:
    """Inner against outer score, and how often each value was chosen; None where none was."""
    if table.searched.empty:
        return None
    found = table.optimism().rename(columns={"low": "optimism_low", "high": "optimism_high"})
    hopeful = Table(
        "optimism", found, "Means over the fits. Optimism: by how much the inner score is better, "
        "with the least and the most of a fit. As given: the same method without a search.",
        heads=_HEADS,
    )  # fmt: skip
    often = Table(
        "chosen", table.chosen(), "How often each value was chosen. Where that changes from fold "
        "to fold, these donors are too few to tell the values apart.", heads=_HEADS,
    )  # fmt: skip
    each = Table("searches", table.searches(), "One row for each fit.", heads=_HEADS)
    parts = (Text(_WHY, soft=True), hopeful, often, Folded("Every fit", (each,)))
    return Section("search", "Settings chosen inside the folds", parts)
