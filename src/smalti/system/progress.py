"""How far long work is: a bar on a terminal, a line of the log for each piece elsewhere."""

from __future__ import annotations

import logging
import math
import sys
from typing import Any

_log = logging.getLogger("smalti")


class Progress:
    """A bar on standard error.

    Parameters
    ----------
    show
        None: a bar on a terminal; elsewhere each piece that has a note is a line of the log
        ("smalti", INFO). False: neither. True: the bar, terminal or not.
    title
        What is counted.
    """

    def __init__(self, show: bool | None = None, title: str = "") -> None:
        self.title = title
        self.shown = sys.stderr.isatty() if show is None else show
        self.logs = show is None and not self.shown
        self.done, self.total = 0, 0
        self._bar: Any = None
        self._job: Any = None

    def __enter__(self) -> Progress:
        if self.shown:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            self._bar = Bar(
                TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
                TextColumn("{task.fields[note]}"), TimeRemainingColumn(),
                console=Console(stderr=True), transient=True,
            )  # fmt: skip
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def start(self, name: str, total: int) -> None:
        """Begin to count to ``total``."""
        self.done, self.total = 0, total
        if self._bar is None:
            return
        if self._job is not None:
            self._bar.remove_task(self._job)
        self._job = self._bar.add_task(f"{self.title} {name}".strip(), total=total, note="")

    def advance(
        self, train: float = math.nan, valid: float = math.nan, steps: int = 1, note: str = ""
    ) -> None:
        """Count on; show the losses where there are any, and what was just done."""
        self.done += steps
        if self.logs and note:
            _log.info("%s %d of %d: %s", self.title, self.done, self.total, note)
        if self._bar is None:
            return
        losses = "" if math.isnan(train) else f"loss {train:.3f}"
        losses += "" if math.isnan(valid) else f", validation {valid:.3f}"
        self._bar.update(self._job, advance=steps, note=note or losses)
