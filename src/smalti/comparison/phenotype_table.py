"""``Comparison``: what methods score on left-out donors, and what else is said of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from smalti.bags import Bags
from smalti.comparison.cells import Cells
from smalti.comparison.cohort import Cohort
from smalti.comparison.flow import COLUMNS as FLOW
from smalti.comparison.groups import by_group, groupings
from smalti.comparison.learning import COLUMNS as LEARNING
from smalti.comparison.patients import one_by_one
from smalti.comparison.permuted import COLUMNS
from smalti.comparison.phenotype_fit import metrics_of
from smalti.comparison.probabilities import (
    benefit,
    by_donor,
    calibrated,
    decided,
    donor_losses,
    of_one_model,
    table_of,
)
from smalti.comparison.probabilities import curve as points
from smalti.comparison.protocols import (
    DONORS,
    EXTERNAL,
    FOLDS,
    SITES,
)
from smalti.comparison.table import ScoreTable
from smalti.errors import InputError
from smalti.explain.explanations import Explanations
from smalti.scores.chance import BY_RANK, above_chance, chance_scores, truths
from smalti.scores.intervals import measured_coverage
from smalti.scores.learning import learning_means, learning_said
from smalti.scores.metrics import LOWER_IS_BETTER, margin_of, named
from smalti.system.tables import write_table
from smalti.task import Task

if TYPE_CHECKING:
    from smalti.report.section import Section
    from smalti.tiles.heatmap import Heatmap

_UNITS = {DONORS: "donors, each left out once", SITES: "sites, each left out once",
          EXTERNAL: "set of test bags"}  # fmt: skip


@dataclasses.dataclass(kw_only=True)
class Comparison(ScoreTable):
    """Scores of several methods on the same splits of the donors.

    Attributes
    ----------
    folds, digest, settings, baselines, notes, about, identities, failures, audit
        As in :class:`~smalti.scores.table.Scores`; searched as in ``ScoreTable``.
    predictions
        One row per method, repeat, fold and test bag: bag, donor, true, predicted, p_CLASS.
    task
        The task of the whole set.
    protocol
        How bags were parted: "donor folds", "leave-one-donor-out", "leave-one-site-out", "own
        splits" or "external validation".
    attributions
        Method -> what its models of the first repeat say of each tile that they were not fitted on:
        bag, fold, attention, contribution_CLASS, ...; the tiles of a bag in their order. With
        ``compare(attributions=True)``.
    explanations
        Whether these attributions mean something (:class:`smalti.explain.Explanations`); None
        without them.
    permuted
        What methods score with permuted labels: method, arrangement, metric, value (mean over the
        folds). With ``compare(permutations=)``.
    exchanged
        In words, which labels changed places there.
    learning
        Scores on growing shares of the training donors: method, share, donors, repeat, fold,
        metric, value, n_train, n_test. With ``compare(learning_curve=)``.
    cells
        A sample of the instances with their scores, and the types of those with high ones. With
        ``compare(attributions=True)``.
    cohort
        Who was in: a row for each bag, and the types of its instances.
    flow
        The way into the comparison: part, step (found, left out, compared, of them, in a fit), what
        in words, donors, bags, instances.
    """

    predictions: pd.DataFrame
    task: Task
    protocol: str = FOLDS
    attributions: dict[str, pd.DataFrame] = dataclasses.field(default_factory=dict)
    explanations: Explanations | None = None
    permuted: pd.DataFrame = dataclasses.field(
        default_factory=lambda: pd.DataFrame(columns=COLUMNS)
    )
    exchanged: str = ""
    learning: pd.DataFrame = dataclasses.field(
        default_factory=lambda: pd.DataFrame(columns=LEARNING)
    )
    cells: Cells | None = None
    cohort: Cohort | None = None
    flow: pd.DataFrame = dataclasses.field(default_factory=lambda: pd.DataFrame(columns=FLOW))

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metrics of this kind of task, the default one first."""
        return metrics_of(self.task.kind, self.protocol)

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

    def chance(
        self, metric: str | None = None, *, draws: int = 1000, seed: int = 0
    ) -> dict[str, Any]:
        """What these folds give to scores that mean nothing: one random score for each donor.

        A mean inside the range from ``low`` to ``high`` is what nine of ten such scores have, so
        that neither a mean below 0.5 nor one somewhat above says anything.

        Parameters
        ----------
        metric
            "roc_auc" or "spearman"; default: the first of the table's metrics that is one of them.
        draws, seed
            How many random scores, and the seed of them.

        Returns
        -------
        dict
            metric; mean, sd, low and high (5 and 95 %) of its mean over the test folds.

        Raises
        ------
        InputError
            If the metric is another one, or these predictions do not have it.

        Examples
        --------
        >>> import smalti as sm
        >>> bags = sm.datasets.planted_bags(24, seed=0)
        >>> table = sm.compare(["bag_mean"], bags, folds=3, n_jobs=1, progress=False)
        >>> round(table.chance()["mean"], 1)
        0.5
        """
        metric = metric or next(m for m in self.metrics if m in BY_RANK)
        if metric not in self.metrics:
            raise InputError(f"no metric {metric!r} here; there are {', '.join(self.metrics)}.")
        found = self.predictions.drop_duplicates(["repeat", "fold", "bag"])
        means = chance_scores(
            metric, truths(found, self.task, metric), found["donor"].to_numpy(),
            found.groupby(["repeat", "fold"]).ngroup().to_numpy(), draws=draws, seed=seed,
        )  # fmt: skip
        low, high = np.quantile(means, [0.05, 0.95])
        return {"metric": metric, "mean": float(means.mean()), "sd": float(means.std(ddof=1)),
                "low": float(low), "high": float(high)}  # fmt: skip

    def above_chance(self, metric: str | None = None) -> pd.DataFrame:
        """Whether methods find what is not there with permuted labels.

        Parameters
        ----------
        metric
            Default: the one to rank by.

        Returns
        -------
        DataFrame
            As :func:`smalti.scores.above_chance` says, one row per method that was permuted; Holm
            over them.

        Raises
        ------
        InputError
            If nothing was permuted, or there is no such metric.
        """
        if self.permuted.empty:
            raise InputError("no labels were permuted: compare(permutations=20) does it.")
        metric = metric or self.metrics[0]
        found = self.summary(metric).set_index("method")["mean"]
        null = self.permuted[self.permuted["metric"] == metric]
        parts = {str(m): rows["value"].to_numpy() for m, rows in null.groupby("method", sort=False)}
        return above_chance({m: float(found[m]) for m in parts}, parts,
                            lower_is_better=metric in LOWER_IS_BETTER)  # fmt: skip

    def learning_curve(self, metric: str | None = None) -> pd.DataFrame:
        """Means over growing numbers of training donors, with their 95 % intervals.

        Parameters
        ----------
        metric
            Default: the one to rank by.

        Returns
        -------
        DataFrame
            As :func:`smalti.scores.learning_means` gives.

        Raises
        ------
        InputError
            If no such fits were made, or there is no such metric.

        Examples
        --------
        >>> import smalti as sm
        >>> bags = sm.datasets.planted_bags(24, seed=0)
        >>> how = {"folds": 3, "n_jobs": 1, "progress": False}
        >>> table = sm.compare(["bag_mean"], bags, learning_curve=[0.5], **how)
        >>> table.learning_curve()[["share", "donors"]].to_numpy().tolist()
        [[0.5, 8.0], [1.0, 16.0]]
        """
        if self.learning.empty:
            raise InputError("no fits on fewer donors: compare(learning_curve=True) makes them.")
        metric = metric or self.metrics[0]
        self._scores(metric)  # refuses what is no metric
        return learning_means(self.learning, metric, self.freedom(metric))

    def patients(self, method: str | None = None) -> pd.DataFrame:
        """Donors one by one: what models that were not fitted on them said, the worst first.

        Parameters
        ----------
        method
            Of the table; the best candidate when left out.

        Returns
        -------
        DataFrame
            One row per test bag, as :func:`smalti.comparison.patients.one_by_one` says.

        Raises
        ------
        InputError
            If there is no such method, or several targets.

        Examples
        --------
        >>> import smalti as sm
        >>> bags = sm.datasets.planted_bags(24, seed=0)
        >>> table = sm.compare(["bag_mean"], bags, folds=3, n_jobs=1, progress=False)
        >>> list(table.patients()[["bag", "p", "right", "off"]])
        ['bag', 'p', 'right', 'off']
        """
        return one_by_one(self._of(method), self.task, self.cohort)

    def by_group(self, method: str | None = None) -> pd.DataFrame:
        """Whether a method works alike in groups of donors: by site, sex, age and the like.

        Parameters
        ----------
        method
            The best candidate when left out.

        Returns
        -------
        DataFrame
            One row per column that describes the bags and group in it: column, group, donors, bags;
            of two classes events, roc_auc and excess (mean probability less share of the class);
            loss (log loss, or absolute error); each with its interval over donors, and p_holm and
            verdict of each column. Empty where no column parts the donors.

        Raises
        ------
        InputError
            If there is no such method, or bags have several targets.
        """
        own = self._of(method)
        return by_group(own, self.task, {} if self.cohort is None else groupings(self.cohort))

    def _of(self, method: str | None) -> pd.DataFrame:
        """Predictions of one method, the leading one where none is named."""
        if self.task.several:
            raise InputError("bags of several targets are not right or wrong as a whole.")
        method = self.leading() if method is None else method
        own = self.predictions[self.predictions["method"] == method]
        if own.empty:
            there = ", ".join(self.predictions["method"].unique())
            raise InputError(f"no method {method!r} in this comparison; there are {there}.")
        return own

    def leading(self) -> str:
        """The best candidate; the best baseline where there is none."""
        ranked = self.ranked()
        first = ranked[~ranked["baseline"]] if (~ranked["baseline"]).any() else ranked
        there = first["method"] if len(first) else self.predictions["method"]
        return str(there.iloc[0])

    def terms(self) -> list[str]:
        """What words and intervals mean, and how often such intervals of an AUROC hold."""
        told = super().terms()
        if self.metrics[0] == "roc_auc":
            told.append(measured_coverage(self.predictions["donor"].nunique()))
        return told

    def said(self) -> list[str]:
        """The headline, what views add, and whether methods are above chance."""
        told, name = super().said(), named(self.metrics[0])
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

    def would_help(self) -> list[str]:
        """Whether more donors would help, where that was asked."""
        metric = self.metrics[0]
        return [] if self.learning.empty else learning_said(
            self.learning, metric, margin=margin_of(metric), freedom=self.freedom(metric)
        )  # fmt: skip

    def _by_chance(self) -> dict[str, str]:
        """The same, as a fact of the report."""
        null = self.chance()
        if np.isnan(null["mean"]):
            return {}
        ends = f"nine of ten from {null['low']:.2f} to {null['high']:.2f}"
        name = f"{named(null['metric'])} of random scores, one a donor"
        return {name: f"{null['mean']:.2f}; {ends}"}

    def calibration(self, *, curve: bool = False) -> pd.DataFrame:
        """Whether probabilities of left-out bags mean what they say, per method and class.

        Of the models of all folds and repeats together, by :func:`smalti.scores.calibration`:
        slope, intercept, Brier score and log loss with their references, expected calibration error
        beside what it is under perfect calibration. Intervals are over donors, with all repeats of
        a donor together: of these models' predictions, not of the procedure.

        Parameters
        ----------
        curve
            The points of the calibration curve instead.

        Raises
        ------
        InputError
            If the task has no classes.

        Examples
        --------
        >>> import smalti as sm
        >>> bags = sm.datasets.planted_bags(24, seed=0)
        >>> table = sm.compare(["bag_mean"], bags, folds=3, n_jobs=1, progress=False)
        >>> list(table.calibration().columns[:4])
        ['method', 'class', 'slope', 'slope_low']
        """
        return table_of(self._ranked_predictions(), self.task, points if curve else calibrated)

    def thresholds(
        self, *, sensitivity: float | None = None, prevalence: float | None = None
    ) -> pd.DataFrame:
        """What calls are worth, by thresholds chosen without the donors that are called.

        The threshold of a fold is chosen by the left-out bags of the other folds of its repeat: of
        donors that its model was trained on, but as other models saw them that were not. Where
        there are none (one fixed split) it is 0.5.

        Parameters
        ----------
        sensitivity
            The threshold finds so large a share of the class, in training; when left out it is the
            one with the largest sum of sensitivity and specificity.
        prevalence
            Of the class where the model is to be used, for the predictive values; that of these
            bags when left out.

        Returns
        -------
        DataFrame
            Per method and class: the median threshold and its range over folds (threshold_low,
            threshold_high), and what :func:`smalti.scores.operating_point` gives.

        Raises
        ------
        InputError
            If the task has no classes, or a share is not between 0 and 1.
        """
        numbers = partial(decided, sensitivity=sensitivity, prevalence=prevalence)
        return table_of(self._ranked_predictions(), self.task, numbers)

    def net_benefit(
        self, thresholds: Sequence[float] | None = None, *, prevalence: float | None = None
    ) -> pd.DataFrame:
        """Decision curves, per method and class (see :func:`smalti.scores.net_benefit`).

        Parameters
        ----------
        thresholds, prevalence
            As there.

        Raises
        ------
        InputError
            If the task has no classes, or a share is not between 0 and 1.
        """
        return table_of(self._ranked_predictions(), self.task,
                        partial(benefit, thresholds=thresholds, prevalence=prevalence))  # fmt: skip

    def by_donor(self, reference: str, metric: str = "log_loss") -> pd.DataFrame:
        """Losses donor by donor against a reference, by a sign permutation test.

        Where each donor is left out alone there is no AUROC of a fold; and a loss of donors needs
        no folds at all. Of these fitted models on these donors: models share training donors, which
        the test does not know.

        Parameters
        ----------
        reference
            A method of the table.
        metric
            "log_loss" or "brier": the mean over a donor's bags, in all repeats.

        Returns
        -------
        DataFrame
            Per other method: method, reference, difference (mean over the donors; below 0 it is
            better), donors, p, p_holm and the verdict: better, worse or not told apart.

        Raises
        ------
        InputError
            If there is no such method or loss, or a bag has no single class.
        """
        return by_donor(donor_losses(self._ranked_predictions(), self.task, metric), reference)

    def delong(self) -> pd.DataFrame:
        """AUROC of each model on one test set, by DeLong: of these models on new donors.

        Returns
        -------
        DataFrame
            Per method what :func:`smalti.scores.delong_interval` gives.

        Raises
        ------
        InputError
            If there are several test folds, a donor has several bags, or the task is not binary.
        """
        if self.task.kind != "binary" or self.n_fits > 1:
            raise InputError("DeLong is of one model on one test set of a binary target: use a "
                             "fixed split, or another file to test on.")  # fmt: skip
        return table_of(self._ranked_predictions(), self.task, of_one_model)

    def _ranked_predictions(self) -> pd.DataFrame:
        """Predictions of the methods of which no fit failed."""
        return self.predictions[~self.predictions["method"].isin(self.failed)]

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
