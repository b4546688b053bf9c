"""``ScoreTable``: scores of a comparison with their pictures and their page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from smalti.scores.table import Scores

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class ScoreTable(Scores):
    """What every comparison ends in: a tidy table, its pictures, its report."""

    order: ClassVar[tuple[str, ...]] = ()  # metrics that are shown first; the first one ranks
    titles: ClassVar[dict[str, str]] = {}  # metric -> heading of its picture

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metrics that some method has, the one to rank by first."""
        there = dict.fromkeys(self.folds.dropna(subset="value")["metric"])
        first = [m for m in self.order if m in there]
        return (*first, *(m for m in there if m not in first))

    def figures(self) -> dict[str, Figure]:
        """The pictures of a report: heading -> figure."""
        from smalti.plot import plot_scores

        titles = self.titles or {self.metrics[0]: "Scores"}
        return {titles[m]: plot_scores(self, m) for m in titles if m in self.metrics}

    def report(self, path: str | Path, **kwargs: Any) -> None:
        """Write a one-page HTML report (see :func:`smalti.report.write_report`)."""
        from smalti.report import write_report

        write_report(self, path, **kwargs)
