"""``Comparison``: what methods score on left-out donors, and what else is said of them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from smalti.bags import Bags
from smalti.comparison.cells import Cells
from smalti.comparison.donor_table import DonorTable
from smalti.comparison.flow import COLUMNS as FLOW
from smalti.comparison.protocols import (
    DONORS,
    EXTERNAL,
    SITES,
    WHOLE,
)
from smalti.explain.explanations import Explanations
from smalti.scores.intervals import measured_coverage
from smalti.scores.metrics import named
from smalti.system.tables import write_table

if TYPE_CHECKING:
    from smalti.report.section import Section
    from smalti.tiles.heatmap import Heatmap

_UNITS = {DONORS: "donors, each left out once", SITES: "sites, each left out once",
          WHOLE: "test folds of whole sites", EXTERNAL: "set of test bags"}  # fmt: skip


@dataclasses.dataclass(kw_only=True, repr=False)
class Comparison(DonorTable):
    """Scores of several methods on the same splits of the donors.

    Attributes
    ----------
    folds, digest, settings, baselines, notes, about, identities, failures, audit
        As in :class:`~smalti.scores.table.Scores`; searched as in ``ScoreTable``.
    predictions, task, protocol, recalibrated
        As in ``ProbabilityTable``; permuted, exchanged, learning and cohort as in ``DonorTable``.
    attributions
        Method -> what its models of the first repeat say of each tile that they were not fitted on:
        bag, fold, attention, contribution_CLASS, ...; the tiles of a bag in their order. With
        ``compare(attributions=True)``.
    explanations
        Whether these attributions mean something (:class:`smalti.explain.Explanations`); None
        without them.
    cells
        A sample of the instances with their scores, and the types of those with high ones. With
        ``compare(attributions=True)``.
    flow
        The way into the comparison: part, step (found, left out, compared, of them, in a fit), what
        in words, donors, bags, instances.
    """

    attributions: dict[str, pd.DataFrame] = dataclasses.field(default_factory=dict)
    explanations: Explanations | None = None
    cells: Cells | None = None
    flow: pd.DataFrame = dataclasses.field(default_factory=lambda: pd.DataFrame(columns=FLOW))

    @property
    def unit(self) -> str:  # type: ignore[override]
        """What the spread is over."""
        return _UNITS.get(self.protocol, "test folds, split by donor")

    @property
    def deed(self) -> tuple[str, str]:  # type: ignore[override]
        """What a method does better than another."""
        if self.task.kind == "binary":
            other, positive = map(str, self.task.classes)
            what = f"{positive} from {other}"
            if positive.isdecimal():  # "tells 1 from 0" says nothing
                what = f"{self.task.column} {what}"
            return f"tells {what}", f", in telling {what}"
        if self.task.kind == "survival":
            return "tells whose event comes earlier", ", in telling whose event comes earlier"
        what = self.task.column if isinstance(self.task.column, str) else "the targets"
        return f"predicts {what}", f", in predicting {what}"

    def _write_into(self, folder: Path) -> None:
        super()._write_into(folder)
        write_table(self.predictions, folder / "predictions.csv")
        if len(self.permuted):
            write_table(self.permuted, folder / "permuted.csv")
        if self.explanations is not None:
            self.explanations.write_into(folder)
        if len(self.learning):
            write_table(self.learning, folder / "learning_curve.csv")
        if self.cohort is not None:
            write_table(self.cohort.describe(), folder / "cohort.csv")
        if self.contrast is not None:
            write_table(self.within_donors(), folder / "within_donors.csv")
        if len(self.flow):
            write_table(self.flow, folder / "flow.csv")

    def facts(self) -> dict[str, str]:
        """The positive class, bags, donors, repeats and the sizes of the folds."""
        folds = self.folds[["repeat", "fold", "n_train", "n_test"]].drop_duplicates()
        n_train, n_test = folds["n_train"], folds["n_test"]
        return (
            self._meaning()
            | {
                "protocol": self.protocol,
                "test bags": f"{self.predictions['bag'].nunique():,}",
                "donors": f"{self.predictions['donor'].nunique():,}",
                "repeats": f"{folds['repeat'].nunique()}",
                "fits per method": f"{len(folds)}",
                "bags per fit": f"{n_train.min():,} to train, {n_test.min():,} to test"
                if n_train.nunique() == n_test.nunique() == 1
                else f"{n_train.min():,} to {n_train.max():,} to train, "
                f"{n_test.min():,} to {n_test.max():,} to test",
            }
            | self._by_chance()
        )

    def _meaning(self) -> dict[str, str]:
        """Which class is positive, or the order of the classes."""
        if self.task.kind == "binary":
            return {"positive class": str(self.task.positive)}
        if self.task.kind == "ordinal":
            return {"order of classes": " < ".join(map(str, self.task.classes))}
        return {}

    def terms(self) -> list[str]:
        """What words and intervals mean, and how often such intervals of an AUROC hold."""
        told = super().terms()
        if self.metrics[0] == "roc_auc":
            told.append(measured_coverage(self.predictions["donor"].nunique()))
        return told

    def said(self) -> list[str]:
        """The headline, what views add, and whether methods are above chance."""
        told, name = [*super().said(), *self.in_order()], named(self.metrics[0])
        for row in [] if self.permuted.empty else self.above_chance().to_dict("records"):
            told.append(
                f"{row['method']} is {row['verdict']}: {name} {row['value']:.3f}, as good in "
                f"{row['reached']} of {row['arrangements']} arrangements of the labels (p "
                f"{row['p_holm']:.2g}; {self.exchanged})"
            )
        told += self.would_help()
        if self.explanations is not None:
            told += self.explanations.said(without=self.baselines)
        return told

    def _by_chance(self) -> dict[str, str]:
        """The same, as a fact of the report."""
        null = self.chance()
        if np.isnan(null["mean"]):
            return {}
        ends = f"nine of ten from {null['low']:.2f} to {null['high']:.2f}"
        each = "donor" if self.contrast is None else "sample"
        name = f"{named(null['metric'])} of random scores, one a {each}"
        return {name: f"{null['mean']:.2f}; {ends}"}

    def heatmap(
        self, bags: Bags, slide: str | None = None, *, method: str | None = None
    ) -> Heatmap:
        """A slide as a model saw it that was not fitted on its donor.

        Parameters
        ----------
        bags
            The bags that were compared, with places of their tiles.
        slide
            Name of the slide, where there are several.
        method
            Whose models; those of the best method that says something of tiles when left out.

        Returns
        -------
        Heatmap
            Of the model of the fold that tests the slide, in the first repeat.

        Raises
        ------
        InputError
            If nothing was kept, there is no such method or slide, or these are other bags.
        """
        from smalti.comparison.maps import out_of_fold

        return out_of_fold(self, bags, slide, method)

    def sections(
        self, *, slides: Bags | None = None, n_slides: int = 4, umap: bool = False
    ) -> list[Section]:
        """What a page of this comparison says, in order (see :mod:`smalti.comparison.page`).

        Parameters
        ----------
        slides
            The bags that were compared, with pictures of their slides: heat maps of a few that the
            model of their fold was not fitted on, those judged best and those misjudged worst, are
            in the report. Of ``compare(attributions=True)``.
        n_slides
            How many, at most.
        umap
            Draw the sample of cells by UMAP (the extra "integrate") and not by their principal
            components; it takes longer than all the rest of the page.

        Raises
        ------
        InputError
            As :meth:`heatmap` does; or if umap-learn is not installed.
        """
        from smalti.comparison.page.order import made, phenotype

        return made(self, phenotype(slides, n_slides, umap))

    def report(
        self, path: str | Path, *, slides: Bags | None = None, n_slides: int = 4,
        umap: bool = False, **kwargs: Any,
    ) -> None:  # fmt: skip
        """Write a one-page HTML report (see :func:`smalti.report.write_report`).

        Parameters
        ----------
        path
            The .html file.
        slides, n_slides, umap
            As of :meth:`sections`.
        **kwargs
            Of :func:`smalti.report.write_report`.

        Raises
        ------
        InputError
            As that function does, and :meth:`heatmap`.
        """
        if slides is not None or umap:
            shown = self.sections(slides=slides, n_slides=n_slides, umap=umap)
            kwargs.setdefault("sections", shown)
        super().report(path, **kwargs)
