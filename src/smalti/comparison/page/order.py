"""The sections of each kind of page, in order; one that has nothing to say returns None."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

from smalti.bags import Bags
from smalti.comparison.page.adds import adds
from smalti.comparison.page.audit import audit
from smalti.comparison.page.batches import batches
from smalti.comparison.page.calibration import calibration
from smalti.comparison.page.cells import cells
from smalti.comparison.page.citation import citation
from smalti.comparison.page.clusters import clusters, halves, mixing
from smalti.comparison.page.cohort import cohort
from smalti.comparison.page.compared import compared
from smalti.comparison.page.curves import curves
from smalti.comparison.page.embeddings import embeddings
from smalti.comparison.page.explanations import explanations
from smalti.comparison.page.features import features
from smalti.comparison.page.genes import genes, pearson
from smalti.comparison.page.groups import groups
from smalti.comparison.page.learning import learning
from smalti.comparison.page.net_benefit import net_benefit
from smalti.comparison.page.pairs import pairs
from smalti.comparison.page.patients import patients
from smalti.comparison.page.risks import risks
from smalti.comparison.page.scores import scores
from smalti.comparison.page.search import search
from smalti.comparison.page.settings import settings
from smalti.comparison.page.slides import slides as of_slides
from smalti.comparison.page.thresholds import thresholds
from smalti.comparison.page.tripod import tripod
from smalti.report.section import Section

Maker: TypeAlias = Callable[[Any], Section | None]


def phenotype(bags: Bags | None = None, n_slides: int = 4, umap: bool = False) -> tuple[Maker, ...]:
    """Of bags to phenotype; with bags also heat maps of a few slides."""
    return (
        cohort,
        scores,
        pairs,
        curves,
        risks,
        calibration,
        thresholds,
        net_benefit,
        groups,
        learning,
        patients,
        partial(cells, umap=umap),
        partial(of_slides, bags=bags, n=n_slides),
        explanations,
        audit,
        compared,
        search,
        settings,
        citation,
        tripod,
    )


INTEGRATION: tuple[Maker, ...] = (
    scores, adds, clusters, halves, mixing, batches, embeddings, audit, compared, settings,
    citation,
)  # fmt: skip
PREDICTION: tuple[Maker, ...] = (scores, features, compared, settings, citation)
EXPRESSION: tuple[Maker, ...] = (
    scores, genes, pearson, audit, compared, search, settings, citation,
)  # fmt: skip


def made(table: Any, makers: tuple[Maker, ...]) -> list[Section]:
    """The sections that have something to say."""
    return [section for make in makers if (section := make(table)) is not None]
