"""Section: settings that were chosen inside the folds, and how hopeful the inner scores were."""

from __future__ import annotations

from typing import Any

import pandas as pd

from smalti.report.section import Drawing, Folded, Part, Section, Table, Text
from smalti.scores.metrics import named

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
    found = _read(table.optimism()).rename(columns={"low": "optimism_low", "high": "optimism_high"})
    hopeful = Table(
        "optimism", found, "Means over the fits. Optimism: by how much the inner score is better, "
        "with the least and the most of a fit. As given: the same method without a search.",
        heads=_HEADS,
    )  # fmt: skip
    often = Table(
        "chosen", table.chosen(), "How often each value was chosen. Where that changes from fold "
        "to fold, these donors are too few to tell the values apart.", heads=_HEADS,
    )  # fmt: skip
    each = Table("searches", _read(table.searches()), "One row for each fit.", heads=_HEADS)
    parts: tuple[Part, ...] = (hopeful, *_drawn(table), often, Folded("Every fit", (each,)))
    why = Text(_WHY, soft=True)
    return Section("search", "Settings chosen inside the folds", (why, *parts))


def _read(frame: pd.DataFrame) -> pd.DataFrame:
    """With the names of metrics as they are read."""
    return frame.assign(metric=frame["metric"].map(named))


def _drawn(table: Any) -> tuple[Drawing, ...]:
    """Outer over inner scores; none where no fit has both."""
    from smalti.plot import plot_searches

    found = table.searches().dropna(subset=["inner", "outer"])
    if found.empty:
        return ()
    worse = int((found["optimism"] > 0).sum())
    alt = f"In {worse} of {len(found)} fits the inner score is better than the outer one."
    caption = "A dot for each fit, a large one for the mean; on the dashed line both are equal."
    return (Drawing("searches-inner-outer", plot_searches(found), alt, caption),)
