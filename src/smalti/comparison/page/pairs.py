"""Section: samples of a donor beside each other."""

from __future__ import annotations

from typing import Any

from smalti.comparison.page.rows import marks
from smalti.report.section import Drawing, Part, Section, Table, Text
from smalti.scores.metrics import named
from smalti.scores.pairs import WITHIN
from smalti.scores.verdicts import LEVEL

_SHOWN = ["method", "donors", "value", "value_low", "value_high", "right", "p_holm", "verdict"]


def pairs(table: Any) -> Section | None:
    """Whether samples of left-out donors are in the right order; None where nobody asked."""
    if table.contrast is None:
        return None
    found = table.within_donors()
    if found.empty:
        return None
    n, least = int(found["donors"].max()), found["least"].min()
    limit = f"With {n} donors no p can be below {least:.2g}" + (
        ", so that no method can be told from chance here." if least > LEVEL else "."
    )
    parts: list[Part] = [Text(limit), *_picture(table)]
    caption = (
        "The share of the pairs of a donor's samples that are in order, a tie counts half; mean "
        "over left-out donors, each once. Interval: over donors, of these models' predictions "
        "(Clopper and Pearson, widened as models share training donors). p: labels change places "
        "within donors, the models stay, and may have learned either direction; by Holm over the "
        "methods, baselines are a family of their own."
    )
    frame = found.drop(columns=["least", "p"]).reindex(columns=_SHOWN)
    heads = {"value": f"{named(WITHIN)} (95 %)", "right": "donors in order throughout",
             "p_holm": "p"}  # fmt: skip
    parts.append(Table("within-donors", frame, caption, heads=heads, marks=marks(table, frame)))
    return Section("pairs", "Samples of a donor beside each other", tuple(parts))


def _picture(table: Any) -> list[Part]:
    """Lines from sample to sample; none of classes without an order."""
    task = table.task
    if task.kind == "multiclass":
        return []
    from smalti.plot import plot_pairs

    score = f"log odds of '{task.positive}'" if task.kind == "binary" else \
        "expected rank" if task.is_classifier else "predicted"  # fmt: skip
    figure = plot_pairs(table.arms(), classes=task.classes if task.is_classifier else (),
                        score=score)  # fmt: skip
    return [Drawing("pairs", figure, alt=f"{table.in_order()[0]}.", caption=f"By "
                    f"{table.leading()}: a line is a donor, left out of the fit; mean over "
                    "repeats.")]  # fmt: skip
