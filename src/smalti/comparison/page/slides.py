"""Section: slides as a model saw them that was not fitted on their donors."""

from __future__ import annotations

from typing import Any

from smalti.bags import Bags
from smalti.report.section import Section


def slides(table: Any, bags: Bags | None, n: int) -> Section | None:
    """Heat maps of a few slides, judged best and misjudged worst; None without the bags."""
    if bags is None:
        return None
    from smalti.comparison.maps import drawings_of_slides

    return Section("slides", "Slides, by models that were not fitted on them",
                   tuple(drawings_of_slides(table, bags, n)))  # fmt: skip
