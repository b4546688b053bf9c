"""What stands at the head of a page that is a notebook: where to take it home, and if it ran."""

from __future__ import annotations

import re
from typing import Any

from written import PARALLEL

TITLE = re.compile(r"^# .+\n", re.M)
NOT_RUN = """
:::{note}
This page reads a real cohort from the folder that `SMALTI_DATA` names. It was not there when these
pages were built, so that its cells are shown without what they give.
:::
"""


def head(app: Any, name: str, source: list[str]) -> None:
    """Below its title a link to the notebook; where it was left out of the run, a note."""
    if not source[0].startswith("---\nfile_format: mystnb"):
        return
    link = f"\n{{nb-download}}`this page as a notebook <{name.rpartition('/')[2]}.ipynb>`\n"
    left_out = f"{name}.md" in app.config.nb_execution_excludepatterns
    source[0] = TITLE.sub(lambda m: m[0] + link + NOT_RUN * left_out, source[0], count=1)


def setup(app: Any) -> dict[str, bool]:
    """Before a page is parsed."""
    app.connect("source-read", head)
    return PARALLEL
