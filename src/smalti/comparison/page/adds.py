"""Section of an integration: what each modality adds, label by label."""

from __future__ import annotations

from typing import Any

from smalti.report.section import Drawing, Section, Table

_HEADS = {"share": "share of the code (95 %)", "found_without": "found without it",
          "gain": "found by it (95 %)"}  # fmt: skip


def adds(table: Any) -> Section | None:
    """Shares of the modalities and what is found by each; None where no method tells."""
    found = table.adds()
    if found.empty:
        return None
    from smalti.plot import plot_contributions

    there = set(found["method"])
    method = next(m for m in table.ranked()["method"] if m in there)
    own = found[found["method"] == method].drop(columns="method").reset_index(drop=True)
    caption = (
        f"Held-out cells, by {method}, mean over the seeds. Share: how far the code moves when the "
        "modality is hidden, of all modalities together. Found: cells that their 15 nearest "
        "training cells label rightly, as they are and with the modality hidden. A modality of "
        "noise moves codes as well, for they keep what helps to reconstruct it: what it adds to "
        "the labels is in the last column, not in the share."
    )
    drawing = Drawing(
        "contributions", plot_contributions(own),
        alt=f"Share of each modality in the code of {method}, by label.",
        caption="A bar is a label, its parts the modalities; what a part is worth, the table says.",
    )  # fmt: skip
    return Section("adds", "What each modality adds",
                   (drawing, Table("adds", own, caption, heads=_HEADS)))  # fmt: skip
