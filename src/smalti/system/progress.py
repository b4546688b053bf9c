"""The progress bar: on a terminal, and nowhere else unless asked for."""

from __future__ import annotations

import math
import sys
from typing import Any


class Progress:
    """A bar on standard error; ``show=None`` means: only on a terminal."""

    def __init__(self, show: bool | None = None, title: str = "") -> None:
        self.title = title
        self.shown = sys.stderr.isatty() if show is None else show
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
        if self._bar is None:
            return
        if self._job is not None:
            self._bar.remove_task(self._job)
        self._job = self._bar.add_task(f"{self.title} {name}".strip(), total=total, note="")

    def advance(self, train: float = math.nan, valid: float = math.nan, steps: int = 1) -> None:
        """Count on, and show the losses where there are any."""
        if self._bar is None:
            return
        note = "" if math.isnan(train) else f"loss {train:.3f}"
        note += "" if math.isnan(valid) else f", validation {valid:.3f}"
        self._bar.update(self._job, advance=steps, note=note)
