"""``DonorTable``: scores beside those of chance, of fewer donors, of each donor and of groups."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd

from smalti.comparison.cohort import Cohort
from smalti.comparison.groups import by_group, groupings
from smalti.comparison.learning import COLUMNS as LEARNING
from smalti.comparison.patients import one_by_one
from smalti.comparison.permuted import COLUMNS
from smalti.comparison.probability_table import ProbabilityTable
from smalti.comparison.protocols import DONORS
from smalti.comparison.risks import by_donor, judged, thirds
from smalti.errors import InputError
from smalti.names import meant
from smalti.scores.chance import BY_RANK, above_chance, chance_scores, truths
from smalti.scores.headline import with_ends
from smalti.scores.learning import learning_means, learning_said
from smalti.scores.metrics import LOWER_IS_BETTER, margin_of
from smalti.scores.pairs import WITHIN, arms_of, of_predictions
from smalti.scores.verdicts import LEVEL, holm


@dataclasses.dataclass(kw_only=True, repr=False)
class DonorTable(ProbabilityTable):
    """What scores say of the donors: whether they are chance, whether more would help, of whom.

    Attributes
    ----------
    permuted
        What methods score with permuted labels: method, arrangement, metric, value (mean over the
        folds). With ``compare(permutations=)``.
    exchanged, least
        In words, which labels changed places there; and the smallest p that they allow.
    learning
        Scores on growing shares of the training donors: method, share, donors, repeat, fold,
        metric, value, n_train, n_test. With ``compare(learning_curve=)``.
    cohort
        Who was in: a row for each bag, and the types of its instances.
    """

    permuted: pd.DataFrame = dataclasses.field(
        default_factory=lambda: pd.DataFrame(columns=COLUMNS)
    )
    exchanged: str = ""
    least: float = 0.0
    learning: pd.DataFrame = dataclasses.field(
        default_factory=lambda: pd.DataFrame(columns=LEARNING)
    )
    cohort: Cohort | None = None

    def chance(
        self, metric: str | None = None, *, draws: int = 1000, seed: int = 0
    ) -> dict[str, Any]:
        """What these folds give to scores that mean nothing: one random score for each donor.

        Where samples of a donor are held against each other, one for each label of a donor.

        A mean inside the range from ``low`` to ``high`` is what nine of ten such scores have, so
        that neither a mean below 0.5 nor one somewhat above says anything.

        Parameters
        ----------
        metric
            "donor_concordance", "roc_auc", "spearman" or "c_index"; default: the first of these
            that the table has.
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
            raise InputError(f"no metric {metric!r} here; there are {', '.join(self.metrics)}."
                             f"{meant(metric, self.metrics)}")  # fmt: skip
        found = self.predictions.drop_duplicates(["repeat", "fold", "bag"])
        whose = ["donor"] if self.contrast is None else ["donor", "true"]
        means = chance_scores(
            metric, truths(found, self.task, metric), found.groupby(whose).ngroup().to_numpy(),
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
                            lower_is_better=metric in LOWER_IS_BETTER,
                            least=self.least)  # fmt: skip

    def within_donors(self, *, draws: int = 9999, seed: int = 0) -> pd.DataFrame:
        """Samples of each left-out donor beside each other, by every method.

        Parameters
        ----------
        draws, seed
            Where labels have more arrangements within donors, so many random ones, and their seed.

        Returns
        -------
        DataFrame
            Per method, the best first: method, donors, value (share of the pairs of a donor's
            samples that are in order, the mean over donors and repeats), value_low and value_high
            (95 % over donors: of these models' predictions), right (donors with all pairs in
            order in every repeat), p (labels change places within donors; see
            :func:`smalti.scores.within_donors`), least (the smallest p that the design can
            give), p_holm (methods are one family, baselines another) and the verdict: "above
            chance" or "not told from chance".

        Raises
        ------
        InputError
            If samples of donors were not held against each other (``compare(contrast="donor")``).

        Examples
        --------
        >>> import smalti as sm
        >>> bags = sm.datasets.planted_pairs(8, effect=6.0, seed=0)
        >>> how = {"folds": 4, "n_jobs": 1, "progress": False}
        >>> table = sm.compare(["bag_mean"], bags, contrast="donor", **how)
        >>> best = table.within_donors().to_dict("records")[0]
        >>> best["method"], best["donors"], round(best["least"], 4)
        ('bag_mean', 8, 0.0078)
        """
        rows = []
        for method in self.ranked(WITHIN)["method"] if self._contrasted() else ():
            found = of_predictions(self._of(str(method)), self.task, draws=draws, seed=seed)
            low, high = found.interval()
            rows.append({
                "method": str(method), "donors": len(found.value), "value": found.mean,
                "value_low": low, "value_high": high, "right": int((found.value == 1).sum()),
                "p": found.p, "least": found.least,
            })  # fmt: skip
        columns = ["method", "donors", "value", "value_low", "value_high", "right", "p", "least"]
        table = pd.DataFrame(rows, columns=columns)
        of = table["method"].isin(self.baselines)  # two families, as of differences
        table["p_holm"] = table.groupby(of)["p"].transform(lambda p: holm(p.to_numpy()))
        above = table["p_holm"] <= LEVEL
        return table.assign(verdict=np.where(above, "above chance", "not told from chance"))

    def in_order(self) -> list[str]:
        """How many donors the leading method has in order, where that was asked."""
        if self.contrast is None:
            return []
        rows, method = self.within_donors().set_index("method"), self.leading()
        if method not in rows.index:
            return []
        row = rows.loc[method]
        n, least = int(row["donors"]), row["least"]
        few = (f"; with so few donors no p can be below {least:.2g}, and no method can be told from"
               " chance" if least > LEVEL else f"; no p can be below {least:.2g}")  # fmt: skip
        return [
            f"{method} has the samples of {int(row['right'])} of {n} donors in order throughout, "
            f"over donors a mean of {with_ends(row)}, p {row['p_holm']:.2g} by labels that change "
            f"places within donors{few}"
        ]

    def arms(self, method: str | None = None) -> pd.DataFrame:
        """One score for each label of each left-out donor, and whether they are in order.

        Parameters
        ----------
        method
            The best candidate when left out.

        Returns
        -------
        DataFrame
            As :func:`smalti.scores.pairs.arms_of` says.

        Raises
        ------
        InputError
            As :meth:`within_donors`, or if there is no such method.
        """
        self._contrasted()
        return arms_of(self._of(method), self.task)

    def _contrasted(self) -> bool:
        if self.contrast is None:
            raise InputError("samples of a donor were not held against each other: "
                             "compare(contrast='donor') does it.")  # fmt: skip
        return True

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

    def would_help(self) -> list[str]:
        """Whether more donors would help, where that was asked."""
        metric = self.metrics[0]
        return [] if self.learning.empty else learning_said(
            self.learning, metric, margin=margin_of(metric), freedom=self.freedom(metric)
        )  # fmt: skip

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
        return one_by_one(self._of(method), self.task, self.cohort, self.alone)

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
            of times events, c_index and excess (mean probability of an event by the median time of
            events less the share that had one, weighted against censoring); loss (log loss, or
            absolute error) of what is no time; each with its interval over donors, and p_holm and
            verdict of each column. Empty where no column parts the donors.

        Raises
        ------
        InputError
            If there is no such method, or bags have several targets.
        """
        own = self._of(method)
        groups = {} if self.cohort is None else groupings(self.cohort)
        return by_group(own, self.task, groups, self.alone)

    def risks(self, method: str | None = None) -> pd.DataFrame:
        """When donors had their event, and how high their risk was said to be when left out.

        Parameters
        ----------
        method
            Of the table; the best candidate when left out.

        Returns
        -------
        DataFrame
            One row per donor (per bag, where those of a donor have times of their own): time,
            event, entry, rank (of the risk within the test fold, from 0 to 1, the mean over
            repeats: models of several folds have no one scale; among all where each donor was left
            out alone) and group (the third by rank).
            What :func:`smalti.plot.plot_survival` draws.

        Raises
        ------
        InputError
            If there is no such method, or the target is no time until an event.

        Examples
        --------
        >>> import smalti as sm
        >>> bags = sm.datasets.planted_bags(60, kind="survival", effect=4.0, seed=0)
        >>> table = sm.compare(["bag_mean"], bags, folds=3, n_jobs=1, progress=False)
        >>> list(table.risks())
        ['donor', 'time', 'event', 'entry', 'rank', 'group']
        """
        if self.task.kind != "survival":
            raise InputError(f"a {self.task.kind} target has no times until an event.")
        return by_donor(judged(self._of(method), self.alone))

    def risk_groups(self, method: str | None = None) -> pd.DataFrame:
        """What became of the thirds by risk: of left-out donors, each by models without it.

        The p of the log-rank test for trend takes the groups as given; the models of the folds
        share training donors, so that it is not exact. ``compare(permutations=)`` tests the method.

        Parameters
        ----------
        method
            Of the table; the best candidate when left out.

        Returns
        -------
        DataFrame
            As :func:`smalti.comparison.risks.thirds` says.

        Raises
        ------
        InputError
            If there is no such method, or the target is no time until an event.
        """
        return thirds(self.risks(method))

    @property
    def alone(self) -> bool:
        """Whether test folds are single donors, who have no rank among others of their fold."""
        return self.protocol == DONORS

    def _of(self, method: str | None) -> pd.DataFrame:
        """Predictions of one method, the leading one where none is named."""
        if not self.task.by_itself:
            raise InputError("bags of several targets are not right or wrong as a whole: read "
                             "predictions.")  # fmt: skip
        method = self.leading() if method is None else method
        own = self.predictions[self.predictions["method"] == method]
        if own.empty:
            there = list(self.predictions["method"].unique())
            raise InputError(f"no method {method!r} in this comparison; there are "
                             f"{', '.join(there)}.{meant(method, there)}")  # fmt: skip
        return own

    def leading(self) -> str:
        """The best candidate; the best baseline where there is none."""
        ranked = self.ranked()
        first = ranked[~ranked["baseline"]] if (~ranked["baseline"]).any() else ranked
        there = first["method"] if len(first) else self.predictions["method"]
        return str(there.iloc[0])
