"""How far long work is: a bar on a terminal and in a notebook, lines of the log elsewhere."""

from __future__ import annotations

import logging
import math
import sys
import time
from html import escape
from typing import Any, Protocol

_log = logging.getLogger("smalti")
_PAUSE = 0.1  # s between two pictures of a bar in a notebook


class Progress:
    """A bar while work goes on, gone when it is done.

    Parameters
    ----------
    show
        None: a bar on a terminal and in a notebook; elsewhere each piece that has a note is a line
        of the log ("smalti", INFO). False: neither. True: the bar, terminal or not.
    title
        What is counted.
    """

    def __init__(self, show: bool | None = None, title: str = "") -> None:
        self.title = title
        self.shown = in_notebook() or sys.stderr.isatty() if show is None else show
        self.logs = show is None and not self.shown
        self.done, self.total = 0, 0
        self._bar: _Bar | None = None

    def __enter__(self) -> Progress:
        if self.shown:
            self._bar = _Notebook() if in_notebook() else _Terminal()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def start(self, name: str, total: int) -> None:
        """Begin to count to ``total``."""
        self.done, self.total = 0, total
        if self._bar is not None:
            self._bar.begin(f"{self.title} {name}".strip(), total)

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
        self._bar.show(self.done, note or losses)


def in_notebook() -> bool:
    """Whether a kernel of Jupyter runs this, as it does for notebooks, VS Code and Colab."""
    ipython = sys.modules.get("IPython")  # it is there already, where it runs this
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


class _Bar(Protocol):
    def begin(self, text: str, total: int) -> None:
        """A new bar in the place of the last one."""

    def show(self, done: int, note: str) -> None:
        """Draw it where it has come to."""

    def close(self) -> None:
        """Take it away."""


class _Terminal:
    """rich's, on standard error."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        self._rich = Bar(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"), TimeRemainingColumn(),
            console=Console(stderr=True), transient=True,
        )  # fmt: skip
        self._job: Any = None
        self._rich.start()

    def begin(self, text: str, total: int) -> None:
        if self._job is not None:
            self._rich.remove_task(self._job)
        self._job = self._rich.add_task(text, total=total, note="")

    def show(self, done: int, note: str) -> None:
        self._rich.update(self._job, completed=done, note=note)

    def close(self) -> None:
        self._rich.stop()


class _Notebook:
    """The browser's own bar, by IPython alone.

    rich and tqdm need ipywidgets there, and what they draw does not outlive the kernel: a notebook
    that is saved, or run for a page, would keep an empty widget.
    """

    def __init__(self) -> None:
        from IPython.display import HTML, display

        self._html, self._text, self._total, self._last = HTML, "", 0, -math.inf
        self._place = display(HTML(""), display_id=True)

    def begin(self, text: str, total: int) -> None:
        self._text, self._total, self._last = text, total, -math.inf
        self.show(0, "")

    def show(self, done: int, note: str) -> None:
        if time.monotonic() - self._last < _PAUSE:
            return
        self._last = time.monotonic()
        line = f"{self._text} {done:,} of {self._total:,} {note}"
        self._place.update(self._html(
            f'<progress max="{self._total}" value="{done}"></progress> {escape(line)}'
        ))  # fmt: skip

    def close(self) -> None:
        self._place.update(self._html(""))
