"""Section: cells (or tiles) by score."""

from __future__ import annotations

from typing import Any

import pandas as pd

from smalti.comparison.cells import HIGH, by_donor, over_donors, placed
from smalti.report.section import Drawing, Folded, Part, Section, Table, Text

_NOT = (
    "A score says what a model used, right or wrong; read first whether it predicts at all. These "
    "are means over donors and no test: whether a type is enriched is another question."
)


def cells(table: Any, umap: bool = False) -> Section | None:
    """A sample of instances by score, and the types of the high ones; None where none was kept."""
    found = table.cells
    if found is None:
        return None
    best = [table.leading(), *map(str, table.ranked()["method"]), *found.score]
    method = next(m for m in best if m in found.score)  # that of the donors one by one, if it can
    parts = [*_types(table, method), *_places(table, method, umap), Text(_NOT, soft=True)]
    return Section("cells", "Cells, by models that were not fitted on them", tuple(parts))


def _of(table: Any, method: str) -> str:
    kind, _, of = table.cells.score[method].partition("_")
    return f"{kind} for {of} by {method}" if of else f"{kind} of {method}"


def _types(table: Any, method: str) -> list[Part]:
    own = table.cells.types
    own = own[own["method"] == method]
    if own.empty:
        return []
    from smalti.plot import plot_score_types

    means = over_donors(own)
    order = list(dict.fromkeys(means["type"]))
    classes = [c for c in table.cohort.tested.groups if c in set(own["group"].astype(str))]
    first = means[means["type"] == order[0]].set_index("group").loc[classes].reset_index()
    told = "; ".join(
        f"{row.share_high:.0%} in donors of {row.group} ({row.share:.0%} of all their instances)"
        for row in first.itertuples()
    )
    words = f"“{order[0]}” among the tenth with the highest {_of(table, method)}: {told}."
    drawing = Drawing(
        "types-by-score-dots", alt=words,
        figure=plot_score_types(by_donor(own), types=order, classes=classes),
        caption=f"The {HIGH:.0%} of the instances of a bag with the highest {_of(table, method)}: "
                "how much more of each type there is among them than among all of the bag.",
    )  # fmt: skip
    rows = Table("types-by-score", means, "Means over the donors of a class; higher: donors who "
                 "have more of it among the highest tenth.",
                 heads={"share": "share of all", "share_high": "of the highest tenth"})  # fmt: skip
    return [Text(words), drawing, Folded("Types by score in numbers", (rows,))]


def _places(table: Any, method: str, umap: bool) -> list[Part]:
    sample = table.cells.sample
    at, axes = placed(table.cells, umap=umap)
    if not len(at) or not sample[method].notna().any():
        return []
    from smalti.plot import plot_cells

    types = sample.get("type")
    high = sample[sample[method] > 1 - HIGH]
    alt = f"{len(sample):,} instances by the {_of(table, method)}"
    if types is not None and len(high):
        top = high["type"].value_counts(normalize=True)
        alt += f"; {top.iloc[0]:.0%} of the high ones are {top.index[0]}"
    each = int(pd.Series(sample["donor"]).value_counts().max())
    caption = (
        f"At most {each} instances of each donor, drawn by chance. Scores of models that were not "
        "fitted on the donor, as ranks within the bag, for those of two models or two bags have no "
        "one scale. Far distances mean little."
    )
    figure = plot_cells(at, sample[method], types=types, about=axes)
    return [Drawing("cells-map", figure, alt=f"{alt}.", caption=caption)]
