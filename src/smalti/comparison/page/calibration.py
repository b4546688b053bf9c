"""Section: whether probabilities mean what they say."""

from __future__ import annotations

from typing import Any

import pandas as pd

from smalti.comparison.page.rows import (
    in_one_order,
    in_order,
    leading,
    marks,
    of_classes,
    of_one_class,
)
from smalti.report.section import Drawing, Section, Table, Text
from smalti.scores.sentences import plain

_COLUMNS = ("method", "class", "slope", "slope_low", "slope_high", "intercept", "intercept_low",
            "intercept_high", "brier", "brier_reference", "ece", "ece_perfect")  # fmt: skip
_HEADS = {"brier": "Brier", "brier_reference": "reference", "ece": "ECE",
          "ece_perfect": "if perfect"}  # fmt: skip


def calibration(table: Any) -> Section | None:
    """The calibration table, of a binary task or of times its curve too; None of other tasks."""
    if table.task.kind == "survival":
        return _at_times(table)
    found = of_classes(table, table.calibration)
    if found is None:
        return None
    found = found[[c for c in _COLUMNS if c in found]]
    of, frame = of_one_class(found)
    caption = (
        f"Probabilities of {of} for left-out bags. A slope of 1 and an intercept of 0 are "
        "perfect; a slope below 1 is too sure of itself. The Brier score stands beside its "
        "reference, that of the base rate alone; ECE, the expected calibration error, beside what "
        "it would be of perfect probabilities of so many bags. Intervals are over donors."
    )
    parts: tuple[Any, ...] = (
        Table("calibration", frame, caption, heads=_HEADS, marks=marks(table, frame)),
    )
    if in_one_order(table):
        from smalti.plot import plot_calibration

        curve = table.calibration(curve=True)
        names = leading(table, 3)
        slopes = found.set_index("method")["slope"]
        first = next((m for m in names if m in slopes.index), None)
        alt = "Observed shares over predicted probabilities" + (
            f"; {first} has a slope of {slopes[first]:.2f}, where 1 is perfect." if first else "."
        )
        drawing = Drawing("calibration-curve", plot_calibration(curve, methods=names), alt=alt,
                          caption="A dot is a bin of bags, its bar the 95 % interval of Wilson, n "
                                  "in donors; the dashed line is perfect.")  # fmt: skip
        parts = (drawing, *parts)
    return Section("calibration", "Do probabilities mean what they say?", parts)


def _at_times(table: Any) -> Section | None:
    """Of the probability of an event by a few times."""
    from smalti.plot import plot_survival_calibration

    found = table.calibration()
    if found.empty:
        return None
    found = in_order(table, found)[["time", *(c for c in _COLUMNS if c in found)]]
    frame = found[["method", *found.columns.drop(["method"])]]
    caption = (
        "Probabilities of an event by the quartiles of the times of events, for left-out bags: a "
        "slope of 1 and an intercept of 0 are perfect. Those who were lost from sight before are "
        "left out, and the others weighted for them. The Brier score stands beside its reference, "
        "the share with the event; ECE beside what it would be of perfect probabilities. Intervals "
        "are over donors."
    )
    method = table.leading()
    curve = table.calibration(curve=True)
    curve = curve[curve["method"] == method]
    own = frame[frame["method"] == method]
    parts: tuple[Any, ...] = (
        Table("calibration", frame, caption, heads=_HEADS, marks=marks(table, frame)),
    )
    if len(curve):
        slopes = ", ".join(f"{s:.2f} by {plain(t)}" for t, s in zip(own["time"], own["slope"],
                                                                    strict=True))  # fmt: skip
        drawing = Drawing("calibration-curve", plot_survival_calibration(curve),
                          alt=f"Observed shares with an event over those that {method} predicted; "
                              f"slopes {slopes}, where 1 is perfect.",
                          caption=f"{method}: a dot is a bin of bags, its bar the 95 % interval of "
                                  "Wilson, n in donors; the dashed line is perfect.")  # fmt: skip
        parts = (drawing, *parts)
    return Section("calibration", "Do probabilities mean what they say?",
                   (*_verdict(table, method, own), *parts))  # fmt: skip


def _verdict(table: Any, method: str, own: pd.DataFrame) -> list[Text]:
    """Whether curves are surely off, in a sentence; they often are where a network has overfitted.

    ``own`` is the row of each time.
    """
    bold, off = own[own["slope_high"] < 1], own[own["intercept_low"] > 0]
    off = pd.concat([off, own[own["intercept_high"] < 0]])
    if bold.empty and off.empty:
        return []
    row = (bold if len(bold) else off).iloc[-1].to_dict()
    what = (f"too extreme: a slope of {row['slope']:.2f} (95 % {row['slope_low']:.2f} to "
            f"{row['slope_high']:.2f})" if len(bold) else
            f"too {'low' if row['intercept'] > 0 else 'high'}: an intercept of "
            f"{row['intercept']:.2f} (95 % {row['intercept_low']:.2f} to "
            f"{row['intercept_high']:.2f})")  # fmt: skip
    mend = "" if table.recalibrated else "; or recalibrate them inside each fold, by Cox"
    return [Text(f"Probabilities of an event by {method} are {what} by {plain(row['time'])}. Read "
                 f"the order of its risks, not its curves{mend}.")]  # fmt: skip
