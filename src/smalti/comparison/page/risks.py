"""Section: what became of those whose risk was said to be high."""

from __future__ import annotations

from typing import Any

import pandas as pd

from smalti.report.section import Drawing, Note, Section, Table, Text
from smalti.scores.sentences import plain

_HEADS = {"n": "donors", "half_by": "half had it by", "event_free": "without an event",
          "z": "log-rank z"}  # fmt: skip
_CAPTION = (
    "Thirds by the risk that models without the donor gave, as ranks {among}, the mean over "
    "repeats. Without an event: the share at {until}, the median time of events, "
    "with its 95 % interval (Greenwood); – where fewer than half had the event. The log-rank test "
    "is for trend, of one side: curves in the order of the risks. It takes the thirds as given, "
    "but models of the folds share training donors, so its p is not exact: permutations of the "
    "labels test the method."
)


def risks(table: Any) -> Section | None:
    """Kaplan-Meier curves of thirds by risk, with a log-rank test; None of other targets."""
    if table.task.kind != "survival":
        return None
    from smalti.plot import plot_survival

    method = table.leading()
    donors, found = table.risks(method), table.risk_groups(method)
    words, until = _said(method, found), plain(found["until"].iloc[0])
    among = "among all" if table.alone else "within the test fold"
    shown = found.drop(columns="until")
    one_each = "donor" in donors
    heads = _HEADS if one_each else _HEADS | {"n": "bags"}
    drawing = Drawing(
        "risks-curves", plot_survival(donors), alt=words,
        caption=f"Kaplan-Meier curves of thirds by the risk of {method}, donors left out; bands: "
                "95 % intervals; ticks: lost from sight.")  # fmt: skip
    notes = [] if one_each else [Text(
        "Bags of one donor have times of their own: they are counted as if they were donors, which "
        "makes intervals too narrow.", soft=True)]  # fmt: skip
    return Section("risks", "Do those at higher risk have the event earlier?", (
        Text(words), drawing,
        Table("risk-groups", shown, _CAPTION.format(until=until, among=among), heads=heads),
        *notes,
        Note("A cut-off of the risk that is chosen by these curves makes any p meaningless: take "
             "it from training donors, or fix it before.", strong="No cut-off is chosen here."),
    ))  # fmt: skip


def _said(method: str, found: pd.DataFrame) -> str:
    """The finding: when half of each end had the event."""
    if len(found) < 2:
        return f"{method} gives one risk to all: there are no thirds to compare."
    low, high = found.iloc[0], found.iloc[-1]
    p = f"p {found['p'].iloc[0]:.2g}" if found["p"].iloc[0] >= 1e-4 else "p below 0.0001"
    return (
        f"At {plain(high['until'])}, {high['event_free']:.0%} of the third with the highest risks "
        f"by {method} are without an event, and {low['event_free']:.0%} of that with the lowest; "
        f"log-rank {p}."
    )
