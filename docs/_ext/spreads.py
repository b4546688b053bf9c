"""A number and its spread stay on one line of a table: 0.880 ± 0.022, (0.869 to 0.992)."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from written import PARALLEL

SPREAD = re.compile(r"(?<=\d) (±|to) (?=[-+−]?\d)")
NO_BREAK = "\u00a0\\1\u00a0"


def keep_together(_app: Any, document: nodes.document) -> None:
    """Spaces of numbers in cells are such as no line is broken at."""
    for entry in document.findall(nodes.entry):
        for text in list(entry.findall(nodes.Text)):
            kept = SPREAD.sub(NO_BREAK, text)
            if kept != text:
                text.parent.replace(text, nodes.Text(kept))


def setup(app: Any) -> dict[str, bool]:
    """Sphinx calls this."""
    app.connect("doctree-read", keep_together)
    return PARALLEL
