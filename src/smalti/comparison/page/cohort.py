"""Section: who was in."""

from __future__ import annotations

from typing import Any

from smalti.comparison.flow import FITS, said
from smalti.report.section import Drawing, Folded, Part, Section, Table, Text

_FLOW = (
    "Found less all that was left out is what was compared. Where a number is not known (the "
    "donor of a file that no label names) it is not said. What was taken out of the data before "
    "they came here cannot be seen."
)
_COHORT = (
    "Of those compared; {unit}. No p values stand here, as STROBE advises: whether classes differ "
    "is no question of chance where somebody chose who is in, and a difference matters by its size."
)


def cohort(table: Any) -> Section | None:
    """The flow of exclusions and the table of the cohort; None where they were not kept."""
    if table.cohort is None:
        return None
    parts: list[Part] = []
    several = len(table.cohort.bags["part"].unique()) > 1
    if len(table.flow):
        from smalti.plot import plot_flow

        words = f"{said(table.flow)}."
        parts.append(Text(words[:1].upper() + words[1:]))
        fits = "; ".join(table.flow.loc[table.flow["step"] == FITS, "what"])
        for part in dict.fromkeys(table.flow["part"]):
            parts.append(Drawing(
                f"flow-boxes-{part}" if several else "flow-boxes", plot_flow(table.flow, part=part),
                alt=words, caption=f"In a fit: {fits}." if fits else "",
            ))  # fmt: skip
        frame = table.flow if several else table.flow.drop(columns="part")
        parts.append(Folded("The flow in numbers", (Table("flow", frame, _FLOW),)))
    of_donors = "units are donors where each has one value, bags where they differ"
    parts.append(Table("cohort", table.cohort.table(), _COHORT.format(unit=of_donors)))
    return Section("cohort", "Who was in", tuple(parts))
