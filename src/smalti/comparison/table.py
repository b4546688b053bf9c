"""``ScoreTable``: scores of a comparison with their pictures and their page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from smalti.scores.table import Scores

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class ScoreTable(Scores):
    """What every comparison ends in: a tidy table, its pictures, its report."""

    def figures(self) -> dict[str, Figure]:
        """The pictures of a report: heading -> figure."""
        from smalti.plot import plot_scores

        return {"Scores": plot_scores(self)}

    def report(self, path: str | Path, **kwargs: Any) -> None:
        """Write a one-page HTML report (see :func:`smalti.report.write_report`)."""
        from smalti.report import write_report

        write_report(self, path, **kwargs)
