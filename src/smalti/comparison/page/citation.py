"""What to cite: BibTeX of just the methods that took part."""

from __future__ import annotations

from typing import Any

from smalti.report.section import Code, Section, Text


def citation(table: Any) -> Section | None:
    """Entries of smalti and of every method of the table, those inside others too."""
    if not table.bibtex:
        return None
    words = "smalti and the papers of these methods; a baseline without a paper is scikit-learn's."
    return Section("citation", "How to cite", (
        Text(words, soft=True), Code("citation.bib", table.bibtex),
    ), folded=True)  # fmt: skip
