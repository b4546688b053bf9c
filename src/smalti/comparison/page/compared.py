"""Section: what was compared, in numbers."""

from __future__ import annotations

from typing import Any

from smalti.report.section import Facts, Section


def compared(table: Any) -> Section:
    """The facts of the table, and its digest."""
    facts = Facts(table.facts() | {"digest": table.digest})
    return Section("compared", "What was compared", (facts,))
