"""Section of an integration: maps of the cells."""

from __future__ import annotations

from typing import Any

from smalti.report.section import Drawing, Section
from smalti.system.extras import absent


def embeddings(table: Any) -> Section | None:
    """A map of each embedding of the first seed; None where umap-learn is not installed."""
    if absent("umap", "integrate") is not None:
        return None
    from smalti.plot import plot_embeddings

    n = len(set(table.labels))
    drawing = Drawing(
        "cells", plot_embeddings(table.embeddings, table.labels),
        alt=f"Maps of {len(table.labels):,} cells by {len(table.embeddings)} embeddings, coloured "
            f"by {n} labels.",
        caption="A dot is a cell in the colour of its label, which no method saw; first seed. Near "
                "is near; far distances and sizes of clouds mean nothing.",
    )  # fmt: skip
    return Section("cells", "Maps of the cells", (drawing,))
