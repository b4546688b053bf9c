"""``ScoreTable``: scores of a comparison with their pictures and their page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from smalti.scores.table import Scores

if TYPE_CHECKING:
    from smalti.report.section import Section


class ScoreTable(Scores):
    """What every comparison ends in: a tidy table, the sections of its page."""

    order: ClassVar[tuple[str, ...]] = ()  # metrics that are shown first; the first one ranks
    titles: ClassVar[dict[str, str]] = {}  # metric -> heading of its picture

    @property
    def metrics(self) -> tuple[str, ...]:
        """Metrics that some method has, the one to rank by first."""
        there = dict.fromkeys(self.folds.dropna(subset="value")["metric"])
        first = [m for m in self.order if m in there]
        return (*first, *(m for m in there if m not in first))

    def sections(self) -> list[Section]:
        """What a page of this comparison says, in order (see :mod:`smalti.comparison.page`)."""
        raise NotImplementedError

    def report(self, path: str | Path, **kwargs: Any) -> None:
        """Write a one-page HTML report (see :func:`smalti.report.write_report`)."""
        from smalti.report import write_report

        write_report(self, path, **kwargs)
