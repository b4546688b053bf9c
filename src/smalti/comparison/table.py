"""``ScoreTable``: scores of a comparison with their pictures and their page."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd

from smalti.comparison.search import table as of_searches
from smalti.scores.table import Scores
from smalti.system.tables import write_table

if TYPE_CHECKING:
    from smalti.report.section import Section


@dataclasses.dataclass(kw_only=True, repr=False)
class ScoreTable(Scores):
    """What every comparison ends in: a tidy table, the sections of its page.

    Attributes
    ----------
    searched
        Of fits that chose their settings (:class:`smalti.Search`): what was chosen, and how it
        scored inside. :meth:`searches`, :meth:`optimism` and :meth:`chosen` read it.
    """

    order: ClassVar[tuple[str, ...]] = ()  # metrics that are shown first; the first one ranks
    titles: ClassVar[dict[str, str]] = {}  # metric -> heading of its picture

    searched: pd.DataFrame = dataclasses.field(
        default_factory=lambda: pd.DataFrame(columns=of_searches.COLUMNS)
    )

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metrics that some method has, the one to rank by first."""
        there = dict.fromkeys(self.folds.dropna(subset="value")["metric"])
        first = [m for m in self.order if m in there]
        return (*first, *(m for m in there if m not in first))

    def searches(self) -> pd.DataFrame:
        """Inner and outer score of every fit that chose its settings, and what it chose.

        Returns
        -------
        DataFrame
            method, repeat, fold, metric, inner (the chosen settings, mean over the inner folds of
            the training donors), outer (the test donors of the same fold), optimism (how much
            better the inner one is, of a loss too), trials, failed, chosen.

        Examples
        --------
        >>> import smalti as sm
        >>> bags = sm.datasets.planted_bags(24, seed=0)
        >>> search = sm.Search("mifv", {"components": [1, 2]}, sampler="grid", folds=2)
        >>> table = sm.compare([search], bags, folds=3, n_jobs=1, progress=False)
        >>> found = table.searches()
        >>> found["method"].tolist() == 3 * ["mifv searched"], found["trials"].tolist()
        (True, [2, 2, 2])
        >>> list(table.chosen().columns)
        ['method', 'setting', 'value', 'fits', 'of']
        """
        return of_searches.searches(self.searched, self.folds)

    def optimism(self) -> pd.DataFrame:
        """By how much the inner score of each searched method is better than its outer score.

        Returns
        -------
        DataFrame
            method, metric, inner, outer, optimism (means over the fits), low and high (the least
            and the most of a fit), fits, unsearched (the outer mean of the same method as it was
            given).
        """
        return of_searches.optimism(self.searched, self.folds)

    def chosen(self) -> pd.DataFrame:
        """How often each value of a searched setting was chosen: method, setting, value, fits, of.

        Where values change from fold to fold, the choice is one of noise.
        """
        return of_searches.chosen(self.searched)

    def said(self) -> list[str]:
        """All that the table says, as sentences without their full stops."""
        return [*super().said(), *of_searches.sentences(self.searched, self.folds)]

    def _write_into(self, folder: Path) -> None:
        super()._write_into(folder)
        if len(self.searched):
            write_table(self.searches(), folder / "searches.csv")
            write_table(self.chosen(), folder / "chosen.csv")

    def sections(self) -> list[Section]:
        """What a page of this comparison says, in order (see :mod:`smalti.comparison.page`)."""
        raise NotImplementedError

    def report(self, path: str | Path, **kwargs: Any) -> None:
        """Write a one-page HTML report (see :func:`smalti.report.write_report`)."""
        from smalti.report import write_report

        write_report(self, path, **kwargs)
