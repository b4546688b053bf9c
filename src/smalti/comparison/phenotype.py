"""``compare``: methods on the same folds, with the baselines that everyone should have to beat."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pandas as pd
from pandas.api.types import is_numeric_dtype
from sklearn.pipeline import Pipeline

from smalti.bags import Bags
from smalti.comparison.cache import Answer
from smalti.comparison.lineup import Lineup, line_up
from smalti.comparison.permuted import COLUMNS, check_asked, race_permuted
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
    Protocol,
    external,
    protocol_of,
)
from smalti.comparison.race import Arena, race
from smalti.comparison.splits import Split, split_digest
from smalti.comparison.table import ScoreTable
from smalti.core.registry import methods
from smalti.core.seen import donor_names
from smalti.errors import InputError
from smalti.labels import missing
from smalti.leaks.confounding import technical
from smalti.leaks.run import audit
from smalti.mil.base import Method
from smalti.mil.covariates import Covariates
from smalti.mil.heatmaps import tile_numbers
from smalti.scores.chance import BY_RANK, above_chance, chance_scores, truths
from smalti.scores.intervals import measured_coverage
from smalti.scores.metrics import LOWER_IS_BETTER, METRICS, score
from smalti.system.tables import write_table
from smalti.task import Task

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from smalti.tiles.heatmap import Heatmap

_SHOWN = ("method", "class", "slope", "slope_low", "slope_high", "intercept", "intercept_low",
          "intercept_high", "brier", "brier_reference", "ece", "ece_perfect")  # fmt: skip
Candidate: TypeAlias = str | Method | Pipeline


@dataclasses.dataclass(kw_only=True)
class Comparison(ScoreTable):
    """Scores of several methods on the same splits of the donors.

    Attributes
    ----------
    folds, digest, settings, baselines, notes, about, identities, failures, audit
        As in :class:`~smalti.scores.table.Scores`.
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
    permuted
        What methods score with permuted labels: method, arrangement, metric, value (mean over the
        folds). With ``compare(permutations=)``.
    exchanged
        In words, which labels changed places there.
    """

    predictions: pd.DataFrame
    task: Task
    protocol: str = FOLDS
    attributions: dict[str, pd.DataFrame] = dataclasses.field(default_factory=dict)
    permuted: pd.DataFrame = dataclasses.field(
        default_factory=lambda: pd.DataFrame(columns=COLUMNS)
    )
    exchanged: str = ""

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metrics of this kind of task, the default one first.

        One donor alone has no rank: there the first are those that a single bag has.
        """
        every = METRICS[self.task.kind]
        if self.protocol != DONORS:
            return every
        first = {"log_loss": 0, "brier": 1}
        return tuple(sorted(every, key=lambda m: first.get(m, 2 + (m in _OF_SEVERAL))))

    @property
    def unit(self) -> str:  # type: ignore[override]
        """What the spread is over."""
        return _UNITS.get(self.protocol, "test folds, split by donor")

    def _write_into(self, folder: Path) -> None:
        super()._write_into(folder)
        write_table(self.predictions, folder / "predictions.csv")
        if len(self.permuted):
            write_table(self.permuted, folder / "permuted.csv")

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

    def terms(self) -> list[str]:
        """What words and intervals mean, and how often such intervals of an AUROC hold."""
        told = super().terms()
        if self.metrics[0] == "roc_auc":
            told.append(measured_coverage(self.predictions["donor"].nunique()))
        return told

    def said(self) -> list[str]:
        """The headline, what views add, and whether methods are above chance."""
        told = super().said()
        for row in [] if self.permuted.empty else self.above_chance().to_dict("records"):
            told.append(
                f"{row['method']} is {row['verdict']}: {self.metrics[0]} {row['value']:.3f}, as "
                f"good in {row['reached']} of {row['arrangements']} arrangements of the labels (p "
                f"{row['p_holm']:.2g}; {self.exchanged})"
            )
        return told

    def _by_chance(self) -> dict[str, str]:
        """The same, as a fact of the report."""
        null = self.chance()
        if np.isnan(null["mean"]):
            return {}
        return {f"{null['metric']} of random scores, one a donor": f"{null['mean']:.2f}; nine of "
                f"ten from {null['low']:.2f} to {null['high']:.2f}"}  # fmt: skip

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

    def _areas(self) -> dict[str, float] | None:
        """The AUROC of the table, for one method has one; None where no fold has any."""
        means = self.summary("roc_auc").set_index("method")["mean"].dropna()
        ranked = self._ranked_predictions()["method"].unique()
        return means.to_dict() if set(ranked) <= set(means.index) else None

    def _ranked_predictions(self) -> pd.DataFrame:
        """Predictions of the methods of which no fit failed."""
        return self.predictions[~self.predictions["method"].isin(self.failed)]

    def tables(self) -> dict[str, pd.DataFrame]:
        """Differences; and of classes calibration and thresholds."""
        if not self.task.is_classifier:
            return super().tables()
        found, calls = self.calibration(), self.thresholds()
        if found.empty:
            return super().tables()
        # paper has room for eight columns
        said = ["class"] if len(set(found["class"])) == 1 else []
        of = f"'{found['class'].iloc[0]}'" if said else "each class"
        names = {"brier_reference": "reference", "ece_perfect": "if perfect"}
        shown = found[[c for c in found if c in _SHOWN]].drop(columns=said).rename(columns=names)
        idle = [*said, "threshold_low", "threshold_high", "prevalence", "ppv_low", "ppv_high",
                "npv_low", "npv_high"]  # fmt: skip
        return super().tables() | {
            f"Probabilities of {of}, left-out bags": shown,
            f"Calls of {of}, by thresholds that other donors chose": calls.drop(columns=idle),
        }

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

    def report(
        self, path: str | Path, *, slides: Bags | None = None, n_slides: int = 4, **kwargs: Any
    ) -> None:
        """Write a one-page HTML report (see :func:`smalti.report.write_report`).

        Parameters
        ----------
        path
            The .html file.
        slides
            The bags that were compared, with pictures of their slides: heat maps of a few that the
            model of their fold was not fitted on, those judged best and those misjudged worst, are
            in the report. Of ``compare(attributions=True)``.
        n_slides
            How many, at most.
        **kwargs
            Of :func:`smalti.report.write_report`.

        Raises
        ------
        InputError
            As that function does, and :meth:`heatmap`.
        """
        if slides is not None:
            from smalti.comparison.maps import figures_of_slides

            maps, captions = figures_of_slides(self, slides, n_slides)
            kwargs["figures"] = {**kwargs.get("figures", self.figures()), **maps}
            kwargs["captions"] = {**captions, **kwargs.get("captions", {})}
        super().report(path, **kwargs)

    def figures(self) -> dict[str, Figure]:
        """Scores; of a binary task ROC curves, calibration and net benefit."""
        from smalti.plot import plot_calibration, plot_net_benefit, plot_roc

        figures = super().figures()
        ranked = self._ranked_predictions()
        # scores of models that never met are not put in one order
        if self.task.kind == "binary" and len(ranked) and self.protocol != DONORS:
            best = list(self._ranked(self.metrics[0])["method"])
            figures["ROC curves"] = plot_roc(ranked, areas=self._areas())
            figures["Calibration"] = plot_calibration(self.calibration(curve=True), methods=best)
            figures["Net benefit"] = plot_net_benefit(self.net_benefit(), methods=best)
        return figures


