"""Section: donors one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from smalti.comparison.patients import columns_shown, verdict
from smalti.report.section import Drawing, Folded, Part, Section, Table, Text

_TYPES = (
    " Types: the two whose shares are farthest from the median of the other donors of its class, "
    "which stands in brackets; and the bag of another donor with the most similar shares "
    "(Hellinger)."
)
_FIRST = 20  # misjudged ones in the open; all are folded away


def patients(table: Any) -> Section | None:
    """What left-out models said of each bag, the worst judged first; None of several targets."""
    if not table.task.by_itself:
        return None
    method, classes = table.leading(), table.task.is_classifier
    found = table.patients(method)
    words = f"{verdict(found, table.task)}."
    drawing = Drawing(
        "patients-dots", _drawn(table, found), alt=f"{method}: {words}",
        caption=f"By {method}, of models that were not fitted on the donor.{_captions(table)}",
    )  # fmt: skip
    parts: list[Part] = [Text(words), drawing]
    first = _wrong(found) if classes else np.arange(min(_FIRST // 2, len(found)))
    if len(first):
        what = "called wrong" if classes else "farthest off"
        cut = f" {len(first)} of them: the first {_FIRST}." if len(first) > _FIRST else ""
        parts.append(_table(table, "misjudged", found.iloc[first[:_FIRST]],
                            f"Those that are {what}, the worst first.{cut}"))  # fmt: skip
    every = _table(table, "patients", found, f"All that {method} was tested on, the worst first.")
    parts.append(Folded(f"All {len(found):,} bags", (every,)))
    return Section("patients", "Donors one by one", tuple(parts))


def _drawn(table: Any, found: pd.DataFrame) -> Any:
    from smalti.plot import plot_patients, plot_risks

    if table.task.kind == "survival":
        return plot_risks(found)
    positive = table.task.positive if table.task.kind == "binary" else None
    classes = table.task.classes if table.task.is_classifier else ()
    return plot_patients(found, positive=positive, classes=classes)


def _captions(table: Any) -> str:
    if table.task.kind == "survival":
        others = "among all" if table.alone else "in its test fold"
        return (" A dot is a bag, full where its event was seen; its height is the rank of its "
                f"risk {others}, the mean over repeats. Where risks are right, events stand high "
                "at the left, and low at the right.")  # fmt: skip
    return (" A dot is a bag, the mean over repeats; those called wrong are ringed, with their "
            "names in bold." if table.task.is_classifier else "")  # fmt: skip


def _wrong(found: pd.DataFrame) -> np.ndarray:
    """(n,) positions of the rows that are called wrong."""
    return np.flatnonzero(found["predicted"].astype(str) != found["true"].astype(str))


def _table(table: Any, name: str, found: pd.DataFrame, words: str) -> Table:
    heads = columns_shown(found, table.task)
    bold: frozenset[tuple[int, str]] = frozenset()
    frame = found.assign(bag=found["bag"].astype(str))
    if "right" in frame:
        frame["right"] = [
            f"{r} of {t}" for r, t in zip(found["right"], found["times"], strict=True)
        ]
        words += " Called: the class with the largest mean probability"
        words += "; right in so many repeats." if "right" in heads else "."
        bold = frozenset((int(i), "predicted") for i in _wrong(found))
    if table.task.kind == "survival":
        words += (" The residual is that of deviance: above 0 the event came earlier than "
                  "predicted, below 0 later or not at all.")  # fmt: skip
    ends = [f"{c}_{end}" for c in heads for end in ("low", "high") if f"{c}_{end}" in frame]
    ends = ends if found["times"].max() > 1 else []
    return Table(name, frame[[*heads, *ends]], words + (_TYPES if "like" in found else ""),
                 heads=heads, best=bold)  # fmt: skip
