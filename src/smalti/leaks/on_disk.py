"""Tables that are on disk and too large to be looked into: what was not done is said."""

from __future__ import annotations

from collections.abc import Iterator

from smalti.leaks.case import Case, check
from smalti.leaks.finding import Finding
from smalti.views import is_made


@check("not looked into")
def on_disk(case: Case) -> Iterator[Finding]:
    """Cells on disk that the checks of values have not seen."""
    for name, view in case.bags.x.items():
        if is_made(view) and name not in case.tables:
            yield Finding(
                "not looked into",
                f"{name!r} is on disk and too large to be held, so that nobody has looked for "
                "cells that are there twice, nor for steps that were fitted on the whole cohort.",
                "Audit some of the donors in memory, or make sure that what is read is raw.",
                "doubt", {"view": name},
            )  # fmt: skip