_OF_SEVERAL = ("roc_auc", "average_precision", "balanced_accuracy", "spearman", "pearson", "r2",
               "quadratic_kappa")  # fmt: skip
_UNITS = {DONORS: "donors, each left out once", SITES: "sites, each left out once",
          EXTERNAL: "set of test bags"}  # fmt: skip


def compare(
    candidates: Iterable[Candidate] | Mapping[str, Candidate],
    bags: Bags,
    *,
    folds: int = 5,
    repeats: int = 1,
    seed: int = 0,
    splits: Sequence[Any] | pd.DataFrame | str | Path | None = None,
    test: Bags | None = None,
    views: str | Sequence[str] | None = None,
    preprocess: Any = None,
    n_jobs: int | None = None,
    progress: bool | None = None,
    cache: str | Path | None = None,
    scheduler: str | None = None,
    attributions: bool = False,
    permutations: int | Mapping[str, int] = 0,
) -> Comparison:
    """Fit and score methods on the same splits by donor.

    Parameters
    ----------
    candidates
        Names or instances of methods, or scikit-learn pipelines that end in one; a mapping gives
        them labels of your own. The baselines (majority, bag mean, bag statistics; pseudobulk
        where the features are counts, type means and composition where there is a cell type)
        always run too, one with the covariates that any of the methods reads, and one with the
        columns of the bags alone that say how they were made (batch, site, date).
    bags
        With a target and a donor.
    folds, repeats, seed
        Repeated stratified k-fold grouped by donor. Each fit gets its own seed.
    splits
        Another protocol: "leave-one-donor-out", where AUROC is NaN (one donor has no rank) and
        methods are ranked by log loss; or "leave-one-site-out" (no donor of the site trains). Or
        your own: pairs of training and test positions; a table with the columns ``bag`` (or
        ``donor``) and ``fold``, perhaps ``repeat``; or the name of a column of the bags that holds
        the fold (see :func:`smalti.comparison.given_folds`).
    test
        Bags of another source: methods are fitted once on all of ``bags``, and scored on these
        (external validation). A donor in both is an error.
    views
        Views for all methods that name none of their own, side by side; those that take counts
        alone read the first of them. The first of the bags when left out.
    preprocess
        Steps for all methods that have none of their own, fitted on the training donors of each
        fold: "normalize,log1p,genes=2000,scale,pca=50" (see :mod:`smalti.preprocess`).
    n_jobs
        Worker processes; 1: none, -1: every core, None: as many as make it end sooner.
    progress
        Show a bar; None: on a terminal, elsewhere a line of the log for each fit.
    cache
        Folder that keeps what each fit predicts as it is done; a comparison that was killed goes on
        from it.
    scheduler
        Address of a Dask scheduler, such as tcp://10.0.0.1:8786: its workers fit, on other
        machines (the extra "dask").
    attributions
        Keep what the models of the first repeat say of the tiles that they were not fitted on, for
        :meth:`Comparison.heatmap` and the slides of a report.
    permutations
        Fit the cheapest candidate again with labels in other places, so many times (20 or more),
        or label -> how many: :meth:`Comparison.above_chance`. Labels change places between donors,
        within donors that have several, within sites where there are; folds are dealt anew.

    Returns
    -------
    Comparison

    Raises
    ------
    InputError
        If no donor is named, a candidate is no method, every fit of every method fails, or a donor
        of ``test`` is among the others.

    Examples
    --------
    >>> import smalti as sm
    >>> bags = sm.datasets.planted_bags(24, seed=0)
    >>> table = sm.compare(["mifv"], bags, folds=3, n_jobs=1, progress=False)
    >>> {"mifv", "bag_mean", "majority"} <= set(table.folds["method"])  # baselines always run
    True
    """
    arena, lineup = prepared(
        candidates, bags, folds=folds, repeats=repeats, seed=seed, splits=splits, test=test,
        views=views, preprocess=preprocess, attributions=attributions, permutations=permutations,
    )  # fmt: skip
    protocol = arena.protocol
    outcome = race(arena, lineup, n_jobs=n_jobs, progress=progress, cache=cache,
                   scheduler=scheduler)  # fmt: skip
    split = {(s.repeat, s.fold): s for s in protocol.splits}
    predictions = [
        arena.predictions(split[repeat, fold], answer).assign(method=label)
        for (label, repeat, fold), answer in outcome.answers.items()
    ]
    frame = pd.concat(predictions, ignore_index=True)

    def dealt(other: Bags) -> _Folds:
        parts = protocol_of(other, splits, folds=folds, repeats=repeats, seed=seed)
        return _Folds(other, parts, False, other)

    permuted = (pd.DataFrame(columns=COLUMNS), "") if not permutations else race_permuted(
        permutations, bags, lineup, outcome, dealt, seed=seed, n_jobs=n_jobs, progress=progress,
        cache=cache,
    )  # fmt: skip
    return Comparison(
        **outcome.table(lineup, (*bags.notes, *protocol.notes)), digest=arena.split_digest,
        about=arena.about, task=arena.task, protocol=protocol.name,
        predictions=frame[["method", *frame.columns.drop("method")]],
        attributions=arena.attributed(split, outcome.answers),
        permuted=permuted[0], exchanged=permuted[1],
        audit=audit(bags if views is None else bags.only(views), lineup.methods, seed=seed),
    )  # fmt: skip


