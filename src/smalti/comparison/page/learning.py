"""Section: whether more donors would help."""

from __future__ import annotations

from typing import Any

from smalti.report.section import Drawing, Section, Table, Text
from smalti.scores.metrics import named

_CAPTION = (
    "Fitted again on growing shares of the training donors of each fold, class by class, each "
    "share holding the one before; the same bags test. Bars are 95 % intervals of the procedure "
    "at that number of donors."
)


def learning(table: Any) -> Section | None:
    """The learning curve over donors; None where none was asked for."""
    if table.learning.empty:
        return None
    from smalti.plot import plot_learning

    name = named(table.metrics[0])
    found, words = table.learning_curve(), [f"{w}." for w in table.would_help()]
    drawing = Drawing("learning-curve", plot_learning(found, metric=name),
                      alt=" ".join(words) or f"{name} over the number of training donors.",
                      caption=_CAPTION)  # fmt: skip
    ends = {"low": "value_low", "high": "value_high"}
    columns = ["method", "donors", "value", *ends.values(), "folds"]
    frame = found.rename(columns=ends).assign(donors=found["donors"].round().astype(int))[columns]
    rows = Table("learning", frame, f"Means of {name}.", heads={"value": name})
    return Section("learning", "Would more donors help?", (*map(Text, words), drawing, rows))
