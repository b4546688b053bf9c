"""Section: what makes these scores too good."""

from __future__ import annotations

from typing import Any

from smalti.report.section import Note, Part, Section, Text


def audit(table: Any) -> Section | None:
    """Findings of the audit; None where nobody looked."""
    if table.audit is None:
        return None
    parts: list[Part] = [
        Note(f"{f.words} {f.mend}", strong=f"{f.severity}: {f.kind}.") for f in table.audit
    ]
    if not parts:
        parts = [Text("Nothing was found that makes these scores too good.")]
    parts.append(Text(
        f"Looked for: {', '.join(table.audit.checks)}. A leak makes scores too good; a doubt does, "
        "if it is what it looks like. What was taken out of the data before they came here cannot "
        "be seen.", soft=True))  # fmt: skip
    return Section("audit", "Audit", tuple(parts))