def prepared(
    candidates: Any,
    bags: Bags,
    *,
    folds: int = 5,
    repeats: int = 1,
    seed: int = 0,
    splits: Any = None,
    test: Bags | None = None,
    views: Any = None,
    preprocess: Any = None,
    attributions: bool = False,
    permutations: int | Mapping[str, int] = 0,
) -> tuple[_Folds, Lineup]:
    """What a comparison of these arguments fits: its arena, and who takes part.

    Raises
    ------
    InputError
        As :func:`compare` does before the first fit.
    """
    if bags.task is None:
        raise InputError("these bags have no target: name it (label=, target= or y=).")
    if test is not None and splits is not None:
        raise InputError("test= is one split, of training and test: leave splits= out.")
    if test is not None and permutations:
        raise InputError("permutations= deals bags anew, test= says which test: leave one out.")
    protocol = (external(bags, test) if test is not None else
                protocol_of(bags, splits, folds=folds, repeats=repeats, seed=seed))  # fmt: skip
    lineup = line_up(candidates, Method)
    _add_baselines(lineup, bags if views is None else bags.only(views))
    _add_site(lineup, bags, protocol)
    _fit_out(lineup, bags.task, views, preprocess)
    check_asked(permutations, bags, lineup)
    arena = _Folds(bags, protocol, attributions, bags if test is None else test)
    return arena, lineup


