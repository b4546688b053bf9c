"""``Scores``: a tidy table of scores of several methods, and how to show and keep it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from smalti._version import __version__
from smalti.errors import InputError
from smalti.names import meant
from smalti.scores.headline import detail, headline
from smalti.scores.intervals import resampled_interval
from smalti.scores.metrics import LOWER_IS_BETTER, ends_of, margin_of, widest
from smalti.scores.selection import chosen_gap
from smalti.scores.sentences import additions, as_html, as_text, of_controls, terms
from smalti.scores.statistics import corrected_test
from smalti.scores.verdicts import judge
from smalti.system.files import atomic_folder
from smalti.system.listed import is_listed
from smalti.system.tables import write_table

_NOTE = "split.json"
_FILES = "report_files"  # tables and drawings of the page
_BESIDE = (
    "report.html",
    "report.json",
    _FILES,
    "attention.png",
    "config.yaml",
)  # what else smalti puts into the folder of a run


@dataclasses.dataclass(kw_only=True, repr=False)
class Scores:
    """Scores of several methods on the same parts of the same data.

    A method of which a fit failed stays in the table, unranked: a mean over fewer parts is never
    set beside a mean over all.

    Attributes
    ----------
    folds
        Tidy: method, repeat, fold, metric, value, n_train, n_test, seconds (of the fit).
    digest
        Of the data and its parts; two tables with one digest can be set side by side.
    settings
        Method -> its hyper-parameters.
    baselines
        Names of the methods that are baselines.
    controls
        Names of the rows that read no data but how it was made (site, batch): they say what
        else predicts the target, and nobody races them.
    notes
        Warnings of the data, methods that could not be run, and why fits failed.
    about
        The data in one line.
    identities
        Method -> digest of its settings, by which a fitted model finds its row.
    failures
        Fits that failed: method, repeat, fold, reason.
    audit
        What was found that makes scores too good (:func:`smalti.audit`); None where nobody looked.
    bibtex
        What to cite for the methods that took part.
    """

    unit: ClassVar[str] = "test folds"  # what the spread is over
    trains_on: ClassVar[str] = "bags"  # what n_train counts
    pairs: ClassVar[tuple[str, ...]] = ("repeat", "fold")  # what is a part in a paired difference
    deed: ClassVar[tuple[str, str]] = ("is", "")  # "ABMIL is better", and what it is equal in

    folds: pd.DataFrame
    digest: str
    settings: dict[str, dict[str, Any]]
    baselines: tuple[str, ...]
    notes: tuple[str, ...]
    about: str
    identities: dict[str, str] = dataclasses.field(default_factory=dict)
    failures: pd.DataFrame = dataclasses.field(
        default_factory=lambda: pd.DataFrame(columns=["method", "repeat", "fold", "reason"])
    )
    audit: Any = None
    bibtex: str = ""
    controls: tuple[str, ...] = ()

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics, the one to rank by first."""
        raise NotImplementedError

    @property
    def n_fits(self) -> int:
        """Parts that a method was fitted on: folds, seeds."""
        return int(self.folds[["repeat", "fold"]].drop_duplicates().shape[0])

    @property
    def failed(self) -> dict[str, int]:
        """Method -> how many of its fits failed; only those with any."""
        return {str(k): int(n) for k, n in self.failures["method"].value_counts(sort=False).items()}

    def planned(self, method: str) -> int:
        """Fits that a method was to have, failed ones included."""
        done = self.folds[self.folds["method"] == method][["repeat", "fold"]].drop_duplicates()
        return len(done) + self.failed.get(method, 0)

    def lost(self, method: str) -> str:
        """What a table says behind the name of a method of which fits failed; else nothing."""
        n = self.failed.get(method, 0)
        return f" ({n} of {self.planned(method)} fits failed)" if n else ""

    def summary(self, metric: str | None = None) -> pd.DataFrame:
        """Per method and metric: mean, spread over folds, spread of repeats' means, folds counted.

        Sorted by the metric (default: the task's own), best first. A method whose metric is NaN in
        every fold has n_folds = 0; one of which a fit failed has no mean, and stands last.

        Examples
        --------
        >>> import smalti as sm
        >>> bags = sm.datasets.planted_bags(24, seed=0)
        >>> table = sm.compare(["bag_mean"], bags, folds=3, n_jobs=1, progress=False)
        >>> summary = table.summary("roc_auc")
        >>> list(summary)
        ['method', 'metric', 'mean', 'sd_folds', 'sd_repeats', 'n_folds', 'n_failed', 'baseline']
        >>> summary["method"].iloc[-1]
        'majority'
        """
        scores = self.folds if metric is None else self._scores(metric)
        rows = ["method", "metric"]
        by = scores.groupby(rows, sort=False)["value"]
        repeats = scores.groupby([*rows, "repeat"], sort=False)["value"].mean()
        found = {"mean": by.mean(), "sd_folds": by.std(), "n_folds": by.count(),
                 "sd_repeats": repeats.groupby(rows, sort=False).std()}  # fmt: skip
        table = self._with_failed(pd.DataFrame(found).reset_index())
        main = table[table["metric"] == (metric or self.metrics[0])].set_index("method")["mean"]
        sign = 1 if (metric or self.metrics[0]) in LOWER_IS_BETTER else -1
        order = table["method"].map((sign * main).rank()).to_numpy()
        place = np.lexsort([order, table["n_failed"] > 0])  # stable; NaN last
        columns = ["method", "metric", "mean", "sd_folds", "sd_repeats", "n_folds", "n_failed"]
        table = table[columns].iloc[place].reset_index(drop=True)
        return table.assign(baseline=table["method"].isin(self.baselines))

    def _with_failed(self, table: pd.DataFrame) -> pd.DataFrame:
        """No means where fits failed; and rows of methods of which none came to an end."""
        failed, metrics = self.failed, table["metric"].unique()
        if not failed:
            return table.assign(n_failed=0)
        table.loc[table["method"].isin(failed), ["mean", "sd_folds", "sd_repeats"]] = np.nan
        gone = [m for m in failed if m not in set(table["method"])]
        if gone:
            nothing = {"mean": np.nan, "sd_folds": np.nan, "sd_repeats": np.nan, "n_folds": 0}
            empty = [{"method": m, "metric": x} | nothing for m in gone for x in metrics]
            table = pd.concat([table, pd.DataFrame(empty)], ignore_index=True)
        table["n_failed"] = table["method"].map(failed).fillna(0).astype(int)
        return table

    def against(
        self, reference: str, metric: str | None = None, *, margin: float | None = None
    ) -> pd.DataFrame:
        """Paired differences to a reference, with the corrected resampled t-test, and in words.

        The interval is of the procedure, fitted on so many bags as here, not of one fitted model.

        Parameters
        ----------
        reference
            A method of the table.
        metric
            Default: the one to rank by.
        margin
            Differences from -margin to +margin do not matter. Default: 0.01, and none for losses
            that have a unit (log loss, errors).

        Returns
        -------
        DataFrame
            Per other method: method, reference, metric, what
            :func:`~smalti.scores.corrected_test` gives, the size of its ``family``, ``p_holm`` and
            ``p_equal`` (over the family), ``detectable`` (the difference that would be told apart
            four times of five) and the ``verdict``: better, worse, practically equal or not told
            apart; "not tested" where no test can be made. Methods are one family, baselines and
            controls another, oracles are no members of either. The interval of 95 % is of each
            comparison alone. The reference is what it is before the scores are seen: where it is
            the best of many by these very scores, all differences to it lean to one side.

        Raises
        ------
        InputError
            If there is no such method or metric, or the margin is not positive.

        Examples
        --------
        >>> import smalti as sm
        >>> bags = sm.datasets.planted_bags(24, seed=0)
        >>> table = sm.compare(["bag_mean"], bags, folds=3, n_jobs=1, progress=False)
        >>> gap = table.against("majority").set_index("method")
        >>> gap.loc["bag_mean", ["reference", "metric", "verdict"]].tolist()
        ['majority', 'roc_auc', 'better']
        """
        metric = metric or self.metrics[0]
        wide = self._wide(metric)
        if reference not in wide:
            raise InputError(f"no method {reference!r} in this comparison: {list(wide)}."
                             f"{meant(reference, wide)}")  # fmt: skip
        others = [str(m) for m in wide.columns.drop(reference)]
        rows = self._gaps([(m, reference) for m in others], metric)
        kinds = [
            2 if is_oracle(m) else int(m in self.baselines or m in self.controls) for m in others
        ]
        parts = [self._judged(part, metric, margin) for _, part in rows.groupby(kinds)]
        return pd.concat(parts).sort_index() if parts else rows

    def all_pairs(self, metric: str | None = None, *, margin: float | None = None) -> pd.DataFrame:
        """Paired differences of every two methods, as one family of those that race.

        Parameters
        ----------
        metric, margin
            As of :meth:`against`.

        Returns
        -------
        DataFrame
            As of :meth:`against`, one row for each pair.

        Raises
        ------
        InputError
            If there is no such metric, or the margin is not positive.
        """
        metric = metric or self.metrics[0]
        names = [str(m) for m in self._wide(metric) if self.races(str(m))]
        pairs = [(one, two) for i, two in enumerate(names) for one in names[i + 1 :]]
        return self._judged(self._gaps(pairs, metric), metric, margin)

    def _wide(self, metric: str) -> pd.DataFrame:
        """Part by method; a method whose metric is NaN in every part stays."""
        wide = self._scores(metric).pivot_table(
            index=list(self.pairs), columns="method", values="value", dropna=False
        )
        wide.loc[:, wide.columns.isin(self.failed)] = np.nan  # fewer parts than the others
        return wide

    def freedom(self, metric: str | None = None) -> int | None:
        """One less than the folds of a repeat: other repeats deal the same donors again."""
        if "repeat" not in self.pairs:
            return None
        each = self._wide(metric or self.metrics[0]).groupby("repeat").size()
        return int(each.max()) - 1 if each.max() > 1 else None  # else seeds of one part each

    def intervals(self, metric: str | None = None) -> pd.DataFrame:
        """Mean of each method with its 95 % interval: of the procedure at this training size.

        By :func:`smalti.scores.resampled_interval` with the degrees of freedom of one repeat: of
        the candidates of ``benchmarks/intervals.py`` it covers best at 20 to 200 donors.

        Parameters
        ----------
        metric
            Default: the one to rank by.

        Returns
        -------
        DataFrame
            method, metric, value (mean over the parts), value_low and value_high; NaN where fits
            failed, or all parts are equal.

        Raises
        ------
        InputError
            If there is no such metric.
        """
        metric = metric or self.metrics[0]
        wide, freedom = self._wide(metric), self.freedom(metric)
        sizes = self._scores(metric).groupby("method")[["n_train", "n_test"]].mean()
        rows = []
        for method in self.summary(metric)["method"]:
            if method not in wide:
                continue
            n_train, n_test = sizes.loc[method]
            low, high = resampled_interval(wide[method], n_train, n_test, freedom=freedom)
            low, high = np.clip([low, high], *ends_of(metric))
            value = wide[method].mean()
            rows.append({"method": method, "metric": metric, "value": value, "value_low": low,
                         "value_high": high})  # fmt: skip
        return pd.DataFrame(rows)

    def _gaps(self, pairs: list[tuple[str, str]], metric: str) -> pd.DataFrame:
        """The corrected test of each pair of a method and a reference."""
        wide = self._wide(metric)
        sizes = self._scores(metric).groupby("method")[["n_train", "n_test"]].mean()
        freedom, rows = self.freedom(metric), []
        for one, two in pairs:
            # of these two alone: a third in the table must not change the interval
            both = sizes.loc[[one, two]].mean()
            gaps = (wide[one] - wide[two]).to_numpy()
            found = corrected_test(gaps, both["n_train"], both["n_test"], freedom=freedom)
            most = widest(metric)  # no two values are farther apart
            found |= {end: float(np.clip(found[end], -most, most)) for end in ("low", "high")}
            rows.append({"method": one, "reference": two, "metric": metric} | found)
        return pd.DataFrame(rows)

    @staticmethod
    def _judged(rows: pd.DataFrame, metric: str, margin: float | None) -> pd.DataFrame:
        if rows.empty:
            return rows
        width = margin_of(metric) if margin is None else margin
        return judge(rows, margin=width, lower_is_better=metric in LOWER_IS_BETTER)

    def best_baseline(self, metric: str | None = None) -> str | None:
        """The baseline with the best mean (of the metric to rank by); None where there is none."""
        ranked = self.ranked(metric)
        return next((str(m) for m in ranked.loc[ranked["baseline"], "method"]), None)

    def ranked(self, metric: str | None = None) -> pd.DataFrame:
        """Rows of the summary that race, best first: no controls, no oracles, no fit failed."""
        metric = metric or self.metrics[0]
        table = self.summary(metric)
        whole = (table["metric"] == metric) & (table["n_folds"] > 0) & (table["n_failed"] == 0)
        return table[whole & table["method"].map(self.races).astype(bool)]

    def races(self, method: str) -> bool:
        """Whether a row is raced: it is no control, and does not look at what it predicts."""
        return method not in self.controls and not is_oracle(method)

    def role(self, method: str) -> str:
        """What a table says beside a name: baseline, control or nothing."""
        if method in self.controls:
            return "control"
        return "baseline" if method in self.baselines and not is_oracle(method) else ""

    def headline(self, metric: str | None = None) -> str:
        """What the table says: the best method beside the best baseline, by the paired interval.

        Both are picked by these very scores. Where there are several methods, the answer is
        Holm's over all of them, and the difference is said on folds that neither was chosen by
        (:func:`smalti.scores.chosen_gap`).
        """
        return headline(self, metric or self.metrics[0])

    def chosen_gap(self, metric: str | None = None) -> float:
        """What the best of several has before the best baseline, on folds that chose neither.

        NaN where there is one method only, or no baseline, or too few folds.
        """
        metric = metric or self.metrics[0]
        ranked = self.ranked(metric)
        methods = list(ranked.loc[~ranked["baseline"], "method"])
        rivals = list(ranked.loc[ranked["baseline"], "method"])
        if len(methods) < 2 or not rivals:
            return np.nan
        wide = self._wide(metric)
        repeats = np.zeros(len(wide))
        if "repeat" in self.pairs:
            repeats = wide.index.get_level_values("repeat").to_numpy()
            if len(np.unique(repeats)) == len(wide):  # seeds of one part each
                repeats = np.zeros(len(wide))
        return chosen_gap(wide[methods].to_numpy(), wide[rivals].to_numpy(), repeats,
                          lower_is_better=metric in LOWER_IS_BETTER)  # fmt: skip

    def said(self) -> list[str]:
        """All that the table says, as sentences without their full stops."""
        metric = self.metrics[0]
        return [self.headline(), *detail(self, metric), *of_controls(self), *self.additions()]

    def terms(self) -> list[str]:
        """What the words and intervals of :meth:`said` mean, as whole sentences."""
        return terms(self)

    def find(self, identity: str, seed: int | None = None) -> list[str]:
        """Labels of the rows of these settings; of several, those of this seed where there are any.

        Parameters
        ----------
        identity
            Digest of the settings (:func:`smalti.core.identity.identity`).
        seed
            Of the fit.
        """
        found = [k for k, digest in self.identities.items() if digest == identity]
        same = [k for k in found if self.settings[k].get("seed") == seed]
        return same if len(found) > 1 and same else found

    def additions(self, metric: str | None = None) -> list[str]:
        """What views add: of methods that differ in their ``views`` alone, one sentence a pair.

        The one that reads more beside the one that reads less, by :meth:`against`. Steps are not
        looked at, for those of a view go with it: give both the same for the views that they share.

        Examples
        --------
        >>> import smalti as sm
        >>> import dataclasses
        >>> bags = sm.datasets.planted_bags(24, seed=0)
        >>> bags = dataclasses.replace(bags, x={"x": bags.table(), "noise": bags.table() % 1})
        >>> few, more = ({"views": v, "progress": False} for v in (("x",), ("x", "noise")))
        >>> both = {"x": sm.mil.BagMean(**few), "x, noise": sm.mil.BagMean(**more)}
        >>> table = sm.compare(both, bags, folds=3, n_jobs=1, progress=False)
        >>> table.additions()[0][:22]
        'x, noise and x are not'
        """
        return additions(self, metric or self.metrics[0])

    def of(self, method: str) -> dict[str, dict[str, Any]]:
        """Scores of one method, as AnnData can hold them: metric -> mean, sd_folds, folds.

        Raises
        ------
        InputError
            If there is no row of that name, or fits of it failed.
        """
        if method in self.failed:
            raise InputError(
                f"{self.failed[method]} of {self.planned(method)} fits of {method!r} failed in "
                "this comparison: a mean of the others is no score of it."
            )
        table = self.folds[self.folds["method"] == method]
        if table.empty:
            there = list(self.folds["method"].unique())
            raise InputError(f"no method {method!r} in this comparison; there are "
                             f"{', '.join(there)}.{meant(method, there)}")  # fmt: skip
        return {
            str(m): {"mean": float(v.mean()), "sd_folds": float(v.std()), "folds": v.to_numpy()}
            for m, v in table.groupby("metric", sort=False)["value"]
        }

    def _scores(self, metric: str) -> pd.DataFrame:
        if metric not in self.metrics:
            raise InputError(f"no metric {metric!r} here; there are {', '.join(self.metrics)}."
                             f"{meant(metric, self.metrics)}")  # fmt: skip
        return self.folds[self.folds["metric"] == metric]

    def __str__(self) -> str:
        return as_text(self)

    def __repr__(self) -> str:  # a console shows what it says, not its fields
        return as_text(self)

    def _repr_html_(self) -> str:
        return as_html(self)

    def save_table(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the tidy table of folds as .csv or .parquet.

        Raises
        ------
        InputError
            If the file is there already and ``overwrite`` is not said, or it cannot be written.
        """
        write_table(self.folds, path, overwrite=overwrite)

    def write(self, folder: str | Path, *, overwrite: bool = False) -> None:
        """Write the tables and what they came from into a folder, whole.

        What such a call wrote before is replaced; a folder with other files only if ``overwrite``
        says so.

        Raises
        ------
        InputError
            If the folder holds other files, or cannot be written.
        """
        with atomic_folder(folder, overwrite=overwrite, ours=is_run) as temporary:
            self._write_into(temporary)
            note = {
                "smalti": __version__, "digest": self.digest, "data": self.about,
                "settings": self.settings, "notes": self.notes,
                "files": sorted(p.name for p in temporary.iterdir()),
            } | ({} if self.audit is None else {"audit": self.audit.record()})  # fmt: skip
            text = json.dumps(note, indent=1, default=str)
            (temporary / _NOTE).write_text(text, encoding="utf-8")

    def _write_into(self, folder: Path) -> None:
        write_table(self.folds, folder / "folds.csv")
        write_table(self.summary(), folder / "summary.csv")
        if len(self.failures):
            write_table(self.failures, folder / "failures.csv")

    def facts(self) -> dict[str, str]:
        """What was compared, in numbers: name -> text."""
        raise NotImplementedError


def is_run(folder: Path) -> bool:
    """Whether a folder holds what :meth:`Scores.write` wrote and nothing else."""
    try:
        note = json.loads((folder / _NOTE).read_text(encoding="utf-8"))
        own = {*note["files"], _NOTE, *_BESIDE}
    except (OSError, ValueError, KeyError, TypeError):
        return False
    files = folder / _FILES
    return {p.name for p in folder.iterdir()} <= own and (not files.exists() or is_listed(files))


def is_oracle(method: str) -> bool:
    """Whether a row looks at the very values that it predicts: nobody races it."""
    return "(oracle)" in method
