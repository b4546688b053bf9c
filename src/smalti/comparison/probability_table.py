"""``ProbabilityTable``: predictions of left-out bags, and what their probabilities are worth."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from functools import partial

import pandas as pd

from smalti.comparison.phenotype_fit import metrics_of
from smalti.comparison.probabilities import (
    benefit,
    by_class,
    by_donor,
    calibrated,
    decided,
    donor_losses,
    of_one_model,
    table_of,
)
from smalti.comparison.probabilities import curve as points
from smalti.comparison.protocols import FOLDS
from smalti.comparison.risks import by_time
from smalti.comparison.table import ScoreTable
from smalti.errors import InputError
from smalti.task import Task


@dataclasses.dataclass(kw_only=True, repr=False)
class ProbabilityTable(ScoreTable):
    """Scores of methods with what they predicted of each left-out bag.

    Attributes
    ----------
    predictions
        One row per method, repeat, fold and test bag: bag, donor, true, predicted, p_CLASS.
    task
        The task of the whole set.
    protocol
        How bags were parted: "donor folds", "leave-one-donor-out", "leave-one-site-out",
        "preserved-sites", "own splits" or "external validation".
    recalibrated
        How probabilities were recalibrated inside each fold; None where they were not.
    contrast
        "donor" where samples of a donor are held against each other, else None.
    """

    predictions: pd.DataFrame
    task: Task
    protocol: str = FOLDS
    recalibrated: str | None = None
    contrast: str | None = None

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metrics of this kind of task, the default one first."""
        return metrics_of(self.task.kind, self.protocol, self.contrast)

    def calibration(
        self, *, curve: bool = False, times: Sequence[float] | None = None
    ) -> pd.DataFrame:
        """Whether probabilities of left-out bags mean what they say, per method and class or time.

        Of the models of all folds and repeats together, by :func:`smalti.scores.calibration`:
        slope, intercept, Brier score and log loss with their references, expected calibration error
        beside what it is under perfect calibration. Intervals are over donors, with all repeats of
        a donor together: of these models' predictions, not of the procedure. Of a survival target
        it is the probability of an event by a time, weighted against censoring.

        Parameters
        ----------
        curve
            The points of the calibration curve instead.
        times
            Of a survival target; the quartiles of the times of events when left out.

        Raises
        ------
        InputError
            If the task has no classes and no times, or ``times`` are given to one of classes.

        Examples
        --------
        >>> import smalti as sm
        >>> bags = sm.datasets.planted_bags(24, seed=0)
        >>> table = sm.compare(["bag_mean"], bags, folds=3, n_jobs=1, progress=False)
        >>> list(table.calibration().columns[:4])
        ['method', 'class', 'slope', 'slope_low']
        """
        numbers = points if curve else calibrated
        if times is not None and self.task.kind != "survival":
            raise InputError(f"times= is of a survival target, and this one is {self.task.kind}: "
                             "leave it out.")  # fmt: skip
        if self.task.kind == "survival":
            return table_of(by_time(self._ranked_predictions(), times), numbers, of="time")
        return table_of(self._by_class(), numbers)

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
        return table_of(self._by_class(), numbers)

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
        numbers = partial(benefit, thresholds=thresholds, prevalence=prevalence)
        return table_of(self._by_class(), numbers)

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
        return table_of(self._by_class(), of_one_model)

    def _by_class(self) -> Iterator[tuple[str, str, pd.DataFrame]]:
        return by_class(self._ranked_predictions(), self.task)

    def _ranked_predictions(self) -> pd.DataFrame:
        """Predictions of the methods of which no fit failed."""
        return self.predictions[~self.predictions["method"].isin(self.failed)]