def _add_baselines(lineup: Lineup, bags: Bags) -> None:
    """The baselines that can use these bags, and what the covariates alone say."""
    for cls in methods().values():
        reason = cls().unfit_for(bags) if cls.baseline else None
        if reason:
            told = [c for c in bags.instance if not is_numeric_dtype(bags.instance[c])]
            if told or "cell_type" not in reason:  # nothing that could be a type: nothing is amiss
                lineup.notes.append(f"baseline {cls.name} was left out: {reason}.")
        elif cls.baseline:
            lineup.add_control(cls())
    # whoever reads covariates must beat a baseline that reads them too
    read = {c for m in lineup.methods.values() for c in getattr(m, "covariates", ())}
    for cls in methods().values() if read else ():
        if cls.baseline and "covariates" in cls().get_params():
            lineup.add_control(cls().set_params(covariates=tuple(sorted(read))))

    made = tuple(c for c in bags.bag if c not in _named(bags) and technical(str(c))
                 and 1 < len(pd.unique(bags.bag[c])) <= len(bags) / 2
                 and not missing(bags.bag[c]).any())  # fmt: skip
    if made:  # what of the label lies in how the bags were made
        lineup.add_control(Covariates(covariates=made), f"{' + '.join(made)} alone")


def _named(bags: Bags) -> set[Any]:
    """Columns that say what is predicted, of whom and where: a site has a row of its own."""
    target = bags.target if isinstance(bags.target, tuple) else (bags.target,)
    return {*target, bags.donor, bags.site}


def _add_site(lineup: Lineup, bags: Bags, protocol: Protocol) -> None:
    """What the site alone says of the target, where test bags are of sites that trained."""
    if bags.site is None:
        return
    if protocol.name in (SITES, EXTERNAL):
        return  # of a site that it has not seen it knows nothing
    if len(np.unique(bags.sites)) < 2:
        lineup.notes.append(f"all bags are of one {bags.site}, which says nothing of the target.")
        return
    lineup.add_control(Covariates(covariates=(bags.site,)), "site alone")


def _fit_out(lineup: Lineup, task: Task, views: Any, preprocess: Any) -> None:
    """Give views and steps to those without; leave out those that cannot learn this target."""
    read = None if views is None else (views,) if isinstance(views, str) else tuple(views)
    for label, method in list(lineup.methods.items()):
        if read is not None and method.views is None:
            method.set_params(views=read[:1] if method.takes_counts else read)
        if preprocess is not None and method.preprocess is None and not method.takes_counts:
            method.set_params(preprocess=preprocess)
        if method.task and _other_scale(method.task, task.kind):
            lineup.drop(label, f"{label} has task={method.task!r}, the target is {task.kind}: "
                        "left out.")  # fmt: skip
        elif task.kind not in method.kinds:
            lineup.drop(label, f"{label} cannot learn a {task.kind} target and was left out.")


def _other_scale(one: str, two: str) -> bool:
    """Whether predictions of one kind cannot be scored as the other."""
    return one != two and bool({one, two} & {"regression", "multilabel", "binomial"})


