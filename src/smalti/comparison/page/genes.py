"""Sections of expression: genes over a slide, genes one by one, and what each Pearson is."""

from __future__ import annotations

from typing import Any

from smalti.report.section import Drawing, Folded, Points, Section, Table
from smalti.scores.headline import decimals
from smalti.scores.metrics import named

_FORMS = {
    "pcc_slide": "of a gene over the tiles of one slide, mean over genes and slides: whether the "
                 "pattern within a tissue is right. Slides that differ as a whole add nothing.",
    "pcc_fold": "of a gene over all test tiles, slides pooled: also whether slides are told "
                "apart, so it is higher where slides differ by stain or batch.",
    "pcc_tile": "of a tile over the genes: high for the mean of training already, since genes "
                "differ in their level everywhere. Read it beside gene_mean.",
    "pcc_slide_beyond_depth": "as the first, once the log of a tile's total count is taken out of "
                              "both sides: what is known beyond how much was measured there.",
    "pcc_slide_chosen": "as the first, of the genes that ridge predicts best when training donors "
                        "are left out in turn: chosen without the test.",
    "pcc_slide_h_optimistic": "as published: the best genes by the test itself, so too high.",
}  # fmt: skip


def genes(table: Any) -> Section | None:
    """Maps of three genes, and all genes in a folded table."""
    parts = [*_maps(table), *_each(table)]
    return Section("genes", "Genes, from the best to the worst", tuple(parts)) if parts else None


def pearson(table: Any) -> Section:
    """What the forms of Pearson of this table are."""
    there = [m for m in _FORMS if m in table.metrics]
    points = tuple(f"{named(m)}: {_FORMS[m]}" for m in there)
    ceiling = table.ceiling["ceiling"].mean()
    if ceiling == ceiling:
        points += (f"The ceiling, {ceiling:.2f}: counts are noisy, so that a perfect prediction of "
                   "the true expression would reach this Pearson within slides, by thinning the "
                   "counts.",)  # fmt: skip
    return Section("pearson", "What each Pearson is", (Points("Pearson correlation", points),))


def _maps(table: Any) -> list[Any]:
    kept = table.maps
    if kept is None:
        return []
    from smalti.plot import plot_gene_maps

    name = kept.slide.bag.index[0]
    which = ("the best", "the median", "the worst")[: len(kept.genes)]
    said = ", ".join(f"{w}, {g}, {decimals(s)}"
                     for w, g, s in zip(which, kept.genes, kept.scores, strict=False))  # fmt: skip
    return [Drawing(
        "gene-maps",
        plot_gene_maps(kept.slide, kept.genes, kept.true, kept.predicted, title=""),
        alt=f"Genes of {kept.method} by Pearson within slides: {said}; measured and predicted "
            f"over slide {name}.",
        caption=f"Slide {name}, that of most tiles, by models of {kept.method} that were not "
                f"fitted on it. Pearson within slides, mean over folds: {said}; r is of this "
                "slide. Measured and predicted have one colour scale a gene, so that a prediction "
                "which spans less is seen to do so.",
    )]  # fmt: skip


def _each(table: Any) -> list[Any]:
    """Genes by the score of the best method, beside their ceiling."""
    names = [m for m in table.ranked()["method"] if m in set(table.genes["method"])]
    if not names:
        return []
    own = table.genes[table.genes["method"] == names[0]]
    numbers = [c for c in ("pcc_slide", "morans_i_measured", "morans_i_predicted") if c in own]
    frame = own.groupby("gene")[numbers].mean()
    frame["ceiling"] = table.ceiling.groupby("gene")["ceiling"].mean()
    frame = frame.sort_values("pcc_slide", ascending=False).reset_index()
    heads = {"pcc_slide": named("pcc_slide"), "morans_i_measured": "Moran's I, measured",
             "morans_i_predicted": "predicted"}  # fmt: skip
    caption = f"Genes by {names[0]}, mean over the folds of the first seed."
    return [Folded(f"All {len(frame):,} genes", (Table("genes", frame, caption, heads=heads),))]