class _Folds(Arena):
    """Bags of donors that are left out in turn; a fit answers with its predictions of them."""

    def __init__(self, bags: Bags, protocol: Protocol, attributions: bool, test_bags: Bags) -> None:
        self.bags, self.test_bags, parts = bags, test_bags, protocol.splits
        self.protocol, self.parts, self.alone = protocol, parts, protocol.name == DONORS
        self.first = parts[0].repeat if attributions else None  # the repeat that is kept
        self.split_digest = split_digest(parts, bags, test_bags)
        self.digest = bags.asked_digest  # which knows the kind and the order of the classes
        self.about = repr(bags)
        if test_bags is not bags:
            self.digest += test_bags.asked_digest
            self.about += f"; test: {test_bags!r}"

    @property
    def task(self) -> Task:
        assert self.bags.task is not None
        return self.bags.task

    def splits(self, method: Any) -> list[Split]:
        return self.parts

    def seed(self, method: Any, split: Split) -> int:
        return method.seed + 1000 * split.repeat + split.fold

    def fit(self, method: Any, split: Split) -> Answer:
        """Predicted values, or codes of classes; and probabilities of the classes of all bags."""
        model = method.fit(self.bags[split.train])
        test = self.test_bags[split.test]
        raw = model.forward(test)[0]
        predicted = model.task_.decide(raw)
        answer = Answer({"predicted": predicted})
        if split.repeat == self.first:
            values = tile_numbers(model, test)
            answer.note["attributions"] = list(map(str, values))
            answer.arrays["attributions"] = values.to_numpy(np.float32)
        if not self.task.is_classifier:
            return answer
        place = {c: i for i, c in enumerate(self.task.classes)}
        if self.task.kind != "multilabel":
            predicted = np.array([place[c] for c in predicted], dtype=np.int64)
        p = model.task_.probabilities(raw)
        # a class that training lacked has probability 0
        whole = np.zeros((len(p), len(place)), dtype=p.dtype)
        whole[:, [place[c] for c in model.task_.classes]] = p
        answer.arrays |= {"predicted": predicted, "p": whole}
        return answer

    def key(self, method: Any, split: Split) -> str:
        return "attributions" if split.repeat == self.first else ""

    def score(self, method: Any, split: Split, answer: Answer) -> dict[str, float]:
        truth = self.test_bags[split.test].labels
        found = score(self.task, truth, self._decided(answer), answer.arrays.get("p"))
        return found | {m: np.nan for m in found if self.alone and m in _OF_SEVERAL}

    def _decided(self, answer: Answer) -> np.ndarray:
        """Predicted classes as the user has them, or values."""
        predicted = answer.arrays["predicted"]
        if not self.task.is_classifier or self.task.kind == "multilabel":
            return predicted
        return np.asarray(self.task.classes)[predicted]

    def predictions(self, split: Split, answer: Answer) -> pd.DataFrame:
        """One row per test bag: whose it is, what is true of it, what was predicted."""
        test, task = self.test_bags[split.test], self.task
        frame = pd.DataFrame({
            "repeat": split.repeat, "fold": split.fold, "bag": test.bag.index,
            "donor": donor_names(test),
        } | ({} if test.site is None else {"site": test.bag[test.site].to_numpy()}))  # fmt: skip
        for what, values in (("true", test.labels), ("predicted", self._decided(answer))):
            names = [f"{what}_{c}" for c in task.classes] if task.several else [what]
            frame[names] = values.reshape(len(test), -1)
        if "p" in answer.arrays:
            frame[[f"p_{c}" for c in task.classes]] = answer.arrays["p"]
        return frame

    def attributed(
        self, split: dict[tuple[int, int], Split], answers: dict[tuple[str, int, int], Answer]
    ) -> dict[str, pd.DataFrame]:
        """Method -> what its models of the first repeat say of the tiles they were tested on."""
        parts: dict[str, list[pd.DataFrame]] = {}
        for (label, repeat, fold), answer in answers.items():
            columns = answer.note.get("attributions") if repeat == self.first else None
            if columns:
                test = self.test_bags[split[repeat, fold].test]
                frame = pd.DataFrame(answer.arrays["attributions"], columns=columns)
                frame.insert(0, "bag", test.bag.index.to_numpy()[test.index])
                parts.setdefault(label, []).append(frame.assign(fold=fold))
        return {label: pd.concat(frames, ignore_index=True) for label, frames in parts.items()}
